use std::borrow::Cow;

use wasmparser::{Operator, Parser, Payload, Validator};
use wkube_base::Rng;

use super::pieces::PIECE_BYTES;
use super::{DEPTH_MAX, Error, cut};

const GUESTS: [&[u8]; 7] = [
    include_bytes!("../../testdata/hello-p1.wasm"),
    include_bytes!("../../testdata/hello-comp.wasm"),
    include_bytes!("../../testdata/http-p2.wasm"),
    include_bytes!("../../testdata/http-p3.wasm"),
    include_bytes!("../../testdata/sockets-p1.wasm"),
    include_bytes!("../../testdata/sockets-p2.wasm"),
    include_bytes!("../../testdata/sockets-p3.wasm"),
];

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn is_valid(wasm: &[u8]) -> bool {
    Validator::new().validate_all(wasm).is_ok()
}

/// How many bulk instructions there are, also within a component.
fn bulk_instructions(wasm: &[u8]) -> usize {
    let bodies = Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.unwrap() {
        Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    let operators = bodies.flat_map(|body| body.get_operators_reader().unwrap());
    let is_bulk = |operator: &Operator<'_>| {
        matches!(operator, Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. })
    };
    operators.filter(|operator| is_bulk(operator.as_ref().unwrap())).count()
}

#[track_caller]
fn check_untouched(text: &str) {
    assert!(matches!(cut(&wasm(text)).unwrap(), Cow::Borrowed(_)));
}

#[test]
fn what_cannot_be_long_stays_as_it_is() {
    check_untouched("(module)");
    check_untouched("(component)");
    check_untouched("(module (memory 1) (func (i32.store (i32.const 0) (memory.grow (i32.const 1)))))");
    check_untouched(&format!(
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const {PIECE_BYTES}))))"
    ));
    check_untouched(
        r#"(module (memory 1) (data "short")
           (func (param i32) (memory.init 0 (i32.const 0) (i32.const 0) (local.get 0))))"#,
    );
}

#[test]
fn a_constant_counts_only_if_it_is_the_length() {
    let longer = PIECE_BYTES + 1;
    for length in [
        format!("(i32.const {longer})"),
        "(i32.const -1)".to_owned(),
        "(local.get 0)".to_owned(),
        "(i32.const 1) (local.get 0) (i32.add)".to_owned(),
        "(block (result i32) (i32.const 1))".to_owned(),
    ] {
        let text = format!("(module (memory 1) (func (param i32) (i32.const 0) (i32.const 1) {length} (memory.fill)))");
        assert!(matches!(cut(&wasm(&text)).unwrap(), Cow::Owned(_)), "{length}");
    }
}

#[test]
fn there_is_one_function_for_all_instructions_of_a_kind() {
    let fill = "(memory.fill (local.get 0) (local.get 0) (local.get 0))";
    let copy = "(memory.copy (local.get 0) (local.get 0) (local.get 0))";
    let text = format!("(module (memory 1) (func (param i32) {fill} {fill} {copy}) (func (param i32) {copy} {fill}))");
    let before = wasm(&text);
    let after = cut(&before).unwrap();
    let functions = |wasm: &[u8]| {
        Parser::new(0).parse_all(wasm).filter(|payload| matches!(payload, Ok(Payload::CodeSectionEntry(_)))).count()
    };
    assert_eq!((functions(&before), functions(&after)), (2, 4));
    // Short, out of bounds, in a loop, the rest; a copy has two loops.
    assert_eq!((bulk_instructions(&before), bulk_instructions(&after)), (5, 4 + 5));
}

#[test]
fn real_guests_stay_valid_and_keep_what_they_import_and_export() {
    for before in GUESTS {
        let after = cut(before).unwrap();
        assert!(is_valid(&after));
        assert_eq!(crate::inspect(&after), crate::inspect(before));
        assert!(bulk_instructions(before) == 0 || after.len() > before.len(), "it was cut");
    }
    assert!(bulk_instructions(GUESTS[1]) > 0, "there is something to do within components");
}

