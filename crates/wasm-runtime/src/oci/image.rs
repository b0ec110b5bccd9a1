//! What a node remembers of an image: its modules, how it wants to be run, and who signed it. Pure.

use serde::{Deserialize, Serialize};

use super::artifact::{Problem, names};
use super::digest::Digest;
use super::manifest::Process;
use super::signature::Signature;

/// Where programs are looked for without a `PATH` in the image: Docker's default.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image that a node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What it is pinned by: the digest of the manifest, or of the index.
    pub digest: Digest,
    /// The digest of the manifest that was chosen.
    pub manifest: Digest,
    /// What can be run of it. Never empty; the first is run unless a command names another.
    pub modules: Vec<Module>,
    /// How it wants to be run.
    #[serde(default)]
    pub process: Process,
    /// By which its unpacked files are found, if it has any: the digest of its manifest.
    #[serde(default)]
    pub root: Option<Digest>,
    /// How many bytes its blobs have.
    pub size: u64,
    /// Everything that a registry has of it: index, manifest, config and layers.
    #[serde(default)]
    pub parts: Vec<Digest>,
    /// Who signed it, as far as anybody asked.
    #[serde(default)]
    pub signatures: Vec<Signature>,
}

/// A module of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its file in the image, or the title of its layer.
    #[serde(default)]
    pub path: Option<String>,
    /// The digest of its bytes, by which compiled code is cached.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

/// An image as it is on disk; earlier versions wrote down only the one module that they knew.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Stored {
    Image(Image),
    ModuleOnly { digest: Digest, module: Digest, size: u64 },
}

impl From<Stored> for Image {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Image(image) => image,
            Stored::ModuleOnly { digest, module, size } => Self {
                manifest: digest.clone(),
                digest,
                modules: vec![Module { path: None, digest: module, size }],
                process: Process::default(),
                root: None,
                size,
                parts: Vec::new(),
                signatures: Vec::new(),
            },
        }
    }
}

impl Image {
    /// Returns the digests of all blobs on disk.
    pub fn blobs(&self) -> impl Iterator<Item = &Digest> {
        self.modules.iter().map(|module| &module.digest).chain(&self.parts)
    }

    /// Returns the module that a word names: by its title, or in a container image by its path, as [`Self::module`] does.
    pub fn named(&self, program: &str) -> Option<&Module> {
        if program.is_empty() {
            return None;
        }
        let at = |path: &str| self.modules.iter().find(|module| module.path.as_deref() == Some(path));
        if self.root.is_none() { at(program) } else { self.candidates(program).iter().find_map(|path| at(path)) }
    }

    /// Returns the module that a command line begins with. An image without files has one that needs no name, so the
    /// word is looked for among its titles only; in a container image it is a path, or a name that `PATH` finds.
    ///
    /// # Errors
    /// The [`Problem`] says what there is to run instead.
    pub fn module(&self, program: &str) -> Result<&Module, Problem> {
        if self.root.is_none() {
            let first = self.modules.first().ok_or_else(|| Problem::NoModule("none".to_owned()))?;
            return Ok(self.named(program).unwrap_or(first));
        }
        let found = || names(self.modules.iter().filter_map(|module| module.path.clone()));
        if program.is_empty() {
            return Err(Problem::NoEntrypoint(format!(": {}", found())));
        }
        // runwasi's `path#function`: the function that a program starts with is not a matter of its image.
        let program = program.strip_suffix("#_start").unwrap_or(program);
        self.named(program).ok_or_else(|| Problem::Missing {
            entrypoint: program.to_owned(),
            found: format!(", or is no WebAssembly; there is {}", found()),
        })
    }

    fn candidates(&self, program: &str) -> Vec<String> {
        if program.starts_with('/') {
            return vec![clean(program)];
        }
        let here = clean(&format!("{}/{program}", self.process.working_dir));
        if program.contains('/') {
            return vec![here, clean(program)];
        }
        let path = self.process.variables().find(|(name, _)| *name == "PATH").map_or(PATH_DEFAULT, |(_, value)| value);
        let dirs = path.split(':').map(|dir| clean(&format!("{dir}/{program}")));
        // Images from scratch name the file alone, and have it at the root.
        dirs.chain([here, clean(program)]).collect()
    }
}

/// Makes a path absolute and takes the dots out of it.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(paths: &[Option<&str>], root: bool) -> Image {
        let digest = Digest::of(b"image");
        let module = |path: Option<&str>| Module {
            path: path.map(str::to_owned),
            digest: Digest::of(path.unwrap_or_default().as_bytes()),
            size: 1,
        };
        let process =
            Process { working_dir: "/srv".into(), env: vec!["PATH=/opt/bin:/bin".into()], ..Process::default() };
        Image {
            digest: digest.clone(),
            manifest: digest.clone(),
            modules: paths.iter().copied().map(module).collect(),
            process,
            root: root.then_some(digest),
            size: 1,
            parts: vec![],
            signatures: vec![],
        }
    }

    fn found(image: &Image, program: &str) -> Result<Option<String>, String> {
        image.module(program).map(|module| module.path.clone()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn an_artifact_has_one_module_whatever_the_command_says() {
        let artifact = image(&[None], false);
        for program in ["", "app", "/bin/sh", "run"] {
            assert_eq!(found(&artifact, program), Ok(None));
        }
    }

    #[test]
    fn an_artifact_of_several_modules_runs_the_first_or_the_one_that_is_named() {
        let artifact = image(&[Some("a.wasm"), Some("b.wasm")], false);
        assert_eq!(found(&artifact, "anything"), Ok(Some("a.wasm".into())));
        assert_eq!(found(&artifact, "b.wasm"), Ok(Some("b.wasm".into())));
    }

    #[test]
    fn a_container_image_runs_the_file_that_is_named() {
        let container = image(&[Some("/app.wasm"), Some("/opt/bin/tool"), Some("/srv/x/y.wasm")], true);
        for (program, path) in [
            ("/app.wasm", "/app.wasm"),
            ("//./app.wasm", "/app.wasm"),
            ("app.wasm", "/app.wasm"),
            ("./app.wasm", "/app.wasm"),
            ("/app.wasm#_start", "/app.wasm"),
            ("tool", "/opt/bin/tool"),
            ("x/y.wasm", "/srv/x/y.wasm"),
            ("./x/../x/y.wasm", "/srv/x/y.wasm"),
        ] {
            assert_eq!(found(&container, program), Ok(Some(path.into())), "{program}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_said_with_what_can() {
        let container = image(&[Some("/app.wasm")], true);
        assert_eq!(
            found(&container, "/bin/sh").unwrap_err(),
            "its entry point \"/bin/sh\" is not in the image, or is no WebAssembly; there is /app.wasm"
        );
        assert_eq!(
            found(&container, "").unwrap_err(),
            "it has no entry point; set `command` to the path of a .wasm file in the image: /app.wasm"
        );
        assert!(found(&container, "../../../etc/passwd").is_err());
    }

    #[test]
    fn what_an_earlier_version_wrote_down_is_still_an_image() {
        let (digest, module) = (Digest::of(b"image"), Digest::of(b"module"));
        let text = format!(r#"{{"digest":"{digest}","module":"{module}","size":7}}"#);
        let image = Image::from(serde_json::from_str::<Stored>(&text).unwrap());
        assert_eq!((image.digest, image.modules[0].digest.clone(), image.size), (digest, module, 7));
    }
}
