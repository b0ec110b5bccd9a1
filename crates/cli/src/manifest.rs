//! Reads manifests: files, folders and standard input, YAML or JSON, with the place of every mistake.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use wkube_api::Object;

/// The largest manifest file; a `ConfigMap` may hold 1 MiB, a file many of them.
const MANIFEST_BYTES_MAX: u64 = 32 << 20;

/// One object of a manifest, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// The object.
    pub(crate) object: Object,
    /// The file, for messages and for relative image paths.
    pub(crate) file: PathBuf,
}

impl Document {
    /// Returns `Deployment "web" in examples/web.yaml`.
    pub(crate) fn title(&self) -> String {
        format!("{} \"{}\" in {}", self.object.kind(), self.object.name(), self.file.display())
    }

    /// Returns the folder that relative paths start from.
    pub(crate) fn folder(&self) -> &Path {
        self.file.parent().filter(|_| self.file != Path::new("-")).unwrap_or(Path::new("."))
    }
}

/// Reads everything that `paths` name, in order; the files of a folder by name. Nothing is applied if one is wrong.
///
/// # Errors
/// Names the file and, for syntax errors, line and column.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        for file in files_of(path)? {
            let text = text_of(&file)?;
            documents.extend(parse(&text, &file)?);
        }
    }
    if documents.is_empty() && !paths.is_empty() {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!("no objects in {}; a manifest has apiVersion, kind and metadata.name", names.join(", "));
    }
    Ok(documents)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if path != Path::new("-") && !path.exists() {
        bail!("the path \"{}\" does not exist", path.display());
    }
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_manifest = |file: &PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        file.is_file() && matches!(extension, Some("yaml" | "yml" | "json"))
    };
    let entries = std::fs::read_dir(path).with_context(|| format!("failed to read the folder {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_manifest).collect();
    files.sort();
    if files.is_empty() {
        bail!("the folder {} has no .yaml, .yml or .json file", path.display());
    }
    Ok(files)
}

fn text_of(file: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(MANIFEST_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(MANIFEST_BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.with_context(|| format!("failed to read {}", file.display()))?;
    if text.len() as u64 > MANIFEST_BYTES_MAX {
        bail!("{} is larger than {} MiB", file.display(), MANIFEST_BYTES_MAX >> 20);
    }
    Ok(text)
}

fn parse(text: &str, file: &Path) -> Result<Vec<Document>> {
    let values = if file.extension().is_some_and(|extension| extension == "json") {
        vec![serde_json::from_str(text).map_err(|error| located_json(file, &error))?]
    } else {
        serde_saphyr::from_multiple::<Value>(text).map_err(|error| located(file, &error))?
    };
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        collect(value, file, index + 1, &mut documents)?;
    }
    Ok(documents)
}

/// Returns `file:line:column: message`, as editors understand it.
fn located(file: &Path, error: &serde_saphyr::Error) -> anyhow::Error {
    // The library's text repeats the place and adds an excerpt of several lines; its first line is the message.
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let Some(place) = error.location() else { return anyhow!("{}: {message}", file.display()) };
    let (line, column) = (place.line(), place.column());
    let message = message.trim_start_matches(&*format!("line {line} column {column}: "));
    // What follows is advice to programmers.
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
    anyhow!("{}:{line}:{column}: {message}", file.display())
}

fn located_json(file: &Path, error: &serde_json::Error) -> anyhow::Error {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let message = text.trim_end_matches(&*format!(" at line {line} column {column}"));
    anyhow!("{}:{line}:{column}: {message}", file.display())
}

fn collect(value: Value, file: &Path, number: usize, into: &mut Vec<Document>) -> Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Object(mut map)
            if map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) =>
        {
            let items = map.remove("items").and_then(|items| items.as_array().cloned()).unwrap_or_default();
            items.into_iter().try_for_each(|item| collect(item, file, number, into))
        }
        Value::Object(map) => {
            let object = Object(map);
            for (field, is_missing) in [
                ("apiVersion", object.api_version().is_empty()),
                ("kind", object.kind().is_empty()),
                ("metadata.name", object.name().is_empty()),
            ] {
                if is_missing {
                    bail!("{}: document {number} has no {field}, which every object needs", file.display());
                }
            }
            into.push(Document { object, file: file.to_owned() });
            Ok(())
        }
        other => bail!("{}: document {number} is not an object but {}", file.display(), kind_of(&other)),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns every `image` of a pod or pod template that is a path (`./file.wasm`, `../file.wat`,
/// `/abs/file.wasm`).
pub(crate) fn local_images(object: &mut Object) -> Vec<&mut String> {
    let mut found = Vec::new();
    object.0.iter_mut().for_each(|(key, value)| find_images(key, value, &mut found));
    found
}

fn find_images<'v>(key: &str, value: &'v mut Value, found: &mut Vec<&'v mut String>) {
    let are_containers = matches!(key, "containers" | "initContainers" | "ephemeralContainers");
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| find_images(key, value, found)),
        Value::Array(items) => {
            for item in items {
                if !are_containers {
                    find_images(key, item, found);
                } else if let Some(Value::String(image)) = item.get_mut("image")
                    && is_path(image)
                {
                    found.push(image);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether an image is a file rather than a name in a registry.
pub(crate) fn is_path(image: &str) -> bool {
    image.starts_with("./") || image.starts_with("../") || image.starts_with('/')
}

/// Returns the name under which a file is pushed: `./My Guest.wasm` becomes `my-guest`.
pub(crate) fn image_name(file: &Path) -> String {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_ascii_lowercase();
    let allowed = |letter: char| if letter.is_ascii_lowercase() || letter.is_ascii_digit() { letter } else { '-' };
    let name: String = stem.chars().map(allowed).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "guest".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<String>> {
        let documents = parse(text, Path::new("m.yaml"))?;
        Ok(documents.iter().map(Document::title).collect())
    }

    fn error_of(text: &str) -> String {
        read_text(text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn several_documents_and_lists_are_read_in_order() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n---\n# nothing\n---\napiVersion: v1\n\
                    kind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
        assert_eq!(read_text(text).expect("fine"), ["Service \"a\" in m.yaml", "Pod \"b\" in m.yaml"]);
    }

    #[test]
    fn bad_yaml_names_file_line_and_column() {
        let message = error_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a\nspec: b\n");
        assert_eq!(message, "m.yaml:4:5: while parsing a flow mapping, did not find expected ',' or '}'");
        assert_eq!(error_of("a: 1\nb:\n  c: 1\n  c: 2\n"), "m.yaml:4:3: duplicate mapping key: c");
    }

    #[test]
    fn bad_json_names_file_line_and_column() {
        let message = parse("{\n\"kind\": }", Path::new("m.json")).expect_err("it is wrong").to_string();
        assert_eq!(message, "m.json:2:9: expected value");
    }

    #[test]
    fn an_object_needs_its_three_names() {
        assert_eq!(error_of("kind: Pod\n"), "m.yaml: document 1 has no apiVersion, which every object needs");
        assert_eq!(
            error_of("{apiVersion: v1, kind: Pod}\n"),
            "m.yaml: document 1 has no metadata.name, which every object needs"
        );
        assert_eq!(error_of("- a\n"), "m.yaml: document 1 is not an object but a list");
    }

    #[test]
    fn paths_are_found_in_pods_and_templates_only() {
        let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, annotations: {image: ./no.wasm}}, spec: \
                    {template: {spec: {initContainers: [{image: ../b.wat}], containers: [{image: ./a.wasm}, {image: c:v1}]}}}}";
        let mut document = parse(text, Path::new("m.yaml")).expect("fine").remove(0);
        assert_eq!(local_images(&mut document.object), ["./a.wasm", "../b.wat"]);
    }

    #[test]
    fn a_pushed_file_gets_a_valid_name() {
        for (file, name) in
            [("./hello-http.wasm", "hello-http"), ("/x/My Guest_2.wat", "my-guest-2"), ("./_.wasm", "guest")]
        {
            assert_eq!(image_name(Path::new(file)), name);
        }
    }
}
