//! The policies and bindings of the cluster, read and compiled once per change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use wkube_api::cel::admission::Policy;
use wkube_api::cel::mutation::Mutations;
use wkube_api::status::FieldError;
use wkube_api::{Object, Resource};

use crate::access::Access;
use crate::admission::rules::Criteria;
use crate::registry::{Derived, Registry};

const GROUP: &str = "admissionregistration.k8s.io";
/// Policies and their bindings.
const VALIDATING: [&str; 2] = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
const MUTATING: [&str; 2] = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];

/// Whether a kind says what is welcome: the next request is judged by a write of one.
pub(crate) fn is_policy(resource: &Resource) -> bool {
    resource.group == GROUP && (VALIDATING.contains(&&*resource.plural) || MUTATING.contains(&&*resource.plural))
}

/// What the cluster's policies say.
pub(crate) struct Policies {
    validating: Derived<Vec<Bound<Policy>>, 2>,
    mutating: Derived<Vec<Bound<Mutations>>, 2>,
    /// Who may do what, for the expressions that ask.
    pub(super) access: Access,
}

impl Default for Policies {
    fn default() -> Self {
        let of = |plurals: [&'static str; 2]| plurals.map(|plural| (GROUP, plural));
        Self {
            validating: Derived::new(of(VALIDATING)),
            mutating: Derived::new(of(MUTATING)),
            access: Access::default(),
        }
    }
}

/// A policy with its bindings. Without one it does nothing and is not here.
pub(super) struct Bound<P> {
    pub(super) name: String,
    pub(super) criteria: Criteria,
    /// Whether a request goes on if the policy cannot tell (`failurePolicy: Ignore`).
    pub(super) fails_open: bool,
    /// The `apiVersion` and `kind` of its parameters.
    pub(super) param_kind: Option<(String, String)>,
    /// Its expressions, or why they are none: it was stored by somebody who did not look.
    pub(super) policy: Result<P, String>,
    /// Whether it wants to see what others changed after it (`reinvocationPolicy: IfNeeded`).
    pub(super) wants_reinvocation: bool,
    pub(super) bindings: Vec<Binding>,
}

/// One use of a policy.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) criteria: Criteria,
    pub(super) param_ref: Value,
    /// `Deny`, `Warn` and `Audit`, of a validating policy.
    pub(super) actions: Vec<String>,
}

impl Policies {
    /// Returns the validating policies that have bindings, by name. A write of either is answered when the caches have it,
    /// so what is here is never older than an answer.
    pub(super) fn validating(&self, registry: &Registry) -> Arc<Vec<Bound<Policy>>> {
        self.validating.get(registry, |[policies, bindings]| bind(&policies, &bindings, Policy::compile))
    }

    /// Returns the mutating policies that have bindings, by name.
    pub(super) fn mutating(&self, registry: &Registry) -> Arc<Vec<Bound<Mutations>>> {
        self.mutating.get(registry, |[policies, bindings]| bind(&policies, &bindings, Mutations::compile))
    }
}

/// Compiles the `spec` of a policy.
type Compile<P> = fn(&Value) -> Result<P, Vec<FieldError>>;

fn bind<P>(policies: &[Arc<Object>], bindings: &[Arc<Object>], compile: Compile<P>) -> Vec<Bound<P>> {
    let mut by_policy: BTreeMap<&str, Vec<Binding>> = BTreeMap::new();
    for binding in bindings {
        by_policy.entry(binding.str_at(&["spec", "policyName"])).or_default().push(Binding::parse(binding));
    }
    policies.iter().filter_map(|policy| Some(Bound::parse(policy, by_policy.remove(policy.name())?, compile))).collect()
}

impl<P> Bound<P> {
    fn parse(policy: &Object, bindings: Vec<Binding>, compile: Compile<P>) -> Self {
        let null = Value::Null;
        let spec = policy.at(&["spec"]).unwrap_or(&null);
        let param_kind = spec.get("paramKind").filter(|kind| kind.is_object());
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        Self {
            name: policy.name().to_owned(),
            criteria: Criteria::of_policy(&spec["matchConstraints"]),
            fails_open: spec["failurePolicy"] == "Ignore",
            param_kind: param_kind.map(|kind| (text(kind, "apiVersion"), text(kind, "kind"))),
            policy: compile(spec).map_err(|errors| {
                let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
                texts.join("; ")
            }),
            wants_reinvocation: spec["reinvocationPolicy"] == "IfNeeded",
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
