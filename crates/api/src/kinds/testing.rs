//! What the tests of manners share.

use serde_json::Value;

use crate::object::Object;
use crate::resource::Manners;

/// Returns the object of a JSON document.
pub(super) fn object(document: Value) -> Object {
    serde_json::from_value(document).expect("a JSON object")
}

/// Checks that exactly these problems are found.
pub(super) fn check_errors(manners: &dyn Manners, object: &Object, old: Option<&Object>, expected: &[&str]) {
    let actual: Vec<String> = manners.validate(object, old).iter().map(ToString::to_string).collect();
    assert_eq!(actual, expected);
}
