//! Which requests a webhook or policy is about: rules and selectors (`apiserver/pkg/admission/plugin/webhook/predicates`).

use std::sync::Arc;

use serde_json::Value;
use wkube_api::selector::LabelSelector;
use wkube_api::{Object, ObjectKey, Resource, Status};

use super::{Attributes, Operation};
use crate::registry::{Registry, keys};

/// Kinds that no webhook or policy may judge: a bad one could never be removed (`rules.IsExemptAdmissionConfigurationResource`).
const EXEMPT: [&str; 6] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// Whether a kind is beyond the reach of webhooks and policies.
pub(super) fn is_exempt(resource: &Resource) -> bool {
    resource.group == "admissionregistration.k8s.io" && EXEMPT.contains(&&*resource.kind)
}

/// What a rule is held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// What is done.
    pub(super) operation: Operation,
    /// The API group, empty for core.
    pub(super) group: &'a str,
    /// Such as `v1`.
    pub(super) version: &'a str,
    /// The plural.
    pub(super) resource: &'a str,
    /// Empty for the object itself.
    pub(super) subresource: &'a str,
    /// The namespace; a namespace's own name for itself.
    pub(super) namespace: &'a str,
    /// The object's name.
    pub(super) name: &'a str,
}

impl<'a> Subject<'a> {
    /// Returns what rules see of a request.
    pub(super) fn of(attributes: &'a Attributes<'_>, object: Option<&'a Object>) -> Self {
        let call = attributes.call;
        let named = object.or(attributes.old).map(Object::name).unwrap_or_default();
        let name = if call.name.is_empty() { named } else { &call.name };
        let is_namespace = call.is_for("", "namespaces");
        Self {
            operation: attributes.operation,
            group: &call.resource.group,
            version: &call.resource.version,
            resource: &call.resource.plural,
            subresource: &call.subresource,
            namespace: if is_namespace { name } else { &call.namespace },
            name,
        }
    }

    /// Returns the same request on another row of the same objects.
    fn seen_as(&self, row: &'a Resource) -> Self {
        Self { group: &row.group, version: &row.version, resource: &row.plural, ..*self }
    }

    fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.resource == "namespaces"
    }
}

/// One rule (`RuleWithOperations`, and `NamedRuleWithOperations` with names).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    /// `*`, `Cluster` or `Namespaced`.
    scope: String,
    /// Empty for all.
    names: Vec<String>,
}

impl Rule {
    /// Reads a rule. Validation has seen it.
    pub(super) fn parse(rule: &Value) -> Self {
        let texts = |field: &str| {
            let list = rule[field].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
            names: texts("resourceNames"),
        }
    }

