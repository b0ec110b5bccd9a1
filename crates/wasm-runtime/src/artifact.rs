//! Compiled and linked code, ready to be started any number of times.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::{self, Component};
use wasmtime::{InstancePre, Linker, Module};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::{p2 as http_p2, p3 as http_p3};

use crate::command::{Program, Running};
use crate::config;
use crate::ctx::Ctx;
use crate::engine::Engine;
use crate::error::Error;
use crate::export::{self, Export, Pre};
use crate::guest::GuestSpec;
use crate::http::{Handler, HttpGuest};
use crate::inspect::{Abi, Inspection, Kind, listed};
use crate::memory::INSTANCE_BYTES;

const PAGE_BYTES: u64 = 64 << 10;

/// A guest's code. Clones share it.
#[derive(Clone)]
pub struct Artifact(Arc<Code>);

/// What an artifact holds.
pub(crate) struct Code {
    engine: Engine,
    inspection: Inspection,
    /// The largest initial memory, in bytes.
    initial_memory: u64,
    /// How many of the engine's slots an instance takes.
    weight: u32,
    entry: Entry,
    pre: Pre,
    /// The exported functions that can be called by name.
    functions: Vec<String>,
}

enum Entry {
    /// None of its own.
    Functions,
    Program(Program),
    /// With the command that the same component may export as well.
    Handler(Handler, Option<Program>),
}

impl Code {
    pub(crate) fn module(
        engine: Engine,
        inspection: Inspection,
        module: &Module,
        linker: &Linker<Ctx>,
    ) -> wasmtime::Result<Self> {
        let pre: InstancePre<Ctx> = linker.instantiate_pre(module)?;
        let required = module.resources_required();
        let entry = match module.get_export("_start") {
            Some(_) => Entry::Program(Program::Module(pre.clone())),
            None => Entry::Functions,
        };
        let (initial_memory, weight) = (bytes(required.max_initial_memory_size), config::weight(&required));
        let functions = export::of_module(module);
        Ok(Self { engine, inspection, initial_memory, weight, entry, pre: Pre::Module(pre), functions })
    }

    pub(crate) fn component(
        engine: Engine,
        inspection: Inspection,
        component: &Component,
        linker: &component::Linker<Ctx>,
    ) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let kept = Pre::Component(pre.clone());
        let functions = export::of_component(component, engine.wasm());
        let entry = match (inspection.kind, inspection.is_wasi_0_3) {
            (Kind::HttpHandler, false) => {
                let program = program(&inspection, &pre)?;
                Entry::Handler(Handler::V0_2(http_p2::bindings::ProxyPre::new(pre)?), program)
            }
            (Kind::HttpHandler, true) => {
                let program = program(&inspection, &pre)?;
                Entry::Handler(Handler::V0_3(http_p3::bindings::ServicePre::new(pre)?), program)
            }
            (Kind::Functions, _) => Entry::Functions,
            (_, false) => Entry::Program(Program::V0_2(p2::bindings::CommandPre::new(pre)?)),
            (_, true) => Entry::Program(Program::V0_3(p3::bindings::CommandPre::new(pre)?)),
        };
        // Known of every component that imports no modules, and nobody here gives it any.
        let required = component.resources_required();
        let initial_memory = bytes(required.as_ref().and_then(|required| required.max_initial_memory_size));
        let weight = required.as_ref().map_or(1, config::weight);
        Ok(Self { engine, inspection, initial_memory, weight, entry, pre: kept, functions })
    }
}

/// Returns the command of a component that is something else in the first place.
fn program(inspection: &Inspection, pre: &component::InstancePre<Ctx>) -> wasmtime::Result<Option<Program>> {
    Ok(match inspection.command() {
        None => None,
        Some(Abi::V0_2) => Some(Program::V0_2(p2::bindings::CommandPre::new(pre.clone())?)),
        Some(Abi::V0_3) => Some(Program::V0_3(p3::bindings::CommandPre::new(pre.clone())?)),
    })
}

fn bytes(pages: Option<u64>) -> u64 {
    pages.unwrap_or(0).saturating_mul(PAGE_BYTES)
}

impl Artifact {
    pub(crate) fn new(code: Arc<Code>) -> Self {
        Self(code)
    }

    /// Returns what the binary is.
    pub fn inspection(&self) -> &Inspection {
        &self.0.inspection
    }

    /// Returns what runs it.
    pub fn kind(&self) -> Kind {
        self.0.inspection.kind
    }

    /// Returns the interfaces that it imports; all of them are offered, or it would not have been loaded.
    pub fn imports(&self) -> &[String] {
        &self.0.inspection.imports
    }

    /// Reports whether the guest asks to be told when it should stop.
    pub fn wants_stop(&self) -> bool {
        self.0.inspection.wants_stop()
    }

    /// Reports whether it can be started: as what it is, or because an HTTP handler exports a command as well.
    pub fn has_command(&self) -> bool {
        matches!(&self.0.entry, Entry::Program(_) | Entry::Handler(_, Some(_)))
    }

    /// Returns the exported function that a container's `command` names; `None` if it names none and the guest has an
    /// entry point of its own, which is free to make of the name what it likes. A name with a `#` is always a function's.
    ///
    /// # Errors
    /// [`Error::NoExport`] lists what there is.
    pub fn function(&self, command: &str) -> Result<Option<String>, Error> {
        let found = export::find(&self.0.functions, command);
        let needs_one = command.contains('#') || matches!(self.0.entry, Entry::Functions);
        if found.is_none() && needs_one {
            return Err(Error::NoExport {
                wanted: command.to_owned(),
                functions: listed(&self.0.functions),
                exports: listed(&self.0.inspection.exports),
            });
        }
        Ok(found.cloned())
    }

    /// Starts a command: the function that `spec` names, or else what the guest is.
    ///
    /// # Errors
    /// Fails if there is no command, a mount cannot be opened or no slot is free. Everything later is an
    /// [`Exit`](crate::Exit).
    pub fn start(&self, spec: GuestSpec) -> Result<Running, Error> {
        if let Some(name) = spec.export.clone() {
            let program = Program::Export(Export { code: self.0.pre.clone(), name });
            return self.run(program, spec);
        }
        match &self.0.entry {
            Entry::Functions => Err(Error::NoEntry(listed(&self.0.functions))),
            Entry::Program(program) | Entry::Handler(_, Some(program)) => self.run(program.clone(), spec),
            Entry::Handler(_, None) => Err(Error::Kind { wanted: "a command", found: self.kind().describe() }),
        }
    }

    fn run(&self, program: Program, spec: GuestSpec) -> Result<Running, Error> {
        Running::start(&self.0.engine, self.0.weight, program, spec, self.wants_stop())
    }

    /// Makes an HTTP handler available. Nothing runs until a request comes.
    ///
    /// # Errors
    /// Fails if this is no HTTP handler, a mount cannot be opened, or the guest's first memory is over its limit.
    pub fn serve(&self, spec: GuestSpec) -> Result<HttpGuest, Error> {
        let Entry::Handler(handler, _) = &self.0.entry else {
            return Err(Error::Kind { wanted: "an HTTP handler", found: self.kind().describe() });
        };
        let limit = spec.limits.memory_bytes;
        let needed = self.0.initial_memory.saturating_add(INSTANCE_BYTES);
        if needed > limit {
            return Err(Error::MemoryLimit { needed, limit });
        }
        HttpGuest::new(self.0.engine.clone(), self.0.weight, handler.clone(), spec)
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Artifact").field(&self.0.inspection).finish()
    }
}
