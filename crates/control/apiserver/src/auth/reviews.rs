//! Answers to `kubectl auth can-i` and `whoami`: pure, given the authorizer.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{SelfSubjectReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use wkube_api::Status;
use wkube_api::status::FieldError;

use super::{Attributes, Authorizer, Decision, MASTERS, User, question};

/// Fills in the status of "may I?".
///
/// # Errors
/// 422 with everything that is wrong with the question.
pub fn self_subject_access(
    mut review: SelfSubjectAccessReview,
    user: &User,
    authorizer: &Authorizer<'_>,
) -> Result<SelfSubjectAccessReview, Status> {
    let (resource, path) = (review.spec.resource_attributes.as_ref(), review.spec.non_resource_attributes.as_ref());
    refuse("SelfSubjectAccessReview", question::problems(resource, path))?;
    review.status = Some(answer(user, resource, path, authorizer));
    Ok(review)
}

/// Fills in the status of "may he?".
///
/// # Errors
/// 422 with everything that is wrong with the question.
pub fn subject_access(
    mut review: SubjectAccessReview,
    authorizer: &Authorizer<'_>,
) -> Result<SubjectAccessReview, Status> {
    refuse("SubjectAccessReview", problems_of(&review.spec))?;
    review.status = Some(answer_spec(&review.spec, authorizer));
    Ok(review)
}

/// Fills in the status of "may he, in this namespace?".
///
/// # Errors
/// As for [`subject_access`], and 422 if the namespaces of the spec and of the review differ.
pub fn local_subject_access(
    mut review: LocalSubjectAccessReview,
    namespace: &str,
    authorizer: &Authorizer<'_>,
) -> Result<LocalSubjectAccessReview, Status> {
    let asked = review.spec.resource_attributes.as_ref().and_then(|attributes| attributes.namespace.as_deref());
    let asked = asked.unwrap_or_default();
    let mut problems = problems_of(&review.spec);
    if asked != namespace {
        let path = "spec.resourceAttributes.namespace";
        problems.push(FieldError::invalid(path, asked, "must match metadata.namespace"));
    }
    if review.spec.non_resource_attributes.is_some() {
        let why = "disallowed on this kind of request";
        problems.push(FieldError::invalid("spec.nonResourceAttributes", "", why));
    }
    refuse("LocalSubjectAccessReview", problems)?;
    review.status = Some(answer_spec(&review.spec, authorizer));
    Ok(review)
}

fn refuse(kind: &str, problems: Vec<FieldError>) -> Result<(), Status> {
    if problems.is_empty() { Ok(()) } else { Err(Status::invalid(kind, "authorization.k8s.io", "", problems)) }
}