    /// Whether the rule is about a request.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        self.matches_scope(subject)
            && has(&self.operations, &subject.operation.to_string())
            && has(&self.groups, subject.group)
            && has(&self.versions, subject.version)
            && self.resources.iter().any(|wanted| matches_resource(wanted, subject))
            && (self.names.is_empty() || self.names.iter().any(|name| name == subject.name))
    }

    fn matches_scope(&self, subject: &Subject<'_>) -> bool {
        // Namespaces are in no namespace, although requests on them name one.
        let in_namespace = !subject.is_namespace() && !subject.namespace.is_empty();
        match self.scope.as_str() {
            "Namespaced" => in_namespace,
            "Cluster" => !in_namespace,
            _ => true,
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

/// `pods` is the object alone, `pods/*` the object and its parts, `*/status` that part of everything.
fn matches_resource(wanted: &str, subject: &Subject<'_>) -> bool {
    let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
    (resource == "*" || resource == subject.resource) && (subresource == "*" || subresource == subject.subresource)
}

/// Which requests somebody wants to see: `matchConstraints` of a policy, or the same fields of a webhook.
#[derive(Debug, Clone)]
pub(super) struct Criteria {
    /// `None` for all requests.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    /// Whether a rule for one version of a kind is meant for its other versions, too (`matchPolicy: Equivalent`).
    equivalent: bool,
    namespaces: Selector,
    objects: Selector,
}

/// A selector, or why it is none.
type Selector = Result<LabelSelector, String>;

impl Criteria {
    /// Reads the fields of a webhook. Without rules it sees nothing.
    pub(super) fn of_webhook(webhook: &Value) -> Self {
        Self { rules: Some(rules(webhook, "rules")), ..Self::parse(webhook) }
    }

    /// Reads a policy's `matchConstraints` or a binding's `matchResources`. Without rules it sees everything.
    pub(super) fn of_policy(constraints: &Value) -> Self {
        let rules = Some(rules(constraints, "resourceRules")).filter(|rules| !rules.is_empty());
        Self { rules, ..Self::parse(constraints) }
    }

    fn parse(of: &Value) -> Self {
        Self {
            rules: None,
            excluded: rules(of, "excludeResourceRules"),
            equivalent: of["matchPolicy"] != "Exact",
            namespaces: selector(of, "namespaceSelector"),
            objects: selector(of, "objectSelector"),
        }
    }

    /// Returns the kind as which a request is wanted, which may be another version than the client spoke; `None` if it
    /// is not wanted.
    ///
    /// # Errors
    /// If the namespace is not there, or a selector cannot be read, and everything else matches
    /// (`generic/webhook.go`, `ShouldCallHook`).
    pub(super) fn kind_for(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Object>,
    ) -> Result<Option<Arc<Resource>>, Status> {
        let subject = Subject::of(attributes, object);
        // The cheapest question first: most requests concern most rules not at all.
        let Some(kind) = self.kind_by_rules(attributes, &subject) else { return Ok(None) };
        let of_objects = self.objects.as_ref().map_err(Status::internal);
        let is_selected = of_objects.map(|selector| matches_objects(selector, [object, attributes.old]));
        if matches!(is_selected, Ok(false)) {
            return Ok(None);
        }
        if !self.matches_namespace(attributes, &subject, object)? {
            return Ok(None);
        }
        is_selected.map(|_| Some(kind))
    }

    fn kind_by_rules(&self, attributes: &Attributes<'_>, subject: &Subject<'_>) -> Option<Arc<Resource>> {
        if self.excluded.iter().any(|rule| rule.matches(subject)) {
            return None;
        }
        let own = &attributes.call.resource;
        let Some(rules) = &self.rules else { return Some(own.clone()) };
        if rules.iter().any(|rule| rule.matches(subject)) {
            return Some(own.clone());
        }
        if !self.equivalent {
            return None;
        }
        let others = equivalents(attributes.registry, own);
        // Earlier rules go first.
        rules.iter().find_map(|rule| others.iter().find(|other| rule.matches(&subject.seen_as(other))).cloned())
    }

    /// Requests in no namespace are never exempt, but namespaces themselves have labels.
    fn matches_namespace(
        &self,
        attributes: &Attributes<'_>,
        subject: &Subject<'_>,
        object: Option<&Object>,
    ) -> Result<bool, Status> {
        if subject.namespace.is_empty() {
            return Ok(true);
        }
        let selector = self.namespaces.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let is_written = matches!(attributes.operation, Operation::Create | Operation::Update);
        if let Some(namespace) =
            object.filter(|_| subject.is_namespace() && subject.subresource.is_empty() && is_written)
        {
            return Ok(selector.matches(&namespace.labels()));
        }
        let namespace = namespace(attributes.registry, subject.namespace)?;
        Ok(selector.matches(&namespace.labels()))
    }
}

fn rules(of: &Value, field: &str) -> Vec<Rule> {
    of[field].as_array().into_iter().flatten().map(Rule::parse).collect()
}

/// No selector at all means everything here, unlike elsewhere.
fn selector(of: &Value, field: &str) -> Selector {
    match of.get(field).filter(|selector| !selector.is_null()) {
        None => Ok(LabelSelector::everything()),
        some => LabelSelector::from_json(some).map_err(|error| error.to_string()),
    }
}

/// Either state may match: an object that loses its label is still seen losing it.
fn matches_objects(selector: &LabelSelector, states: [Option<&Object>; 2]) -> bool {
    selector.is_everything() || states.into_iter().flatten().any(|object| selector.matches(&object.labels()))
}

/// Returns a namespace, fresh from the store.
pub(super) fn namespace(registry: &Registry, name: &str) -> Result<Object, Status> {
    let namespaces = registry.catalog.core("namespaces").ok_or_else(Status::unknown_path)?;
    registry.object(namespaces, &ObjectKey::cluster(name))
}

/// Returns the other served rows that show the same stored objects: other versions, and core events for the new ones.
fn equivalents(registry: &Registry, of: &Resource) -> Vec<Arc<Resource>> {
    let place = keys::prefix(of);
    let is_other = |row: &&Resource| (&row.group, &row.version) != (&of.group, &of.version);
    let served = registry.catalog.served();
    let others = served.rows().filter(is_other).filter(|row| row.is_stored() && keys::prefix(row) == place);
    others.filter_map(|row| registry.catalog.route(&row.group, &row.version, &row.plural)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POD: Subject<'_> = Subject {
        operation: Operation::Create,
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "",
        namespace: "d",
        name: "p",
    };

    fn check(rule: &Value, subject: Subject<'_>, expected: bool) {
        let mut all = json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
        all.as_object_mut().expect("an object").extend(rule.as_object().cloned().expect("an object"));
        assert_eq!(Rule::parse(&all).matches(&subject), expected, "{rule} {subject:?}");
    }

    #[test]
    fn every_list_must_name_the_request_or_say_all() {
        check(&json!({}), POD, true);
        check(&json!({"operations": ["UPDATE", "CREATE"]}), POD, true);
        check(&json!({"operations": ["DELETE"]}), POD, false);
        check(&json!({"apiGroups": [""]}), POD, true);
        check(&json!({"apiGroups": ["apps"]}), POD, false);
        check(&json!({"apiVersions": ["v2"]}), POD, false);
        check(&json!({"resources": []}), POD, false);
    }

    #[test]
    fn subresources_are_named_apart() {
        let exec = Subject { operation: Operation::Connect, subresource: "exec", ..POD };
        for (wanted, of_pod, of_exec) in [
            ("pods", true, false),
            ("pods/*", true, true),
            ("pods/exec", false, true),
            ("*", true, false),
            ("*/*", true, true),
            ("*/exec", false, true),
            ("services/*", false, false),
            ("pods/log", false, false),
        ] {
            check(&json!({"resources": [wanted]}), POD, of_pod);
            check(&json!({"resources": [wanted]}), exec, of_exec);
        }
    }

    #[test]
    fn namespaces_are_cluster_scoped_although_they_have_a_namespace() {
        let namespace = Subject { resource: "namespaces", namespace: "d", name: "d", ..POD };
        let node = Subject { resource: "nodes", namespace: "", ..POD };
        for (scope, of_pod, of_others) in [("*", true, true), ("Namespaced", true, false), ("Cluster", false, true)] {
            check(&json!({"scope": scope}), POD, of_pod);
            check(&json!({"scope": scope}), namespace, of_others);
            check(&json!({"scope": scope}), node, of_others);
        }
    }

    #[test]
    fn names_narrow_a_rule() {
        check(&json!({"resourceNames": ["p", "q"]}), POD, true);
        check(&json!({"resourceNames": ["q"]}), POD, false);
        check(&json!({"resourceNames": []}), POD, true);
    }

    #[test]
    fn an_object_is_selected_by_its_old_or_its_new_labels() {
        let labelled: Object = serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}}})).expect("an object");
        let bare = Object::default();
        let selector = LabelSelector::parse("a=b").expect("a selector");
        assert!(matches_objects(&selector, [Some(&bare), Some(&labelled)]));
        assert!(matches_objects(&selector, [Some(&labelled), None]));
        assert!(!matches_objects(&selector, [Some(&bare), None]));
        assert!(!matches_objects(&selector, [None, None]));
        assert!(matches_objects(&LabelSelector::everything(), [None, None]));
    }

    #[test]
    fn a_webhook_without_rules_sees_nothing_and_a_policy_everything() {
        assert_eq!(Criteria::of_webhook(&json!({})).rules, Some(Vec::new()));
        assert_eq!(Criteria::of_policy(&json!({})).rules, None);
    }

    #[test]
    fn configurations_cannot_lock_themselves_in() {
        let row =
            |plural| wkube_api::kinds::find("admissionregistration.k8s.io", "v1", plural).expect("a built-in kind");
        assert!(is_exempt(row("mutatingwebhookconfigurations")));
        assert!(is_exempt(row("validatingadmissionpolicies")));
        assert!(!is_exempt(wkube_api::kinds::find("", "v1", "pods").expect("a built-in kind")));
    }
}
