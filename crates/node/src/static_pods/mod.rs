//! Static pods: those that a directory of the node describes, and no server (`pkg/kubelet/config/file.go`).
//!
//! ```text
//!  DIR/web.yaml -> manifest (pure) -> a worker like any other pod's
//!                                        its status -> mirror (pure) -> an object that the API shows
//! ```
//! The file decides: whoever deletes the mirror gets a new one. A changed file ends the pod and begins another.

mod manifest;
pub(crate) mod mirror;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;

use crate::pod::spec;
use crate::pods::Pods;

/// By which the kubelet tells static pods apart (`pkg/kubelet/types/pod_update.go`).
const HASH: &str = "kubernetes.io/config.hash";
const SOURCE: &str = "kubernetes.io/config.source";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// How often the directory is looked at. Looking costs a system call for each file.
const PERIOD: Duration = Duration::from_secs(1);
/// The largest manifest: what a pod may take up in the store.
const MANIFEST_BYTES_MAX: u64 = 1536 << 10;

/// A file as it was seen: when it was written last, how long it is.
type Seen = (PathBuf, Option<SystemTime>, u64);

/// What a directory says.
pub struct Directory {
    path: PathBuf,
    node: String,
    seen: Option<Vec<Seen>>,
    /// The last good pods of each file: one that is being written, or wrong, changes nothing.
    files: BTreeMap<PathBuf, Vec<Arc<Pod>>>,
    /// Files that could not be read the last time: they may be the next time, without having changed.
    unread: BTreeSet<PathBuf>,
}

/// Why a file has no pods.
enum Problem {
    /// The disk, or whoever may read it.
    Unread(io::Error),
    /// What it says.
    Wrong(String),
}

impl Directory {
    /// Returns the directory `path` of the node `node`, not looked at yet.
    pub fn new(path: PathBuf, node: String) -> Self {
        Self { path, node, seen: None, files: BTreeMap::new(), unread: BTreeSet::new() }
    }

    /// Returns the pods if something has changed since the last look. A directory that cannot be read says what it said.
    pub fn look(&mut self) -> Option<Vec<Arc<Pod>>> {
        let mut seen = match list(&self.path) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(dir = %self.path.display(), %error, "the directory of static pods cannot be read");
                return None;
            }
        };
        if self.seen.as_ref() == Some(&seen) {
            return None;
        }
        self.files.retain(|file, _| seen.iter().any(|(path, ..)| path == file));
        let is_first = self.seen.is_none();
        let before = self.seen.take().unwrap_or_default();
        let unread_before = std::mem::take(&mut self.unread);
        for (file, ..) in seen.iter().filter(|one| !before.contains(one)) {
            let path = file.display();
            match read(file, &self.node) {
                Ok(pods) => drop(self.files.insert(file.clone(), pods)),
                Err(Problem::Wrong(problem)) => {
                    tracing::error!(file = %path, problem, "no manifest of a static pod; correct or remove it");
                }
                Err(Problem::Unread(error)) => {
                    // Told once: it is tried every second.
                    if !unread_before.contains(file) {
                        tracing::error!(file = %path, %error, "the manifest of a static pod cannot be read yet");
                    }
                    self.unread.insert(file.clone());
                }
            }
        }
        seen.retain(|(file, ..)| !self.unread.contains(file));
        let has_news = is_first || before != seen;
        self.seen = Some(seen);
        has_news.then(|| self.pods())
    }

    /// Returns the pods, one for each name: of two the first file's.
    fn pods(&self) -> Vec<Arc<Pod>> {
        let mut named: BTreeMap<(String, String), Arc<Pod>> = BTreeMap::new();
        for (file, pods) in &self.files {
            for pod in pods {
                let name = (spec::namespace(pod).to_owned(), spec::name(pod).to_owned());
                if named.contains_key(&name) {
                    tracing::error!(
                        file = %file.display(), pod = %spec::full_name(pod), "another file has a static pod of this name"
                    );
                }
                named.entry(name).or_insert_with(|| Arc::clone(pod));
            }
        }
        named.into_values().collect()
    }
}

