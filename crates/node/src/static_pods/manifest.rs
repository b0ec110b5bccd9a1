//! Reads the manifests of static pods, and makes of each the pod that this node runs (`pkg/kubelet/config/common.go`). Pure.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wkube_api::kinds::references;
use wkube_api::{Object, decode, kinds};

use super::{HASH, SOURCE};

/// The digits of a pod's hash, as many as the kubelet's.
const HASH_DIGITS: usize = 32;

/// Returns the pods of one manifest: JSON, or YAML with a document for each.
///
/// # Errors
/// If one of them is no valid pod, or needs objects of the API, which nobody looks after for a pod that may run without a
/// server. The text says everything that is wrong with it.
pub(super) fn read(text: &str, node: &str) -> Result<Vec<Pod>, String> {
    let documents = decode::yaml_documents(text).map_err(|error| error.to_string())?;
    if documents.is_empty() {
        return Err("there is no pod in it".to_owned());
    }
    documents.into_iter().map(|document| pod_of(document, node)).collect()
}

fn pod_of(mut document: Value, node: &str) -> Result<Pod, String> {
    let of = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (of("apiVersion"), of("kind"));
    if (&*api_version, &*kind) != ("v1", "Pod") {
        return Err(format!("it describes {kind:?} of {api_version:?}; only a Pod of v1 can be static"));
    }
    let pods = kinds::find("", "v1", "pods").expect("a built-in kind");
    let problems = pods.fit(&mut document).map_err(|error| error.to_string())?;
    if !problems.is_empty() {
        return Err(decode::strict_text(&problems));
    }
    let spec = &document["spec"];
    let account = spec["serviceAccountName"].as_str().map(|_| ("serviceAccountName", "service accounts"));
    if let Some((field, what)) = account.or_else(|| references::first(spec)) {
        return Err(format!("a static pod cannot refer to {what}, as {field:?} does: it runs without the API"));
    }
    let written = document.to_string();
    let mut object: Object = serde_json::from_value(document).map_err(|error| error.to_string())?;
    if object.name().is_empty() && object.str_at(&["metadata", "generateName"]).is_empty() {
        return Err("metadata.name: Required value".to_owned());
    }
    adopt(&mut object, node, &written);
    pods.complete(&mut object);
    let wrong = pods.validate(&object, None);
    if !wrong.is_empty() {
        return Err(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    let value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Makes the pod this node's: its name, its place, an identity that follows its content, and no end by taints.
fn adopt(pod: &mut Object, node: &str, written: &str) {
    let name = match pod.name() {
        "" => format!("{}{node}", pod.str_at(&["metadata", "generateName"])),
        name => format!("{name}-{node}"),
    };
    pod.set(&["metadata", "name"], name);
    pod.remove(&["metadata", "generateName"]);
    if pod.str_at(&["metadata", "namespace"]).is_empty() {
        pod.set(&["metadata", "namespace"], "default");
    }
    let hash = &hex::encode(Sha256::digest(format!("{node}\n{written}")))[..HASH_DIGITS];
    pod.set(&["metadata", "uid"], hash);
    pod.set_annotation(HASH, hash);
    pod.set_annotation(SOURCE, "file");
    pod.set(&["spec", "nodeName"], node);
    let mut tolerations = pod.at(&["spec", "tolerations"]).and_then(Value::as_array).cloned().unwrap_or_default();
    tolerations.push(json!({ "operator": "Exists", "effect": "NoExecute" }));
    pod.set(&["spec", "tolerations"], tolerations);
    pod.remove(&["status"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::spec;

    const WEB: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: hello:v1}]}\n";

    fn read_one(text: &str) -> Pod {
        let mut pods = read(text, "edge-1").unwrap();
        assert_eq!(pods.len(), 1);
        pods.remove(0)
    }

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let pod = read_one(WEB);
        assert_eq!((spec::namespace(&pod), spec::name(&pod)), ("default", "web-edge-1"));
        let annotations = pod.metadata.annotations.as_ref().unwrap();
        assert_eq!(annotations[HASH], spec::uid(&pod));
        assert_eq!(annotations[SOURCE], "file");
        let of = pod.spec.unwrap();
        assert_eq!(of.node_name.as_deref(), Some("edge-1"));
        assert_eq!(of.restart_policy.as_deref(), Some("Always"), "with the API's defaults");
        let tolerations = of.tolerations.unwrap();
        assert_eq!(tolerations.last().unwrap().effect.as_deref(), Some("NoExecute"));
    }

    #[test]
    fn its_uid_follows_its_content_and_its_node() {
        let uid = |text: &str, node: &str| spec::uid(&read(text, node).unwrap()[0]).to_owned();
        assert_eq!(uid(WEB, "n"), uid(&format!("# the same\n{WEB}"), "n"));
        assert_ne!(uid(WEB, "n"), uid(WEB, "m"));
        assert_ne!(uid(WEB, "n"), uid(&WEB.replace(":v1", ":v2"), "n"));
    }

    #[test]
    fn json_and_several_documents_are_read() {
        let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j","namespace":"edge"},
            "spec":{"containers":[{"name":"c","image":"i"}]}}"#;
        assert_eq!(spec::full_name(&read_one(json)).split('(').next(), Some("j-edge-1_edge"));
        assert_eq!(read(&format!("---\n{WEB}---\n{}", WEB.replace("web", "two")), "n").unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("", "there is no pod in it"),
            ("a: [", "yaml: "),
            ("apiVersion: apps/v1\nkind: Deployment\n", r#"it describes "Deployment" of "apps/v1""#),
            (&WEB.replace("{name: web}", "{}"), "metadata.name: Required value"),
            (&WEB.replace("{name: web}", "{name: Web}"), "metadata.name: Invalid value"),
            (&WEB.replace("containers:", "containerz:"), r#"unknown field "spec.containerz""#),
            (&WEB.replace("[{name: c, image: hello:v1}]", "[]"), "spec.containers: Required value"),
            (
                &WEB.replace("spec: {", "spec: {volumes: [{name: v, configMap: {name: m}}], "),
                "cannot refer to configmaps",
            ),
            (&WEB.replace("spec: {", "spec: {serviceAccountName: robot, "), "cannot refer to service accounts"),
        ] {
            let error = read(text, "n").unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
