//! The manners of a kind that has none: two columns, nothing to fill in.

use jiff::Timestamp;
use serde_json::Value;

use super::print::{self, Columns};
use crate::object::Object;
use crate::resource::{Column, Manners};

/// Name and age.
pub(super) struct Plain;

const COLUMNS: Columns = &[print::NAME, print::AGE];

impl Manners for Plain {
    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), print::age(object, now)]
    }
}
