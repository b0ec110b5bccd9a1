//! `PersistentVolumeClaimResize`: only a bound claim of a class that allows it may grow
//! (`plugin/pkg/admission/storage/persistentvolume/resize`).

use serde_json::Value;
use wkube_api::{Object, ObjectKey, Status};

use super::{Attributes, amounts};

/// Refuses growth that the claim's storage class does not offer.
pub(super) fn validate(attributes: &Attributes<'_>, claim: &Object) -> Result<(), Status> {
    let Some(old) = attributes.old.filter(|_| attributes.updates("", "persistentvolumeclaims")) else { return Ok(()) };
    let size = |claim: &Object| {
        claim.at(&["spec", "resources", "requests", "storage"]).and_then(amounts::quantity).unwrap_or_default()
    };
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old.str_at(&["status", "phase"]) != "Bound" {
        return Err(attributes.forbidden(claim, "Only bound persistent volume claims can be expanded"));
    }
    let registry = attributes.registry;
    let class = match registry.catalog.find("storage.k8s.io", "v1", "storageclasses") {
        Some(kind) => registry.find(kind, &ObjectKey::cluster(claim.str_at(&["spec", "storageClassName"])))?,
        None => None,
    };
    if class.is_some_and(|class| class.at(&["allowVolumeExpansion"]) == Some(&Value::Bool(true))) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
               support resize";
    Err(attributes.forbidden(claim, why))
}
