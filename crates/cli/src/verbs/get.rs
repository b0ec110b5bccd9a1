//! `wkube get`: objects as tables, JSON, YAML, names or what a `JSONPath` template picks.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use serde::Serialize as _;
use serde_json::{Value, json};
use wkube_api::{Resource, Scope};
use wkube_client::Client;

use crate::args::{Get, Output};
use crate::connect::connect_in;
use crate::print;
use crate::print::table::{Look, Table, Width};
use crate::target::{self, Target};
use crate::verbs::{Missing, TABLE, read};

/// How far kubectl indents JSON.
const JSON_INDENT: &[u8] = b"    ";

pub(crate) async fn run(mut args: Get) -> Result<()> {
    let client = connect_in(&args.connection, &mut args.namespace).await?;
    let targets = target::parse(&client, &args.resources).await?;
    if args.watch {
        return watch(&client, &args, &targets).await;
    }
    match &args.output {
        None => tables(&client, &args, &targets, Width::Normal).await,
        Some(Output::Wide) => tables(&client, &args, &targets, Width::Wide).await,
        Some(Output::Json) => documents(&client, &args, &targets, json_text).await,
        Some(Output::Yaml) => documents(&client, &args, &targets, yaml).await,
        Some(Output::Name) => names(&client, &args, &targets).await,
        Some(Output::JsonPath(template)) => {
            let (document, missing) = document(&client, &args, &targets).await?;
            print::raw(template.render(&document).as_bytes()).context("failed to write the output")?;
            missing.report()
        }
    }
}

/// Returns a document as YAML, as kubectl writes it: long texts stay on one line.
pub(crate) fn yaml(value: &Value) -> Result<String> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let text = serde_saphyr::to_string_with_options(value, options).context("failed to write YAML")?;
    Ok(text.trim_end().to_owned())
}

fn json_text(value: &Value) -> Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(JSON_INDENT);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    String::from_utf8(text).context("failed to write JSON")
}

/// Returns the path of a target's collection, in the namespace that was asked for.
fn collection(args: &Get, target: &Target) -> String {
    let namespace = if args.all_namespaces { "" } else { args.namespace.namespace.as_str() };
    target::collection_path(&target.resource, namespace)
}

/// Returns the selectors as a query, and `more` before them.
fn query(args: &Get, more: &str, name: Option<&str>) -> String {
    let by_name = name.map(|name| format!("metadata.name={name}")).unwrap_or_default();
    let fields = if by_name.is_empty() { &args.field_selector } else { &by_name };
    let selectors = [("labelSelector", &args.selector), ("fieldSelector", fields)];
    let selectors = selectors.iter().filter(|(_, selector)| !selector.is_empty());
    let mut query: Vec<String> =
        selectors.map(|(name, selector)| format!("{name}={}", target::escape(selector))).collect();
    if !more.is_empty() {
        query.insert(0, more.to_owned());
    }
    if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) }
}

/// Returns the paths that a target stands for: its collection, or one per name.
fn paths(args: &Get, target: &Target) -> Vec<String> {
    let collection = collection(args, target);
    if target.names.is_empty() {
        return vec![format!("{collection}{}", query(args, "", None))];
    }
    target.names.iter().map(|name| format!("{collection}/{name}")).collect()
}

fn look(args: &Get, target: &Target, width: Width) -> Look {
    let mut look = Look::new(width);
    look.with_namespace = args.all_namespaces && target.resource.scope == Scope::Namespaced;
    look.with_labels = args.show_labels;
    look.label_columns.clone_from(&args.label_columns);
    look
}

async fn tables(client: &Client, args: &Get, targets: &[Target], width: Width) -> Result<()> {
    let mut printed = 0;
    let mut missing = Missing::new(args.ignore_not_found);
    let tables = merged(client, args, targets, width, &mut missing).await?;
    let are_several = tables.len() > 1;
    for (resource, mut table) in tables {
        if table.rows.is_empty() {
            continue;
        }
        if are_several {
            prefix_names(&mut table, &resource);
            if printed > 0 {
                print::line("");
            }
        }
        printed += 1;
        table.lines(!args.no_headers).iter().for_each(print::line);
    }
    if printed == 0 && missing.is_empty() && !args.ignore_not_found {
        print::note(nothing_found(args, targets));
    }
    missing.report()
}

/// Reads the table of each target; `svc/a svc/b` become one table, as they follow each other.
async fn merged(
    client: &Client,
    args: &Get,
    targets: &[Target],
    width: Width,
    missing: &mut Missing,
) -> Result<Vec<(Resource, Table)>> {
    let mut tables: Vec<(Resource, Table)> = Vec::new();
    for target in targets {
        let mut table = Table::default();
        for path in paths(args, target) {
            let Some(answer) = missing.or(read(client, &path, TABLE).await)? else { continue };
            let part = Table::from_server(&answer, &look(args, target, width));
            table.headings = part.headings;
            table.rows.extend(part.rows);
        }
        match tables.last_mut() {
            Some((last, before)) if last.plural == target.resource.plural && last.group == target.resource.group => {
                before.headings =
                    if before.rows.is_empty() { table.headings } else { std::mem::take(&mut before.headings) };
                before.rows.extend(table.rows);
            }
            _ => tables.push(((*target.resource).clone(), table)),
        }
    }
    Ok(tables)
}