fn problems_of(spec: &SubjectAccessReviewSpec) -> Vec<FieldError> {
    let mut problems = question::problems(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    let has = |field: Option<&String>| field.is_some_and(|field| !field.is_empty());
    if !has(spec.user.as_ref()) && spec.groups.iter().flatten().next().is_none() {
        problems.push(FieldError::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    problems
}

fn answer_spec(spec: &SubjectAccessReviewSpec, authorizer: &Authorizer<'_>) -> SubjectAccessReviewStatus {
    let user = User {
        name: spec.user.clone().unwrap_or_default(),
        uid: spec.uid.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
    };
    answer(&user, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref(), authorizer)
}

fn answer(
    user: &User,
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
    authorizer: &Authorizer<'_>,
) -> SubjectAccessReviewStatus {
    fn text(field: Option<&String>) -> &str {
        field.map_or("", String::as_str)
    }
    let selector = resource.map(question::field_selector).unwrap_or_default();
    let attributes = match (resource, path) {
        (Some(resource), _) => Attributes {
            verb: text(resource.verb.as_ref()),
            group: text(resource.group.as_ref()),
            resource: text(resource.resource.as_ref()),
            subresource: text(resource.subresource.as_ref()),
            namespace: text(resource.namespace.as_ref()),
            name: text(resource.name.as_ref()),
            field_selector: &selector,
            path: "",
        },
        (None, Some(path)) => {
            Attributes { verb: text(path.verb.as_ref()), path: text(path.path.as_ref()), ..Attributes::default() }
        }
        (None, None) => Attributes::default(),
    };
    match authorizer.decide(user, &attributes) {
        Decision::Allowed(reason) => SubjectAccessReviewStatus {
            allowed: true,
            reason: Some(reason).filter(|reason| !reason.is_empty()),
            ..Default::default()
        },
        Decision::Refused => SubjectAccessReviewStatus::default(),
    }
}

/// Fills in the status of "what may I in this namespace?" (`kubectl auth can-i --list`).
pub fn self_subject_rules(
    mut review: SelfSubjectRulesReview,
    user: &User,
    authorizer: &Authorizer<'_>,
) -> SelfSubjectRulesReview {
    let everything = PolicyRule {
        verbs: vec!["*".to_owned()],
        api_groups: Some(vec!["*".to_owned()]),
        resources: Some(vec!["*".to_owned()]),
        ..PolicyRule::default()
    };
    let every_path = PolicyRule {
        non_resource_urls: Some(vec!["*".to_owned()]),
        verbs: vec!["*".to_owned()],
        ..PolicyRule::default()
    };
    let namespace = review.spec.namespace.as_deref().unwrap_or_default();
    let mut rules = authorizer.policy.rules_for(user, namespace);
    if user.is_in(MASTERS) {
        // Also if somebody has deleted the binding.
        rules.extend([&everything, &every_path]);
    }
    let mut status = SubjectRulesReviewStatus::default();
    for rule in rules {
        if rule.non_resource_urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
            let rule = NonResourceRule { non_resource_urls: rule.non_resource_urls.clone(), verbs: rule.verbs.clone() };
            status.non_resource_rules.push(rule);
        } else {
            status.resource_rules.push(ResourceRule {
                api_groups: rule.api_groups.clone(),
                resource_names: rule.resource_names.clone(),
                resources: rule.resources.clone(),
                verbs: rule.verbs.clone(),
            });
        }
    }
    // The node authorizer follows pods, not rules, so that its part cannot be listed.
    if super::node::node_name(user).is_some() {
        status.incomplete = true;
        status.evaluation_error = Some("node authorizer does not support user rule resolution".to_owned());
    }
    review.status = Some(status);
    review
}

/// Returns the status of "who am I?".
pub fn self_subject(user: &User) -> SelfSubjectReviewStatus {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let extra: BTreeMap<_, _> = user.extra.clone();
    SelfSubjectReviewStatus {
        user_info: Some(UserInfo {
            username: some(&user.name),
            uid: some(&user.uid),
            groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
            extra: Some(extra).filter(|extra| !extra.is_empty()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::Policy;

    fn policy() -> Policy {
        let typed = |roles: Value, bindings: Value| {
            Policy::new(
                &[],
                &[],
                &serde_json::from_value::<Vec<_>>(roles).expect("well-formed"),
                &serde_json::from_value::<Vec<_>>(bindings).expect("well-formed"),
            )
        };
        typed(
            json!([{"metadata": {"name": "view"}, "rules": [
                {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
                {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
            ]}]),
            json!([{"metadata": {"name": "devs"}, "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "Group", "name": "dev"}]}]),
        )
    }

    fn ask(spec: &Value, user: &User) -> Result<Value, Status> {
        let policy = policy();
        let authorizer = Authorizer { policy: &policy, graph: &() };
        let review = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("well-formed");
        let review = self_subject_access(review, user, &authorizer)?;
        Ok(serde_json::to_value(review).expect("JSON")["status"].clone())
    }

    #[test]
    fn can_i_answers_yes_with_the_reason_and_no_without() {
        let dev = User::known("jane", ["dev"]);
        let pods = json!({"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "d"}});
        let reason = r#"RBAC: allowed by ClusterRoleBinding "devs" of ClusterRole "view" to Group "dev""#;
        assert_eq!(ask(&pods, &dev), Ok(json!({"allowed": true, "reason": reason})));
        assert_eq!(ask(&pods, &User::anonymous()), Ok(json!({"allowed": false})));
        let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}});
        assert_eq!(ask(&path, &dev).expect("well-formed")["allowed"], json!(true));
    }

    #[test]
    fn exactly_one_question_is_answered() {
        let both = json!({"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"verb": "get"}});
        for spec in [json!({}), both] {
            let refused = ask(&spec, &User::anonymous()).expect_err("refused");
            assert_eq!(refused.code, 422);
            assert!(
                refused.message.starts_with("SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec."),
                "{}",
                refused.message
            );
        }
    }

    #[test]
    fn a_node_may_list_the_pods_that_a_selector_limits_to_its_own() {
        let node = User::known("system:node:n1", [crate::auth::NODES]);
        let list = |selector: Value| json!({"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": selector}});
        let own = json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]});
        let other = json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n2"]}]});
        assert_eq!(ask(&list(own), &node).expect("an answer")["allowed"], true);
        assert_eq!(ask(&list(other), &node).expect("an answer")["allowed"], false);
        assert_eq!(ask(&list(json!({"rawSelector": "spec.nodeName=n1"})), &node).expect("an answer")["allowed"], true);
    }

    #[test]
    fn a_review_about_another_needs_that_other() {
        let policy = policy();
        let authorizer = Authorizer { policy: &policy, graph: &() };
        let review = |spec: Value| {
            serde_json::from_value::<SubjectAccessReview>(json!({"metadata": {}, "spec": spec})).expect("well-formed")
        };
        let pods = json!({"verb": "get", "resource": "pods"});
        let nobody = subject_access(review(json!({"resourceAttributes": pods})), &authorizer);
        assert_eq!(nobody.map_err(|status| status.code), Err(422));
        let group = subject_access(review(json!({"groups": ["dev"], "resourceAttributes": pods})), &authorizer);
        assert!(group.expect("well-formed").status.expect("filled in").allowed);
    }

    #[test]
    fn a_local_review_stays_in_its_namespace() {
        let policy = policy();
        let authorizer = Authorizer { policy: &policy, graph: &() };
        let review = |namespace: &str| -> LocalSubjectAccessReview {
            let attributes = json!({"verb": "get", "resource": "pods", "namespace": namespace});
            serde_json::from_value(
                json!({"metadata": {}, "spec": {"groups": ["dev"], "resourceAttributes": attributes}}),
            )
            .expect("well-formed")
        };
        assert!(local_subject_access(review("d"), "d", &authorizer).expect("same").status.expect("filled in").allowed);
        assert_eq!(local_subject_access(review("e"), "d", &authorizer).map_err(|status| status.code), Err(422));
    }

    #[test]
    fn the_list_separates_resources_and_paths() {
        let policy = policy();
        let authorizer = Authorizer { policy: &policy, graph: &() };
        let rules = |user: &User| {
            let review =
                serde_json::from_value(json!({"metadata": {}, "spec": {"namespace": "d"}})).expect("well-formed");
            self_subject_rules(review, user, &authorizer).status.expect("filled in")
        };
        let dev = rules(&User::known("jane", ["dev"]));
        assert_eq!((dev.resource_rules.len(), dev.non_resource_rules.len(), dev.incomplete), (1, 1, false));
        let admin = rules(&User::known("admin", [MASTERS]));
        assert_eq!(admin.resource_rules[0].verbs, ["*"]);
        assert!(rules(&User::known("system:node:n", [crate::auth::NODES])).incomplete);
    }

    #[test]
    fn who_am_i_leaves_out_what_is_unknown() {
        let status = serde_json::to_value(self_subject(&User::known("jane", ["dev"]))).expect("JSON");
        assert_eq!(status, json!({"userInfo": {"username": "jane", "groups": ["dev", "system:authenticated"]}}));
    }
}
