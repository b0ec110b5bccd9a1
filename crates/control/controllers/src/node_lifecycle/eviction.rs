//! How long a pod may stay on a tainted node (`pkg/controller/tainteviction`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use super::taints::NO_EXECUTE;
use crate::common::meta;

/// Returns when the pod must go; `None` if it may stay. A taint without a time counts from `fallback`.
pub(super) fn due_at(pod: &Pod, taints: &[Taint], fallback: Timestamp) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let due = taints.iter().filter(|taint| taint.effect == NO_EXECUTE).filter_map(|taint| {
        let since = taint.time_added.as_ref().map_or(fallback, |time| time.0);
        let tolerating: Vec<&Toleration> =
            tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if tolerating.is_empty() {
            return Some(since);
        }
        // The shortest limit counts; a toleration without one does not lengthen others (`getMinTolerationTime`).
        let seconds = tolerating.iter().filter_map(|toleration| toleration.toleration_seconds).min()?;
        Some(meta::after_seconds(since, seconds.max(0)))
    });
    due.min()
}

/// Whether a toleration is for a taint (`Toleration.ToleratesTaint`).
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |field: &Option<String>| field.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    let key = given(&toleration.key);
    match toleration.operator.as_deref() {
        Some("Exists") => key.is_none_or(|key| key == taint.key),
        None | Some("" | "Equal") => {
            key.is_some_and(|key| key == taint.key)
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        Some(_) => false,
    }
}
