//! Selectors: which objects a query, a Service or a controller means (`apimachinery/pkg/labels` and `fields`).

mod field;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as TypedSelector;
use serde_json::Value;

pub use field::{FieldSelector, FieldTerm};
pub use parse::Error;

use crate::meta;

/// All of its requirements must hold; without any, everything matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// What one label must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// How a label is compared with the values of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `key=value`
    Equals,
    /// `key!=value`; holds without the label too
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; holds without the label too
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

impl LabelSelector {
    /// Returns the selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Returns the selector that matches nothing, which is what a missing `LabelSelector` means.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads a query such as `a=b,c!=d,e in (x,y),!f,g`.
    ///
    /// # Errors
    /// With Kubernetes' text, if the query is malformed or names impossible labels.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let mut requirements = parse::requirements(query)?;
        requirements.sort_by(|one, two| one.key.cmp(&two.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Returns the selector of a plain map (Services): every entry must be there. An empty map matches everything;
    /// callers that mean "nothing" (a Service without selector) ask first.
    pub fn from_map<'a>(map: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let equal = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: BTreeSet::from([value.to_owned()]),
        };
        let mut requirements: Vec<_> = map.into_iter().map(equal).collect();
        requirements.sort_by(|one, two| one.key.cmp(&two.key));
        Self { requirements, nothing: false }
    }

    /// Returns the selector of a `LabelSelector` in a document; `None` and `null` match nothing.
    ///
    /// # Errors
    /// If an operator is unknown, or its values do not fit.
    pub fn from_json(selector: Option<&Value>) -> Result<Self, Error> {
        match selector {
            None | Some(Value::Null) => Ok(Self::nothing()),
            Some(value) => {
                let typed = serde_json::from_value(value.clone()).map_err(|error| Error::new(error.to_string()))?;
                Self::from_typed(Some(&typed))
            }
        }
    }

