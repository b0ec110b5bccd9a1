//! Who may depend on whom: reads `cargo metadata` and fails on a dependency that the plan of the house forbids.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// The crates that each crate may name, tests aside. `ARCHITECTURE.md` draws it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("api", &[]),
    ("store", &["base"]),
    ("client", &["api", "base"]),
    ("wasm-runtime", &["base"]),
    ("apiserver", &["api", "base", "store"]),
    ("scheduler", &["api", "base", "client"]),
    ("controllers", &["api", "base", "client"]),
    ("control", &["api", "apiserver", "base", "client", "controllers", "scheduler"]),
    ("proxy", &["api", "base", "client"]),
    ("node", &["api", "base", "client", "proxy", "wasm-runtime"]),
    ("cli", &["api", "base", "client", "control", "node", "proxy", "store", "wasm-runtime"]),
    ("testkit", &["api", "apiserver", "base", "client", "control", "node", "proxy", "store", "wasm-runtime"]),
];

/// External crates that only some of ours may name.
const RESERVED: &[(&str, &[&str])] = &[
    ("wasmtime", &["wasm-runtime"]),
    ("wasmtime-wasi", &["wasm-runtime"]),
    ("wasmtime-wasi-http", &["wasm-runtime"]),
    // The cluster's store, and the `wasi:keyvalue` buckets that guests keep in files.
    ("redb", &["store", "wasm-runtime"]),
    ("axum", &["apiserver", "node"]),
    ("anyhow", &["cli", "testkit"]),
    ("clap", &["cli"]),
];

/// Dependencies of one kind by package: `wkube-node` -> [`wkube-api`, `tokio`, …].
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg("../../Cargo.toml")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies");
        // Dev-dependencies (`kind: "dev"`) may cross the lines: tests join what the house keeps apart.
        all.iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| text(&dependency["name"]))
            .collect()
    };
    packages.iter().map(|package| (text(&package["name"]), of(package))).collect()
}

#[test]
fn every_crate_depends_only_on_what_the_plan_allows() {
    let mut wrong = Vec::new();
    for (package, dependencies) in dependencies() {
        let Some(name) = package.strip_prefix("wkube-") else { continue };
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{package} is not in the plan"));
            continue;
        };
        for dependency in dependencies.iter().filter_map(|dependency| dependency.strip_prefix("wkube-")) {
            if !allowed.contains(&dependency) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_libraries_have_one_home() {
    let mut wrong = Vec::new();
    for (package, dependencies) in dependencies() {
        let Some(name) = package.strip_prefix("wkube-") else { continue };
        for (library, homes) in RESERVED {
            if dependencies.iter().any(|dependency| dependency == library) && !homes.contains(&name) {
                wrong.push(format!("{name} must not name {library}; {} does", homes.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_plan_names_no_crate_that_does_not_exist() {
    let packages = dependencies();
    for (name, _) in ALLOWED {
        assert!(packages.contains_key(&format!("wkube-{name}")), "{name} is in the plan but not in the workspace");
    }
}
