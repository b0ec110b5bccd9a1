//! Role-based access control: pure evaluation of roles and bindings (`plugin/pkg/auth/authorizer/rbac`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Attributes, User};

const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

type Rules = Arc<[PolicyRule]>;

/// Whom a binding names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    User(String),
    Group(String),
}

/// What a binding gives.
#[derive(Debug, Clone)]
struct Grant {
    /// `None` for the whole cluster.
    namespace: Option<String>,
    rules: Rules,
    /// Such as `ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
    reason: String,
}

/// The cluster's roles and bindings, resolved: references followed, aggregated roles summed up, grants by subject.
#[derive(Debug, Default)]
pub struct Policy {
    cluster_roles: BTreeMap<String, Rules>,
    // Looked up for every request and never iterated.
    grants: HashMap<Who, Vec<Grant>>,
}

impl Policy {
    /// Resolves the objects. A binding whose role does not exist grants nothing.
    pub fn new(
        roles: &[Role],
        bindings: &[RoleBinding],
        cluster_roles: &[ClusterRole],
        cluster_bindings: &[ClusterRoleBinding],
    ) -> Self {
        let namespaced: BTreeMap<(&str, &str), Rules> = roles
            .iter()
            .map(|role| {
                let place =
                    (role.metadata.namespace.as_deref().unwrap_or_default(), name_of(role.metadata.name.as_deref()));
                (place, role.rules.clone().unwrap_or_default().into())
            })
            .collect();
        let mut policy = Self { cluster_roles: sum_up(cluster_roles), grants: HashMap::new() };
        for binding in cluster_bindings {
            if let Some(rules) = policy.cluster_roles.get(&binding.role_ref.name).cloned() {
                let name = name_of(binding.metadata.name.as_deref());
                let subjects = binding.subjects.as_deref().unwrap_or_default();
                policy.grant(&format!("ClusterRoleBinding {name:?}"), &binding.role_ref, None, &rules, subjects);
            }
        }
        for binding in bindings {
            let namespace = binding.metadata.namespace.as_deref().unwrap_or_default();
            let role = match binding.role_ref.kind.as_str() {
                "ClusterRole" => policy.cluster_roles.get(&binding.role_ref.name),
                _ => namespaced.get(&(namespace, &binding.role_ref.name)),
            };
            if let Some(rules) = role.cloned() {
                let name = format!("{}/{namespace}", name_of(binding.metadata.name.as_deref()));
                let subjects = binding.subjects.as_deref().unwrap_or_default();
                policy.grant(&format!("RoleBinding {name:?}"), &binding.role_ref, Some(namespace), &rules, subjects);
            }
        }
        policy
    }

    fn grant(&mut self, binding: &str, role: &RoleRef, namespace: Option<&str>, rules: &Rules, subjects: &[Subject]) {
        for subject in subjects {
            let Some(who) = who(subject, namespace) else { continue };
            let reason = format!(
                "RBAC: allowed by {binding} of {} {:?} to {} {}",
                role.kind,
                role.name,
                subject.kind,
                described(subject, namespace)
            );
            let grant = Grant { namespace: namespace.map(str::to_owned), rules: rules.clone(), reason };
            self.grants.entry(who).or_default().push(grant);
        }
    }

    /// Returns why `user` may do what `attributes` say, or `None` if no rule allows it.
    pub fn allows(&self, user: &User, attributes: &Attributes<'_>) -> Option<String> {
        let allowed = |grant: &&Grant| grant.rules.iter().any(|rule| rule_allows(rule, attributes));
        self.grants_of(user, attributes.namespace).find(allowed).map(|grant| grant.reason.clone())
    }

