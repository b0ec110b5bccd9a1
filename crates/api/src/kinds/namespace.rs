//! Namespaces: a finalizer of their own holds them until they are empty.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::print::{self, Col, Columns, Text};
use super::rules;
use crate::meta::NameRule;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// The manners of namespaces.
pub(super) struct Namespace;

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";
const COLUMNS: Columns = &[print::NAME, Col("Status", Text, "The status of the namespace"), print::AGE];

impl Manners for Namespace {
    fn default(&self, object: &mut Object) {
        // Selectors of webhooks and network policies count on this label.
        if !object.name().is_empty() {
            let name = object.name().to_owned();
            object.set(&["metadata", "labels", NAME_LABEL], name);
        }
    }

    fn prepare_create(&self, object: &mut Object) {
        object.0.insert("status".to_owned(), json!({"phase": "Active"}));
        let finalizers = object.at(&["spec", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
        if !finalizers.contains(&json!(FINALIZER)) {
            object.set(&["spec", "finalizers"], [vec![json!(FINALIZER)], finalizers].concat());
        }
    }

    fn prepare_update(&self, object: &mut Object, old: &Object) {
        // A manifest has no spec; `finalize` always sends one, and takes finalizers away with it.
        if let Some(spec) = old.at(&["spec"])
            && object.at(&["spec"]).is_none_or(Value::is_null)
        {
            object.set(&["spec"], spec.clone());
        }
    }

    fn validate(&self, object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        rules::validate_namespace(object)
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), object.str_at(&["status", "phase"]).into(), print::age(object, now)]
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        (path == "status.phase").then(|| object.str_at(&["status", "phase"]).to_owned())
    }

    fn has_generation(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::object;

    #[test]
    fn a_namespace_starts_active_with_its_name_as_a_label_and_a_finalizer() {
        let mut ns = object(json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}}));
        Namespace.default(&mut ns);
        Namespace.prepare_create(&mut ns);
        assert_eq!(
            ns,
            object(
                json!({"metadata": {"name": "a", "labels": {NAME_LABEL: "a"}}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
            )
        );
    }

    #[test]
    fn an_update_without_a_spec_keeps_the_finalizer_and_an_empty_spec_takes_it_away() {
        let old = object(json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}}));
        let mut manifest = object(json!({"metadata": {"name": "a"}}));
        Namespace.prepare_update(&mut manifest, &old);
        assert_eq!(manifest.at(&["spec"]), old.at(&["spec"]));
        let mut finalized = object(json!({"metadata": {"name": "a"}, "spec": {}}));
        Namespace.prepare_update(&mut finalized, &old);
        assert_eq!(finalized.at(&["spec"]), Some(&json!({})));
    }
}
