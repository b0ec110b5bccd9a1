//! Images in files: OCI layouts as folders and tars, and what `docker save` wrote before it wrote those.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};
use tokio_util::io::ReaderStream;

use super::artifact::{self, OCI_CONFIG, OCI_MANIFEST};
use super::digest::Digest;
use super::image::Image;
use super::manifest::{self, Descriptor};
use super::policy::Policy;
use super::puller::{self, PullError};
use super::reference::Reference;
use super::registry::{MANIFEST_BYTES_MAX, Registry, RegistryError, Transfer};
use super::store::{Listed, Store};
use super::unpack::{self, Layer};

/// The tag, or by some tools the whole name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, by Docker and containerd.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Why images cannot be imported or exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A file or folder cannot be used.
    #[error("use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no archive of images.
    #[error("{path} holds no images: {reason}")]
    NoImages {
        /// The file or folder.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// An image in it has no name.
    #[error("an image in {path} has no name of its own; give it one with --name")]
    NoName {
        /// The file or folder.
        path: PathBuf,
    },
    /// An image cannot be taken.
    #[error(transparent)]
    Image(#[from] PullError),
    /// An image to export is not here.
    #[error("image {0} is not on this node")]
    NotHere(String),
    /// An image to export was pulled when only modules were kept.
    #[error("image {0} was pulled by an earlier version, which kept only its module; pull it again")]
    Incomplete(String),
}

/// Takes the images of a tar or folder into the store. `name` is for images that have none, or only a tag.
///
/// # Errors
/// Says what is wrong with the file, or which image cannot be taken.
pub async fn import(
    store: &Store,
    path: &Path,
    name: Option<&Reference>,
) -> Result<Vec<(Reference, Image)>, LayoutError> {
    let failed = |source| LayoutError::File { path: path.to_owned(), source };
    let is_dir = std::fs::metadata(path).map_err(failed)?.is_dir();
    let work = store.temporary();
    let dir = if is_dir { path.to_owned() } else { work.clone() };
    if !is_dir {
        // The lock that those share who add images keeps others from sweeping the folder away.
        let _adding = store.adding().map_err(failed)?;
        std::fs::create_dir_all(&work).map_err(failed)?;
        let (file, into) = (Layer { file: path.to_owned(), diff_id: None }, work.clone());
        let unpacked = tokio::task::spawn_blocking(move || unpack::unpack(&[file], &into)).await;
        if let Err((_, reason)) = unpacked.map_err(|error| failed(io::Error::other(error)))? {
            let _ = std::fs::remove_dir_all(&work);
            return Err(LayoutError::NoImages { path: path.to_owned(), reason });
        }
    }
    let imported = import_dir(store, &dir, path, name).await;
    if !is_dir {
        let _ = std::fs::remove_dir_all(&work);
    }
    imported
}

async fn import_dir(
    store: &Store,
    dir: &Path,
    shown: &Path,
    name: Option<&Reference>,
) -> Result<Vec<(Reference, Image)>, LayoutError> {
    let no_images = |reason: String| LayoutError::NoImages { path: shown.to_owned(), reason };
    let layout = Layout::open(dir).map_err(no_images)?;
    let mut imported = Vec::new();
    for (own, digest) in &layout.images {
        let named = name_of(own.as_deref(), name).ok_or_else(|| LayoutError::NoName { path: shown.to_owned() })?;
        // Pinned while it is read, so that the layout's own word for it does not matter.
        let source = Place { layout: &layout, digest };
        let image = puller::pull(&source, named.name(), &named, store, &Policy::default()).await?;
        imported.push((named, image));
    }
    Ok(imported)
}

/// Decides what an image is called: its own name, else the given one with the image's tag.
fn name_of(own: Option<&str>, given: Option<&Reference>) -> Option<Reference> {
    let own = own.filter(|own| !own.is_empty());
    match (own, given) {
        (Some(own), None) if own.contains(['/', ':']) => own.parse().ok(),
        (Some(tag), Some(given)) if given.tag().is_none() && !tag.contains(['/', ':']) => {
            format!("{given}:{tag}").parse().ok()
        }
        (_, given) => given.cloned(),
    }
}

/// A folder of images.
struct Layout {
    dir: Dir,
    /// What the images are called, and the digests of their manifests.
    images: Vec<(Option<String>, Digest)>,
    /// Manifests that we made, for archives that have none.
    made: BTreeMap<Digest, Bytes>,
    /// Blobs that have names of their own.
    files: BTreeMap<Digest, PathBuf>,
}

/// What `docker save` wrote up to version 24.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

impl Layout {
    fn open(path: &Path) -> Result<Self, String> {
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| error.to_string())?;
        let mut layout = Self { dir, images: Vec::new(), made: BTreeMap::new(), files: BTreeMap::new() };
        match (layout.small("index.json"), layout.small("manifest.json")) {
            (Ok(index), _) => layout.read_index(&index)?,
            (Err(_), Ok(saved)) => layout.read_saved(&saved)?,
            (Err(_), Err(_)) => return Err("it has neither index.json nor manifest.json".to_owned()),
        }
        if layout.images.is_empty() { Err("its index is empty".to_owned()) } else { Ok(layout) }
    }

    fn read_index(&mut self, index: &[u8]) -> Result<(), String> {
        let index = manifest::parse(index).map_err(|problem| problem.to_string())?;
        for image in index.manifests.unwrap_or_default() {
            let name = image.annotations.get(IMAGE_NAME).or(image.annotations.get(REF_NAME));
            self.images.push((name.cloned(), image.digest));
        }
        Ok(())
    }

    fn read_saved(&mut self, saved: &[u8]) -> Result<(), String> {
        let saved: Vec<Saved> = serde_json::from_slice(saved).map_err(|error| format!("manifest.json: {error}"))?;
        for image in saved {
            let config = self.describe(&image.config, OCI_CONFIG)?;
            let tar = "application/vnd.oci.image.layer.v1.tar";
            let layers = image.layers.iter().map(|layer| self.describe(layer, tar)).collect::<Result<Vec<_>, _>>()?;
            let manifest = json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
            });
            let manifest = Bytes::from(manifest.to_string());
            let digest = Digest::of(&manifest);
            self.made.insert(digest.clone(), manifest);
            let tags = image.repo_tags.unwrap_or_default();
            let unnamed = tags.is_empty().then(|| (None, digest.clone()));
            self.images.extend(unnamed);
            self.images.extend(tags.into_iter().map(|tag| (Some(tag), digest.clone())));
        }
        Ok(())
    }

    /// Describes a file of an archive whose names are no digests.
    fn describe(&mut self, path: &Path, media_type: &str) -> Result<Descriptor, String> {
        let named = |error: io::Error| format!("{}: {error}", path.display());
        let mut file = self.dir.open(path).map_err(named)?;
        let mut hasher = Sha256::new();
        let size = io::copy(&mut file, &mut hasher).map_err(named)?;
        let digest = Digest::finish(hasher);
        self.files.insert(digest.clone(), path.to_owned());
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        })
    }

    fn small(&self, path: impl AsRef<Path>) -> io::Result<Bytes> {
        let mut bytes = Vec::new();
        self.dir.open(path)?.take(MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {MANIFEST_BYTES_MAX} bytes")));
        }
        Ok(bytes.into())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let own = self.files.get(digest).cloned();
        own.unwrap_or_else(|| Path::new("blobs").join("sha256").join(digest.hex()))
    }
}