    /// Returns the rules that hold for `user` in `namespace`, duplicates included.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<&PolicyRule> {
        self.grants_of(user, namespace).flat_map(|grant| grant.rules.iter()).collect()
    }

    /// Returns the rules of a cluster role as it is now, aggregated ones summed up.
    pub fn cluster_role(&self, name: &str) -> Option<&[PolicyRule]> {
        self.cluster_roles.get(name).map(|rules| &**rules)
    }

    /// Returns which of `wanted` the user does not hold himself in `namespace` (empty for the whole cluster). Whoever
    /// writes a role may only put into it what he has (`pkg/registry/rbac/validation/rule.go`), unless he may
    /// `escalate`.
    pub fn uncovered(&self, user: &User, namespace: &str, wanted: &[PolicyRule]) -> Vec<PolicyRule> {
        let held = self.rules_for(user, namespace);
        wanted.iter().flat_map(split).filter(|single| !held.iter().any(|rule| covers(rule, single))).collect()
    }

    fn grants_of(&self, user: &User, namespace: &str) -> impl Iterator<Item = &Grant> {
        let named = std::iter::once(Who::User(user.name.clone()));
        let subjects = named.chain(user.groups.iter().cloned().map(Who::Group));
        let grants = subjects.filter_map(|who| self.grants.get(&who)).flatten();
        let namespace = namespace.to_owned();
        grants.filter(move |grant| grant.namespace.as_ref().is_none_or(|place| *place == namespace))
    }
}

fn name_of(name: Option<&str>) -> &str {
    name.unwrap_or_default()
}

/// Returns whom a subject means. A service account without a namespace lives in the binding's.
fn who(subject: &Subject, binding_namespace: Option<&str>) -> Option<Who> {
    match subject.kind.as_str() {
        "User" => Some(Who::User(subject.name.clone())),
        "Group" => Some(Who::Group(subject.name.clone())),
        "ServiceAccount" => {
            let own = subject.namespace.as_deref().filter(|namespace| !namespace.is_empty());
            let namespace = own.or(binding_namespace)?;
            Some(Who::User(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{}", subject.name)))
        }
        _ => None,
    }
}

fn described(subject: &Subject, binding_namespace: Option<&str>) -> String {
    if subject.kind != "ServiceAccount" {
        return format!("{:?}", subject.name);
    }
    let namespace = subject.namespace.as_deref().or(binding_namespace).unwrap_or_default();
    format!("{:?}", format!("{}/{namespace}", subject.name))
}

/// Returns the rules of each cluster role; an aggregated role has those of all roles that its selectors find, which may
/// be aggregated themselves (`pkg/controller/clusterroleaggregation`).
fn sum_up(roles: &[ClusterRole]) -> BTreeMap<String, Rules> {
    let by_name: BTreeMap<&str, &ClusterRole> =
        roles.iter().map(|role| (name_of(role.metadata.name.as_deref()), role)).collect();
    let rules_of = |name: &&str| {
        let mut summed = Vec::new();
        collect(name, &by_name, &mut BTreeSet::new(), &mut summed);
        ((*name).to_owned(), summed.into())
    };
    by_name.keys().map(rules_of).collect()
}

fn collect<'a>(
    name: &str,
    by_name: &BTreeMap<&'a str, &'a ClusterRole>,
    seen: &mut BTreeSet<&'a str>,
    rules: &mut Vec<PolicyRule>,
) {
    let Some((name, role)) = by_name.get_key_value(name) else { return };
    if !seen.insert(name) {
        return;
    }
    let Some(aggregation) = &role.aggregation_rule else {
        for rule in role.rules.iter().flatten().filter(|rule| !rules.contains(rule)).cloned().collect::<Vec<_>>() {
            rules.push(rule);
        }
        return;
    };
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        for (other, _) in by_name.iter().filter(|(_, other)| selects(selector, other)) {
            collect(other, by_name, seen, rules);
        }
    }
}

fn selects(selector: &LabelSelector, role: &ClusterRole) -> bool {
    let label = |key: &str| role.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let labels_match = selector.match_labels.iter().flatten().all(|(key, value)| label(key) == Some(value));
    labels_match
        && selector.match_expressions.iter().flatten().all(|expression| {
            let is_one_of =
                label(&expression.key).is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
            match expression.operator.as_str() {
                "In" => is_one_of,
                "NotIn" => !is_one_of,
                "Exists" => label(&expression.key).is_some(),
                "DoesNotExist" => label(&expression.key).is_none(),
                _ => false,
            }
        })
}

