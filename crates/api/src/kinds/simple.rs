//! The manners of kinds that are plain but for their columns and defaults, as a record of functions.

use jiff::Timestamp;
use serde_json::Value;

use super::doc::Doc;
use super::print::{self, Columns};
use crate::meta::NameRule;
use crate::object::Object;
use crate::resource::{Column, Manners, Part};
use crate::status::FieldError;

/// What is special about a kind that needs no file of its own.
pub(super) struct Simple {
    /// Its columns.
    pub(super) columns: Columns,
    /// Its cells.
    pub(super) cells: fn(&Object, Timestamp) -> Vec<Value>,
    /// Fills in what the user left out of the whole document.
    pub(super) default: fn(&mut Doc),
    /// Carries over what an update must not change.
    pub(super) prepare_update: fn(&mut Object, &Object),
    /// Returns what is wrong with the document.
    pub(super) validate: fn(&Object, Option<&Object>) -> Vec<FieldError>,
    /// Which writes the status and the generation know.
    pub(super) parts: Parts,
    /// Returns the value of a field that selectors may name; `None` if it is none of this kind's.
    pub(super) field: fn(&Object, &str) -> Option<String>,
    /// Returns the rules of a subresource that changes a part of its own.
    pub(super) part: fn(&str) -> Option<&'static dyn Part>,
    /// What clients should use instead; empty for kinds that stay.
    pub(super) deprecation: &'static str,
    /// What its names must look like.
    pub(super) names: NameRule,
}

/// Which parts of an object have lives of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// Data only.
    Data,
    /// A spec that is counted by `metadata.generation`, no status.
    Spec,
    /// A spec that is not counted, and a status.
    StatusOnly,
    /// A counted spec and a status.
    SpecAndStatus,
}

impl Simple {
    /// Name and age, data only: change what differs.
    pub(super) const PLAIN: Self = Self {
        columns: &[print::NAME, print::AGE],
        cells: |object, now| vec![object.name().into(), print::age(object, now)],
        default: |_| {},
        prepare_update: |_, _| {},
        validate: |_, _| Vec::new(),
        parts: Parts::Data,
        field: |_, _| None,
        part: |_| None,
        deprecation: "",
        names: NameRule::Subdomain,
    };
}

impl Manners for Simple {
    fn default(&self, object: &mut Object) {
        (self.default)(&mut object.0);
    }

    fn prepare_create(&self, object: &mut Object) {
        if matches!(self.parts, Parts::StatusOnly | Parts::SpecAndStatus) {
            object.0.remove("status");
            // Some kinds start with a phase (`PersistentVolumeClaim`); it is one of their defaults.
            (self.default)(&mut object.0);
        }
    }

    fn prepare_update(&self, object: &mut Object, old: &Object) {
        (self.prepare_update)(object, old);
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        (self.validate)(object, old)
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(self.columns)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        (self.cells)(object, now)
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        (self.field)(object, path)
    }

    fn part(&self, subresource: &str) -> Option<&'static dyn Part> {
        (self.part)(subresource)
    }

    fn deprecation(&self) -> Option<String> {
        (!self.deprecation.is_empty()).then(|| self.deprecation.to_owned())
    }

    fn name_rule(&self) -> NameRule {
        self.names
    }

    fn has_generation(&self) -> bool {
        matches!(self.parts, Parts::Spec | Parts::SpecAndStatus)
    }
}
