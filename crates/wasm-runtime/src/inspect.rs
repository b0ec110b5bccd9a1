//! Reads from a binary what it is and what it needs, before anything is compiled. Pure.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use wasmparser::{ComponentExternalKind, Encoding, ExternalKind, Parser, Payload};

use crate::error::Error;

/// Larger modules are refused: the largest interpreters in use (Ruby, `CPython`) have 16 to 40 MB.
pub(crate) const MODULE_BYTES_MAX: usize = 256 << 20;
/// A module with more imports than this is not something a toolchain made.
const IMPORTS_MAX: usize = 10_000;

/// What runs a binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A core module with WASI preview 1: a program with a `_start` function, or functions that can be called by name.
    Module,
    /// A component that exports `wasi:cli/run`.
    Command,
    /// A component that exports `wasi:http/incoming-handler` (0.2) or `wasi:http/handler` (0.3).
    HttpHandler,
    /// A component with neither, but with functions that can be called by name.
    Functions,
}

impl Kind {
    /// Returns how a sentence names it.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Module => "a command (WASI preview 1 module)",
            Self::Command => "a command (wasi:cli/run)",
            Self::HttpHandler => "an HTTP handler (wasi:http)",
            Self::Functions => "a library of functions",
        }
    }
}

/// What a binary is, read from the binary and never from labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// What runs it.
    pub kind: Kind,
    /// Whether its entry point is the one of WASI 0.3.
    pub is_wasi_0_3: bool,
    /// Interfaces of a component (`wasi:http/types@0.2.6`), or `module.name` of a core module; in the binary's order.
    pub imports: Vec<String>,
    /// What it exports, in the binary's order.
    pub exports: Vec<String>,
}

/// Which generation of `wasi:cli/run` a component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abi {
    /// WASI 0.2.
    V0_2,
    /// WASI 0.3.
    V0_3,
}

impl Inspection {
    /// Returns the command that a component exports, whatever else it is.
    pub(crate) fn command(&self) -> Option<Abi> {
        let exports = |interface: &str| self.exports.iter().any(|export| export.starts_with(interface));
        if exports("wasi:cli/run@0.3.") {
            return Some(Abi::V0_3);
        }
        exports("wasi:cli/run@0.2.").then_some(Abi::V0_2)
    }

    /// Reports whether the guest asks to be told when it should stop.
    pub fn wants_stop(&self) -> bool {
        self.imports.iter().any(|import| import.starts_with("wkube:lifecycle/stop"))
    }
}

/// Why this host does not run a binary. Each message names the cause and the next thing to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The first bytes are not those of WebAssembly.
    #[error("not a WebAssembly binary (it starts with {0}); build for wasm32-wasip1 or wasm32-wasip2")]
    NotWasm(String),
    /// The binary ends too early or is damaged.
    #[error("the WebAssembly binary is truncated or damaged: {0}; build or push it again")]
    Damaged(String),
    /// Over the limit.
    #[error("the module has {0} bytes, more than the {MODULE_BYTES_MAX} that this host accepts")]
    TooLarge(usize),
    /// A library instead of a program.
    #[error("the module has no `_start` and exports no other function; build it as a program (exports: {0})")]
    NoStart(String),
    /// A component without an entry point that we know.
    #[error(
        "the component exports neither `wasi:http/incoming-handler`, `wasi:http/handler` nor `wasi:cli/run`, and no \
         function of its own (exports: {0})"
    )]
    NoEntry(String),
    /// Made for an Envoy proxy.
    #[error("the module is a proxy-wasm filter (it imports `{0}`); it runs inside Envoy, not as a WASI program")]
    ProxyWasm(String),
    /// Made for a browser.
    #[error("the module needs a JavaScript host (it imports `{0}`); build for wasm32-wasip1 or wasm32-wasip2")]
    Browser(String),
    /// Threads by the abandoned `wasi-threads` proposal, or shared memory.
    #[error("the module needs threads (it imports `{0}`), which this host does not offer; build without threads")]
    Threads(String),
    /// Imports that nothing here offers.
    #[error("it imports {}, which this host does not offer; offered: {OFFERED}", with_versions(.0))]
    Imports(Vec<String>),
}

