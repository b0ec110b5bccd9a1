//! Cuts long bulk instructions into pieces, so that a guest in the midst of one can be stopped. Pure.
//!
//! The epoch is looked at in loops and at the beginning of functions. One `memory.fill` of a gigabyte is neither: it held
//! its thread for seconds. So modules are rewritten before they are compiled, those within components too:
//!
//! ```text
//!  memory.fill             call $fill                 (func $fill (param $to $value $count)
//!  memory.copy      ==>    call $copy        and        short?          as it was
//!  memory.init             call $init                   out of bounds?  as it was, which traps before it writes
//!                                                       a loop of pieces otherwise)
//! ```
//!
//! Nothing else changes: types and functions are added behind the others, so that every index keeps its meaning, and a
//! module without such instructions is compiled as it is. Nobody sees a half-done fill: no two guests share a memory, and
//! whoever is stopped in one never runs again. Tables need none of this: `memory.rs` keeps them small.

mod edit;
mod module;
mod pieces;

#[cfg(test)]
mod equal_tests;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use wasmparser::BinaryReaderError;

use self::edit::{Edit, Section, sections};

/// What is made here is part of what was compiled: other code for the same digest needs another number.
pub(crate) const VERSION: u32 = 1;

/// Components within components, deeper than this, are no toolchain's work; each level takes stack here.
const DEPTH_MAX: usize = 64;

const MODULE_IN_COMPONENT: u8 = 1;
const COMPONENT_IN_COMPONENT: u8 = 4;

/// Why a binary could not be cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The compiler would say the same.
    #[error(transparent)]
    Damaged(#[from] BinaryReaderError),
    /// More than any toolchain makes.
    #[error("it has bulk instructions for more than {0} pairs of memories and data segments")]
    TooMany(usize),
    /// More than any toolchain makes.
    #[error("its components are nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// Returns a module or component that does the same as `wasm`, and whose bulk instructions can be interrupted.
pub(crate) fn cut(wasm: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    match wasm.get(6..8) {
        Some([0, 0]) => module::cut(wasm),
        Some(_) => cut_component(wasm, DEPTH_MAX),
        None => Ok(Cow::Borrowed(wasm)),
    }
}

fn cut_component(wasm: &[u8], depth: usize) -> Result<Cow<'_, [u8]>, Error> {
    let Some(depth) = depth.checked_sub(1) else { return Err(Error::TooDeep) };
    let mut edit = Edit::new(wasm);
    for section in sections(wasm) {
        let section: Section<'_> = section?;
        let content = match section.id {
            MODULE_IN_COMPONENT => module::cut(section.content)?,
            COMPONENT_IN_COMPONENT => cut_component(section.content, depth)?,
            _ => continue,
        };
        if let Cow::Owned(content) = content {
            edit.replace(section.range.clone(), |output| section.encode_with(&content, output));
        }
    }
    Ok(edit.finish())
}
