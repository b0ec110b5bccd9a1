//! Admission policies in CEL at work.

use serde_json::{Value, json};

use super::world::{World, object};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str, replicas: u32) -> Value {
    let labels = json!({"app": name});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "pause"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    object("apps/v1", "Deployment", name, &json!({"spec": spec}))
}

/// Makes a policy about new Deployments, binds it, and waits until it is in force.
async fn enforce(world: &World, spec: &Value) {
    let rule =
        json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
    let mut spec = spec.clone();
    spec["matchConstraints"] = json!({"resourceRules": [rule]});
    let policy = object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "few", &json!({"spec": spec}));
    world.post(&format!("{ADMISSION}/validatingadmissionpolicies"), &policy).await.is(201);
    let binding = json!({"spec": {"policyName": "few", "validationActions": ["Deny"]}});
    let binding = object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "few", &binding);
    world.post(&format!("{ADMISSION}/validatingadmissionpolicybindings"), &binding).await.is(201);
    crate::wait::until("the policy is in force", async || {
        world.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("probe", 9)).await.code == 422
    })
    .await;
}

#[tokio::test]
async fn a_validating_policy_judges_deployments() {
    let world = World::new().await;
    let validation = json!({"expression": "object.spec.replicas <= 3", "messageExpression": "'wants ' + string(object.spec.replicas)"});
    enforce(&world, &json!({"validations": [validation]})).await;
    world.post(DEPLOYMENTS, &deployment("small", 3)).await.is(201);
    let refused = world.post(DEPLOYMENTS, &deployment("large", 4)).await.is(422);
    let message = refused.at("/message");
    assert!(
        message.contains("ValidatingAdmissionPolicy 'few' with binding 'few' denied request: wants 4"),
        "{message}"
    );
    world.end().await;
}

#[tokio::test]
async fn expressions_of_a_policy_refer_to_its_variables() {
    let world = World::new().await;
    let variables = json!([{"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}]);
    let validations = json!([{"expression": "variables.replicas < 1 || !variables.oddReplicas"}]);
    enforce(&world, &json!({"variables": variables, "validations": validations})).await;
    world.post(DEPLOYMENTS, &deployment("even", 2)).await.is(201);
    world.post(DEPLOYMENTS, &deployment("odd", 3)).await.is(422);
    world.end().await;
}

/// Makes a policy that changes Deployments, binds it, and waits until it is in force.
async fn mutate(world: &World, expression: &str) {
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["deployments"]});
    let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let spec =
        json!({"matchConstraints": {"resourceRules": [rule]}, "mutations": [mutation], "reinvocationPolicy": "Never"});
    let kinds = [
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies", spec),
        ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", json!({"policyName": "marks"})),
    ];
    for (kind, plural, spec) in kinds {
        let object = object("admissionregistration.k8s.io/v1", kind, "marks", &json!({ "spec": spec }));
        world.post(&format!("{ADMISSION}/{plural}"), &object).await.is(201);
    }
    crate::wait::until("the policy is in force", async || {
        let probe = world.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("probe", 1)).await.is(201);
        !probe.at("/metadata/annotations/mutated-by").is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_mutating_policy_changes_deployments() {
    let world = World::new().await;
    mutate(&world, "Object{metadata: Object.metadata{annotations: {'mutated-by': 'admission-policy'}}}").await;
    let made = world.post(DEPLOYMENTS, &deployment("marked", 2)).await.is(201);
    assert_eq!(made.at("/metadata/annotations/mutated-by"), "admission-policy");
    world.end().await;
}

#[tokio::test]
async fn a_mutating_policy_keeps_the_annotations_that_are_there() {
    let world = World::new().await;
    let both = "Object{metadata: Object.metadata{annotations: {'mutated-by': 'admission-policy', \
                'replicas': string(object.spec.replicas)}}, spec: Object.spec{replicas: object.spec.replicas + 1}}";
    mutate(&world, both).await;
    let mut wanted = deployment("marked", 2);
    wanted["metadata"]["annotations"] = json!({"mine": "kept"});
    let made = world.post(DEPLOYMENTS, &wanted).await.is(201);
    for (name, expected) in [("mine", "kept"), ("mutated-by", "admission-policy"), ("replicas", "2")] {
        assert_eq!(made.at(&format!("/metadata/annotations/{name}")), expected);
    }
    assert_eq!(made.at("/spec/replicas"), "3");
    world.end().await;
}
