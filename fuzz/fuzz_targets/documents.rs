//! JSON and YAML bodies: read within bounds, and checked against a type without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wkube_api::decode::{self, Unknown};
use wkube_api::schema::{Schema, builtin_name};

fuzz_target!(|body: &[u8]| {
    let pod = Schema::of(&builtin_name("", "v1", "Pod")).expect("pods have a schema");
    let mut documents = Vec::new();
    documents.extend(decode::json(body).ok().map(|(document, _)| document));
    if let Ok(text) = std::str::from_utf8(body) {
        documents.extend(decode::yaml(text).ok().map(|(document, _)| document));
    }
    for mut document in documents {
        if decode::check(&mut document, pod, Unknown::Prune).is_err() {
            continue;
        }
        // What was pruned once has nothing more to prune.
        let problems = decode::check(&mut document.clone(), pod, Unknown::Prune).expect("it fitted before");
        assert!(problems.is_empty(), "{problems:?} in {document}");
    }
});
