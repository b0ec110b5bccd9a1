//! The objects that scenarios are about, as short as they can be.

use serde_json::{Value, json};

/// Returns a Deployment of containers that request a tenth of a processor.
pub fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": pod_spec(image) },
        },
    })
}

/// Returns an indexed Job.
pub fn job(name: &str, completions: u32, parallelism: u32, image: &str) -> Value {
    let mut spec = pod_spec(image);
    spec["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "completions": completions, "parallelism": parallelism, "completionMode": "Indexed", "backoffLimit": 100,
            "template": { "metadata": { "labels": { "app": name } }, "spec": spec },
        },
    })
}

fn pod_spec(image: &str) -> Value {
    let container = json!({ "name": "main", "image": image, "resources": { "requests": { "cpu": "100m" } } });
    // Volumes are made on other threads, whose timing no seed decides.
    json!({ "containers": [container], "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5 })
}