/// What a person should know about the offer; the exact list is [`INTERFACES`].
const OFFERED: &str = "WASI preview 1; WASI 0.2 and 0.3 (cli, clocks, filesystem, http, io, random, sockets); \
                       wasi:config/store@0.2.0-rc.1; wasi:keyvalue (store, atomics, batch) in 0.2.0-draft and \
                       0.2.0-draft2; wasi:logging/logging@0.1.0-draft; wasi:tls/types@0.2.0-draft; wkube:lifecycle/stop@0.1.0";

/// Component interfaces that the linker offers: package, versions by prefix, interfaces. A test instantiates each.
pub(crate) const INTERFACES: &[(&str, &str, &[&str])] = &[
    ("wasi:io", "0.2.", &["error", "poll", "streams"]),
    ("wasi:clocks", "0.2.", &["monotonic-clock", "wall-clock"]),
    ("wasi:random", "0.2.", &["random", "insecure", "insecure-seed"]),
    ("wasi:filesystem", "0.2.", &["types", "preopens"]),
    ("wasi:cli", "0.2.", CLI),
    ("wasi:sockets", "0.2.", SOCKETS_0_2),
    ("wasi:http", "0.2.", &["types", "outgoing-handler"]),
    ("wasi:clocks", "0.3.", &["monotonic-clock", "system-clock", "types"]),
    ("wasi:random", "0.3.", &["random", "insecure", "insecure-seed"]),
    ("wasi:filesystem", "0.3.", &["types", "preopens"]),
    ("wasi:cli", "0.3.", CLI),
    ("wasi:cli", "0.3.", &["types"]),
    ("wasi:sockets", "0.3.", &["types", "ip-name-lookup"]),
    ("wasi:http", "0.3.", &["types", "client"]),
    ("wasi:config", "0.2.0-rc.1", &["store"]),
    ("wasi:keyvalue", "0.2.0-draft", KEYVALUE),
    ("wasi:keyvalue", "0.2.0-draft2", KEYVALUE),
    ("wasi:logging", "0.1.0-draft", &["logging"]),
    ("wasi:tls", "0.2.0-draft", &["types"]),
    ("wkube:lifecycle", "0.1.", &["stop"]),
];
const KEYVALUE: &[&str] = &["store", "atomics", "batch"];
const CLI: &[&str] = &[
    "environment",
    "exit",
    "stdin",
    "stdout",
    "stderr",
    "terminal-input",
    "terminal-output",
    "terminal-stdin",
    "terminal-stdout",
    "terminal-stderr",
];
const SOCKETS_0_2: &[&str] =
    &["network", "instance-network", "tcp", "tcp-create-socket", "udp", "udp-create-socket", "ip-name-lookup"];

/// Reads what `wasm` is, and refuses what this host cannot run.
///
/// # Errors
/// The [`Refusal`] says what is wrong and what to do.
pub fn inspect(wasm: &[u8]) -> Result<Inspection, Refusal> {
    if wasm.len() > MODULE_BYTES_MAX {
        return Err(Refusal::TooLarge(wasm.len()));
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(Refusal::NotWasm(opening(wasm)));
    }
    let surface = Surface::read(wasm).map_err(|error| Refusal::Damaged(error.message().to_owned()))?;
    match surface.encoding {
        Encoding::Module => inspect_module(surface),
        Encoding::Component => inspect_component(surface),
    }
}

/// Translates WebAssembly's text form; a binary passes through untouched.
///
/// # Errors
/// [`Error::Text`] names line and column.
pub fn wat_to_wasm(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    wat::parse_bytes(bytes).map_err(|error| Error::Text(error.to_string()))
}

/// The imports and exports of the outermost module or component.
struct Surface {
    encoding: Encoding,
    imports: Vec<String>,
    exports: Vec<String>,
    /// Whether a function may be among the exports.
    has_functions: bool,
}