    /// Returns the selector of a typed `LabelSelector` (`metav1.LabelSelectorAsSelector`).
    ///
    /// # Errors
    /// If an operator is unknown, or its values do not fit.
    pub fn from_typed(selector: Option<&TypedSelector>) -> Result<Self, Error> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let labels = selector.match_labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut requirements = Self::from_map(labels).requirements;
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(Error::new(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = expression.values.iter().flatten().cloned().collect();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        requirements.sort_by(|one, two| one.key.cmp(&two.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Whether an object with these labels is meant.
    pub fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.matches_by(|key| labels.get(key).copied())
    }

    /// As [`matches`](Self::matches), for labels as typed objects carry them.
    pub fn matches_owned(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// As [`matches`](Self::matches), for labels that are looked up one by one.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.holds(label(&requirement.key)))
    }

    /// Whether every object matches, so that labels need not be read.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Returns what must hold, ordered by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Requirement {
    /// Returns a requirement (`labels.NewRequirement`).
    ///
    /// # Errors
    /// If the key or a value could not be a label's, or their number does not fit the operator.
    pub fn new(key: &str, operator: Operator, values: BTreeSet<String>) -> Result<Self, Error> {
        let invalid =
            |path: &str, value: &str, message: &str| Error::new(format!("{path}: Invalid value: {value:?}: {message}"));
        if let Some(problem) = meta::qualified_name(key).first() {
            return Err(invalid("key", key, problem));
        }
        let list = values.iter().cloned().collect::<Vec<_>>().join(",");
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return Err(invalid("values", "[]", "for 'in', 'notin' operators, values set can't be empty"));
            }
            Operator::Equals | Operator::NotEquals if values.len() != 1 => {
                return Err(invalid("values", &list, "exact-match compatibility requires one single value"));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return Err(invalid("values", &list, "values set must be empty for exists and does not exist"));
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                return Err(invalid("values", &list, "for 'Gt', 'Lt' operators, exactly one value is required"));
            }
            Operator::GreaterThan | Operator::LessThan if values.iter().any(|value| value.parse::<i64>().is_err()) => {
                return Err(invalid("values[0]", &list, "for 'Gt', 'Lt' operators, the value must be an integer"));
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            if let Some(problem) = meta::label_value(value).first() {
                return Err(invalid(&format!("values[{index}][{key}]"), value, problem));
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// Returns the label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns how the label is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Returns what the label is compared with.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    fn holds(&self, label: Option<&str>) -> bool {
        let number = |order: fn(&i64, &i64) -> bool| {
            let limit = self.values.first().and_then(|value| value.parse::<i64>().ok());
            let label = label.and_then(|label| label.parse::<i64>().ok());
            label.zip(limit).is_some_and(|(label, limit)| order(&label, &limit))
        };
        match self.operator {
            Operator::Equals | Operator::In => label.is_some_and(|label| self.values.contains(label)),
            Operator::NotEquals | Operator::NotIn => !label.is_some_and(|label| self.values.contains(label)),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => number(i64::gt),
            Operator::LessThan => number(i64::lt),
        }
    }
}

impl fmt::Display for LabelSelector {
    /// Writes the query form, as in `Scale.status.selector`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = || self.values.iter().cloned().collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::Equals => write!(f, "{key}={}", values()),
            Operator::NotEquals => write!(f, "{key}!={}", values()),
            Operator::In => write!(f, "{key} in ({})", values()),
            Operator::NotIn => write!(f, "{key} notin ({})", values()),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{}", values()),
            Operator::LessThan => write!(f, "{key}<{}", values()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(query: &str, labels: &[(&str, &str)], expected: bool) {
        let selector = LabelSelector::parse(query).unwrap();
        assert_eq!(selector.matches(&labels.iter().copied().collect()), expected, "{query} on {labels:?}");
    }

    #[test]
    fn every_requirement_must_hold() {
        check("", &[], true);
        check("a=b", &[("a", "b")], true);
        check("a=b", &[("a", "c")], false);
        check("a==b,c=d", &[("a", "b"), ("c", "d")], true);
        check("a=b,c=d", &[("a", "b")], false);
        check("a in (b,c)", &[("a", "c")], true);
        check("a in (b,c)", &[], false);
        check("a", &[("a", "")], true);
        check("!a", &[("a", "")], false);
        check("a=", &[("a", "")], true);
    }

    #[test]
    fn negations_hold_without_the_label() {
        check("a!=b", &[], true);
        check("a notin (b)", &[], true);
        check("a notin (b)", &[("a", "b")], false);
        check("!a", &[], true);
    }

    #[test]
    fn comparisons_need_integers_on_both_sides() {
        check("a>1", &[("a", "2")], true);
        check("a>1", &[("a", "1")], false);
        check("a<1", &[("a", "x")], false);
        check("a<1", &[], false);
    }

    #[test]
    fn a_missing_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!LabelSelector::from_json(None).unwrap().matches(&BTreeMap::new()));
        assert!(!LabelSelector::from_json(Some(&Value::Null)).unwrap().matches(&BTreeMap::new()));
        assert!(LabelSelector::from_json(Some(&json!({}))).unwrap().is_everything());
    }

    #[test]
    fn expressions_and_labels_are_joined_and_written_as_a_query() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "c", "operator": "NotIn", "values": ["y", "x"]}, {"key": "a", "operator": "Exists"}]});
        let selector = LabelSelector::from_json(Some(&selector)).unwrap();
        assert_eq!(selector.to_string(), "a,b=1,c notin (x,y)");
        assert!(selector.matches_owned(&BTreeMap::from([("a".into(), String::new()), ("b".into(), "1".into())])));
    }

    #[test]
    fn unknown_operators_are_refused() {
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "Near", "values": ["x"]}]});
        let error = LabelSelector::from_json(Some(&selector)).unwrap_err();
        assert_eq!(error.to_string(), r#""Near" is not a valid label selector operator"#);
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
        assert!(LabelSelector::from_json(Some(&selector)).is_err());
    }
}
