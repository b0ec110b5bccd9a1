//! The small `JSONPath` of printer columns, downward-API field paths and selectable fields.
//!
//! ```text
//! .spec.replicas      {.status.conditions[?(@.type=="Ready")].status}      metadata.labels['app']      .items[*].name
//! ```

use std::str::FromStr;

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    /// Negative counts from the end.
    Index(i64),
    All,
    /// Keeps the items whose value at the path compares so with the text of the literal.
    Filter {
        path: JsonPath,
        equal: bool,
        literal: String,
    },
    /// Keeps the items that have the path at all.
    Has(JsonPath),
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A bracket or quote is not closed.
    #[error("unterminated {0:?}")]
    Unterminated(char),
    /// A part of `JSONPath` that is not supported here.
    #[error("cannot understand {0:?}")]
    Unknown(String),
}

impl JsonPath {
    /// Returns everything that the path leads to; nothing if it leads nowhere.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        }
        found
    }

    /// Returns the first thing that the path leads to.
    pub fn first<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.find(root).into_iter().next()
    }

    /// Returns the values as printer columns show them: joined by commas, strings without quotes.
    pub fn text(&self, root: &Value) -> String {
        let texts: Vec<String> = self.find(root).into_iter().map(text_of).collect();
        texts.join(",")
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name.as_str()).into_iter().collect(),
            Self::Index(index) => {
                let Value::Array(list) = value else { return Vec::new() };
                let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { length + index } else { *index };
                usize::try_from(index).ok().and_then(|index| list.get(index)).into_iter().collect()
            }
            Self::All => children(value).collect(),
            Self::Filter { path, equal, literal } => children(value)
                .filter(|item| path.first(item).is_some_and(|found| (text_of(found) == *literal) == *equal))
                .collect(),
            Self::Has(path) => children(value).filter(|item| path.first(item).is_some()).collect(),
        }
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

impl FromStr for JsonPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let text = text.strip_prefix('{').map_or(text, |inner| inner.strip_suffix('}').unwrap_or(inner));
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = match rest.strip_prefix('[') {
                Some(inner) => bracket(inner, &mut steps)?,
                None => name(rest.strip_prefix('.').unwrap_or(rest), &mut steps)?,
            };
        }
        Ok(Self { steps })
    }
}

/// Reads a field name up to the next `.` or `[`; a backslash takes the next character as it is.
fn name<'a>(text: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, Error> {
    let mut field = String::new();
    let mut characters = text.char_indices();
    let mut end = text.len();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => field.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => {
                end = index;
                break;
            }
            other => field.push(other),
        }
    }
    match field.as_str() {
        "" if text.starts_with('.') => return Err(Error::Unknown(format!(".{text}"))),
        "" => {}
        "*" => steps.push(Step::All),
        _ => steps.push(Step::Field(field)),
    }
    Ok(&text[end..])
}

/// Reads what stands in brackets; returns what follows them.
fn bracket<'a>(text: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, Error> {
    let (inside, rest) = split_bracket(text)?;
    let inside = inside.trim();
    let step = if let Some(filter) = inside.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        filter_step(filter)?
    } else if let Some(field) = quoted(inside) {
        Step::Field(field.to_owned())
    } else if inside == "*" {
        Step::All
    } else {
        Step::Index(inside.parse().map_err(|_| Error::Unknown(format!("[{inside}]")))?)
    };
    steps.push(step);
    Ok(rest)
}

/// Finds the closing bracket, which does not count inside quotes or inner brackets.
fn split_bracket(text: &str) -> Result<(&str, &str), Error> {
    let (mut quote, mut depth) = (None, 0);
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Ok((&text[..index], &text[index + 1..])),
            (None, ']') => depth -= 1,
            (Some(_) | None, _) => {}
        }
    }
    Err(Error::Unterminated(quote.unwrap_or('[')))
}

fn filter_step(filter: &str) -> Result<Step, Error> {
    let path = |text: &str| text.trim().strip_prefix('@').unwrap_or(text.trim()).parse::<JsonPath>();
    let Some((index, equal)) =
        filter.find("==").map(|index| (index, true)).or_else(|| Some((filter.find("!=")?, false)))
    else {
        return Ok(Step::Has(path(filter)?));
    };
    let literal = filter[index + 2..].trim();
    let literal = quoted(literal).unwrap_or(literal).to_owned();
    Ok(Step::Filter { path: path(&filter[..index])?, equal, literal })
}

fn quoted(text: &str) -> Option<&str> {
    let unquote = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    unquote('\'').or_else(|| unquote('"'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(path: &str) -> String {
        let pod = json!({
            "metadata": {"labels": {"app": "x", "example.com/tier": "web", "a.b": "dot"}},
            "spec": {"replicas": 3, "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "Progressing", "status": "False", "reason": "a]b"},
            ]},
        });
        path.parse::<JsonPath>().unwrap_or_else(|error| panic!("{path}: {error}")).text(&pod)
    }

    #[test]
    fn paths_lead_to_what_printer_columns_show() {
        for (path, expected) in [
            (".spec.replicas", "3"),
            ("{.spec.replicas}", "3"),
            ("$.spec.replicas", "3"),
            ("spec.ports[0].port", "80"),
            (".spec.ports[-1].name", "dns"),
            (".spec.ports[*].port", "80,53"),
            (".spec.ports.*.port", "80,53"),
            (r#".status.conditions[?(@.type=="Ready")].status"#, "True"),
            (r".status.conditions[?(@.type == 'Progressing')].status", "False"),
            (r#".status.conditions[?(@.type!="Ready")].type"#, "Progressing"),
            (r#".status.conditions[?(@.reason=="a]b")].type"#, "Progressing"),
            (".status.conditions[?(@.reason)].type", "Progressing"),
            ("metadata.labels['example.com/tier']", "web"),
            (r".metadata.labels.a\.b", "dot"),
            (".spec.nowhere.else", ""),
            (".spec.ports[7]", ""),
            (".metadata.labels", r#"{"a.b":"dot","app":"x","example.com/tier":"web"}"#),
        ] {
            assert_eq!(text(path), expected, "{path}");
        }
    }

    #[test]
    fn broken_paths_are_told() {
        assert_eq!(".a[0".parse::<JsonPath>(), Err(Error::Unterminated('[')));
        assert_eq!(".a['b]".parse::<JsonPath>(), Err(Error::Unterminated('\'')));
        assert_eq!(".a[x]".parse::<JsonPath>(), Err(Error::Unknown("[x]".into())));
        assert!("..a".parse::<JsonPath>().is_err());
    }
}
