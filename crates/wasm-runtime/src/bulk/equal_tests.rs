//! A module that was cut does the same as before: random instructions in both, byte by byte.

use wasmtime::{Config, Engine, Instance, Memory, Module, Store, Trap, TypedFunc};
use wkube_base::Rng;

use super::cut;
use super::pieces::PIECE_BYTES;

const PAGE: u32 = 64 << 10;
/// Of the first memory, and of the second.
const PAGES: [u32; 2] = [40, 33];
const LONG_SEGMENT: u32 = 2 * PIECE_BYTES + 1000;
const SHORT_SEGMENT: u32 = 300;

/// All bulk instructions of memories, by name.
const INSTRUCTIONS: [(&str, &str); 9] = [
    ("fill", "memory.fill 0"),
    ("fill-other", "memory.fill 1"),
    ("copy", "memory.copy 0 0"),
    ("copy-out", "memory.copy 1 0"),
    ("copy-in", "memory.copy 0 1"),
    ("init", "memory.init 0 0"),
    ("init-other", "memory.init 1 0"),
    ("init-short", "memory.init 0 1"),
    ("init-dropped", "memory.init 0 2"),
];

fn module() -> Vec<u8> {
    let function = |(name, instruction): &(&str, &str)| {
        format!(
            r#"(func (export "{name}") (param i32 i32 i32)
                 (local.get 0) (local.get 1) (local.get 2) ({instruction}))"#
        )
    };
    let functions: String = INSTRUCTIONS.iter().map(function).collect();
    let segment = |bytes: u32| -> String {
        (0..bytes).filter_map(|at| char::from_digit((at * 31 + at / 255) % 36, 36)).collect()
    };
    let text = format!(
        r#"(module (memory (export "0") {}) (memory (export "1") {})
             (data "{long}") (data "{}") (data "{long}")
             (func $drop (data.drop 2)) (start $drop) {functions})"#,
        PAGES[0],
        PAGES[1],
        segment(SHORT_SEGMENT),
        long = segment(LONG_SEGMENT),
    );
    wat::parse_str(text).unwrap()
}

struct Guest {
    store: Store<()>,
    instance: Instance,
    memories: [Memory; 2],
}

impl Guest {
    fn new(engine: &Engine, wasm: &[u8], rng: &Rng) -> Self {
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &Module::new(engine, wasm).unwrap(), &[]).unwrap();
        let memories = ["0", "1"].map(|name| instance.get_memory(&mut store, name).unwrap());
        for memory in memories {
            rng.fill(memory.data_mut(&mut store));
        }
        Self { store, instance, memories }
    }

    fn function(&mut self, name: &str) -> TypedFunc<(u32, u32, u32), ()> {
        self.instance.get_typed_func(&mut self.store, name).unwrap()
    }

    /// Returns what the instruction traps with, if it does.
    fn run(&mut self, name: &str, operands: (u32, u32, u32)) -> Option<Trap> {
        let function = self.function(name);
        let result = function.call(&mut self.store, operands);
        result.err().map(|error| *error.downcast_ref::<Trap>().expect("nothing else goes wrong"))
    }

    fn bytes(&self) -> [&[u8]; 2] {
        self.memories.map(|memory| memory.data(&self.store))
    }
}

/// A place or a length: close to where something changes, or anywhere.
fn operand(rng: &Rng) -> u32 {
    const NOTABLE: [u32; 9] = [
        0,
        PIECE_BYTES,
        2 * PIECE_BYTES,
        3 * PIECE_BYTES,
        SHORT_SEGMENT,
        LONG_SEGMENT,
        PAGES[0] * PAGE,
        PAGES[1] * PAGE,
        PAGES[0] * PAGE - 2 * PIECE_BYTES,
    ];
    let below = |bound: u32| u32::try_from(rng.below(bound as usize)).unwrap();
    match rng.below(8) {
        0..3 => NOTABLE[rng.below(NOTABLE.len())].wrapping_add(below(5)).wrapping_sub(2),
        3..5 => below(PAGES[1] * PAGE),
        5..7 => below(2 * PIECE_BYTES),
        _ => u32::MAX - below(3 * PIECE_BYTES),
    }
}

