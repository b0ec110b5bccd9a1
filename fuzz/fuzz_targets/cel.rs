//! CEL: whatever is written, it is refused, or it runs within its budget, and comes to the same every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use wkube_api::cel::{Bindings, Budget, Env, Program, REQUEST_BUDGET, Type};

fuzz_target!(|source: &str| {
    let env = Env::default().with("self", Type::Dyn);
    let Ok(program) = Program::compile(source, &env) else { return };
    let document = json!({"a": [1, 2.5, "x", null], "b": {"c": true, "d": "e"}, "n": 3});
    let run = || {
        let bindings = Bindings::new().with_json("self", &document);
        let value = program.evaluate(&bindings, &mut Budget::new(REQUEST_BUDGET));
        value.and_then(|value| value.to_json()).map_err(|error| error.to_string())
    };
    assert_eq!(run(), run(), "{source}");
});