/// One image of a layout, whatever it is asked for by.
struct Place<'a> {
    layout: &'a Layout,
    digest: &'a Digest,
}

impl Registry for Place<'_> {
    fn manifest<'a>(&'a self, _: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move {
            let asked = version.parse::<Digest>().ok();
            let digest = asked.as_ref().unwrap_or(self.digest);
            if let Some(made) = self.layout.made.get(digest) {
                return Ok(made.clone());
            }
            let bytes = self.layout.small(self.layout.path(digest)).map_err(missing)?;
            // By a tag nobody else would notice.
            if digest.matches(&bytes) { Ok(bytes) } else { Err(RegistryError::Said(format!("{digest} is damaged"))) }
        })
    }

    fn blob<'a>(&'a self, _: &'a str, digest: &'a Digest, from: u64) -> BoxFuture<'a, Result<Transfer, RegistryError>> {
        Box::pin(async move {
            let mut file = self.layout.dir.open(self.layout.path(digest)).map_err(missing)?.into_std();
            file.seek(SeekFrom::Start(from)).map_err(missing)?;
            let bytes = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10).boxed();
            Ok(Transfer { from, bytes })
        })
    }
}

fn missing(error: io::Error) -> RegistryError {
    match error.kind() {
        io::ErrorKind::NotFound => RegistryError::NotFound,
        _ => RegistryError::Unavailable(error.into()),
    }
}

