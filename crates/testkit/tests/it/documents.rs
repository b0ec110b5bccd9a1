//! What the documents say about the code: every file and every test that they name is there.

use std::collections::BTreeSet;
use std::path::Path;

/// The root of the checkout.
const ROOT: &str = "../..";

/// Every file of ours, without `crates/` and `src/`: documents name `apiserver/service.rs`.
fn files() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders = vec![Path::new(ROOT).join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(format!("/{}", path.display()).replace("/src/", "/"));
            }
        }
    }
    files
}

/// Returns the words of a document that look like Rust files.
fn named(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-/.".contains(letter);
    let words = text.split(|letter: char| !is_part(letter));
    let sources = words.filter(|word| Path::new(word).extension().is_some_and(|extension| extension == "rs"));
    // `*/plan.rs` leaves a slash in front.
    sources
        .filter(|word| word.len() > ".rs".len())
        .map(|word| word.trim_start_matches('/').replace("/src/", "/"))
        .collect()
}

#[test]
fn every_source_file_that_the_documents_name_exists() {
    let files = files();
    let root = Path::new(ROOT);
    let mut documents = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    let decisions = std::fs::read_dir(root.join("docs/decisions")).expect("the decisions");
    documents.extend(decisions.map(|entry| entry.expect("an entry").path()));
    let mut wrong = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a readable document");
        for name in named(&text) {
            if !files.iter().any(|file| file.ends_with(&format!("/{name}"))) {
                wrong.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these files do not exist:\n{}", wrong.join("\n"));
}

/// Whether a file has this test; of an end-to-end test, whether it prints this line.
fn is_tested(name: &str) -> bool {
    let root = Path::new(ROOT);
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    if let Some((file, line)) = name.split_once(": ") {
        return read(file).contains(&format!("\"{line}\""));
    }
    let Some((file, test)) = name.split_once("::") else { return false };
    let near = format!("crates/testkit/tests/it/conformance/{file}.rs");
    let path = if file.contains('/') { format!("crates/{file}") } else { near };
    read(&path).contains(&format!("fn {test}("))
}

#[test]
fn every_test_that_the_conformance_document_names_exists() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/conformance.md")).expect("the document");
    let rows = text.lines().filter(|line| line.contains("| A0 |") || line.contains("| A1 |"));
    let (mut named, mut wrong) = (0, Vec::new());
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell");
        named += 1;
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        let is_missing = cell == "missing" || cell.starts_with("missing: ");
        if !is_missing && (tests.is_empty() || !tests.iter().all(|test| is_tested(test))) {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "these tests do not exist:\n{}", wrong.join("\n"));
    assert!(named >= 222, "only {named} rows");
}

#[test]
fn the_architecture_stays_readable() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).expect("the document");
    assert!(text.lines().count() <= 300, "{} lines", text.lines().count());
}