impl Surface {
    fn read(wasm: &[u8]) -> wasmparser::Result<Self> {
        let (imports, exports) = (Vec::new(), Vec::new());
        let mut surface = Self { encoding: Encoding::Module, imports, exports, has_functions: false };
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { encoding, .. } => {
                    if depth == 0 {
                        surface.encoding = encoding;
                    }
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                payload if depth == 1 => surface.take(payload)?,
                _ => {}
            }
        }
        Ok(surface)
    }

    fn take(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::ImportSection(reader) => {
                for import in reader.into_imports().take(IMPORTS_MAX) {
                    let import = import?;
                    self.imports.push(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    self.has_functions |= export.kind == ExternalKind::Func;
                    self.exports.push(export.name.to_owned());
                }
            }
            Payload::ComponentImportSection(reader) => {
                for import in reader.into_iter().take(IMPORTS_MAX) {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    // The functions of an interface are seen when it is compiled.
                    self.has_functions |=
                        matches!(export.kind, ComponentExternalKind::Func | ComponentExternalKind::Instance);
                    self.exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn inspect_module(surface: Surface) -> Result<Inspection, Refusal> {
    if let Some(refusal) = surface.imports.iter().find_map(|import| made_for_another_host(import)) {
        return Err(refusal);
    }
    refuse_unknown(&surface.imports, module_import_is_offered)?;
    if !surface.has_functions {
        return Err(Refusal::NoStart(listed(&surface.exports)));
    }
    Ok(Inspection { kind: Kind::Module, is_wasi_0_3: false, imports: surface.imports, exports: surface.exports })
}

fn inspect_component(surface: Surface) -> Result<Inspection, Refusal> {
    let exports = |interface: &str| surface.exports.iter().any(|export| export.starts_with(interface));
    let (kind, is_wasi_0_3) = if exports("wasi:http/handler@0.3.") {
        (Kind::HttpHandler, true)
    } else if exports("wasi:http/incoming-handler@0.2.") {
        (Kind::HttpHandler, false)
    } else if exports("wasi:cli/run@0.3.") {
        (Kind::Command, true)
    } else if exports("wasi:cli/run@0.2.") {
        (Kind::Command, false)
    } else if surface.has_functions {
        (Kind::Functions, false)
    } else {
        return Err(Refusal::NoEntry(listed(&surface.exports)));
    };
    refuse_unknown(&surface.imports, component_import_is_offered)?;
    Ok(Inspection { kind, is_wasi_0_3, imports: surface.imports, exports: surface.exports })
}

fn refuse_unknown(imports: &[String], is_offered: fn(&str) -> bool) -> Result<(), Refusal> {
    let unknown: Vec<String> = imports.iter().filter(|import| !is_offered(import)).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(Refusal::Imports(unknown)) }
}

/// Recognises modules that were built for something else, by an import that only they have.
fn made_for_another_host(import: &str) -> Option<Refusal> {
    let (module, name) = import.split_once('.').unwrap_or((import, ""));
    let owned = || import.to_owned();
    match module {
        "env" if name.starts_with("proxy_") => Some(Refusal::ProxyWasm(owned())),
        "wbg" | "__wbindgen_placeholder__" | "__wbindgen_externref_xform__" | "gojs" | "go" => {
            Some(Refusal::Browser(owned()))
        }
        "env" if name.starts_with("emscripten_") || name.starts_with("invoke_") => Some(Refusal::Browser(owned())),
        "wasi" if name == "thread-spawn" => Some(Refusal::Threads(owned())),
        // `wasm-bindgen --target bundler` imports from `./name_bg.js`; the dot is the first character of the path.
        "" if import.contains("_bg.js") => Some(Refusal::Browser(owned())),
        _ => None,
    }
}

fn module_import_is_offered(import: &str) -> bool {
    import.starts_with("wasi_snapshot_preview1.")
        || matches!(import, "wkube:lifecycle/stop.wait" | "wkube:lifecycle/stop.requested")
}

fn component_import_is_offered(import: &str) -> bool {
    let Some((path, version)) = import.split_once('@') else { return false };
    let Some((package, interface)) = path.split_once('/') else { return false };
    INTERFACES.iter().any(|(offered, versions, interfaces)| {
        let is_offered = if versions.ends_with('.') { version.starts_with(versions) } else { version == *versions };
        *offered == package && is_offered && interfaces.contains(&interface)
    })
}

/// Names imports, each with the versions that are offered of the same interface.
fn with_versions(imports: &[String]) -> String {
    let versions = |import: &str| {
        let path = import.split_once('@').map_or(import, |(path, _)| path);
        let (package, interface) = path.split_once('/')?;
        let offered =
            INTERFACES.iter().filter(|(known, _, interfaces)| *known == package && interfaces.contains(&interface));
        let versions: Vec<String> = offered
            .map(|(_, prefix, _)| if prefix.ends_with('.') { format!("{prefix}x") } else { (*prefix).to_owned() })
            .collect();
        (!versions.is_empty()).then(|| versions.join(" and "))
    };
    let named = imports.iter().map(|import| match versions(import) {
        Some(versions) => format!("`{import}` (offered in {versions})"),
        None => format!("`{import}`"),
    });
    listed(&named.collect::<Vec<_>>())
}

/// Shows the first bytes so that a person recognises the file: text as text, the rest as hex.
fn opening(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(16)];
    if head.is_empty() {
        return "nothing".to_owned();
    }
    match std::str::from_utf8(head) {
        Ok(text) if !text.contains('\0') => format!("{text:?}"),
        _ => hex::encode(head),
    }
}

/// Names up to eight exports.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names.len() {
        0 => "none".to_owned(),
        count if count <= SHOWN => names.join(", "),
        count => format!("{}, and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Inspection, Refusal> {
        inspect(&wat_to_wasm(text.as_bytes()).unwrap())
    }

    fn refusal(text: &str) -> String {
        check(text).unwrap_err().to_string()
    }

    #[test]
    fn the_kind_is_read_from_the_binary() {
        assert_eq!(check(r#"(module (func (export "_start")))"#).unwrap().kind, Kind::Module);
        let guests: [(&[u8], Kind, bool); 4] = [
            (include_bytes!("../testdata/hello-p1.wasm"), Kind::Module, false),
            (include_bytes!("../testdata/hello-comp.wasm"), Kind::Command, false),
            (include_bytes!("../testdata/http-p2.wasm"), Kind::HttpHandler, false),
            (include_bytes!("../testdata/http-p3.wasm"), Kind::HttpHandler, true),
        ];
        for (bytes, kind, is_wasi_0_3) in guests {
            let found = inspect(bytes).unwrap();
            assert_eq!((found.kind, found.is_wasi_0_3), (kind, is_wasi_0_3), "{:?}", found.exports);
        }
    }

    #[test]
    fn only_the_outermost_imports_count() {
        let found = inspect(include_bytes!("../testdata/http-p2.wasm")).unwrap();
        assert!(found.imports.iter().all(|import| import.starts_with("wasi:")), "{:?}", found.imports);
        assert!(found.imports.iter().any(|import| import.starts_with("wasi:http/types@0.2.")));
        assert!(!found.wants_stop());
    }

    #[test]
    fn what_is_not_wasm_is_shown() {
        assert_eq!(
            inspect(b"#!/bin/sh\n").unwrap_err().to_string(),
            r##"not a WebAssembly binary (it starts with "#!/bin/sh\n"); build for wasm32-wasip1 or wasm32-wasip2"##
        );
        assert!(inspect(b"\x7fELF\0\0").unwrap_err().to_string().contains("(it starts with 7f454c460000)"));
        assert!(inspect(b"").unwrap_err().to_string().contains("(it starts with nothing)"));
    }

    #[test]
    fn every_cut_of_a_module_is_called_damaged() {
        let whole: &[u8] = include_bytes!("../testdata/hello-p1.wasm");
        for end in [4, 7, 9, 100, whole.len() / 2, whole.len() - 1] {
            assert!(matches!(inspect(&whole[..end]), Err(Refusal::Damaged(_))), "cut at {end}");
        }
    }

    #[test]
    fn what_has_nothing_to_call_is_refused_and_a_library_is_not() {
        assert_eq!(
            refusal(r#"(module (memory (export "memory") 1))"#),
            "the module has no `_start` and exports no other function; build it as a program (exports: memory)"
        );
        assert_eq!(
            refusal("(component)"),
            "the component exports neither `wasi:http/incoming-handler`, `wasi:http/handler` nor `wasi:cli/run`, and no \
             function of its own (exports: none)"
        );
        assert_eq!(check(r#"(module (func (export "add")))"#).unwrap().kind, Kind::Module);
        let library = r#"(component (instance $jobs) (export "acme:tools/jobs@1.0.0" (instance $jobs)))"#;
        assert_eq!(check(library).unwrap().kind, Kind::Functions);
    }

    #[test]
    fn modules_for_other_hosts_are_recognised() {
        let importing = |module: &str, name: &str| {
            refusal(&format!(r#"(module (import "{module}" "{name}" (func)) (func (export "_start")))"#))
        };
        assert!(
            importing("env", "proxy_log").starts_with("the module is a proxy-wasm filter (it imports `env.proxy_log`)")
        );
        assert!(importing("wbg", "__wbg_log_1").starts_with("the module needs a JavaScript host"));
        assert!(importing("./app_bg.js", "log").starts_with("the module needs a JavaScript host"));
        assert!(importing("gojs", "runtime.ticks").starts_with("the module needs a JavaScript host"));
        assert!(importing("wasi", "thread-spawn").starts_with("the module needs threads"));
    }

    #[test]
    fn unknown_imports_are_named_with_what_is_offered() {
        let message = refusal(r#"(module (import "acme" "query" (func)) (func (export "_start")))"#);
        assert!(
            message.starts_with("it imports `acme.query`, which this host does not offer; offered: WASI"),
            "{message}"
        );
        let run = r#"(instance $run) (export "wasi:cli/run@0.2.0" (instance $run))"#;
        let message = refusal(&format!(
            r#"(component (import "wasi:blobstore/types@0.2.0" (instance)) (import "wasi:io/poll@0.2.1" (instance)) {run})"#
        ));
        assert!(message.starts_with("it imports `wasi:blobstore/types@0.2.0`, which"), "{message}");
        let message = refusal(&format!(r#"(component (import "wasi:keyvalue/store@0.1.0" (instance)) {run})"#));
        let expected = "it imports `wasi:keyvalue/store@0.1.0` (offered in 0.2.0-draft and 0.2.0-draft2), which";
        assert!(message.starts_with(expected), "{message}");
        let message = refusal(&format!(r#"(component (import "wasi:cli/exit@0.4.0" (instance)) {run})"#));
        assert!(
            message.starts_with("it imports `wasi:cli/exit@0.4.0` (offered in 0.2.x and 0.3.x), which"),
            "{message}"
        );
    }

    #[test]
    fn versions_are_compatible_within_a_minor_and_drafts_match_exactly() {
        for offered in [
            "wasi:cli/exit@0.2.0",
            "wasi:http/client@0.3.1",
            "wasi:config/store@0.2.0-rc.1",
            "wkube:lifecycle/stop@0.1.0",
        ] {
            assert!(component_import_is_offered(offered), "{offered}");
        }
        for missing in
            ["wasi:cli/exit@0.1.0", "wasi:http/client@0.2.0", "wasi:cli/exit", "exit", "wasi:config/store@0.2.0-draft"]
        {
            assert!(!component_import_is_offered(missing), "{missing}");
        }
    }

    #[test]
    fn a_guest_that_wants_to_be_told_is_recognised() {
        let found =
            check(r#"(module (import "wkube:lifecycle/stop" "wait" (func)) (func (export "_start")))"#).unwrap();
        assert!(found.wants_stop());
    }

    #[test]
    fn errors_in_text_name_line_and_column() {
        let message = wat_to_wasm(b"(module\n  (func (nonsense)))").unwrap_err().to_string();
        assert!(message.contains("2:"), "{message}");
    }
}
