//! Blobs, manifests and tags as files. Every file appears complete or not at all.
//!
//! ```text
//!  blobs/sha256/<hex>                            content, shared by all repositories
//!  repositories/<name>/_manifests/<hex>          media type, line feed, document
//!  repositories/<name>/_tags/<tag>               digest
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::path::{Digest, Reference};
use crate::files;

#[derive(Debug, Clone)]
pub(super) struct Storage {
    root: PathBuf,
}

/// A stored manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) content: Vec<u8>,
    pub(super) digest: Digest,
}

impl Storage {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        files::create_private_dir(&root.join("blobs/sha256"))?;
        files::create_private_dir(&root.join("repositories"))?;
        Ok(Self { root: root.to_owned() })
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.root.join("repositories").join(name)
    }

    fn manifest_path(&self, name: &str, digest: &Digest) -> PathBuf {
        self.repository(name).join("_manifests").join(digest.hex())
    }

    fn tag_path(&self, name: &str, tag: &str) -> PathBuf {
        self.repository(name).join("_tags").join(tag)
    }

    pub(super) fn manifest(&self, name: &str, reference: &Reference) -> io::Result<Option<Manifest>> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match found(fs::read_to_string(self.tag_path(name, tag)))? {
                Some(text) => {
                    text.parse().map_err(|()| io::Error::other(format!("the tag {name}:{tag} is damaged")))?
                }
                None => return Ok(None),
            },
        };
        let Some(mut content) = found(fs::read(self.manifest_path(name, &digest)))? else { return Ok(None) };
        let damaged = || io::Error::other(format!("the manifest {name}@{digest} is damaged"));
        let end = content.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let document = content.split_off(end + 1);
        content.truncate(end);
        if Digest::of(&document) != digest {
            return Err(damaged());
        }
        let media_type = String::from_utf8(content).map_err(|_| damaged())?;
        Ok(Some(Manifest { media_type, content: document, digest }))
    }

    /// Stores a manifest and, after it, the tag that names it.
    pub(super) fn put_manifest(&self, name: &str, tag: Option<&str>, manifest: &Manifest) -> io::Result<()> {
        let path = self.manifest_path(name, &manifest.digest);
        files::create_private_dir(path.parent().unwrap_or(&self.root))?;
        files::write_private(&path, &[manifest.media_type.as_bytes(), b"\n", &manifest.content].concat())?;
        if let Some(tag) = tag {
            let path = self.tag_path(name, tag);
            files::create_private_dir(path.parent().unwrap_or(&self.root))?;
            files::write_private(&path, manifest.digest.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Removes a tag, or a manifest with all tags that name it. Returns whether it was there.
    pub(super) fn delete_manifest(&self, name: &str, reference: &Reference) -> io::Result<bool> {
        match reference {
            Reference::Tag(tag) => Ok(found(fs::remove_file(self.tag_path(name, tag)))?.is_some()),
            Reference::Digest(digest) => {
                for tag in self.tags(name)? {
                    let path = self.tag_path(name, &tag);
                    if fs::read_to_string(&path)? == digest.to_string() {
                        fs::remove_file(path)?;
                    }
                }
                Ok(found(fs::remove_file(self.manifest_path(name, digest)))?.is_some())
            }
        }
    }

    /// Returns the tags in order; empty for an unknown repository.
    pub(super) fn tags(&self, name: &str) -> io::Result<Vec<String>> {
        names_in(&self.repository(name).join("_tags"))
    }

    pub(super) fn has_repository(&self, name: &str) -> bool {
        self.repository(name).join("_manifests").is_dir()
    }

    /// Returns the names of all repositories in order.
    pub(super) fn repositories(&self) -> io::Result<Vec<String>> {
        let root = self.root.join("repositories");
        let mut found = Vec::new();
        let mut open = vec![String::new()];
        while let Some(name) = open.pop() {
            for part in names_in(&root.join(&name))? {
                match part.as_str() {
                    "_manifests" => found.push(name.clone()),
                    "_tags" => {}
                    _ if name.is_empty() => open.push(part),
                    _ => open.push(format!("{name}/{part}")),
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Returns descriptors of the manifests whose subject is `digest`.
    pub(super) fn referrers(&self, name: &str, digest: &Digest) -> io::Result<Vec<Value>> {
        let mut descriptors = Vec::new();
        for file in names_in(&self.repository(name).join("_manifests"))? {
            let Ok(own) = format!("sha256:{file}").parse::<Digest>() else { continue };
            let Some(manifest) = self.manifest(name, &Reference::Digest(own))? else { continue };
            let Ok(document) = serde_json::from_slice::<Value>(&manifest.content) else { continue };
            if document["subject"]["digest"] == digest.to_string() {
                descriptors.push(descriptor(&manifest, &document));
            }
        }
        Ok(descriptors)
    }
}

/// Describes a manifest that has a subject (distribution specification, "Listing referrers").
fn descriptor(manifest: &Manifest, document: &Value) -> Value {
    let mut descriptor = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest.to_string(),
        "size": manifest.content.len(),
    });
    let artifact_type = document.get("artifactType").or_else(|| document.pointer("/config/mediaType"));
    for (key, value) in [("artifactType", artifact_type), ("annotations", document.get("annotations"))] {
        if let Some(value) = value {
            descriptor[key] = value.clone();
        }
    }
    descriptor
}

/// Returns the names of files in order, without the hidden ones that are still being written.
fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let Some(entries) = found(fs::read_dir(directory))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