/// Writes images as an OCI layout in a tar, which `docker load`, `ctr image import`, skopeo and `wkube image import` read.
///
/// # Errors
/// Says which image is missing, or why the file cannot be written.
pub fn export(store: &Store, names: &[Reference], path: &Path) -> Result<(), LayoutError> {
    let failed = |source| LayoutError::File { path: path.to_owned(), source };
    let _adding = store.adding().map_err(failed)?;
    let images = names.iter().map(|name| {
        let image = store.find(name).ok_or_else(|| LayoutError::NotHere(name.to_string()))?;
        if image.parts.is_empty() { Err(LayoutError::Incomplete(name.to_string())) } else { Ok((name, image)) }
    });
    let images = images.collect::<Result<Vec<_>, _>>()?;
    write(store, &images, path).map_err(failed)
}

fn write(store: &Store, images: &[(&Reference, Image)], path: &Path) -> io::Result<()> {
    let mut tar = Builder::new(BufWriter::new(File::create(path)?));
    append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut manifests = Vec::new();
    let mut parts: Vec<&Digest> = Vec::new();
    for (name, image) in images {
        let document = store.read(&image.digest)?;
        let is_index = manifest::parse(&document).is_ok_and(|document| document.manifests.is_some());
        let kind = if is_index { artifact::OCI_INDEX } else { OCI_MANIFEST };
        let kind = manifest::parse(&document).ok().and_then(|document| document.media_type).unwrap_or(kind.to_owned());
        let tag = name.tag().map_or_else(|| name.version().to_owned(), str::to_owned);
        manifests.push(json!({
            "mediaType": kind, "digest": image.digest, "size": document.len(),
            "annotations": { REF_NAME: tag, IMAGE_NAME: format!("{}:{tag}", name_only(name)) },
        }));
        parts.extend(&image.parts);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": artifact::OCI_INDEX, "manifests": manifests });
    append(&mut tar, "index.json", index.to_string().as_bytes())?;
    parts.sort();
    parts.dedup();
    for part in parts {
        // Damage on disk must not become an archive.
        append(&mut tar, &format!("blobs/sha256/{}", part.hex()), &store.read(part)?)?;
    }
    tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn append(tar: &mut Builder<BufWriter<File>>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    // The same images give the same file.
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)
}

fn name_only(name: &Reference) -> String {
    name.host().map_or_else(|| name.name().to_owned(), |host| format!("{host}/{}", name.name()))
}

/// Finds what a person means: a name, or the beginning of a digest.
pub fn lookup(images: &[Listed], text: &str) -> Option<Listed> {
    let named = text.parse::<Reference>().ok().filter(|reference| reference.digest().is_none()).map(|reference| {
        let host = reference.host().map(|host| format!("{host}/")).unwrap_or_default();
        format!("{host}{}:{}", reference.name(), reference.version())
    });
    let by_name = images.iter().find(|listed| named.as_ref().is_some_and(|name| listed.names.contains(name)));
    let hex = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
    let hex = hex.strip_prefix("sha256:").unwrap_or(hex);
    let is_hex = hex.len() >= 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut by_digest = images.iter().filter(|listed| is_hex && listed.image.digest.hex().starts_with(hex));
    match (by_name, by_digest.next(), by_digest.next()) {
        (Some(found), ..) | (None, Some(found), None) => Some(found.clone()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
