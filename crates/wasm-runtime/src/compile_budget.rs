//! How much memory compiling a module takes, judged before it is begun: [`compiler`](crate::compiler) sees to it that it stays
//! true. Pure, but for [`of_machine`].

use wasmparser::{Parser, Payload};

/// Measured with Cranelift at its usual level on two threads: Ruby's 14 MB of code took 836 MiB, `CPython`'s 4 MB 271 MiB.
const BYTES_PER_CODE_BYTE: u64 = 60;
/// What is kept for each function until the end.
const BYTES_PER_FUNCTION: u64 = 2 << 10;
/// The compiler's tables, and a buffer or two.
const BYTES_ALWAYS: u64 = 32 << 20;
/// A node that has less is too small to compile anything; what is too much for it fails by itself.
const BUDGET_MIN: u64 = 512 << 20;
/// Beyond this it is no program but an attack.
const BUDGET_MAX: u64 = 8 << 30;

/// Modules that nobody made by hand stay below twice the estimate.
const ROOM: u64 = 2;
/// The program itself, and what its threads' allocators take in advance.
const BYTES_OF_WORKER: u64 = 256 << 20;

/// What compiling may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// In bytes of memory at the same time.
    pub(crate) memory: u64,
}

/// What compiling would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// In bytes of memory at the same time.
    pub(crate) memory: u64,
}

/// Estimates what compiling a module or component takes. What is no module costs nothing: it is refused elsewhere.
pub(crate) fn estimate(wasm: &[u8]) -> Cost {
    let (mut code, mut functions) = (0_u64, 0_u64);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            // Also those of the modules within a component.
            Ok(Payload::CodeSectionStart { count, size, .. }) => {
                code = code.saturating_add(u64::from(size));
                functions = functions.saturating_add(u64::from(count));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let memory = code.saturating_mul(BYTES_PER_CODE_BYTE).saturating_add(functions.saturating_mul(BYTES_PER_FUNCTION));
    Cost { memory: memory.saturating_add(BYTES_ALWAYS).saturating_add(wasm.len() as u64) }
}

/// Returns what a compilation that would take `cost` is given of `budget` bytes.
///
/// # Errors
/// Returns how many bytes it would take if that is more than the budget.
pub(crate) fn bounds(cost: Cost, budget: u64) -> Result<Bounds, u64> {
    if cost.memory > budget {
        return Err(cost.memory);
    }
    let memory = cost.memory.saturating_mul(ROOM).saturating_add(BYTES_OF_WORKER);
    Ok(Bounds { memory: memory.min(budget) })
}

/// Returns what all compilations may take on this machine: a quarter of its memory.
pub(crate) fn of_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    budget(total(&text))
}

fn budget(memory: Option<u64>) -> u64 {
    memory.map_or(BUDGET_MIN, |memory| memory / 4).clamp(BUDGET_MIN, BUDGET_MAX)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(count: usize) -> Vec<u8> {
        let body = "(i32.const 1) (drop) ".repeat(100);
        wat::parse_str(format!("(module {})", format!("(func {body})").repeat(count))).unwrap()
    }

    #[test]
    fn the_cost_grows_with_the_code_and_not_with_the_data() {
        let (few, many) = (estimate(&functions(10)).memory, estimate(&functions(1_000)).memory);
        assert!(many - BYTES_ALWAYS > 50 * (few - BYTES_ALWAYS), "{few} {many}");
        let data =
            wat::parse_str(format!("(module (memory 64) (data (i32.const 0) \"{}\"))", "x".repeat(1 << 20))).unwrap();
        assert!(estimate(&data).memory < BYTES_ALWAYS + (2 << 20));
    }

    #[test]
    fn modules_within_a_component_count() {
        let inner = "(core module (func (i32.const 1) (drop)))";
        let one = estimate(&wat::parse_str(format!("(component {inner})")).unwrap()).memory;
        let two = estimate(&wat::parse_str(format!("(component {inner} {inner})")).unwrap()).memory;
        assert!(two >= one + BYTES_PER_FUNCTION);
    }

    #[test]
    fn what_is_no_module_costs_little() {
        for bytes in [&b""[..], b"\0asm", b"#!/bin/sh"] {
            assert!(estimate(bytes).memory <= BYTES_ALWAYS + 16);
        }
    }

    #[test]
    fn what_fits_is_given_more_than_its_estimate_but_never_more_than_there_is() {
        let of = |memory, budget| bounds(Cost { memory }, budget).map(|bounds| bounds.memory);
        assert_eq!(of(100 << 20, 2 << 30), Ok(456 << 20));
        assert_eq!(of(500 << 20, 512 << 20), Ok(512 << 20));
        assert_eq!(of(513 << 20, 512 << 20), Err(513 << 20));
    }

    #[test]
    fn the_budget_is_a_quarter_of_the_machine_within_reason() {
        assert_eq!(total("MemTotal:       8000000 kB\nMemFree: 1 kB\n"), Some(8_192_000_000));
        assert_eq!(total("nothing"), None);
        assert_eq!(budget(Some(8 << 30)), 2 << 30);
        assert_eq!(budget(Some(1 << 30)), BUDGET_MIN);
        assert_eq!(budget(Some(1 << 40)), BUDGET_MAX);
        assert_eq!(budget(None), BUDGET_MIN);
    }
}