/// Puts `pod/` before each name, as kubectl does when it prints several kinds.
fn prefix_names(table: &mut Table, resource: &Resource) {
    let Some(column) = table.headings.iter().position(|heading| heading == "NAME") else { return };
    for row in &mut table.rows {
        row[column] = target::title(resource, &row[column]);
    }
}

fn nothing_found(args: &Get, targets: &[Target]) -> String {
    let is_namespaced = targets.iter().any(|target| target.resource.scope == Scope::Namespaced);
    if args.all_namespaces || !is_namespaced {
        return "No resources found".to_owned();
    }
    format!("No resources found in {} namespace.", args.namespace.namespace)
}

/// Prints a table and then a row for each change, until the user stops it.
async fn watch(client: &Client, args: &Get, targets: &[Target]) -> Result<()> {
    let [target] = targets else { bail!("you may only watch one kind of object at a time") };
    let name = match target.names.as_slice() {
        [] => None,
        [name] => Some(name.as_str()),
        _ => bail!("you may watch one object or all of a kind, not several by name"),
    };
    let width = match args.output {
        None => Width::Normal,
        Some(Output::Wide) => Width::Wide,
        Some(_) => bail!("--watch prints tables; leave out -o, or use -o wide"),
    };
    let look = look(args, target, width);
    let collection = collection(args, target);
    let listed = read(client, &format!("{collection}{}", query(args, "", name)), TABLE).await?;
    let first = Table::from_server(&listed, &look);
    let mut columns = first.columns(!args.no_headers);
    if !first.rows.is_empty() {
        first.lines(!args.no_headers).iter().for_each(print::line);
    }
    let mut has_headings = args.no_headers || !first.rows.is_empty();
    let revision = listed["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let more = format!("watch=1&resourceVersion={revision}");
    let request = Request::get(format!("{collection}{}", query(args, &more, name))).header("accept", TABLE);
    let mut body = client.stream(request.body(Bytes::new()).context("failed to build a request")?).await?;
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!("the watch broke off: {error}"))?;
        buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let mut event: Value = serde_json::from_slice(&line).context("the server's watch event is not JSON")?;
            if event["type"] == "ERROR" {
                bail!("the watch ended: {}", event["object"]["message"].as_str().unwrap_or("the server says no more"));
            }
            // Only the first event of a watch says what its columns are.
            if event["object"]["columnDefinitions"].as_array().is_none_or(Vec::is_empty) {
                event["object"]["columnDefinitions"] = listed["columnDefinitions"].clone();
            }
            let part = Table::from_server(&event["object"], &look);
            if !has_headings {
                columns = part.columns(!args.no_headers);
                print::line(columns.line(&part.headings));
                has_headings = true;
            }
            part.rows.iter().for_each(|row| print::line(columns.line(row)));
        }
    }
    Ok(())
}

async fn objects(
    client: &Client,
    args: &Get,
    targets: &[Target],
    missing: &mut Missing,
) -> Result<Vec<(Target, Value)>> {
    let mut found = Vec::new();
    for target in targets {
        for path in paths(args, target) {
            let Some(mut answer) = missing.or(read(client, &path, "application/json").await)? else { continue };
            match answer.get_mut("items") {
                Some(Value::Array(items)) => {
                    let typed = items.drain(..).map(|mut item| {
                        // Items of a list carry no types of their own.
                        item["apiVersion"] = json!(target.resource.api_version());
                        item["kind"] = json!(target.resource.kind);
                        (target.clone(), item)
                    });
                    found.extend(typed);
                }
                _ => found.push((target.clone(), answer)),
            }
        }
    }
    Ok(found)
}

/// Returns the one object that was named, or a List of all that was found.
async fn document(client: &Client, args: &Get, targets: &[Target]) -> Result<(Value, Missing)> {
    let mut missing = Missing::new(args.ignore_not_found);
    let mut found = objects(client, args, targets, &mut missing).await?;
    for (_, object) in &mut found {
        hide_managed_fields(object);
    }
    if targets.len() == 1 && targets[0].names.len() == 1 {
        let object = found.pop().map_or(Value::Null, |(_, object)| object);
        return Ok((object, missing));
    }
    let items: Vec<Value> = found.into_iter().map(|(_, object)| object).collect();
    let list = json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}});
    Ok((list, missing))
}

async fn documents(
    client: &Client,
    args: &Get,
    targets: &[Target],
    write: impl Fn(&Value) -> Result<String>,
) -> Result<()> {
    let (document, missing) = document(client, args, targets).await?;
    if !document.is_null() {
        print::line(write(&document)?);
    }
    missing.report()
}

fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

async fn names(client: &Client, args: &Get, targets: &[Target]) -> Result<()> {
    let mut missing = Missing::new(args.ignore_not_found);
    for (target, object) in objects(client, args, targets, &mut missing).await? {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        print::line(target::title(&target.resource, name));
    }
    missing.report()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_stay_on_one_line_of_yaml() {
        let image = format!("hello@sha256:{}", "0123456789abcdef".repeat(8));
        assert_eq!(yaml(&json!({"image": image})).expect("YAML"), format!("image: {image}"));
    }

    #[test]
    fn json_is_indented_as_kubectl_does() {
        assert_eq!(json_text(&json!({"a": [1]})).expect("JSON"), "{\n    \"a\": [\n        1\n    ]\n}");
    }
}
