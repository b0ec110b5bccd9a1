//! The policies and bindings of the cluster, read and compiled once per change.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use wkube_api::cel::admission::Policy;
use wkube_api::{Object, Resource};

use crate::access::Access;
use crate::admission::rules::Criteria;
use crate::registry::{Registry, keys};

const GROUP: &str = "admissionregistration.k8s.io";
const POLICIES: &str = "validatingadmissionpolicies";
const BINDINGS: &str = "validatingadmissionpolicybindings";

/// Whether a kind says what is welcome: the next request is judged by a write of one.
pub(crate) fn is_policy(resource: &Resource) -> bool {
    resource.group == GROUP && (resource.plural == POLICIES || resource.plural == BINDINGS)
}

/// What the cluster's policies say.
#[derive(Default)]
pub(crate) struct Policies {
    read: Mutex<Option<Read>>,
    /// Who may do what, for the expressions that ask.
    pub(super) access: Access,
}

/// How often the caches of policies and bindings had changed, and what was in them.
type Read = ([u64; 2], Arc<Vec<Bound>>);

/// A policy with its bindings. Without one it does nothing and is not here.
pub(super) struct Bound {
    pub(super) name: String,
    pub(super) criteria: Criteria,
    /// Whether a request goes on if the policy cannot tell (`failurePolicy: Ignore`).
    pub(super) fails_open: bool,
    /// The `apiVersion` and `kind` of its parameters.
    pub(super) param_kind: Option<(String, String)>,
    /// Its expressions, or why they are none: it was stored by somebody who did not look.
    pub(super) policy: Result<Policy, String>,
    pub(super) bindings: Vec<Binding>,
}

/// One use of a policy.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) criteria: Criteria,
    pub(super) param_ref: Value,
    /// `Deny`, `Warn` and `Audit`.
    pub(super) actions: Vec<String>,
}

impl Policies {
    /// Returns the policies that have bindings, by name. A write of either is answered when the caches have it, so what
    /// is here is never older than an answer.
    pub(super) fn get(&self, registry: &Registry) -> Arc<Vec<Bound>> {
        let rows = [POLICIES, BINDINGS].map(|plural| registry.catalog.find(GROUP, "v1", plural));
        let [Some(policies), Some(bindings)] = rows else { return Arc::default() };
        let caches = [policies, bindings].map(|row| (registry.cache(row), keys::prefix(row)));
        let generations = caches.each_ref().map(|(cache, _)| cache.generation());
        let mut read = self.read.lock();
        if let Some((of, bound)) = read.as_ref()
            && *of == generations
        {
            return bound.clone();
        }
        let [policies, bindings] = caches.map(|(cache, prefix)| -> Vec<Arc<Object>> {
            cache.list(&prefix).0.iter().map(|item| item.object()).collect()
        });
        let bound = Arc::new(bind(&policies, &bindings));
        *read = Some((generations, bound.clone()));
        bound
    }
}

fn bind(policies: &[Arc<Object>], bindings: &[Arc<Object>]) -> Vec<Bound> {
    let mut by_policy: BTreeMap<&str, Vec<Binding>> = BTreeMap::new();
    for binding in bindings {
        by_policy.entry(binding.str_at(&["spec", "policyName"])).or_default().push(Binding::parse(binding));
    }
    policies.iter().filter_map(|policy| Some(Bound::parse(policy, by_policy.remove(policy.name())?))).collect()
}

impl Bound {
    fn parse(policy: &Object, bindings: Vec<Binding>) -> Self {
        let null = Value::Null;
        let spec = policy.at(&["spec"]).unwrap_or(&null);
        let param_kind = spec.get("paramKind").filter(|kind| kind.is_object());
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        Self {
            name: policy.name().to_owned(),
            criteria: Criteria::of_policy(&spec["matchConstraints"]),
            fails_open: spec["failurePolicy"] == "Ignore",
            param_kind: param_kind.map(|kind| (text(kind, "apiVersion"), text(kind, "kind"))),
            policy: Policy::compile(spec).map_err(|errors| {
                let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
                texts.join("; ")
            }),
            bindings,
        }
    }
}

impl Binding {
    fn parse(binding: &Object) -> Self {
        let null = Value::Null;
        let spec = binding.at(&["spec"]).unwrap_or(&null);
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: binding.name().to_owned(),
            criteria: Criteria::of_policy(&spec["matchResources"]),
            param_ref: spec["paramRef"].clone(),
            actions: actions.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}
