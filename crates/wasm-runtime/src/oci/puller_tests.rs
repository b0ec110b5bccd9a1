//! Pulls from a registry that delivers, one that lies and one that breaks off.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::super::test_registry::World;
use super::*;

const MODULE: &[u8] = b"\0asm\x01\0\0\0 module";

/// A gzipped layer of these files, and the digest of its tar.
fn layer(files: &[(&str, &[u8])]) -> (Vec<u8>, Digest) {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar).unwrap();
    (encoder.finish().unwrap(), Digest::of(&tar))
}

/// Puts a container image of one layer on the shelf.
fn container(world: &mut World, tag: &str, files: &[(&str, &[u8])], config: &serde_json::Value) -> Digest {
    let (bytes, diff_id) = layer(files);
    let layer = world.shelf.put("application/vnd.oci.image.layer.v1.tar+gzip", &bytes);
    let config = json!({ "architecture": "wasm", "os": "wasi", "config": config, "rootfs": { "diff_ids": [diff_id] } });
    let config = world.shelf.put(artifact::OCI_CONFIG, config.to_string().as_bytes());
    world.shelf.put_manifest(tag, &json!({ "schemaVersion": 2, "config": config, "layers": [layer] }))
}

#[tokio::test]
async fn the_module_of_a_plain_artifact_is_pulled() {
    let mut world = World::new();
    let layer = world.shelf.put_wasm(MODULE);
    let digest = world.shelf.put_manifest("v1", &json!({ "schemaVersion": 2, "layers": [layer] }));
    let image = world.pull("app:v1").await.unwrap();
    assert_eq!((&image.digest, &image.modules[0].digest), (&digest, &Digest::of(MODULE)));
    assert_eq!(world.store.read(&Digest::of(MODULE)).unwrap(), MODULE);
    assert_eq!(world.store.find(&"app:v1".parse().unwrap()), Some(image));
}

#[tokio::test]
async fn an_index_is_pinned_by_its_own_digest() {
    let mut world = World::new();
    let layer = world.shelf.put_wasm(MODULE);
    let inner = world.shelf.put_manifest("inner", &json!({ "layers": [layer] }));
    let index = json!({ "manifests": [
        { "mediaType": artifact::OCI_MANIFEST, "digest": Digest::of(b"other"), "size": 1,
          "platform": { "os": "linux", "architecture": "amd64" } },
        { "mediaType": artifact::OCI_MANIFEST, "digest": inner, "size": 1,
          "platform": { "os": "wasip1", "architecture": "wasm" } },
    ]});
    let digest = world.shelf.put_manifest("latest", &index);
    let image = world.pull("app").await.unwrap();
    assert_eq!((&image.digest, &image.manifest), (&digest, &inner));
    assert_eq!(world.pull(&format!("app@{digest}")).await.unwrap(), image);
}

#[tokio::test]
async fn an_image_that_has_not_changed_costs_one_request() {
    let mut world = World::new();
    let layer = world.shelf.put_wasm(MODULE);
    world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
    world.pull("app:v1").await.unwrap();
    world.shelf.asked.lock().clear();
    world.pull("app:v1").await.unwrap();
    assert_eq!(*world.shelf.asked.lock(), ["manifest v1"]);
}