/// Starts the pods of a directory, and follows it for ever after.
pub(crate) async fn follow(pods: Pods, mut directory: Directory) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looking = tokio::task::spawn_blocking(move || {
            let now = directory.look();
            (directory, now)
        });
        let Ok((same, now)) = looking.await else { return };
        directory = same;
        if let Some(now) = now {
            pods.want_static(now);
        }
    }
}

/// Returns the manifests of a directory by name: its files but hidden ones.
fn list(dir: &Path) -> io::Result<Vec<Seen>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let Ok(about) = std::fs::metadata(&path) else { continue };
        if about.is_file() && !is_hidden {
            files.push((path, about.modified().ok(), about.len()));
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path, node: &str) -> Result<Vec<Arc<Pod>>, Problem> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).map_err(Problem::Unread)?;
    open.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Problem::Unread)?;
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(Problem::Wrong(format!("it is larger than {MANIFEST_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| Problem::Wrong(error.to_string()))?;
    Ok(manifest::read(&text, node).map_err(Problem::Wrong)?.into_iter().map(Arc::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: c, image: i}}]}}}}"
        )
    }

    fn names(pods: Option<Vec<Arc<Pod>>>) -> Option<Vec<String>> {
        Some(pods?.iter().map(|pod| spec::name(pod).to_owned()).collect())
    }

    #[test]
    fn a_directory_says_what_its_files_say_and_only_news() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut directory = Directory::new(dir.path().to_owned(), "n".to_owned());
        assert_eq!(names(directory.look()), Some(vec![]));
        assert_eq!(names(directory.look()), None);
        std::fs::write(at("a.yaml"), manifest("a")).unwrap();
        std::fs::write(at("b.json"), manifest("b")).unwrap();
        std::fs::write(at(".hidden.yaml"), manifest("c")).unwrap();
        std::fs::create_dir(at("d.yaml")).unwrap();
        assert_eq!(names(directory.look()), Some(vec!["a-n".to_owned(), "b-n".to_owned()]));
        std::fs::remove_file(at("a.yaml")).unwrap();
        assert_eq!(names(directory.look()), Some(vec!["b-n".to_owned()]));
    }

    #[test]
    fn a_file_that_has_become_wrong_changes_nothing_until_it_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        let mut directory = Directory::new(dir.path().to_owned(), "n".to_owned());
        std::fs::write(&file, manifest("a")).unwrap();
        assert_eq!(names(directory.look()), Some(vec!["a-n".to_owned()]));
        std::fs::write(&file, "half of it: {").unwrap();
        assert_eq!(names(directory.look()), Some(vec!["a-n".to_owned()]));
        std::fs::write(&file, manifest("another")).unwrap();
        assert_eq!(names(directory.look()), Some(vec!["another-n".to_owned()]));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_tried_again_although_it_has_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        // A regular file of which every read fails.
        std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("a.yaml")).unwrap();
        std::fs::write(dir.path().join("b.yaml"), manifest("b")).unwrap();
        let mut directory = Directory::new(dir.path().to_owned(), "n".to_owned());
        assert_eq!(names(directory.look()), Some(vec!["b-n".to_owned()]));
        assert_eq!(directory.unread, BTreeSet::from([dir.path().join("a.yaml")]));
        assert_eq!(directory.seen.as_ref().map(Vec::len), Some(1), "the next look finds it new");
        assert_eq!(names(directory.look()), None, "and as long as it cannot be read that is no news");
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        std::fs::write(dir.path().join("a.yaml"), manifest("a")).unwrap();
        assert_eq!(names(directory.look()), Some(vec!["a-n".to_owned(), "b-n".to_owned()]));
        assert!(directory.unread.is_empty());
    }

    #[test]
    fn of_two_with_one_name_the_first_file_s_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1.yaml"), manifest("a")).unwrap();
        std::fs::write(dir.path().join("2.yaml"), manifest("a").replace("image: i", "image: j")).unwrap();
        let pods = Directory::new(dir.path().to_owned(), "n".to_owned()).look().unwrap();
        assert_eq!(pods.len(), 1);
        assert_eq!(pods[0].spec.as_ref().unwrap().containers[0].image.as_deref(), Some("i"));
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_pods() {
        let mut directory = Directory::new(PathBuf::from("/no/such/place"), "n".to_owned());
        assert_eq!(names(directory.look()), Some(vec![]));
    }
}
