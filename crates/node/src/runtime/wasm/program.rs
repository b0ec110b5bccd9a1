//! What a container runs, as Docker and Kubernetes put it together from the image and the pod. Pure, but for [`show_files`].

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use wkube_wasm_runtime::oci::manifest::Process;

use crate::runtime::Mount;
use crate::volumes::beneath::{self, Missing};

/// A machine's list of roots has a quarter of this.
const CERTIFICATES_MAX: u64 = 1 << 20;

/// Returns `argv`. The pod's `command` replaces the image's entry point and its arguments, the pod's `args` replace only
/// the latter. `args` begins with the container's name where the pod has no command; a module of its own needs no more.
pub(super) fn argv(process: &Process, has_command: bool, mut args: Vec<String>) -> Vec<String> {
    if has_command || (process.entrypoint.is_empty() && process.cmd.is_empty()) {
        return args;
    }
    let given = args.split_off(1.min(args.len()));
    let rest = if given.is_empty() { process.cmd.clone() } else { given };
    process.entrypoint.iter().cloned().chain(rest).collect()
}

/// Returns the environment: the image's, where the pod does not say otherwise.
pub(super) fn env(process: &Process, pod: Vec<(String, String)>) -> Vec<(String, String)> {
    let own: BTreeSet<&str> = pod.iter().map(|(name, _)| name.as_str()).collect();
    let image = process.variables().filter(|(name, _)| !own.contains(name));
    let mut env: Vec<_> = image.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    env.extend(pod);
    // Kept for as long as the container.
    env.shrink_to_fit();
    env
}

/// Shows a container the files of its image: each folder at the top as a mount that cannot be written to, each file at
/// the top as a copy in the container's own root. A pod's volumes come before what the image has in the same place.
///
/// # Errors
/// If the files cannot be read or copied.
pub(super) fn show_files(image: &Path, modules: &BTreeSet<String>, mounts: &mut Vec<Mount>) -> io::Result<()> {
    let at_root = |mount: &Mount| below_root(&mount.guest).as_os_str().is_empty();
    let own_root = mounts.iter().find(|mount| at_root(mount)).map(|mount| mount.host.clone());
    let taken: Vec<PathBuf> = mounts.iter().map(|mount| below_root(&mount.guest)).collect();
    for entry in fs::read_dir(image)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !taken.contains(&PathBuf::from(name))) else { continue };
        let there = own_root.as_ref().map(|root| root.join(name));
        if entry.file_type()?.is_dir() {
            // Its name is seen in the root; scratch space stays one, and `/dev` is never an image's.
            if ["dev", "tmp"].contains(&name) {
                continue;
            }
            if let Some(there) = &there {
                fs::create_dir_all(there)?;
            }
            mounts.push(Mount { host: entry.path(), guest: format!("/{name}"), is_read_only: true });
        } else if let Some(there) = there.filter(|_| !modules.contains(&format!("/{name}"))) {
            // Links at the top lead to folders that are mounts; a copy of what they lead to could be anything.
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), there)?;
            }
        }
    }
    Ok(())
}

/// Returns the folders of an image as they are shown to a program that is not the container's own: to be read, where the
/// container has nothing in their place.
///
/// # Errors
/// If the files cannot be read.
pub(super) fn folders(image: &Path) -> io::Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    show_files(image, &BTreeSet::new(), &mut mounts)?;
    Ok(mounts)
}

/// Makes the directory that a container begins in, as container runtimes do, and returns its path without dots.
///
/// # Errors
/// If it is not absolute, or cannot be made where it is.
pub(super) fn enter(dir: &str, mounts: &[Mount]) -> Result<String, String> {
    if !dir.starts_with('/') {
        return Err("it is not an absolute path".to_owned());
    }
    let dir = Path::new(dir).components().fold(PathBuf::from("/"), |mut so_far, part| {
        match part {
            Component::Normal(name) => so_far.push(name),
            Component::ParentDir => drop(so_far.pop()),
            _ => {}
        }
        so_far
    });
    // A guest that sees no files has no use for it.
    if let Some((mount, rest)) = nearest(&dir, mounts) {
        let missing = if mount.is_read_only { Missing::Fails } else { Missing::IsMade };
        let found = beneath::open(&mount.host, &rest, missing).map_err(|error| error.to_string())?;
        if !found.is_dir().map_err(|error| error.to_string())? {
            return Err("it is not a directory".to_owned());
        }
    }
    Ok(dir.to_string_lossy().into_owned())
}

/// Reads whom a container trusts as a client of TLS: the file that `SSL_CERT_FILE` names, as OpenSSL has it. `None` if that is
/// not set, or there is no such file: images name one that only a machine has.
pub(super) fn trusts(env: &[(String, String)], mounts: &[Mount]) -> Option<String> {
    let (_, path) = env.iter().find(|(name, _)| name == "SSL_CERT_FILE")?;
    let (mount, rest) = nearest(Path::new(path), mounts)?;
    let found = beneath::open(&mount.host, &rest, Missing::Fails).ok()?;
    let mut pem = String::new();
    fs::File::open(found.path()).ok()?.take(CERTIFICATES_MAX).read_to_string(&mut pem).ok()?;
    Some(pem)
}

/// Returns the mount that a path leads into, and what is left of the path there.
fn nearest<'a>(path: &Path, mounts: &'a [Mount]) -> Option<(&'a Mount, PathBuf)> {
    let below =
        |mount: &Mount| path.strip_prefix(Path::new("/").join(below_root(&mount.guest))).ok().map(Path::to_owned);
    let all = mounts.iter().filter_map(|mount| Some((mount, below(mount)?)));
    all.min_by_key(|(_, rest)| rest.components().count())
}

