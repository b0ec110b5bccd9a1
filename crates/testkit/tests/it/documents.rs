//! What the documents say about the code: every file that they name is there.

use std::collections::BTreeSet;
use std::path::Path;

/// The root of the checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

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

#[test]
fn the_architecture_stays_readable() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).expect("the document");
    assert!(text.lines().count() <= 300, "{} lines", text.lines().count());
}
