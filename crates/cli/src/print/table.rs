//! Tables as kubectl prints them: columns padded to the widest cell, three spaces between.

use serde_json::Value;

/// How wide the gap between columns is.
const GAP: usize = 3;

/// Which of a server's columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Those of priority 0.
    Normal,
    /// All.
    Wide,
}

/// Rows of text under headings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Upper case, as kubectl prints them.
    pub(crate) headings: Vec<String>,
    /// The cells.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads a `meta.k8s.io/v1` Table; `with_namespace` puts each row's namespace first.
    pub(crate) fn from_server(table: &Value, width: Width, with_namespace: bool) -> Self {
        let none = Vec::new();
        let list = |value: &'_ Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
        let columns = list(table, "columnDefinitions").unwrap_or_default();
        let is_shown = |column: &Value| width == Width::Wide || column["priority"].as_i64().unwrap_or(0) == 0;
        let shown: Vec<usize> = (0..columns.len()).filter(|&index| is_shown(&columns[index])).collect();
        let mut headings: Vec<String> =
            shown.iter().map(|&index| columns[index]["name"].as_str().unwrap_or_default().to_uppercase()).collect();
        if with_namespace {
            headings.insert(0, "NAMESPACE".into());
        }
        let rows = table.get("rows").and_then(Value::as_array).unwrap_or(&none).iter().map(|row| {
            let cells = row["cells"].as_array().unwrap_or(&none);
            let mut texts: Vec<String> =
                shown.iter().map(|&index| cells.get(index).map_or_else(String::new, text_of)).collect();
            if with_namespace {
                texts.insert(0, row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
            }
            texts
        });
        Self { rows: rows.collect(), headings }
    }

    /// Returns the lines, with or without headings, without spaces at their ends.
    pub(crate) fn lines(&self, with_headings: bool) -> Vec<String> {
        let all = || with_headings.then_some(&self.headings).into_iter().chain(&self.rows);
        let columns = all().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| all().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        all().map(|row| line_of(row, &widths)).collect()
    }
}

fn line_of(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        let padding = width - cell.chars().count() + GAP;
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Returns a cell as text. Control characters are shown, not sent to the terminal: cells may come from guests.
fn text_of(cell: &Value) -> String {
    match cell {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server_table() -> Value {
        json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Ready"}, {"name": "IP", "priority": 1}],
            "rows": [
                {"cells": ["web-1", 1, "10.42.0.2"], "object": {"metadata": {"namespace": "default"}}},
                {"cells": ["a-longer-name", 0, null], "object": {"metadata": {"namespace": "x"}}},
            ]
        })
    }

    #[test]
    fn columns_are_padded_to_the_widest_cell() {
        let table = Table::from_server(&server_table(), Width::Normal, false);
        assert_eq!(table.lines(true), ["NAME            READY", "web-1           1", "a-longer-name   0"]);
        assert_eq!(table.lines(false)[0], "web-1           1");
    }

    #[test]
    fn wide_shows_all_columns_and_the_namespace_comes_first() {
        let table = Table::from_server(&server_table(), Width::Wide, true);
        assert_eq!(table.headings, ["NAMESPACE", "NAME", "READY", "IP"]);
        assert_eq!(table.rows[1], ["x", "a-longer-name", "0", "<none>"]);
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(text_of(&json!("a\u{1b}[31mb")), "a\\u{1b}[31mb");
    }
}
