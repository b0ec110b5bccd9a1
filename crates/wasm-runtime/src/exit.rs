//! Says how a guest ended, from what the engine returned. Pure.

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use crate::guest::{Exit, ExitReason};
use crate::memory::Shortage;
use crate::order::KILLED;

/// 128 + SIGABRT: Rust's and C's abort compile to `unreachable`.
const ABORTED: i32 = 134;
/// 128 + SIGFPE.
const ARITHMETIC: i32 = 136;
/// 128 + SIGSEGV.
const MEMORY_FAULT: i32 = 139;

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

    /// The guest could not have the memory that it wanted.
    pub(crate) fn out_of_memory(shortage: Shortage, details: &str) -> Self {
        let message = format!("the guest wanted more memory than {shortage}\n{details}");
        Self { code: KILLED, reason: ExitReason::OutOfMemory, message }
    }

    /// The host failed on the guest's behalf.
    pub(crate) fn host_failure(message: String) -> Self {
        Self { code: ABORTED, reason: ExitReason::Trapped, message }
    }
}

/// Says how a guest ended whose call returned `result`, having been `refused` memory or not.
pub(crate) fn classify(result: Result<(), wasmtime::Error>, refused: Option<Shortage>) -> Exit {
    let Err(error) = result else { return Exit::exited(0) };
    // Every exit is an error, also exit 0.
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Exit::exited(*code);
    }
    let message = format!("{error:?}");
    if let Some(shortage) = refused {
        return Exit::out_of_memory(shortage, &message);
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

    const ENOUGH: Option<Shortage> = None;
    const REFUSED: Option<Shortage> = Some(Shortage::Own(100));

    fn check(error: impl Into<wasmtime::Error>, memory: Option<Shortage>) -> (i32, ExitReason) {
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
