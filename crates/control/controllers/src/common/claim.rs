//! Whose child is this: the rule by which a controller adopts and releases (`pkg/controller/controller_ref_manager.go`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use wkube_api::selector::LabelSelector;

use crate::common::meta;

/// What one object is to a controller that selects by label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours and selected.
    Owned,
    /// Nobody controls it, and it is selected: it may become ours.
    Adoptable,
    /// It is ours but no longer selected: it is to be let go.
    Releasable,
    /// It is somebody else's, or nobody's and not for us.
    Foreign,
}

impl Claim {
    /// Judges `child` for the controller `owner`. An owner that is being deleted takes nobody in and lets nobody go: the
    /// garbage collector decides about its children.
    pub(crate) fn judge(owner: &ObjectMeta, selector: &LabelSelector, child: &ObjectMeta) -> Self {
        let selected = selector.matches_owned(meta::labels(child));
        let owner_stays = !meta::is_deleting(owner);
        match meta::controller_of(child) {
            Some(controller) if controller.uid != meta::uid(owner) => Self::Foreign,
            Some(_) if selected => Self::Owned,
            Some(_) if owner_stays => Self::Releasable,
            None if selected && owner_stays && !meta::is_deleting(child) => Self::Adoptable,
            Some(_) | None => Self::Foreign,
        }
    }
}
