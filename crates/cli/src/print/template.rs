//! The `JSONPath` templates of `-o jsonpath=…`: `{.items[*].metadata.name}`, text, and `{range …}{end}`. Pure.

use std::str::FromStr;

use serde_json::Value;
use wkube_api::jsonpath::JsonPath;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(JsonPath),
    /// Repeats its parts for everything that the path leads to.
    Range(JsonPath, Vec<Part>),
}

impl Template {
    /// Fills the template in; several values of one path are joined by spaces, as kubectl does.
    pub(crate) fn render(&self, root: &Value) -> String {
        let mut text = String::new();
        render(&self.parts, root, &mut text);
        text
    }
}

fn render(parts: &[Part], root: &Value, into: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => into.push_str(text),
            Part::Path(path) => {
                let values: Vec<String> = path.find(root).into_iter().map(text_of).collect();
                into.push_str(&values.join(" "));
            }
            Part::Range(path, parts) => path.find(root).into_iter().for_each(|value| render(parts, value, into)),
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl FromStr for Template {
    type Err = String;

    /// Reads a template; a bare path without braces is one too.
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Ok(Self { parts: vec![Part::Path(path(text)?)] });
        }
        // The innermost open range is last; the template itself is the first.
        let mut open: Vec<(Option<JsonPath>, Vec<Part>)> = vec![(None, Vec::new())];
        let mut rest = text;
        while !rest.is_empty() {
            let (before, from_brace) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            push(&mut open, (!before.is_empty()).then(|| Part::Text(before.to_owned())));
            let Some(inner) = from_brace.strip_prefix('{') else { break };
            let end = closing(inner).ok_or_else(|| format!("unclosed action: {{{inner}"))?;
            let action = inner[..end].trim();
            rest = &inner[end + 1..];
            if let Some(range) = action.strip_prefix("range ") {
                open.push((Some(path(range.trim())?), Vec::new()));
            } else if action == "end" {
                let Some((Some(path), parts)) = open.pop() else { return Err("{end} without {range}".to_owned()) };
                push(&mut open, Some(Part::Range(path, parts)));
            } else {
                push(&mut open, Some(part(action)?));
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some((None, parts)), true) => Ok(Self { parts }),
            _ => Err("{range} without {end}".to_owned()),
        }
    }
}

fn push(open: &mut [(Option<JsonPath>, Vec<Part>)], part: Option<Part>) {
    if let Some((_, parts)) = open.last_mut() {
        parts.extend(part);
    }
}

/// Returns where the brace closes that opened before `text`; braces in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((index, letter)) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => drop(letters.next()),
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '}') => return Some(index),
            _ => {}
        }
    }
    None
}

fn part(action: &str) -> Result<Part, String> {
    let quoted = ['"', '\''].into_iter().find_map(|quote| action.strip_prefix(quote)?.strip_suffix(quote));
    match quoted {
        Some(text) => Ok(Part::Text(text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\""))),
        None => Ok(Part::Path(path(action)?)),
    }
}

fn path(text: &str) -> Result<JsonPath, String> {
    // `{$}` and `{@}` stand for the document itself.
    let text = text.trim_start_matches(['$', '@']);
    text.parse().map_err(|error| format!("{text:?} is not a JSONPath: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> String {
        let list = json!({"items": [
            {"metadata": {"name": "a"}, "spec": {"replicas": 1}},
            {"metadata": {"name": "b"}, "spec": {"replicas": 2}},
        ]});
        template.parse::<Template>().expect("a template").render(&list)
    }

    #[test]
    fn values_of_one_path_are_joined_by_spaces() {
        assert_eq!(render("{.items[*].metadata.name}"), "a b");
        assert_eq!(render("{$.items[1].spec.replicas}"), "2");
        assert_eq!(render(".items[0].metadata.name"), "a");
    }

    #[test]
    fn text_stands_around_actions() {
        assert_eq!(render("first: {.items[0].metadata.name}{\"\\n\"}"), "first: a\n");
        assert_eq!(render("{'}'}"), "}");
    }

    #[test]
    fn ranges_repeat() {
        let template = "{range .items[*]}{.metadata.name}={.spec.replicas}{'\\n'}{end}";
        assert_eq!(render(template), "a=1\nb=2\n");
    }

    #[test]
    fn what_leads_nowhere_is_empty() {
        assert_eq!(render("[{.items[0].status.phase}]"), "[]");
    }

    #[test]
    fn broken_templates_are_refused() {
        for template in ["{.a", "{end}", "{range .items[*]}x", "{.a[}"] {
            assert!(template.parse::<Template>().is_err(), "{template}");
        }
    }
}
