//! What a container sees of its pod's volumes.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::*;

fn pod(mount: &Value, volume: &Value) -> Pod {
    let (mut mount, mut volume) = (mount.clone(), volume.clone());
    (mount["name"], volume["name"]) = (json!("v"), json!("v"));
    let container = json!({ "name": "c", "volumeMounts": [mount] });
    serde_json::from_value(
        json!({ "metadata": { "name": "p" }, "spec": { "containers": [container], "volumes": [volume] } }),
    )
    .unwrap()
}

/// Returns what the container sees, with the files of its directories.
fn seen(pod_dir: &Path, mount: &Value, volume: &Value, allowed: &HostPaths) -> Result<Vec<String>, String> {
    let pod = pod(mount, volume);
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let env = BTreeMap::from([("NAME".to_owned(), "a".to_owned()), ("EVIL".to_owned(), "../..".to_owned())]);
    let mounts = mounts(&pod, container, pod_dir, &env, allowed)?;
    let dirs = mounts.dirs.iter().map(|mount| {
        let mut names: Vec<_> =
            fs::read_dir(&mount.host).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let mode = if mount.is_read_only { "ro" } else { "rw" };
        format!("{} {mode} {}", mount.guest, names.join(","))
    });
    Ok(dirs.chain(mounts.files.iter().map(|file| format!("{} file", file.guest))).collect())
}

fn volume_of(pod_dir: &Path) -> PathBuf {
    let volume = dir_of(pod_dir, "v");
    fs::create_dir_all(volume.join("a")).unwrap();
    fs::write(volume.join("a/file"), "text").unwrap();
    volume
}

#[test]
fn parts_of_a_volume_are_seen_and_nothing_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume_of(dir.path());
    fs::write(dir.path().join("secret"), "x").unwrap();
    symlink("../..", volume.join("out")).unwrap();
    let check = |mount: Value| {
        let mut mount = mount;
        mount["mountPath"] = json!("/m");
        seen(dir.path(), &mount, &json!({ "emptyDir": {} }), &HostPaths::default())
    };
    assert_eq!(check(json!({})).unwrap(), ["/m rw a,out"]);
    assert_eq!(check(json!({ "subPath": "a" })).unwrap(), ["/m rw file"]);
    assert_eq!(check(json!({ "subPath": "a", "readOnly": true })).unwrap(), ["/m ro file"]);
    assert_eq!(check(json!({ "subPath": "a/file" })).unwrap(), ["/m file"]);
    assert_eq!(check(json!({ "subPath": "new/deep" })).unwrap(), ["/m rw "]);
    assert_eq!(check(json!({ "subPathExpr": "$(NAME)" })).unwrap(), ["/m rw file"]);
    assert_eq!(
        check(json!({ "subPathExpr": "$(NAME)-$(GONE)" })).unwrap_err(),
        "missing value for \"GONE\" in subPathExpr \"$(NAME)-$(GONE)\""
    );
    for mount in [
        json!({ "subPath": "out" }),
        json!({ "subPath": "out/secret" }),
        json!({ "subPath": "out/made" }),
        json!({ "subPath": "../.." }),
        json!({ "subPath": "/etc" }),
        json!({ "subPathExpr": "$(EVIL)" }),
    ] {
        assert!(check(mount.clone()).is_err(), "{mount}");
    }
    assert!(!dir.path().join("made").exists());
}

#[test]
fn a_single_file_is_put_into_the_containers_root() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume_of(dir.path());
    let place = |read_only: bool| {
        let mount = json!({ "mountPath": "/etc/app/file.conf", "subPath": "a/file", "readOnly": read_only });
        let pod = pod(&mount, &json!({ "emptyDir": {} }));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let mounts = mounts(&pod, container, dir.path(), &BTreeMap::new(), &HostPaths::default()).unwrap();
        let dirs = root::prepend(dir.path(), container, mounts.dirs).unwrap();
        root::place_files(&dirs, &mounts.files).unwrap();
        dirs[0].host.join("etc/app/file.conf")
    };
    let own = place(true);
    fs::write(&own, "changed").unwrap();
    assert_eq!(fs::read_to_string(volume.join("a/file")).unwrap(), "text", "a copy");
    let shared = place(false);
    fs::write(&shared, "changed").unwrap();
    assert_eq!(fs::read_to_string(volume.join("a/file")).unwrap(), "changed", "the very file");
}

#[test]
fn a_host_path_is_seen_where_the_node_allows_it() {
    let (dir, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(host.path().join("data"), "x").unwrap();
    let volume = json!({ "hostPath": { "path": host.path() } });
    let mount = json!({ "mountPath": "/m" });
    assert!(seen(dir.path(), &mount, &volume, &HostPaths::default()).unwrap_err().contains("not allowed"));
    let allowed = HostPaths::allow([host.path().to_owned()]);
    assert_eq!(seen(dir.path(), &mount, &volume, &allowed).unwrap(), ["/m rw data"]);
    let refused = materialize(&pod(&mount, &volume), dir.path(), &Objects::default(), &HostPaths::default());
    assert!(refused.unwrap_err().to_string().starts_with("MountVolume.SetUp failed for volume \"v\" : hostPath "));
}
