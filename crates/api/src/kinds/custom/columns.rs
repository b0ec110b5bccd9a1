//! `additionalPrinterColumns` (`apiextensions/registry/customresource/tableconvertor`).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::jsonpath::JsonPath;
use crate::kinds::doc::{list, number, text};
use crate::kinds::print;
use crate::object::Object;
use crate::resource::Column;

/// The columns behind the name.
#[derive(Debug)]
pub(super) struct Columns(Vec<(Column, JsonPath)>);

impl Columns {
    /// Reads the columns of a version; without any, the age is shown.
    pub(super) fn parse(version: &Value) -> Self {
        let given = list(version, "additionalPrinterColumns");
        if given.is_empty() {
            let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": print::AGE.2});
            return Self(column(&age).into_iter().collect());
        }
        Self(given.iter().filter_map(column).collect())
    }

    /// Returns the definitions, the name first.
    pub(super) fn definitions(&self) -> Vec<Column> {
        let mut columns = print::columns(&[print::NAME]);
        columns.extend(self.0.iter().map(|(column, _)| column.clone()));
        columns
    }

    /// Returns one row.
    pub(super) fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let document = Value::Object(object.0.clone());
        let name = std::iter::once(object.name().into());
        name.chain(self.0.iter().map(|(column, path)| cell(path.first(&document), &column.kind, now))).collect()
    }
}

fn column(column: &Value) -> Option<(Column, JsonPath)> {
    let owned = |field: &str| text(column, field).to_owned().into();
    let definition = Column {
        name: owned("name"),
        kind: owned("type"),
        format: owned("format"),
        description: match text(column, "description") {
            "" => {
                format!("Custom resource definition column (in JSONPath format): {}", text(column, "jsonPath")).into()
            }
            given => given.to_owned().into(),
        },
        priority: i32::try_from(number(column, "priority")).unwrap_or_default(),
    };
    Some((definition, text(column, "jsonPath").parse().ok()?))
}

/// Returns what a column shows of a value: nothing if the value is of another type.
fn cell(value: Option<&Value>, kind: &str, now: Timestamp) -> Value {
    let Some(value) = value else { return Value::Null };
    match (kind, value) {
        ("string", Value::String(_)) | ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => value.clone(),
        ("string", Value::Null) => Value::Null,
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            #[expect(clippy::cast_possible_truncation, reason = "Go truncates, too")]
            let whole = number.as_i64().or_else(|| number.as_f64().map(|number| number as i64));
            whole.map_or(Value::Null, Value::from)
        }
        ("date", Value::String(time)) => print::since(time, now).into(),
        _ => Value::Null,
    }
}
