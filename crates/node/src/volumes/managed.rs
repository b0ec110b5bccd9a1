//! Files that the node puts into each container's root, as the kubelet mounts them over the image: `/etc/hosts`,
//! `/etc/hostname`, and the empty file for the container's last words.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use wkube_proxy::name::CLUSTER_DOMAIN;

use super::root::inside;
use crate::pod::{spec, termination};
use crate::runtime::Mount;

/// A file, by its path below the container's root.
#[derive(Debug, PartialEq, Eq)]
pub struct ManagedFile {
    path: PathBuf,
    content: String,
    /// Whether the guest writes to it also if it may not write to its root.
    is_writable: bool,
}

/// Returns the files of a container. What it mounts a volume over is its own affair (`kubelet_pods.go`,
/// `shouldMountHostsFile`).
pub fn files(pod: &Pod, container: &Container, ip: IpAddr) -> Vec<ManagedFile> {
    let file = |path: &str, content, is_writable| ManagedFile { path: inside(path), content, is_writable };
    let all = [
        file("/etc/hosts", hosts(pod, ip), false),
        file("/etc/hostname", format!("{}\n", spec::hostname(pod)), false),
        file(termination::path_of(container), String::new(), true),
    ];
    let is_free = |file: &ManagedFile| {
        let mut mounts = container.volume_mounts.iter().flatten();
        !file.path.as_os_str().is_empty() && !mounts.any(|mount| file.path.starts_with(inside(&mount.mount_path)))
    };
    all.into_iter().filter(is_free).collect()
}

/// Puts files into the root, the first of the mounts, before the guest has seen it.
///
/// # Errors
/// When a file cannot be made, such as on a full disk, or where the mount point of a volume is.
pub fn place(mounts: &mut Vec<Mount>, files: &[ManagedFile]) -> io::Result<()> {
    let Some(root) = mounts.first().cloned() else { return Ok(()) };
    for file in files {
        let path = root.host.join(&file.path);
        let dir = file.path.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(root.host.join(dir))?;
        std::fs::write(path, &file.content)?;
        if root.is_read_only && file.is_writable && !dir.as_os_str().is_empty() {
            // Guests are given directories: the one of a file that it may write to has to be a mount of its own.
            let guest = format!("/{}", dir.display());
            mounts.push(Mount { host: root.host.join(dir), guest, is_read_only: false });
        }
    }
    Ok(())
}

/// `kubelet_pods.go`, `managedHostsFileContent`. Look-ups of guests know the same names without reading it.
fn hosts(pod: &Pod, ip: IpAddr) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        fe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\n\
        fe00::2\tip6-allrouters\n"
        .to_owned();
    let own = spec::hostname(pod);
    let subdomain = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref());
    let _ = match subdomain.filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) => {
            let namespace = spec::namespace(pod);
            writeln!(text, "{ip}\t{own}.{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}\t{own}")
        }
        None => writeln!(text, "{ip}\t{own}"),
    };
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::volumes::root;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 7));

    fn pod(spec: &Value) -> Pod {
        let mut whole = json!({ "containers": [{ "name": "c" }] });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": "n" }, "spec": whole })).unwrap()
    }

    fn paths(container: &Value) -> Vec<String> {
        let container = serde_json::from_value(container.clone()).unwrap();
        files(&pod(&json!({})), &container, IP).iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let own = |spec: &Value| hosts(&pod(spec), IP).lines().skip(7).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(own(&json!({})), ["10.1.0.7\tp"]);
        assert_eq!(
            own(&json!({ "hostname": "h", "subdomain": "s", "hostAliases": [
                { "ip": "192.0.2.1", "hostnames": ["foo.local", "bar"] },
                { "ip": "192.0.2.2", "hostnames": ["baz"] },
            ] })),
            [
                "10.1.0.7\th.s.n.svc.cluster.local\th",
                "",
                "# Entries added by HostAliases.",
                "192.0.2.1\tfoo.local\tbar",
                "192.0.2.2\tbaz",
            ]
        );
    }

    #[test]
    fn what_a_container_mounts_itself_is_left_alone() {
        assert_eq!(paths(&json!({ "name": "c" })), ["etc/hosts", "etc/hostname", "dev/termination-log"]);
        let mounting =
            |path: &str| paths(&json!({ "name": "c", "volumeMounts": [{ "name": "v", "mountPath": path }] }));
        assert_eq!(mounting("/etc"), ["dev/termination-log"]);
        assert_eq!(mounting("/etc/hosts"), ["etc/hostname", "dev/termination-log"]);
        assert_eq!(mounting("/"), [""; 0]);
        assert_eq!(
            paths(&json!({ "name": "c", "terminationMessagePath": "/tmp/../last" })),
            ["etc/hosts", "etc/hostname", "tmp/last"]
        );
    }

    #[test]
    fn last_words_can_be_written_also_if_the_root_is_read_only() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = |is_read_only: bool| {
            let context = json!({ "readOnlyRootFilesystem": is_read_only });
            let container = serde_json::from_value(json!({ "name": "c", "securityContext": context })).unwrap();
            let mut mounts = root::prepend(dir.path(), &container, Vec::new()).unwrap();
            place(&mut mounts, &files(&pod(&json!({})), &container, IP)).unwrap();
            assert_eq!(std::fs::read_to_string(mounts[0].host.join("etc/hostname")).unwrap(), "p\n");
            mounts.into_iter().map(|mount| (mount.guest, mount.is_read_only)).collect::<Vec<_>>()
        };
        assert_eq!(mounts(false), [("/".to_owned(), false)]);
        assert_eq!(mounts(true), [("/".to_owned(), true), ("/dev".to_owned(), false)]);
    }
}
