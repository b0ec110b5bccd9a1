//! Stores a module as a standard wasm OCI artifact.

use bytes::Bytes;
use serde_json::json;

use super::artifact::{OCI_MANIFEST, Surface, WASM_CONFIG, WASM_LAYER, WasmConfig};
use super::digest::Digest;
use super::registry::RegistryError;
use super::remote::Remote;
use crate::inspect::{Inspection, Kind, Refusal, inspect};

/// Why a module could not be pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// Nothing here would run it.
    #[error("push {image}")]
    Refused {
        /// The image.
        image: String,
        /// Why not.
        #[source]
        source: Refusal,
    },
    /// The registry did not take it.
    #[error("push {image} to the registry at {host}: {what}")]
    Registry {
        /// The image.
        image: String,
        /// The registry.
        host: String,
        /// What was being uploaded.
        what: &'static str,
        /// What the registry said.
        #[source]
        source: RegistryError,
    },
}

/// Pushes a module to a registry and returns the digest that pins it. The same bytes give the same digest.
///
/// # Errors
/// Refuses what no node would run; names the step that the registry failed at otherwise.
pub async fn push(remote: &Remote, name: &str, tag: &str, wasm: Bytes) -> Result<Digest, PushError> {
    let image = format!("{name}:{tag}");
    let inspection = inspect(&wasm).map_err(|source| PushError::Refused { image: image.clone(), source })?;
    let artifact = Artifact::of(&wasm, &inspection);
    let failed = |what: &'static str| {
        let (image, host) = (image.clone(), remote.host().to_owned());
        move |source| PushError::Registry { image, host, what, source }
    };
    remote.push_blob(name, wasm).await.map_err(failed("module"))?;
    remote.push_blob(name, artifact.config).await.map_err(failed("config"))?;
    let digest = Digest::of(&artifact.manifest);
    remote.push_manifest(name, tag, artifact.manifest).await.map_err(failed("manifest"))?;
    Ok(digest)
}

/// The two documents around a module.
struct Artifact {
    config: Bytes,
    manifest: Bytes,
}

impl Artifact {
    fn of(wasm: &[u8], inspection: &Inspection) -> Self {
        let layer = Digest::of(wasm);
        let is_component = inspection.kind != Kind::Module;
        let config = WasmConfig {
            architecture: "wasm".to_owned(),
            // The artifact format knows no name for WASI 0.3; readers look at the imports.
            os: if is_component { "wasip2" } else { "wasip1" }.to_owned(),
            layer_digests: vec![layer.clone()],
            component: is_component
                .then(|| Surface { exports: inspection.exports.clone(), imports: inspection.imports.clone() }),
        };
        let config = serde_json::to_vec(&config).expect("strings serialize");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": WASM_CONFIG, "digest": Digest::of(&config), "size": config.len() },
            "layers": [{ "mediaType": WASM_LAYER, "digest": layer, "size": wasm.len() }],
        });
        Self { config: config.into(), manifest: manifest.to_string().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{artifact, manifest};

    #[test]
    fn an_artifact_is_one_that_we_would_pull() {
        let wasm: &[u8] = include_bytes!("../../testdata/http-p2.wasm");
        let made = Artifact::of(wasm, &inspect(wasm).unwrap());
        let manifest = manifest::parse(&made.manifest).unwrap();
        let artifact::Plan::Modules(layers) = artifact::plan(&manifest).unwrap() else { panic!("no modules") };
        assert_eq!(layers[0].digest, Digest::of(wasm));
        let described = manifest.config.unwrap();
        assert!(described.digest.matches(&made.config));
        assert_eq!(described.media_type, WASM_CONFIG);
    }

    #[test]
    fn components_are_described_and_modules_are_not() {
        let component: &[u8] = include_bytes!("../../testdata/http-p2.wasm");
        let config = Artifact::of(component, &inspect(component).unwrap()).config;
        let config: WasmConfig = serde_json::from_slice(&config).unwrap();
        let surface = config.component.unwrap();
        assert_eq!((config.architecture.as_str(), config.os.as_str()), ("wasm", "wasip2"));
        assert!(surface.exports.iter().any(|export| export.starts_with("wasi:http/incoming-handler@")));
        assert!(surface.imports.iter().any(|import| import.starts_with("wasi:http/types@")));

        let module: &[u8] = include_bytes!("../../testdata/hello-p1.wasm");
        let config = Artifact::of(module, &inspect(module).unwrap()).config;
        let config: WasmConfig = serde_json::from_slice(&config).unwrap();
        assert_eq!((config.os.as_str(), config.component), ("wasip1", None));
    }

    #[test]
    fn the_same_module_gives_the_same_artifact() {
        let wasm: &[u8] = include_bytes!("../../testdata/hello-p1.wasm");
        let inspection = inspect(wasm).unwrap();
        assert_eq!(Artifact::of(wasm, &inspection).manifest, Artifact::of(wasm, &inspection).manifest);
    }
}
