//! `wasi:logging/logging@0.1.0-draft`: what a guest logs, as lines of its standard error with the level first.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use crate::ctx::Ctx;
use crate::guest::StdStream;

const INTERFACE: &str = "wasi:logging/logging@0.1.0-draft";

/// The interface's `level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests make them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

/// Offers the interface to components.
pub(crate) fn add_to_components(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap_async(
        "log",
        |store: StoreContextMut<'_, Ctx>, (level, context, message): (Level, String, String)| {
            let output = store.data().output.clone();
            Box::new(async move {
                if let Some(output) = output {
                    if let Some(room) = output.room() {
                        room.await;
                    }
                    output.write(StdStream::Stderr, line(level, &context, &message).as_bytes());
                }
                Ok(())
            })
        },
    )
}

/// Writes one line, whatever the message has in it: a guest's message cannot pass for two.
fn line(level: Level, context: &str, message: &str) -> String {
    let level = match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    };
    let separator = if context.is_empty() { "" } else { ": " };
    let text = format!("{context}{separator}{}", message.trim_end_matches('\n'));
    format!("{level} {}\n", text.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_its_level_first() {
        assert_eq!(line(Level::Warn, "orders", "late\n"), "WARN orders: late\n");
        assert_eq!(line(Level::Info, "", "hello"), "INFO hello\n");
        assert_eq!(line(Level::Critical, "a", "one\nINFO two"), "CRITICAL a: one\\nINFO two\n");
    }
}