#[test]
fn indices_and_names_keep_their_meaning() {
    let text = r#"(module $guest
        (type $unused (func (result i64)))
        (import "env" "told" (func $told (param i32)))
        (memory (export "memory") 1)
        (table (export "table") 2 funcref) (elem (i32.const 0) $told $main)
        (func $main (export "main") (param i32)
            (memory.fill (local.get 0) (i32.const 7) (local.get 0))
            (call $told (i32.load8_u (local.get 0))))
        (global (export "last") funcref (ref.func $main)))"#;
    let after = cut(&wasm(text)).unwrap().into_owned();
    let printed = after.windows(b"memory.fill".len()).filter(|bytes| *bytes == b"memory.fill").count();
    assert_eq!(printed, 1, "backtraces name what was added");
    let engine = wasmtime::Engine::default();
    let mut store = wasmtime::Store::new(&engine, 0);
    let mut linker = wasmtime::Linker::new(&engine);
    let told = |mut caller: wasmtime::Caller<'_, i32>, value: i32| *caller.data_mut() = value;
    linker.func_wrap("env", "told", told).unwrap();
    let module = wasmtime::Module::new(&engine, &after).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let main = instance.get_typed_func::<i32, ()>(&mut store, "main").unwrap();
    main.call(&mut store, 100).unwrap();
    assert_eq!(*store.data(), 7);
    let error = format!("{:?}", main.call(&mut store, 65_000).unwrap_err());
    assert!(error.contains("guest!memory.fill") && error.contains("guest!main"), "{error}");
}

#[test]
fn modules_within_components_within_components_are_cut() {
    let module = "(core module (memory 1) (func (param i32) (memory.fill (local.get 0) (local.get 0) (local.get 0))))";
    let nested = |depth: usize| wasm(&("(component ".repeat(depth) + module + &")".repeat(depth)));
    for depth in [1, 2, 9] {
        let before = nested(depth);
        let after = cut(&before).unwrap();
        assert!(is_valid(&after));
        assert_eq!(bulk_instructions(&after), 4, "{depth}");
    }
    assert!(matches!(cut(&nested(DEPTH_MAX)), Ok(Cow::Owned(_))));
    assert!(matches!(cut(&nested(DEPTH_MAX + 1)), Err(Error::TooDeep)));
}

#[test]
fn a_module_with_more_kinds_of_copies_than_anybody_needs_is_refused() {
    let copy = |at: u32| format!("(memory.copy {} {} (local.get 0) (local.get 0) (local.get 0))", at / 101, at % 101);
    let text = format!("(module (func (param i32) {}))", (0..101 * 101).map(copy).collect::<String>());
    let error = cut(&wasm(&text)).unwrap_err().to_string();
    assert_eq!(error, "it has bulk instructions for more than 10000 pairs of memories and data segments");
}

#[test]
fn damage_is_never_repaired_and_never_a_panic() {
    let module = wasm(
        r#"(module (import "a" "b" (memory 1)) (data "xyz") (func (export "f") (param i32)
           (memory.copy (local.get 0) (local.get 0) (local.get 0))
           (memory.init 0 (i32.const 1) (i32.const 2) (local.get 0))
           (memory.fill (local.get 0) (local.get 0) (local.get 0))))"#,
    );
    let fill = "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1))";
    let component = wasm(&format!("(component (core module (memory 1) (func {fill})))"));
    let rng = Rng::seeded(3);
    for whole in [module, component] {
        assert!(is_valid(&whole) && is_valid(&cut(&whole).unwrap()));
        for end in 0..whole.len() {
            let _ = cut(&whole[..end]);
        }
        for _ in 0..5_000 {
            let mut damaged = whole.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(damaged.len());
                damaged[at] = u8::try_from(rng.below(256)).unwrap();
            }
            if let Ok(after) = cut(&damaged) {
                assert!(is_valid(&damaged) || !is_valid(&after), "it was repaired: {damaged:x?}");
            }
        }
    }
}