#[test]
fn what_was_cut_does_the_same_as_before() {
    let engine = Engine::new(Config::new().wasm_multi_memory(true)).unwrap();
    let before = module();
    let after = cut(&before).unwrap();
    let (mut trapped, mut long) = (0, 0);
    for seed in 0..6 {
        let rng = Rng::seeded(seed);
        let mut plain = Guest::new(&engine, &before, &Rng::seeded(seed));
        let mut cut = Guest::new(&engine, &after, &Rng::seeded(seed));
        for _ in 0..400 {
            let (name, _) = INSTRUCTIONS[rng.below(INSTRUCTIONS.len())];
            let operands = (operand(&rng), operand(&rng), operand(&rng));
            let expected = plain.run(name, operands);
            assert_eq!(cut.run(name, operands), expected, "seed {seed}: {name} {operands:?}");
            assert!(cut.bytes() == plain.bytes(), "seed {seed}: {name} {operands:?} left other bytes");
            trapped += usize::from(expected.is_some());
            long += usize::from(expected.is_none() && operands.2 > PIECE_BYTES);
        }
    }
    assert!(trapped > 200 && long > 200, "both happened: {trapped}, {long}");
}

#[test]
fn every_overlap_is_respected() {
    let engine = Engine::new(Config::new().wasm_multi_memory(true)).unwrap();
    let before = module();
    let after = cut(&before).unwrap();
    let rng = Rng::seeded(7);
    let mut plain = Guest::new(&engine, &before, &Rng::seeded(7));
    let mut cut = Guest::new(&engine, &after, &Rng::seeded(7));
    let middle = 3 * PIECE_BYTES;
    for distance in [0, 1, 7, 4096, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 3] {
        for to in [middle - distance, middle + distance] {
            let operands = (to, middle, 3 * PIECE_BYTES + u32::try_from(rng.below(9)).unwrap());
            assert_eq!((plain.run("copy", operands), cut.run("copy", operands)), (None, None), "{operands:?}");
            assert!(cut.bytes() == plain.bytes(), "{operands:?}");
        }
    }
}

/// Counts how often the epoch is looked at while one instruction runs.
fn looks(wasm: &[u8], name: &str, operands: (u32, u32, u32)) -> u32 {
    let engine = Engine::new(Config::new().wasm_multi_memory(true).epoch_interruption(true)).unwrap();
    let mut store = Store::new(&engine, 0);
    // For starting.
    store.set_epoch_deadline(1);
    let instance = Instance::new(&mut store, &Module::new(&engine, wasm).unwrap(), &[]).unwrap();
    let function: TypedFunc<(u32, u32, u32), ()> = instance.get_typed_func(&mut store, name).unwrap();
    store.epoch_deadline_callback(|mut store| {
        *store.data_mut() += 1;
        Ok(wasmtime::UpdateDeadline::Continue(0))
    });
    store.set_epoch_deadline(0);
    function.call(&mut store, operands).unwrap();
    *store.data()
}

#[test]
fn a_long_one_can_be_interrupted_between_its_pieces() {
    let before = module();
    let after = cut(&before).unwrap();
    let (size, pieces) = (8 * PIECE_BYTES, 8);
    for name in ["fill", "fill-other", "copy", "copy-out", "copy-in"] {
        for operands in [(0, 5, size), (5, 0, size)] {
            assert!(looks(&before, name, operands) <= 2, "{name}: the engine does not do it by itself");
            let looks = looks(&after, name, operands);
            assert!(looks >= pieces - 1, "{name} {operands:?}: {looks}");
        }
    }
    assert!(looks(&after, "init", (0, 0, LONG_SEGMENT)) >= 2);
}
