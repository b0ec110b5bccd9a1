//! `StorageObjectInUseProtection`: a claim stays while pods use it, a volume while a claim holds it
//! (`plugin/pkg/admission/storage/storageobjectinuseprotection`). The controllers of the same name take the finalizers
//! away.

use wkube_api::Object;

use super::Attributes;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Adds the finalizer to new claims and volumes.
pub(super) fn admit(attributes: &Attributes<'_>, object: &mut Object) {
    if attributes.creates("", "persistentvolumeclaims") {
        protect(object, CLAIM);
    }
    if attributes.creates("", "persistentvolumes") {
        protect(object, VOLUME);
    }
}

fn protect(object: &mut Object, finalizer: &str) {
    let mut finalizers: Vec<String> = object.finalizers().into_iter().map(str::to_owned).collect();
    if !finalizers.iter().any(|name| name == finalizer) {
        finalizers.push(finalizer.to_owned());
        object.set_finalizers(finalizers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_protected_once() {
        let mut claim = Object::default();
        claim.set_finalizers(vec!["a/b".to_owned()]);
        protect(&mut claim, CLAIM);
        protect(&mut claim, CLAIM);
        assert_eq!(claim.finalizers(), ["a/b", CLAIM]);
    }
}
