//! Tables as kubectl prints them: columns padded to the widest cell, three spaces between.

use serde_json::Value;

/// How wide the gap between columns is, and the narrowest column with its gap (`printers/tabwriter.go`).
const GAP: usize = 3;
const CELL_MIN: usize = 6;

/// Which of a server's columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Those of priority 0.
    Normal,
    /// All.
    Wide,
}

/// What is shown of a server's table, and what is added to it.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Which columns.
    pub(crate) width: Width,
    /// Puts each row's namespace first.
    pub(crate) with_namespace: bool,
    /// Puts all labels last.
    pub(crate) with_labels: bool,
    /// Labels with a column of their own.
    pub(crate) label_columns: Vec<String>,
}

impl Look {
    /// Returns the plain look of a width.
    pub(crate) fn new(width: Width) -> Self {
        Self { width, with_namespace: false, with_labels: false, label_columns: Vec::new() }
    }
}

/// The widths of columns. Rows that come later keep them, so that they stand under the same headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns(Vec<usize>);

impl Columns {
    /// Returns a row as a line, without spaces at its end.
    pub(crate) fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&self.0) {
            line.push_str(cell);
            let padding = (width + GAP).max(CELL_MIN).saturating_sub(cell.chars().count()).max(GAP);
            line.extend(std::iter::repeat_n(' ', padding));
        }
        line.truncate(line.trim_end().len());
        line
    }
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
    /// Reads a `meta.k8s.io/v1` Table.
    pub(crate) fn from_server(table: &Value, look: &Look) -> Self {
        let none = Vec::new();
        let list = |value: &'_ Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
        let columns = list(table, "columnDefinitions").unwrap_or_default();
        let is_shown = |column: &Value| look.width == Width::Wide || column["priority"].as_i64().unwrap_or(0) == 0;
        let shown: Vec<usize> = (0..columns.len()).filter(|&index| is_shown(&columns[index])).collect();
        let mut headings: Vec<String> =
            shown.iter().map(|&index| columns[index]["name"].as_str().unwrap_or_default().to_uppercase()).collect();
        if look.with_namespace {
            headings.insert(0, "NAMESPACE".into());
        }
        let short = |label: &String| label.rsplit('/').next().unwrap_or_default().to_uppercase();
        headings.extend(look.label_columns.iter().map(short));
        headings.extend(look.with_labels.then(|| "LABELS".to_owned()));
        let rows = table.get("rows").and_then(Value::as_array).unwrap_or(&none).iter().map(|row| {
            let cells = row["cells"].as_array().unwrap_or(&none);
            let mut texts: Vec<String> =
                shown.iter().map(|&index| cells.get(index).map_or_else(String::new, text_of)).collect();
            let metadata = &row["object"]["metadata"];
            if look.with_namespace {
                texts.insert(0, metadata["namespace"].as_str().unwrap_or_default().to_owned());
            }
            let labels = &metadata["labels"];
            texts.extend(look.label_columns.iter().map(|label| labels[label].as_str().unwrap_or_default().to_owned()));
            texts.extend(look.with_labels.then(|| all_labels(labels)));
            texts
        });
        Self { rows: rows.collect(), headings }
    }

    /// Returns the lines, with or without headings, without spaces at their ends.
    pub(crate) fn lines(&self, with_headings: bool) -> Vec<String> {
        let columns = self.columns(with_headings);
        let headings = with_headings.then_some(&self.headings).into_iter();
        headings.chain(&self.rows).map(|row| columns.line(row)).collect()
    }

    /// Returns the widths of the columns.
    pub(crate) fn columns(&self, with_headings: bool) -> Columns {
        let all = || with_headings.then_some(&self.headings).into_iter().chain(&self.rows);
        let count = all().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| all().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
        Columns((0..count).map(width).collect())
    }
}

fn all_labels(labels: &Value) -> String {
    let Some(labels) = labels.as_object().filter(|labels| !labels.is_empty()) else { return "<none>".to_owned() };
    let pairs = labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(",")
}

/// Returns a cell as text. Control characters are shown, not sent to the terminal: cells may come from guests.
fn text_of(cell: &Value) -> String {
    match cell {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => {
            text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
        }
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
        let table = Table::from_server(&server_table(), &Look::new(Width::Normal));
        assert_eq!(table.lines(true), ["NAME            READY", "web-1           1", "a-longer-name   0"]);
        assert_eq!(table.lines(false)[0], "web-1           1");
    }

    #[test]
    fn wide_shows_all_columns_and_the_namespace_comes_first() {
        let look = Look { with_namespace: true, ..Look::new(Width::Wide) };
        let table = Table::from_server(&server_table(), &look);
        assert_eq!(table.headings, ["NAMESPACE", "NAME", "READY", "IP"]);
        assert_eq!(table.rows[1], ["x", "a-longer-name", "0", "<none>"]);
    }

    #[test]
    fn labels_come_last() {
        let mut table = server_table();
        table["rows"][0]["object"]["metadata"]["labels"] = json!({"app": "web", "x.io/tier": "1"});
        let look = Look { with_labels: true, label_columns: vec!["x.io/tier".to_owned()], ..Look::new(Width::Normal) };
        let table = Table::from_server(&table, &look);
        assert_eq!(table.headings, ["NAME", "READY", "TIER", "LABELS"]);
        assert_eq!(table.rows[0], ["web-1", "1", "1", "app=web,x.io/tier=1"]);
        assert_eq!(table.rows[1], ["a-longer-name", "0", "", "<none>"]);
    }

    #[test]
    fn a_later_row_keeps_the_columns() {
        let columns = Table::from_server(&server_table(), &Look::new(Width::Normal)).columns(true);
        assert_eq!(columns.line(&["b".to_owned(), "1".to_owned()]), "b               1");
        assert_eq!(columns.line(&["a-very-very-long-name".to_owned(), "1".to_owned()]), "a-very-very-long-name   1");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(text_of(&json!("a\u{1b}[31mb")), "a\\u{1b}[31mb");
    }
}
