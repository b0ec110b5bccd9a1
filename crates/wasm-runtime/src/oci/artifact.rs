//! What of an image is to be run. Pure; the media types seen in the wild are listed here.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::manifest::{Descriptor, Document, Platform};

/// An index of manifests, one for each platform.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// One image.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What we ask registries for.
pub const ACCEPTED: &[&str] = &[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// The config of a standard wasm artifact (CNCF, `wkg`, `wash`).
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Its layer.
pub const WASM_LAYER: &str = "application/wasm";
/// The config of a container image.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The name of a file in a layer of its own, as `oras push` writes it.
pub const TITLE: &str = "org.opencontainers.image.title";

/// A module or component, uncompressed, by every name that a tool gives it.
const WASM_LAYERS: &[&str] = &[
    WASM_LAYER,
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
/// A file system, by every name without its compression, which is read from the bytes.
const TAR_LAYERS: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];
/// Marks an application of the Spin framework, which may consist of several components and files.
const SPIN_APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";
/// Files of a Spin application.
const SPIN_FILES: &[&str] =
    &["application/vnd.wasm.content.layer.v1+data", "application/vnd.wasm.content.bundle.v1.tar+gzip"];
/// The settings of an Envoy filter.
const PROXY_WASM_SETTINGS: &str = "runtime-config.json";

/// More layers than any builder makes: Docker stops at 127, Spin at 500.
const LAYERS_MAX: usize = 512;

/// Why an image is none that this host runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The manifest is no JSON, or not of its form.
    #[error("its manifest cannot be read: {0}")]
    Manifest(String),
    /// The config is no JSON, or not of its form.
    #[error("its config cannot be read: {0}")]
    Config(String),
    /// The index has nothing for WASI.
    #[error("it has no variant for WebAssembly, only for {0}")]
    NoPlatform(String),
    /// An index within an index.
    #[error("its index lists another index")]
    Nested,
    /// A container image for a machine.
    #[error(
        "it is a container image for {platform}, and its entry point {entrypoint:?} is no .wasm file; build the \
             program for wasm32-wasip1 or wasm32-wasip2 and push that with `wkube push`"
    )]
    Container {
        /// Its operating system and processor.
        platform: String,
        /// What it would run.
        entrypoint: String,
    },
    /// A file system without an entry point.
    #[error("it has no entry point; set `command` to the path of a .wasm file in the image{0}")]
    NoEntrypoint(String),
    /// The entry point is not in the file system.
    #[error("its entry point {entrypoint:?} is not in the image{found}")]
    Missing {
        /// What was to be run.
        entrypoint: String,
        /// What there is instead.
        found: String,
    },
    /// A filter for Envoy.
    #[error("it is a proxy-wasm filter for Envoy or Istio, which only such a proxy can run")]
    ProxyWasm,
    /// A Spin application.
    #[error("it is a Spin application of several components or with files; push one component with `wkube push`")]
    Spin,
    /// No layer that we know.
    #[error("it has no layer with a wasm module, only {0}")]
    NoModule(String),
    /// The wasm artifact format allows one.
    #[error("it has {0} wasm layers where one is allowed")]
    ManyModules(usize),
    /// Absurdly many.
    #[error("it has {0} layers, more than the {LAYERS_MAX} that this host accepts")]
    ManyLayers(usize),
    /// A layer is no tar, leads outside, or is too large when it is unpacked.
    #[error("its layer {layer} cannot be unpacked: {reason}")]
    Layer {
        /// The layer.
        layer: Digest,
        /// Why not.
        reason: String,
    },
}

/// The image of an index that suits best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Its descriptor.
    pub manifest: &'a Descriptor,
    /// Whether it says itself that it is for WASI. The images of older tools say `linux/amd64`.
    pub is_for_wasi: bool,
}

/// Chooses the image of an index that is for WASI: by its platform, or because it is the only one, or because it may be
/// one of those that were built for a containerd shim and say `linux/amd64`.
///
/// # Errors
/// [`Problem::NoPlatform`] lists what there is instead.
pub fn choose_manifest(manifests: &[Descriptor]) -> Result<Choice<'_>, Problem> {
    // Attestations of docker buildx have the platform unknown/unknown.
    let images: Vec<&Descriptor> = manifests.iter().filter(|manifest| !manifest.is_attestation()).collect();
    if let Some(wasm) = images.iter().find(|manifest| manifest.is_for_wasi()) {
        return Ok(Choice { manifest: wasm, is_for_wasi: true });
    }
    let shim = images.iter().find(|image| image.platform_name() == "linux/amd64");
    match (&images[..], shim) {
        ([manifest], _) | (_, Some(manifest)) => Ok(Choice { manifest, is_for_wasi: false }),
        _ => Err(no_platform(manifests)),
    }
}

