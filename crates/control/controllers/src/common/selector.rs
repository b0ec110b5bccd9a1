//! Label selectors of typed objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as TypedSelector;
use wkube_api::selector::LabelSelector;

/// Returns the selector to match with. One that cannot be read (the server lets none in) selects nothing.
pub(crate) fn of(selector: &TypedSelector) -> LabelSelector {
    LabelSelector::from_typed(Some(selector)).unwrap_or_else(|_| LabelSelector::nothing())
}
