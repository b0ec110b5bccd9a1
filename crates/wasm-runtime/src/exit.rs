//! Says how a guest ended, from what the engine returned. Pure.

use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::ctx::Ctx;
use crate::guest::{Exit, ExitReason};
use crate::order::KILLED;

/// 128 + SIGABRT: Rust's and C's abort compile to `unreachable`.
const ABORTED: i32 = 134;
/// 128 + SIGFPE.
const ARITHMETIC: i32 = 136;
/// 128 + SIGSEGV.
const MEMORY_FAULT: i32 = 139;

/// What the memory meter knew when the guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) limit: u64,
    /// Whether the last growth was refused.
    pub(crate) is_refused: bool,
}

impl Memory {
    pub(crate) fn of(store: &Store<Ctx>) -> Self {
        let meter = &store.data().memory;
        Self { limit: meter.limit(), is_refused: meter.has_refused() }
    }
}

impl Exit {
    /// The guest returned or exited.
    pub(crate) fn exited(code: i32) -> Self {
        // What a shell shows of a larger code.
        Self { code: code & 0xff, reason: ExitReason::Exited, message: String::new() }
    }

    /// We ended the guest.
    pub(crate) fn stopped(code: i32) -> Self {
        Self { code, reason: ExitReason::Stopped, message: String::new() }
    }

    /// The host failed on the guest's behalf.
    pub(crate) fn host_failure(message: String) -> Self {
        Self { code: ABORTED, reason: ExitReason::Trapped, message }
    }
}

/// Says how a guest ended whose call returned `result`.
pub(crate) fn classify(result: Result<(), wasmtime::Error>, memory: Memory) -> Exit {
    let Err(error) = result else { return Exit::exited(0) };
    // Every exit is an error, also exit 0.
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Exit::exited(*code);
    }
    let message = format!("{error:?}");
    if memory.is_refused {
        return Exit {
            code: KILLED,
            reason: ExitReason::OutOfMemory,
            message: format!("the guest wanted more memory than its limit of {} bytes\n{message}", memory.limit),
        };
    }
    let code = error.downcast_ref::<Trap>().map_or(1, |trap| trap_code(*trap));
    Exit { code, reason: ExitReason::Trapped, message }
}

/// The code of the signal that a native program would have died of.
fn trap_code(trap: Trap) -> i32 {
    match trap {
        Trap::MemoryOutOfBounds | Trap::TableOutOfBounds | Trap::HeapMisaligned | Trap::StackOverflow => MEMORY_FAULT,
        Trap::IntegerDivisionByZero | Trap::IntegerOverflow | Trap::BadConversionToInteger => ARITHMETIC,
        Trap::Interrupt => KILLED,
        _ => ABORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENOUGH: Memory = Memory { limit: 100, is_refused: false };
    const REFUSED: Memory = Memory { limit: 100, is_refused: true };

    fn check(error: impl Into<wasmtime::Error>, memory: Memory) -> (i32, ExitReason) {
        let exit = classify(Err(error.into()), memory);
        (exit.code, exit.reason)
    }

    #[test]
    fn exit_codes_are_kept_as_a_shell_shows_them() {
        assert_eq!(classify(Ok(()), ENOUGH), Exit::exited(0));
        for (code, shown) in [(0, 0), (7, 7), (125, 125), (137, 137), (255, 255), (256, 0), (-1, 255)] {
            assert_eq!(check(I32Exit(code), ENOUGH), (shown, ExitReason::Exited));
        }
    }

    #[test]
    fn traps_end_like_the_signal_of_a_native_program() {
        assert_eq!(check(Trap::UnreachableCodeReached, ENOUGH), (134, ExitReason::Trapped));
        assert_eq!(check(Trap::StackOverflow, ENOUGH), (139, ExitReason::Trapped));
        assert_eq!(check(Trap::IntegerDivisionByZero, ENOUGH), (136, ExitReason::Trapped));
        assert_eq!(check(wasmtime::format_err!("host"), ENOUGH), (1, ExitReason::Trapped));
    }

    #[test]
    fn a_trap_after_refused_memory_is_out_of_memory_but_an_exit_is_the_guests_choice() {
        assert_eq!(check(Trap::UnreachableCodeReached, REFUSED), (137, ExitReason::OutOfMemory));
        assert_eq!(check(wasmtime::format_err!("initial memory"), REFUSED), (137, ExitReason::OutOfMemory));
        assert_eq!(check(I32Exit(1), REFUSED), (1, ExitReason::Exited));
    }
}
