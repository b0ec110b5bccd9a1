//! Which of an image's blobs is the module. Pure; the media types seen in the wild are listed here.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::puller::Descriptor;

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
/// A module or component, uncompressed, by every name that a tool gives it.
const WASM_LAYERS: &[&str] = &[
    WASM_LAYER,
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
/// Marks an application of the Spin framework, which runs on more than WASI.
const SPIN_APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";

/// A manifest or an index: what we read of either.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// Optional in OCI documents; the presence of `manifests` decides.
    pub media_type: Option<String>,
    /// The config of an image.
    pub config: Option<Descriptor>,
    /// The blobs of an image.
    pub layers: Vec<Descriptor>,
    /// The images of an index.
    pub manifests: Option<Vec<Descriptor>>,
}

/// Why an image is none that this host runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The manifest is no JSON, or not of its form.
    #[error("its manifest cannot be read: {0}")]
    Manifest(String),
    /// The index has nothing for WASI.
    #[error("it has no variant for WebAssembly, only for {0}")]
    NoPlatform(String),
    /// An index within an index.
    #[error("its index lists another index")]
    Nested,
    /// Made of file system layers.
    #[error("it is a container image with a file system, not a wasm artifact; push the module with `wkube push`")]
    Container,
    /// A Spin application.
    #[error("it is a Spin application, which needs Spin's own interfaces; push the component with `wkube push`")]
    Spin,
    /// No layer that we know.
    #[error("it has no layer with a wasm module, only {0}")]
    NoModule(String),
    /// The wasm artifact format allows one.
    #[error("it has {0} wasm layers where one is allowed")]
    ManyModules(usize),
}

/// Reads a manifest or an index.
///
/// # Errors
/// [`Problem::Manifest`] says what is wrong with the JSON.
pub fn parse(bytes: &[u8]) -> Result<Document, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::Manifest(error.to_string()))
}

/// Chooses the image of an index that is for WASI: by its platform, or because it is the only one.
///
/// # Errors
/// [`Problem::NoPlatform`] lists what there is instead.
pub fn choose_manifest(manifests: &[Descriptor]) -> Result<&Descriptor, Problem> {
    // Attestations of docker buildx have the platform unknown/unknown.
    let images: Vec<&Descriptor> = manifests.iter().filter(|manifest| !manifest.is_attestation()).collect();
    if let Some(wasm) = images.iter().find(|manifest| manifest.is_for_wasi()) {
        return Ok(wasm);
    }
    match images[..] {
        [only] => Ok(only),
        [] => Err(Problem::NoPlatform("nothing".to_owned())),
        _ => Err(Problem::NoPlatform(names(images.iter().map(|manifest| manifest.platform_name())))),
    }
}

/// Chooses the layer that is the module.
///
/// # Errors
/// The [`Problem`] says what the image is instead.
pub fn choose_layer(manifest: &Document) -> Result<&Descriptor, Problem> {
    let layers = &manifest.layers;
    if layers.iter().any(|layer| layer.media_type == SPIN_APPLICATION) {
        return Err(Problem::Spin);
    }
    let mut modules = layers.iter().filter(|layer| WASM_LAYERS.contains(&layer.media_type.as_str()));
    match (modules.next(), modules.count()) {
        (Some(module), 0) => Ok(module),
        (Some(_), more) => Err(Problem::ManyModules(more + 1)),
        (None, _) if layers.iter().any(|layer| layer.media_type.contains("tar")) => Err(Problem::Container),
        (None, _) if layers.is_empty() => Err(Problem::NoModule("no layer at all".to_owned())),
        (None, _) => Err(Problem::NoModule(names(layers.iter().map(|layer| layer.media_type.clone())))),
    }
}

fn names(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    names.take(SHOWN).collect::<Vec<_>>().join(", ")
}

/// A platform in an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `wasi`, `wasip1`, `wasip2`; Spin writes `Wasip1`.
    pub os: String,
    /// `wasm` or `wasm32`.
    pub architecture: String,
}