fn below_root(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Puts a command line together from entry point, `CMD`, the pod's command and the pod's args.
    fn check(entrypoint: &[&str], cmd: &[&str], command: &[&str], args: &[&str], expected: &[&str]) {
        let process = Process { entrypoint: words(entrypoint), cmd: words(cmd), ..Process::default() };
        let program = if command.is_empty() { words(&["c"]) } else { words(command) };
        let given = [program, words(args)].concat();
        assert_eq!(argv(&process, !command.is_empty(), given), words(expected));
    }

    #[test]
    fn command_and_args_replace_what_kubernetes_says_they_do() {
        // The table in "Define a Command and Arguments for a Container".
        check(&["/ep-1"], &["foo", "bar"], &[], &[], &["/ep-1", "foo", "bar"]);
        check(&["/ep-1"], &["foo", "bar"], &["/ep-2"], &[], &["/ep-2"]);
        check(&["/ep-1"], &["foo", "bar"], &[], &["zoo", "boo"], &["/ep-1", "zoo", "boo"]);
        check(&["/ep-1"], &["foo", "bar"], &["/ep-2"], &["zoo", "boo"], &["/ep-2", "zoo", "boo"]);
    }

    #[test]
    fn a_cmd_alone_is_the_whole_command_line() {
        check(&[], &["/app.wasm", "x"], &[], &[], &["/app.wasm", "x"]);
        check(&[], &["/app.wasm", "x"], &[], &["/other.wasm"], &["/other.wasm"]);
    }

    #[test]
    fn a_module_of_its_own_is_called_like_the_container() {
        check(&[], &[], &[], &["a"], &["c", "a"]);
        check(&[], &[], &["run"], &["a"], &["run", "a"]);
    }

    #[test]
    fn the_pods_environment_wins() {
        let process = Process { env: words(&["A=image", "B=image"]), ..Process::default() };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let made = env(&process, vec![pair("A", "pod"), pair("C", "pod")]);
        assert_eq!(made, [pair("B", "image"), pair("A", "pod"), pair("C", "pod")]);
    }

    #[test]
    fn a_container_begins_where_it_says_if_that_can_be() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["root/app", "data", "config"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("config/file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("data/out")).unwrap();
        let mount = |host: &str, guest: &str, is_read_only| Mount {
            host: dir.path().join(host),
            guest: guest.to_owned(),
            is_read_only,
        };
        let mounts = [mount("root", "/", false), mount("data", "/data", false), mount("config", "/config", true)];
        let enter = |wanted: &str| enter(wanted, &mounts);
        assert_eq!(enter("/"), Ok("/".to_owned()));
        assert_eq!(enter("/app/../new//./deep/"), Ok("/new/deep".to_owned()));
        assert!(dir.path().join("root/new/deep").is_dir());
        assert_eq!(enter("/data/a"), Ok("/data/a".to_owned()));
        assert!(dir.path().join("data/a").is_dir(), "in the volume, not under it");
        assert_eq!(enter("/config"), Ok("/config".to_owned()));
        for (wanted, problem) in [
            ("app", "not an absolute path"),
            ("/config/file", "not a directory"),
            ("/config/new", "No such file"),
            ("/data/out/there", "cross-device"),
        ] {
            let refused = enter(wanted).unwrap_err();
            assert!(refused.contains(problem), "{wanted}: {refused}");
        }
        assert_eq!(super::enter("/nowhere", &[]), Ok("/nowhere".to_owned()));
    }

    #[test]
    fn whom_a_container_trusts_is_in_the_file_that_it_names() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["root", "account/..1"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("account/..1/ca.crt"), "PEM").unwrap();
        // As volumes are, which change all at once.
        std::os::unix::fs::symlink("..1", dir.path().join("account/..data")).unwrap();
        std::os::unix::fs::symlink("..data/ca.crt", dir.path().join("account/ca.crt")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("root/out")).unwrap();
        let mount = |host: &str, guest: &str| Mount {
            host: dir.path().join(host),
            guest: guest.to_owned(),
            is_read_only: true,
        };
        let mounts = [mount("root", "/"), mount("account", "/var/run/account")];
        let trusts = |path: &str| trusts(&[("SSL_CERT_FILE".to_owned(), path.to_owned())], &mounts);
        assert_eq!(trusts("/var/run/account/ca.crt").as_deref(), Some("PEM"));
        for path in ["/var/run/account/nope", "/out", "/etc/passwd", "../etc/passwd", ""] {
            assert_eq!(trusts(path), None, "{path}");
        }
        assert_eq!(super::trusts(&[], &mounts), None);
    }

    #[test]
    fn an_images_folders_are_read_only_and_volumes_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let (image, root) = (dir.path().join("image"), dir.path().join("root"));
        for path in ["image/usr/lib", "image/data", "image/tmp", "root"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for file in ["image/motd", "image/app.wasm", "image/data/old"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", image.join("link")).unwrap();
        let mount =
            |host: &Path, guest: &str, is_read_only| Mount { host: host.into(), guest: guest.into(), is_read_only };
        let mut mounts = vec![mount(&root, "/", false), mount(Path::new("/volume"), "/data", false)];
        show_files(&image, &BTreeSet::from(["/app.wasm".to_owned()]), &mut mounts).unwrap();
        assert_eq!(mounts[2..], [mount(&image.join("usr"), "/usr", true)]);
        assert_eq!(fs::read_to_string(root.join("motd")).unwrap(), "image/motd");
        for absent in ["app.wasm", "link", "data"] {
            assert!(!root.join(absent).exists(), "{absent}");
        }
        assert!(root.join("usr").is_dir());
    }
}
