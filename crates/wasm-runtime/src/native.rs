//! The only unsafe code of the project: mapping machine code that this node compiled.
#![expect(unsafe_code, reason = "wasmtime cannot check that a file holds code which it compiled itself")]

use std::path::Path;

use wasmtime::component::Component;
use wasmtime::{Engine, Module, Result};

/// Maps a compiled core module.
///
/// `path` must lie in the cache directory of [`crate::cache`].
pub(super) fn module(engine: &Engine, path: &Path) -> Result<Module> {
    // SAFETY: the file was written by `Cache::save` from the output of this engine's compiler: `Cache::find` has verified
    // a code over it that only this node can make. The directory has mode 0700 and belongs to us, files enter it by rename
    // only and are never changed in place, and its name holds the hash of everything that makes code compatible.
    // JUSTIFICATION: compiling takes seconds for large guests; a restart of the node must not.
    unsafe { Module::deserialize_file(engine, path) }
}

/// Maps a compiled component.
///
/// `path` must lie in the cache directory of [`crate::cache`].
pub(super) fn component(engine: &Engine, path: &Path) -> Result<Component> {
    // SAFETY: as for `module`.
    // JUSTIFICATION: as for `module`.
    unsafe { Component::deserialize_file(engine, path) }
}
