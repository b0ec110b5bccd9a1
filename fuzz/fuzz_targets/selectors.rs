//! Label and field selectors: what is read is written and read to the same selector again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wkube_api::selector::{FieldSelector, LabelSelector};

fuzz_target!(|text: &str| {
    if let Ok(selector) = LabelSelector::parse(text) {
        assert_eq!(LabelSelector::parse(&selector.to_string()).as_ref(), Ok(&selector), "{text:?} became {selector}");
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        assert_eq!(FieldSelector::parse(&selector.to_string()).as_ref(), Ok(&selector), "{text:?} became {selector}");
    }
});
