//! The four patches, as `[document, patch]`: none panics, and applying a configuration twice changes nothing more.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wkube_api::Object;
use wkube_api::decode::{self, Unknown};
use wkube_api::patch::{self, Force, Tracking, Writer};
use wkube_api::schema::{Schema, builtin_name};

fuzz_target!(|body: &[u8]| {
    let Ok([document, patch]) = serde_json::from_slice::<[Value; 2]>(body) else { return };
    let Value::Object(document) = document else { return };
    let object = Object(document);
    let pod = Schema::of(&builtin_name("", "v1", "Pod")).expect("pods have a schema");
    let _ = patch::json(&object, &patch);
    if let Ok(merged) = patch::merge(&object, &patch) {
        assert_eq!(patch::merge(&merged, &patch).as_ref(), Ok(&merged), "a merge patch is idempotent");
    }
    let _ = patch::strategic(&object, &patch, Some(pod));
    apply_twice(object, patch, pod);
});

fn apply_twice(object: Object, mut configuration: Value, pod: &'static wkube_api::schema::Type) {
    let mut live = Value::Object(object.0);
    let fits = |document: &mut Value| decode::check(document, pod, Unknown::Prune).is_ok();
    if !fits(&mut live) || !fits(&mut configuration) {
        return;
    }
    let (Value::Object(live), Value::Object(configuration)) = (live, configuration) else { return };
    let (live, configuration) = (Object(live), Object(configuration));
    let writer = Writer {
        manager: "fuzz",
        api_version: "v1",
        subresource: "",
        now: Timestamp::UNIX_EPOCH,
        reset: &[&["status"]],
        tracking: Tracking::Fields,
    };
    let Ok(once) = patch::apply(Some(&live), &configuration, Some(pod), &writer, Force::Yes) else { return };
    let twice = patch::apply(Some(&once), &configuration, Some(pod), &writer, Force::No);
    assert_eq!(twice.as_ref().ok(), Some(&once), "applying again is a no-op: {twice:?}");
}
