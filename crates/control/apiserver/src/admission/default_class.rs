//! `DefaultStorageClass` and `DefaultIngressClass`: what names no class gets the newest of those marked as the default
//! (`plugin/pkg/admission/storage/storageclass/setdefault`, `plugin/pkg/admission/network/defaultingressclass`).

use serde_json::Value;
use wkube_api::{Object, Status};

use super::Attributes;

const BETA_STORAGE: &str = "volume.beta.kubernetes.io/storage-class";
const BETA_STORAGE_DEFAULT: &str = "storageclass.beta.kubernetes.io/is-default-class";
const STORAGE_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const BETA_INGRESS: &str = "kubernetes.io/ingress.class";
const INGRESS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// Gives a new claim without a class the default one. `""` is a class: none.
pub(super) fn admit_claim(attributes: &Attributes<'_>, claim: &mut Object) -> Result<(), Status> {
    let named = claim.at(&["spec", "storageClassName"]).is_some_and(|class| !class.is_null());
    if !attributes.creates("", "persistentvolumeclaims") || named || claim.annotations().contains_key(BETA_STORAGE) {
        return Ok(());
    }
    let classes = stored(attributes, "storage.k8s.io", "storageclasses")?;
    if let Some(class) = newest_default(&classes, &[STORAGE_DEFAULT, BETA_STORAGE_DEFAULT]) {
        claim.set(&["spec", "storageClassName"], class.name());
    }
    Ok(())
}

/// Gives a new ingress without a class the default one.
pub(super) fn admit_ingress(attributes: &Attributes<'_>, ingress: &mut Object) -> Result<(), Status> {
    let named = ingress.at(&["spec", "ingressClassName"]).is_some_and(|class| !class.is_null());
    if !attributes.creates("networking.k8s.io", "ingresses")
        || named
        || ingress.annotations().contains_key(BETA_INGRESS)
    {
        return Ok(());
    }
    let classes = stored(attributes, "networking.k8s.io", "ingressclasses")?;
    if let Some(class) = newest_default(&classes, &[INGRESS_DEFAULT]) {
        ingress.set(&["spec", "ingressClassName"], class.name());
    }
    Ok(())
}

fn stored(attributes: &Attributes<'_>, group: &str, plural: &str) -> Result<Vec<Object>, Status> {
    let Some(kind) = attributes.registry.catalog.find(group, "v1", plural) else { return Ok(Vec::new()) };
    attributes.registry.stored(kind, "")
}

/// Of several defaults the newest counts; of several that are as new, the first by name.
fn newest_default<'a>(classes: &'a [Object], annotations: &[&str]) -> Option<&'a Object> {
    let is_default = |class: &&Object| annotations.iter().any(|key| class.annotations().get(key) == Some(&"true"));
    let born = |class: &Object| class.at(&["metadata", "creationTimestamp"]).and_then(Value::as_str).map(str::to_owned);
    classes.iter().filter(is_default).min_by(|a, b| born(b).cmp(&born(a)).then_with(|| a.name().cmp(b.name())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(name: &str, born: &str, default: &str) -> Object {
        let metadata = json!({"name": name, "creationTimestamp": born, "annotations": {STORAGE_DEFAULT: default}});
        serde_json::from_value(json!({"metadata": metadata})).expect("an object")
    }

    #[test]
    fn the_newest_default_counts_and_names_break_ties() {
        let classes = [
            class("old", "2025-01-01T00:00:00Z", "true"),
            class("plain", "2027-01-01T00:00:00Z", "false"),
            class("b", "2026-01-01T00:00:00Z", "true"),
            class("a", "2026-01-01T00:00:00Z", "true"),
        ];
        assert_eq!(newest_default(&classes, &[STORAGE_DEFAULT]).map(Object::name), Some("a"));
        assert_eq!(newest_default(&classes[1..2], &[STORAGE_DEFAULT]), None);
    }
}