impl Descriptor {
    fn is_for_wasi(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| {
            let os = platform.os.to_ascii_lowercase();
            let architecture = platform.architecture.to_ascii_lowercase();
            ["wasi", "wasip1", "wasip2", "wasip3"].contains(&os.as_str())
                && ["wasm", "wasm32"].contains(&architecture.as_str())
        })
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
mod tests {
    use super::*;

    fn descriptor(media_type: &str, platform: Option<(&str, &str)>) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(media_type.as_bytes()),
            size: 1,
            platform: platform
                .map(|(os, architecture)| Platform { os: os.to_owned(), architecture: architecture.to_owned() }),
        }
    }

    fn chosen_platform(platforms: &[(&str, &str)]) -> Result<String, Problem> {
        let manifests: Vec<_> = platforms.iter().map(|platform| descriptor(OCI_MANIFEST, Some(*platform))).collect();
        choose_manifest(&manifests).map(Descriptor::platform_name)
    }

    fn chosen_layer(media_types: &[&str]) -> Result<String, Problem> {
        let layers = media_types.iter().map(|media_type| descriptor(media_type, None)).collect();
        choose_layer(&Document { layers, ..Document::default() }).map(|layer| layer.media_type.clone())
    }

    #[test]
    fn every_way_to_write_wasi_is_found_in_an_index() {
        for wasi in [("wasi", "wasm"), ("wasi", "wasm32"), ("wasip1", "wasm"), ("Wasip1", "wasm"), ("wasip2", "wasm")] {
            let found = chosen_platform(&[("linux", "amd64"), wasi, ("linux", "arm64")]).unwrap();
            assert_eq!(found, format!("{}/{}", wasi.0, wasi.1));
        }
    }

    #[test]
    fn a_sole_image_is_taken_whatever_it_says_and_attestations_do_not_count() {
        assert_eq!(chosen_platform(&[("linux", "amd64"), ("unknown", "unknown")]).unwrap(), "linux/amd64");
    }

    #[test]
    fn an_index_without_wasm_lists_what_it_has() {
        let problem = chosen_platform(&[("linux", "amd64"), ("windows", "amd64")]).unwrap_err();
        assert_eq!(problem.to_string(), "it has no variant for WebAssembly, only for linux/amd64, windows/amd64");
        assert_eq!(chosen_platform(&[]).unwrap_err(), Problem::NoPlatform("nothing".to_owned()));
    }

    #[test]
    fn every_name_of_a_wasm_layer_is_known() {
        for media_type in WASM_LAYERS {
            let found = chosen_layer(&["application/vnd.oci.empty.v1+json", media_type]).unwrap();
            assert_eq!(found, *media_type);
        }
    }

    #[test]
    fn what_is_no_wasm_artifact_is_named() {
        assert_eq!(chosen_layer(&["application/vnd.oci.image.layer.v1.tar+gzip"]), Err(Problem::Container));
        assert_eq!(chosen_layer(&[SPIN_APPLICATION, WASM_LAYERS[1]]), Err(Problem::Spin));
        assert_eq!(chosen_layer(&[WASM_LAYER, WASM_LAYER]), Err(Problem::ManyModules(2)));
        assert_eq!(chosen_layer(&["text/plain"]), Err(Problem::NoModule("text/plain".to_owned())));
        assert_eq!(chosen_layer(&[]), Err(Problem::NoModule("no layer at all".to_owned())));
    }

    #[test]
    fn manifests_of_any_tool_are_read() {
        let text = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},
            "layers":[],"annotations":{"a":"b"}}"#;
        let document = parse(text).unwrap();
        assert!(document.manifests.is_none() && document.media_type.is_none());
        assert!(matches!(parse(b"<html>"), Err(Problem::Manifest(_))));
        assert!(matches!(parse(br#"{"layers":[{"digest":"md5:0"}]}"#), Err(Problem::Manifest(_))));
    }
}
