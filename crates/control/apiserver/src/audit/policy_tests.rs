//! Policies as Kubernetes' documentation shows them, and mistakes in them.

use super::*;

const DOCUMENTED: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: ["RequestReceived"]
rules:
  - level: RequestResponse
    resources: [{group: "", resources: ["pods"]}]
  - level: Metadata
    resources: [{group: "", resources: ["pods/log", "pods/status"]}]
  - level: None
    resources: [{group: "", resources: ["configmaps"], resourceNames: ["controller-leader"]}]
  - level: None
    users: ["system:kube-proxy"]
    verbs: ["watch"]
    resources: [{group: "", resources: ["endpoints", "services"]}]
  - level: None
    userGroups: ["system:authenticated"]
    nonResourceURLs: ["/api*", "/version"]
  - level: Request
    resources: [{group: "", resources: ["configmaps"]}]
    namespaces: ["kube-system"]
  - level: Metadata
    resources: [{group: "", resources: ["secrets", "configmaps"]}]
  - level: Request
    resources: [{group: ""}, {group: "extensions"}]
  - level: Metadata
    omitStages: ["ResponseStarted"]
    omitManagedFields: true
"#;

fn policy(text: &str) -> Policy {
    Policy::parse(text).expect("well-formed")
}

fn level_of(policy: &Policy, asked: &Asked<'_>) -> Level {
    policy.judge(asked).map_or(Level::None, |verdict| verdict.level)
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = policy(DOCUMENTED);
    let (proxy, jane) = (User::known("system:kube-proxy", [""; 0]), User::known("jane", [""; 0]));
    let pods = Asked { user: Some(&jane), verb: "create", resource: "pods", namespace: "d", ..Asked::default() };
    let configs = Asked { resource: "configmaps", ..pods };
    let path = Asked { user: Some(&jane), verb: "get", path: "/apis/apps", ..Asked::default() };
    for (asked, expected) in [
        (pods, Level::RequestResponse),
        (Asked { subresource: "log", ..pods }, Level::Metadata),
        (Asked { subresource: "exec", ..pods }, Level::Request),
        (Asked { name: "controller-leader", ..configs }, Level::None),
        (Asked { namespace: "kube-system", ..configs }, Level::Request),
        (configs, Level::Metadata),
        (Asked { user: Some(&proxy), verb: "watch", resource: "services", ..pods }, Level::None),
        (Asked { user: Some(&proxy), verb: "list", resource: "services", ..pods }, Level::Request),
        (Asked { group: "apps", resource: "deployments", ..pods }, Level::Metadata),
        (path, Level::None),
        (Asked { path: "/version", ..path }, Level::None),
        (Asked { path: "/versions", ..path }, Level::Metadata),
        (Asked { user: None, ..path }, Level::Metadata),
    ] {
        assert_eq!(level_of(&policy, &asked), expected, "{asked:?}");
    }
}

#[test]
fn omissions_of_the_policy_and_of_the_rule_add_up() {
    let policy = policy(DOCUMENTED);
    let asked = Asked { resource: "nodes", group: "metrics", ..Asked::default() };
    let verdict = policy.judge(&asked).expect("logged");
    assert_eq!(verdict.omitted, [Stage::ResponseStarted, Stage::RequestReceived]);
    assert!(verdict.omit_managed_fields);
}

#[test]
fn subresources_have_stars() {
    let asked = |resource, subresource| Asked { resource, subresource, ..Asked::default() };
    for (wanted, resource, subresource, expected) in [
        ("*", "pods", "log", true),
        ("pods", "pods", "", true),
        ("pods", "pods", "log", false),
        ("pods/*", "pods", "log", true),
        ("pods/*", "pods", "", true),
        ("*/scale", "deployments", "scale", true),
        ("*/scale", "deployments", "", false),
        ("pods/log", "pods", "exec", false),
    ] {
        assert_eq!(is_resource(wanted, &asked(resource, subresource)), expected, "{wanted} {resource}/{subresource}");
    }
}

#[test]
fn mistakes_are_told_with_their_fields_all_at_once() {
    let refused = |rules: &str| {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}")).expect_err("refused")
    };
    assert_eq!(refused("- {users: [a]}"), "rules[0].level: Required value");
    assert_eq!(
        refused("- {level: All, omitStages: [Never]}"),
        "rules[0].level: Unsupported value: \"All\": supported values: \"Metadata\", \"None\", \"Request\", \"RequestResponse\", \
         rules[0].omitStages[0]: Unsupported value: \"Never\": supported values: \"Panic\", \"RequestReceived\", \
         \"ResponseComplete\", \"ResponseStarted\""
    );
    assert_eq!(
        refused("- {level: None, nonResourceURLs: [api, '/a*b', '*']}"),
        "rules[0].nonResourceURLs[0]: Invalid value: \"api\": non-resource URL rules must begin with a '/' character, \
         rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule"
    );
    assert!(refused("- {level: None, namespaces: [a], nonResourceURLs: ['/a']}").contains("cannot apply to both"));
    assert!(
        refused("- {level: None, resources: [{group: Apps}]}")
            .starts_with("rules[0].resources[0].group: Invalid value")
    );
    assert!(refused("- {level: None, resources: [{resourceNames: [a]}]}").contains("requires at least one resource"));
    assert!(refused("- {level: None, user: a}").contains("user"), "an unknown field");
}

#[test]
fn what_is_no_policy_is_refused() {
    assert!(Policy::parse("kind: Policy\napiVersion: audit.k8s.io/v1beta1\nrules: [{level: None}]").is_err());
    assert_eq!(
        Policy::parse("kind: Policy\napiVersion: audit.k8s.io/v1").expect_err("refused"),
        "loaded illegal policy with 0 rules"
    );
    assert!(Policy::parse("[").is_err());
}