#[tokio::test]
async fn swapped_bytes_are_noticed_and_not_kept() {
    let mut world = World::new();
    let layer = world.shelf.put_wasm(b"\0asm good");
    let digest = world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
    world.shelf.blobs.insert(Digest::of(b"\0asm good"), Bytes::from_static(b"\0asm evil"));
    let error = world.pull("app:v1").await.unwrap_err();
    assert!(error.starts_with("pull app:v1: the module has digest sha256:"), "{error}");
    assert_eq!(world.store.find(&"app:v1".parse().unwrap()), None);
    world.shelf.manifests.insert(digest.to_string(), Bytes::from_static(b"{}"));
    let error = world.pull(&format!("app@{digest}")).await.unwrap_err();
    assert!(error.contains("the manifest has digest"), "{error}");
    assert_eq!(std::fs::read_dir(world.dir.path().join("images/partial")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_blob_longer_than_announced_is_cut_off() {
    let mut world = World::new();
    let mut layer = world.shelf.put_wasm(b"\0asm long");
    layer["size"] = json!(4);
    world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
    assert_eq!(world.pull("app:v1").await.unwrap_err(), "pull app:v1: the module has more than 4 bytes");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_breaks_goes_on_where_it_was() {
    for knows_ranges in [true, false] {
        let mut world = World::new();
        let wasm: Vec<u8> = (0..1000).map(|number: u32| number.to_le_bytes()[0]).collect();
        let layer = world.shelf.put_wasm(&wasm);
        world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
        world.shelf.knows_ranges = knows_ranges;
        world.shelf.breaks_after = Some(if knows_ranges { 300 } else { 1000 });
        assert_eq!(world.pull("app:v1").await.unwrap().modules[0].digest, Digest::of(&wasm));
        let asked = world.shelf.asked.lock().clone();
        let expected: &[&str] = if knows_ranges {
            &["blob from 0", "blob from 300", "blob from 600", "blob from 900"]
        } else {
            &["blob from 0"]
        };
        assert_eq!(asked[1..], *expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_never_gets_further_is_given_up() {
    let mut world = World::new();
    let layer = world.shelf.put_wasm(&[7; 1000]);
    world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
    world.shelf.breaks_after = Some(300);
    let error = world.pull("app:v1").await.unwrap_err();
    assert_eq!(error, "pull app:v1: module: registry unavailable");
    assert_eq!(world.shelf.asked.lock().len(), 1 + ATTEMPTS_MAX as usize, "the first got further, the others did not");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_in_passing_is_asked_again() {
    let mut world = World::new();
    let layer = world.shelf.put_wasm(MODULE);
    world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
    *world.shelf.failures.lock() = ATTEMPTS_MAX - 1;
    assert!(world.pull("app:v1").await.is_ok());
    *world.shelf.failures.lock() = ATTEMPTS_MAX;
    assert_eq!(world.pull("app:v1").await.unwrap_err(), "pull app:v1: manifest: registry unavailable");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let mut world = World::new();
    assert_eq!(world.pull("app:v1").await.unwrap_err(), "pull app:v1: manifest: not found");
    let layer = world.shelf.put_wasm(b"\0asm");
    let lost = Digest::of(b"\0asm");
    world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
    world.shelf.blobs.clear();
    assert_eq!(
        world.pull("app:v1").await.unwrap_err(),
        format!("pull app:v1: the registry has lost its module {lost}; push it again")
    );
}

#[tokio::test]
async fn a_container_image_is_unpacked_and_its_programs_are_found() {
    let mut world = World::new();
    let config = json!({ "Entrypoint": ["/app.wasm"], "Cmd": ["serve"], "Env": ["A=1"], "WorkingDir": "/srv" });
    let files = [("app.wasm", MODULE), ("srv/data.txt", &b"data"[..]), ("bin/tool", b"\0asm\x0d\0\x01\0")];
    container(&mut world, "v1", &files, &config);
    let image = world.pull("app:v1").await.unwrap();
    let paths: Vec<_> = image.modules.iter().filter_map(|module| module.path.as_deref()).collect();
    assert_eq!(paths, ["/app.wasm", "/bin/tool"]);
    assert_eq!(image.process.cmd, ["serve"]);
    let root = world.store.root(image.root.as_ref().unwrap());
    assert_eq!(std::fs::read_to_string(root.join("srv/data.txt")).unwrap(), "data");
    assert_eq!(image.module("/app.wasm").unwrap().digest, Digest::of(MODULE));
}

#[tokio::test]
async fn a_container_image_for_a_machine_says_so() {
    let mut world = World::new();
    let (bytes, _) = layer(&[("bin/sh", b"\x7fELF")]);
    let tar = world.shelf.put("application/vnd.docker.image.rootfs.diff.tar.gzip", &bytes);
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/bin/sh"] } });
    let config = world.shelf.put(artifact::DOCKER_CONFIG, config.to_string().as_bytes());
    let inner = world.shelf.put_manifest("v1", &json!({ "config": config, "layers": [tar] }));
    let error = world.pull("app:v1").await.unwrap_err();
    assert!(
        error.contains("it is a container image for linux/amd64, and its entry point \"/bin/sh\" is no"),
        "{error}"
    );
    let platform = |architecture: &str, digest: &Digest| json!({ "digest": digest, "size": 1, "platform": { "os": "linux", "architecture": architecture } });
    let index = json!({ "manifests": [platform("arm64", &Digest::of(b"")), platform("amd64", &inner)] });
    world.shelf.put_manifest("all", &index);
    let error = world.pull("app:all").await.unwrap_err();
    assert_eq!(error, "pull app:all: it has no variant for WebAssembly, only for linux/arm64, linux/amd64");
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_is_not_unpacked() {
    let mut world = World::new();
    let (bytes, _) = layer(&[("app.wasm", MODULE)]);
    let tar = world.shelf.put("application/vnd.oci.image.layer.v1.tar+gzip", &bytes);
    let config = json!({ "config": {}, "rootfs": { "diff_ids": [Digest::of(b"other")] } });
    let config = world.shelf.put(artifact::OCI_CONFIG, config.to_string().as_bytes());
    world.shelf.put_manifest("v1", &json!({ "config": config, "layers": [tar] }));
    let error = world.pull("app:v1").await.unwrap_err();
    assert!(error.contains("cannot be unpacked: without compression its digest is"), "{error}");
    assert_eq!(std::fs::read_dir(world.dir.path().join("images/roots")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_with_a_filter_for_envoy_says_so() {
    let mut world = World::new();
    container(&mut world, "v1", &[("plugin.wasm", MODULE)], &json!({}));
    assert!(world.pull("app:v1").await.unwrap_err().contains("proxy-wasm"));
}

#[tokio::test]
async fn sizes_are_judged_before_anything_is_fetched() {
    let mut world = World::new();
    let digest = Digest::of(b"");
    let huge = |media_type: &str, size: u64| json!({ "mediaType": media_type, "digest": digest, "size": size });
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let many = vec![huge(tar, IMAGE_BYTES_MAX / 2 + 1); 2];
    world.shelf.put_manifest("module", &json!({ "layers": [huge(artifact::WASM_LAYER, u64::MAX)] }));
    world.shelf.put_manifest("layers", &json!({ "layers": many }));
    world.shelf.put_manifest("config", &json!({ "config": huge(artifact::OCI_CONFIG, u64::MAX), "layers": [] }));
    for (tag, what) in [("module", "module"), ("layers", "image"), ("config", "config")] {
        let error = world.pull(&format!("app:{tag}")).await.unwrap_err();
        assert!(error.contains(&format!("the {what} has more than")), "{error}");
    }
    assert!(world.shelf.asked.lock().iter().all(|asked| asked.starts_with("manifest")));
}
