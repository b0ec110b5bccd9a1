//! Expressions and what they come to.

mod compile;
mod cost;
mod language;
mod libraries;
mod random;

use serde_json::{Value as Json, json};

use super::*;

/// The document that the expressions of these tests look at.
fn document() -> Json {
    json!({
        "name": "web-1", "replicas": 3, "ratio": 0.5, "on": true, "nothing": null,
        "labels": {"app": "web", "a.b/c-d": "x"},
        "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
        "numbers": [3, 1, 2], "words": ["b", "a"], "big": 18_446_744_073_709_551_615_u64,
    })
}

fn env() -> Env {
    Env::default().with("self", Type::Dyn).with("x", Type::Dyn)
}

/// Runs an expression over [`document`] without knowing its type.
fn run(source: &str) -> Result<Json, String> {
    let program = Program::compile(source, &env()).map_err(|error| error.to_string())?;
    let document = document();
    let bindings = Bindings::new().with_json("self", &document);
    let value = program.evaluate(&bindings, &mut Budget::new(REQUEST_BUDGET)).map_err(|error| error.to_string())?;
    value.to_json().map_err(|error| error.to_string())
}

/// Checks that every expression is true.
#[track_caller]
fn all_hold(sources: &[&str]) {
    for source in sources {
        assert_eq!(run(source), Ok(Json::Bool(true)), "{source}");
    }
}

/// Checks what expressions come to.
#[track_caller]
fn come_to(cases: &[(&str, Json)]) {
    for (source, expected) in cases {
        assert_eq!(run(source).as_ref(), Ok(expected), "{source}");
    }
}

/// Checks what goes wrong: before it runs, or while it does.
#[track_caller]
fn fail_with(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        match run(source) {
            Ok(value) => panic!("{source} came to {value}"),
            Err(error) => assert!(error.contains(expected), "{source} failed with {error}, not with {expected}"),
        }
    }
}
