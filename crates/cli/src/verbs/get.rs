//! `wkube get`: objects as tables, JSON, YAML or names.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use wkube_api::{Resource, Scope};
use wkube_client::Client;

use crate::args::{Get, Output};
use crate::connect::connect;
use crate::print;
use crate::print::table::{Table, Width};
use crate::target::{self, Target};
use crate::verbs::{TABLE, read};

pub(crate) async fn run(args: Get) -> Result<()> {
    let client = connect(&args.connection).await?;
    let targets = target::parse(&args.resources)?;
    match args.output {
        None => tables(&client, &args, &targets, Width::Normal).await,
        Some(Output::Wide) => tables(&client, &args, &targets, Width::Wide).await,
        Some(Output::Json) => documents(&client, &args, &targets, |value| Ok(serde_json::to_string_pretty(value)?)).await,
        Some(Output::Yaml) => documents(&client, &args, &targets, yaml).await,
        Some(Output::Name) => names(&client, &args, &targets).await,
    }
}

/// Returns a document as YAML.
pub(crate) fn yaml(value: &Value) -> Result<String> {
    let text = serde_saphyr::to_string(value).context("failed to write YAML")?;
    Ok(text.trim_end().to_owned())
}

/// Returns the paths that a target stands for: its collection, or one per name.
fn paths(args: &Get, target: &Target) -> Vec<String> {
    let namespace = if args.all_namespaces { "" } else { args.namespace.namespace.as_str() };
    let collection = target::collection_path(&target.resource, namespace);
    if !target.names.is_empty() {
        return target.names.iter().map(|name| format!("{collection}/{name}")).collect();
    }
    let selectors = [("labelSelector", &args.selector), ("fieldSelector", &args.field_selector)];
    let query: Vec<String> = selectors
        .iter()
        .filter(|(_, selector)| !selector.is_empty())
        .map(|(name, selector)| format!("{name}={}", target::escape(selector)))
        .collect();
    vec![if query.is_empty() { collection } else { format!("{collection}?{}", query.join("&")) }]
}

async fn tables(client: &Client, args: &Get, targets: &[Target], width: Width) -> Result<()> {
    let mut printed = 0;
    for target in targets {
        let mut table = Table::default();
        for path in paths(args, target) {
            let answer = read(client, &path, TABLE).await?;
            let with_namespace = args.all_namespaces && target.resource.scope == Scope::Namespaced;
            let part = Table::from_server(&answer, width, with_namespace);
            table.headings = part.headings;
            table.rows.extend(part.rows);
        }
        if table.rows.is_empty() {
            continue;
        }
        if targets.len() > 1 {
            prefix_names(&mut table, &target.resource);
            if printed > 0 {
                print::line("");
            }
        }
        printed += 1;
        table.lines(!args.no_headers).iter().for_each(print::line);
    }
    if printed == 0 {
        print::note(nothing_found(args, targets));
    }
    Ok(())
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

async fn objects(client: &Client, args: &Get, targets: &[Target]) -> Result<Vec<(Target, Value)>> {
    let mut found = Vec::new();
    for target in targets {
        for path in paths(args, target) {
            let mut answer = read(client, &path, "application/json").await?;
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

async fn documents(
    client: &Client,
    args: &Get,
    targets: &[Target],
    write: impl Fn(&Value) -> Result<String>,
) -> Result<()> {
    let mut found = objects(client, args, targets).await?;
    found.iter_mut().for_each(|(_, object)| hide_managed_fields(object));
    let is_one = targets.len() == 1 && targets[0].names.len() == 1 && found.len() == 1;
    let document = if is_one {
        found.remove(0).1
    } else {
        let items: Vec<Value> = found.into_iter().map(|(_, object)| object).collect();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
    };
    print::line(write(&document)?);
    Ok(())
}

fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

async fn names(client: &Client, args: &Get, targets: &[Target]) -> Result<()> {
    for (target, object) in objects(client, args, targets).await? {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        print::line(target::title(&target.resource, name));
    }
    Ok(())
}
