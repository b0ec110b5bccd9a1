//! The name of a template: equal templates have equal hashes, on every machine and in every release.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// The label that tells the pods and sets of one template from those of another (`DefaultDeploymentUniqueLabelKey`).
pub(crate) const TEMPLATE_HASH: &str = "pod-template-hash";

/// Kubernetes' letters for hashes: no vowels, so that no words appear (`apimachinery/pkg/util/rand.SafeEncodeString`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Returns the template as a document in which equal templates are equal: without the hash label, and without fields that
/// say nothing (null, or an empty list), which servers and clients write or leave out as they like.
pub(crate) fn canonical(template: &PodTemplateSpec) -> Value {
    let mut document = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = document.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    prune(&mut document);
    // Not elsewhere: `emptyDir: {}` says something.
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
    document
}

/// Returns the value of the label `pod-template-hash`: FNV-1a over the canonical template and the number of collisions,
/// in decimal, in safe letters. The bytes differ from Kubernetes' (a Go dump), the form does not.
pub(crate) fn pod_template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut hash = fnv32a(FNV_OFFSET, canonical(template).to_string().as_bytes());
    if let Some(collisions) = collisions {
        hash = fnv32a(hash, &collisions.to_le_bytes());
    }
    safe_encode(&hash.to_string())
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

fn fnv32a(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME))
}

fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::template;

    #[test]
    fn fnv_and_the_alphabet_are_kubernetes() {
        // Reference values of FNV-1a 32; and a digit maps to the letter at its ASCII code modulo 27.
        assert_eq!(fnv32a(FNV_OFFSET, b""), 0x811c_9dc5);
        assert_eq!(fnv32a(FNV_OFFSET, b"foobar"), 0xbf9c_f968);
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }

    #[test]
    fn the_hash_label_and_empty_fields_do_not_count() {
        let plain = template("web", "hello:1");
        let mut labelled = plain.clone();
        let metadata = labelled.metadata.get_or_insert_default();
        metadata.labels.get_or_insert_default().insert(TEMPLATE_HASH.to_owned(), "abc".to_owned());
        metadata.annotations = Some(std::collections::BTreeMap::new());
        labelled.spec.get_or_insert_default().volumes = Some(Vec::new());
        assert_eq!(canonical(&plain), canonical(&labelled));
        assert_eq!(pod_template_hash(&plain, None), pod_template_hash(&labelled, None));
    }

    #[test]
    fn another_image_or_a_collision_gives_another_hash() {
        let one = pod_template_hash(&template("web", "hello:1"), None);
        assert_ne!(one, pod_template_hash(&template("web", "hello:2"), None));
        assert_ne!(one, pod_template_hash(&template("web", "hello:1"), Some(1)));
    }
}