/// Whether one rule allows the request (`pkg/apis/rbac/v1/evaluation_helpers.go`).
pub fn rule_allows(rule: &PolicyRule, wanted: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, wanted.verb) {
        return false;
    }
    if wanted.resource.is_empty() {
        // Paths belong to no namespace. A RoleBinding never grants them: the grants of a path request are cluster-wide.
        return some(rule.non_resource_urls.as_ref()).iter().any(|url| url_matches(url, wanted.path));
    }
    has(some(rule.api_groups.as_ref()), wanted.group)
        && some(rule.resources.as_ref())
            .iter()
            .any(|resource| resource_matches(resource, wanted.resource, wanted.subresource))
        && name_matches(some(rule.resource_names.as_ref()), wanted.name)
}

fn some(list: Option<&Vec<String>>) -> &[String] {
    list.map_or(&[], |list| list)
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// `*` is every resource and subresource, `*/scale` every resource's `scale`; `pods` is not `pods/log`.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((first, second)) => {
            !subresource.is_empty() && second == subresource && (first == "*" || first == resource)
        }
    }
}

/// A rule with names never allows what has no name yet: `create`, and `list` without `metadata.name=`.
fn name_matches(names: &[String], wanted: &str) -> bool {
    names.is_empty() || names.iter().any(|name| name == wanted)
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// Returns which of `wanted` the rules of `held` do not give, in single verbs on single things (`validation.Covers`).
pub fn missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(split).filter(|single| !held.iter().any(|rule| covers(rule, single))).collect()
}

/// Splits a rule into rules of one verb on one thing.
fn split(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut singles = Vec::new();
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for url in some(rule.non_resource_urls.as_ref()) {
            let non_resource_urls = Some(vec![url.clone()]);
            singles.push(PolicyRule { verbs: verbs.clone(), non_resource_urls, ..PolicyRule::default() });
        }
        for group in some(rule.api_groups.as_ref()) {
            for resource in some(rule.resources.as_ref()) {
                let single = PolicyRule {
                    verbs: verbs.clone(),
                    api_groups: Some(vec![group.clone()]),
                    resources: Some(vec![resource.clone()]),
                    ..PolicyRule::default()
                };
                let names = some(rule.resource_names.as_ref());
                let restricted =
                    |name: &String| PolicyRule { resource_names: Some(vec![name.clone()]), ..single.clone() };
                singles.extend(names.iter().map(restricted));
                if names.is_empty() {
                    singles.push(single);
                }
            }
        }
    }
    singles
}

/// Whether `held` gives everything that `single`, which names one verb and one thing, gives.
fn covers(held: &PolicyRule, single: &PolicyRule) -> bool {
    let covered = |held: Option<&Vec<String>>, single: Option<&Vec<String>>| {
        some(single).iter().all(|wanted| has(some(held), wanted))
    };
    let resource_covered = |wanted: &String| {
        let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
        some(held.resources.as_ref()).iter().any(|rule| rule == wanted || resource_matches(rule, resource, subresource))
    };
    let names = some(held.resource_names.as_ref());
    let names_covered = names.is_empty()
        || (!some(single.resource_names.as_ref()).is_empty()
            && some(single.resource_names.as_ref()).iter().all(|name| names.contains(name)));
    single.verbs.iter().all(|verb| has(&held.verbs, verb))
        && covered(held.api_groups.as_ref(), single.api_groups.as_ref())
        && some(single.resources.as_ref()).iter().all(resource_covered)
        && names_covered
        && some(single.non_resource_urls.as_ref())
            .iter()
            .all(|wanted| some(held.non_resource_urls.as_ref()).iter().any(|rule| url_matches(rule, wanted)))
}

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;
