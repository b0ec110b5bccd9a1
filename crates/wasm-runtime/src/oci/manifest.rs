//! Documents of an image: manifests, indexes and configs, as any tool writes them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::artifact::Problem;
use super::digest::Digest;

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// In an index: for whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In a list of referrers: what the manifest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Names, signatures and whatever else tools note down.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
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

/// A manifest or an index: what we read of either.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// Optional in OCI documents; the presence of `manifests` decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    /// The blobs of an image.
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// The images of an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<Descriptor>>,
}

/// Reads a manifest or an index.
///
/// # Errors
/// [`Problem::Manifest`] says what is wrong with the JSON.
pub fn parse(bytes: &[u8]) -> Result<Document, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::Manifest(error.to_string()))
}

/// How an image wants to be run, unless its user says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Process {
    /// What is run.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Its arguments, or all of the command line if there is no entry point.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The working directory.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
}

impl Process {
    /// Returns the environment as pairs; what is no pair is left out, as Docker does.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().filter_map(|pair| pair.split_once('='))
    }
}

/// The config blob of a container image: what we read of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// For which processor; `wasm` where somebody thought of it.
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// For which system.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// How it is run.
    #[serde(rename = "config", deserialize_with = "or_default")]
    pub process: Process,
    /// The layers without compression.
    #[serde(deserialize_with = "or_default")]
    pub rootfs: Rootfs,
}

/// The part of a config that describes layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rootfs {
    /// The digest of each layer's tar, the lowest first.
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads the config of a container image.
    ///
    /// # Errors
    /// [`Problem::Config`] says what is wrong with the JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(bytes).map_err(|error| Problem::Config(error.to_string()))
    }
}

/// Go writes `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_any_tool_are_read() {
        let text = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},
            "layers":[],"annotations":{"a":"b"}}"#;
        let document = parse(text).unwrap();
        assert!(document.manifests.is_none() && document.media_type.is_none());
        assert_eq!(parse(br#"{"layers":null}"#).unwrap(), Document::default());
        assert!(matches!(parse(b"<html>"), Err(Problem::Manifest(_))));
        assert!(matches!(parse(br#"{"layers":[{"digest":"md5:0"}]}"#), Err(Problem::Manifest(_))));
        assert!(matches!(parse(br#"{"layers":[{"digest":"md5:0","size":-1}]}"#), Err(Problem::Manifest(_))));
    }

    #[test]
    fn the_config_of_a_container_image_says_how_it_runs() {
        let config = Config::parse(
            br#"{"architecture":"wasm","os":"wasi","config":{"Entrypoint":["/app.wasm"],"Cmd":null,
                "Env":["A=1","B=x=y","odd"],"WorkingDir":"/srv","Labels":{"a":"b"}},
                "rootfs":{"type":"layers","diff_ids":[]},"history":[{"empty_layer":true}]}"#,
        )
        .unwrap();
        assert_eq!((config.architecture.as_str(), config.os.as_str()), ("wasm", "wasi"));
        assert_eq!((&config.process.entrypoint[..], &config.process.cmd[..]), (&["/app.wasm".to_owned()][..], &[][..]));
        assert_eq!(config.process.variables().collect::<Vec<_>>(), [("A", "1"), ("B", "x=y")]);
        assert_eq!(config.process.working_dir, "/srv");
    }

    #[test]
    fn configs_of_old_and_empty_images_are_read_too() {
        for text in [&b"{}"[..], br#"{"config":null,"rootfs":null}"#, br#"{"config":{"Env":null},"os":null}"#] {
            assert_eq!(Config::parse(text), Ok(Config::default()));
        }
        assert!(matches!(Config::parse(b"[]x"), Err(Problem::Config(_))));
    }
}
