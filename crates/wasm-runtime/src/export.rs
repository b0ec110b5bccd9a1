//! Exported functions as programs: which of them can be called by name, and the call.
//!
//! A function is callable if it takes nothing and returns nothing, an integer (the exit code), or a `result`, whose error
//! is exit code 1. Names are those of the binary: `migrate`, or `acme:tools/jobs@1.0.0#migrate` for a function of an
//! exported interface.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self, Component, Type, Val};
use wasmtime::{Engine, ExternType, FuncType, InstancePre, Module, Store, ValType};
use wasmtime_wasi::I32Exit;

use crate::ctx::{Abi, Ctx};
use crate::guest::StdStream;

/// What a reactor wants to be called before anything else.
const INITIALIZE: &str = "_initialize";

/// One exported function of a guest.
#[derive(Clone)]
pub(crate) struct Export {
    pub(crate) code: Pre,
    pub(crate) name: String,
}

/// Linked code.
#[derive(Clone)]
pub(crate) enum Pre {
    Module(InstancePre<Ctx>),
    Component(component::InstancePre<Ctx>),
}

/// Returns the names of a module's callable functions. Those that begin with an underscore are the toolchain's.
pub(crate) fn of_module(module: &Module) -> Vec<String> {
    let is_callable = |ty: &FuncType| {
        let (params, mut results) = (ty.params().len(), ty.results());
        params == 0 && matches!((results.next(), results.next()), (None | Some(ValType::I32), None))
    };
    module
        .exports()
        .filter(|export| matches!(export.ty(), ExternType::Func(ty) if is_callable(&ty)))
        .map(|export| export.name().to_owned())
        .filter(|name| !name.starts_with('_') && !name.starts_with("cabi_"))
        .collect()
}

/// Returns the names of a component's callable functions. Those of `wasi` have entry points of their own.
pub(crate) fn of_component(component: &Component, engine: &Engine) -> Vec<String> {
    let mut names = Vec::new();
    for (name, export) in component.component_type().exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(ty) if is_callable(&ty) => names.push(name.to_owned()),
            ComponentItem::ComponentInstance(ty) if !name.starts_with("wasi:") => {
                for (function, export) in ty.exports(engine) {
                    if matches!(&export.ty, ComponentItem::ComponentFunc(ty) if is_callable(ty)) {
                        names.push(format!("{name}#{function}"));
                    }
                }
            }
            _ => {}
        }
    }
    names
}

fn is_callable(ty: &component::types::ComponentFunc) -> bool {
    let (params, mut results) = (ty.params().len(), ty.results());
    params == 0
        && match (results.next(), results.next()) {
            (None, _) => true,
            (Some(result), None) => {
                matches!(result, Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32 | Type::Result(_))
            }
            _ => false,
        }
}

/// Finds the function that a container's `command` names. What is before the last `#` may be left out, or be the name of
/// a file as `containerd`'s shims have it (`module.wasm#migrate`), unless it is needed to tell functions apart.
pub(crate) fn find<'a>(functions: &'a [String], command: &str) -> Option<&'a String> {
    let exact = functions.iter().find(|name| *name == command);
    let (file, name) = command.rsplit_once('#').unwrap_or(("", command));
    exact.or_else(|| functions.iter().find(|known| *known == name && !file.contains('@')))
}

impl Export {
    pub(crate) fn abi(&self) -> Abi {
        match self.code {
            Pre::Module(_) => Abi::Module,
            Pre::Component(_) => Abi::Component,
        }
    }

    /// Calls the function in a new instance. An exit code other than 0 is an error, as that of `proc_exit` is.
    pub(crate) async fn call(self, store: &mut Store<Ctx>) -> wasmtime::Result<()> {
        let code = match &self.code {
            Pre::Module(pre) => self.call_module(pre, store).await?,
            Pre::Component(pre) => self.call_component(pre, store).await?,
        };
        if code == 0 { Ok(()) } else { Err(I32Exit(code).into()) }
    }

    async fn call_module(&self, pre: &InstancePre<Ctx>, store: &mut Store<Ctx>) -> wasmtime::Result<i32> {
        let instance = pre.instantiate_async(&mut *store).await?;
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE) {
            initialize.call_async(&mut *store, ()).await?;
        }
        if let Ok(function) = instance.get_typed_func::<(), ()>(&mut *store, &self.name) {
            function.call_async(&mut *store, ()).await?;
            return Ok(0);
        }
        instance.get_typed_func::<(), i32>(&mut *store, &self.name)?.call_async(&mut *store, ()).await
    }

    async fn call_component(&self, pre: &component::InstancePre<Ctx>, store: &mut Store<Ctx>) -> wasmtime::Result<i32> {
        let instance = pre.instantiate_async(&mut *store).await?;
        let (interface, name) = match self.name.rsplit_once('#') {
            Some((interface, name)) => (instance.get_export_index(&mut *store, None, interface), name),
            None => (None, self.name.as_str()),
        };
        let index = instance.get_export_index(&mut *store, interface.as_ref(), name);
        let function = index.and_then(|index| instance.get_func(&mut *store, index));
        let function = function.ok_or_else(|| wasmtime::format_err!("the function `{}` is gone", self.name))?;
        let mut results = vec![Val::Bool(false); function.ty(&*store).results().len()];
        function.call_async(&mut *store, &[], &mut results).await?;
        Ok(match results.first() {
            None | Some(Val::Result(Ok(_))) => 0,
            Some(Val::Result(Err(error))) => {
                self.tell(store, error.as_deref());
                1
            }
            Some(Val::S8(code)) => i32::from(*code),
            Some(Val::U8(code)) => i32::from(*code),
            Some(Val::S16(code)) => i32::from(*code),
            Some(Val::U16(code)) => i32::from(*code),
            Some(Val::S32(code)) => *code,
            Some(Val::U32(code)) => code.cast_signed(),
            Some(other) => return Err(wasmtime::format_err!("`{}` returned {other:?}", self.name)),
        })
    }

    /// Logs the error that a function returned, which its exit code does not show.
    fn tell(&self, store: &Store<Ctx>, error: Option<&Val>) {
        let (Some(output), Some(error)) = (&store.data().output, error) else { return };
        let text = match error {
            Val::String(text) => text.clone(),
            other => format!("{other:?}"),
        };
        output.write(StdStream::Stderr, format!("{} returned an error: {text}\n", self.name).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_a_function_with_or_without_what_is_before_it() {
        let functions = ["migrate".to_owned(), "acme:tools/jobs@1.0.0#sweep".to_owned()];
        let found = |command| find(&functions, command).map(String::as_str);
        assert_eq!(found("migrate"), Some("migrate"));
        assert_eq!(found("#migrate"), Some("migrate"));
        assert_eq!(found("/app.wasm#migrate"), Some("migrate"));
        assert_eq!(found("acme:tools/jobs@1.0.0#sweep"), Some("acme:tools/jobs@1.0.0#sweep"));
        assert_eq!(found("sweep"), None);
        assert_eq!(found("acme:tools/jobs@2.0.0#migrate"), None);
        assert_eq!(found("/bin/app"), None);
    }
}
