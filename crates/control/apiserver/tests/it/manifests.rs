//! Wrong manifests as people write them: one answer names every field that is wrong, in Kubernetes' words.

use serde_json::{Value, json};

use super::{Answer, Server};

async fn refused(server: &Server, path: &str, manifest: Value) -> Answer {
    let answer = server.post(path, manifest).await;
    assert_eq!((answer.code, answer.at("reason")), (422, "Invalid".into()), "{answer:?}");
    answer
}

#[tokio::test]
async fn a_wrong_job_is_told_all_that_is_wrong_with_it() {
    let server = Server::new().await;
    let pod = json!({"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i"}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {
        "backoffLimitPerIndex": 1, "template": {"spec": pod},
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [0]}}]}}});
    let answer = refused(&server, "/apis/batch/v1/namespaces/default/jobs", job).await;
    assert_eq!(
        answer.at("message"),
        "Job.batch \"j\" is invalid: [spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode, \
         spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator, \
         spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy \
         is specified]"
    );
    assert_eq!(answer.at("details.causes.0.field"), "spec.backoffLimitPerIndex");
    assert_eq!(answer.at("details.causes.0.reason"), "FieldValueInvalid");
}

#[tokio::test]
async fn a_zone_of_another_planet_is_refused() {
    let server = Server::new().await;
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    let cron_job = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {
        "schedule": "CRON_TZ=UTC 0 * * * *", "timeZone": "Mars/Olympus", "jobTemplate": {"spec": {"template": {"spec": pod}}}}});
    let answer = refused(&server, "/apis/batch/v1/namespaces/default/cronjobs", cron_job).await;
    assert_eq!(
        answer.at("message"),
        "CronJob.batch \"c\" is invalid: [spec.schedule: Invalid value: \"CRON_TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in \
         schedule, use timeZone field instead, spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus]"
    );
}

#[tokio::test]
async fn an_external_name_has_no_address_and_an_address_stays() {
    let server = Server::new().await;
    let path = "/api/v1/namespaces/default/services";
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    let name = json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.43.7.7"});
    let answer = refused(&server, path, service(name)).await;
    assert_eq!(
        answer.at("message"),
        "Service \"s\" is invalid: spec.clusterIPs: Forbidden: may not be set for ExternalName services"
    );
    let made = server.post(path, service(json!({"ports": [{"port": 80}]}))).await;
    assert_eq!(made.code, 201, "{made:?}");
    let moved = json!({"spec": {"clusterIP": "10.43.7.7", "clusterIPs": ["10.43.7.7"]}});
    let merge = "application/merge-patch+json";
    let answer = server.call_as("PATCH", &format!("{path}/s"), merge, Some(moved)).await;
    assert_eq!(
        (answer.code, answer.at("message")),
        (
            422,
            "Service \"s\" is invalid: spec.clusterIPs[0]: Invalid value: [\"10.43.7.7\"]: may not change once set"
                .into()
        )
    );
}

#[tokio::test]
async fn a_template_that_no_pod_can_come_from_is_refused() {
    let server = Server::new().await;
    let pod = json!({"activeDeadlineSeconds": 60, "containers": [{"name": "c", "image": "i",
        "resources": {"requests": {"a.b/gpu": "1"}}}]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": pod}}});
    let answer = refused(&server, "/apis/apps/v1/namespaces/default/deployments", deployment).await;
    assert_eq!(
        answer.at("message"),
        "Deployment.apps \"d\" is invalid: [spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not \
         match template `labels`, spec.template.spec.containers[0].resources.limits: Required value: Limit must be set for non \
         overcommitable resources, spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is \
         not Supported]"
    );
}