/// Says which platforms an index has.
pub fn no_platform(manifests: &[Descriptor]) -> Problem {
    let images = manifests.iter().filter(|manifest| !manifest.is_attestation());
    let names = names(images.map(Descriptor::platform_name));
    Problem::NoPlatform(if names.is_empty() { "nothing".to_owned() } else { names })
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan<'a> {
    /// Each layer is a module; the first is the one to run.
    Modules(Vec<&'a Descriptor>),
    /// The layers are tars, the lowest first, and the config names a file in them.
    Rootfs(Vec<&'a Descriptor>),
}

/// Finds out what an image is made of.
///
/// # Errors
/// The [`Problem`] says what the image is instead.
pub fn plan(manifest: &Document) -> Result<Plan<'_>, Problem> {
    let layers = &manifest.layers;
    if layers.len() > LAYERS_MAX {
        return Err(Problem::ManyLayers(layers.len()));
    }
    let has = |media_types: &[&str]| layers.iter().any(|layer| media_types.contains(&layer.media_type.as_str()));
    let modules: Vec<_> = layers.iter().filter(|layer| layer.is_module()).collect();
    if has(&[SPIN_APPLICATION]) && (modules.len() != 1 || has(SPIN_FILES)) {
        return Err(Problem::Spin);
    }
    if layers.iter().any(|layer| layer.title() == Some(PROXY_WASM_SETTINGS)) {
        return Err(Problem::ProxyWasm);
    }
    if !modules.is_empty() {
        return one_or_named(manifest, modules).map(Plan::Modules);
    }
    let tars: Vec<_> = layers.iter().filter(|layer| layer.is_tar()).collect();
    if !tars.is_empty() && tars.len() == layers.len() {
        return Ok(Plan::Rootfs(tars));
    }
    let found = names(layers.iter().map(|layer| layer.media_type.clone()));
    Err(Problem::NoModule(if found.is_empty() { "no layer at all".to_owned() } else { found }))
}

/// Several modules are told apart by their titles; the standard artifact allows only one.
fn one_or_named<'a>(manifest: &Document, modules: Vec<&'a Descriptor>) -> Result<Vec<&'a Descriptor>, Problem> {
    let is_standard = manifest.config.as_ref().is_some_and(|config| config.media_type == WASM_CONFIG);
    let are_named = modules.iter().all(|module| module.title().is_some());
    if modules.len() == 1 || (are_named && !is_standard) {
        return Ok(modules);
    }
    Err(Problem::ManyModules(modules.len()))
}

/// Whether a manifest's config is one of a container image, and worth reading.
pub fn has_config(manifest: &Document) -> Option<&Descriptor> {
    manifest.config.as_ref().filter(|config| [OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()))
}

/// Joins a few names for a message.
pub(super) fn names(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    names.take(SHOWN).collect::<Vec<_>>().join(", ")
}

impl Descriptor {
    /// Returns the file's name, if the layer is a file of its own.
    pub fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }

    fn is_module(&self) -> bool {
        WASM_LAYERS.contains(&self.media_type.as_str())
    }

    fn is_tar(&self) -> bool {
        let media_type = self.media_type.as_str();
        TAR_LAYERS.iter().any(|tar| {
            media_type.strip_prefix(tar).is_some_and(|rest| matches!(rest, "" | "+gzip" | ".gzip" | "+zstd" | ".zstd"))
        })
    }

    fn is_for_wasi(&self) -> bool {
        self.platform.as_ref().is_some_and(Platform::is_wasi)
    }

    fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    fn platform_name(&self) -> String {
        self.platform.as_ref().map_or_else(
            || "an unnamed platform".to_owned(),
            |platform| format!("{}/{}", platform.os, platform.architecture),
        )
    }
}

impl Platform {
    /// Whether this is WebAssembly, by any of the names in use.
    pub fn is_wasi(&self) -> bool {
        let os = self.os.to_ascii_lowercase();
        let architecture = self.architecture.to_ascii_lowercase();
        ["wasi", "wasip1", "wasip2", "wasip3"].contains(&os.as_str())
            && ["wasm", "wasm32"].contains(&architecture.as_str())
    }
}

/// The config blob of a standard wasm artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmConfig {
    /// Always `wasm`.
    pub architecture: String,
    /// `wasip1` for core modules, `wasip2` for components.
    pub os: String,
    /// The digest of each layer.
    pub layer_digests: Vec<Digest>,
    /// Required for components: lets a scheduler match imports before anything is downloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Surface>,
}

/// What a component imports and exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surface {
    /// Interfaces that it exports.
    pub exports: Vec<String>,
    /// Interfaces that it imports.
    pub imports: Vec<String>,
}

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
