//! Out of one store and into another.

use super::super::test_registry::World;
use super::*;

async fn exported(names: &[&str]) -> (World, PathBuf) {
    let mut world = World::new();
    let layer = world.shelf.put_wasm(b"\0asm\x01\0\0\0");
    let config = world.shelf.put(artifact::WASM_CONFIG, b"{}");
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer] });
    world.shelf.put_manifest("v1", &manifest);
    for name in names {
        world.pull(name).await.unwrap();
    }
    let file = world.dir.path().join("images.tar");
    let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
    export(&world.store, &names, &file).unwrap();
    (world, file)
}

async fn imported(file: &Path, name: Option<&str>) -> Result<Vec<String>, LayoutError> {
    let world = World::new();
    let name = name.map(|name| name.parse().unwrap());
    let images = import(&world.store, file, name.as_ref()).await?;
    for (name, image) in &images {
        assert_eq!(world.store.find(name).as_ref(), Some(image));
    }
    assert_eq!(std::fs::read_dir(world.dir.path().join("images/partial")).unwrap().count(), 0);
    Ok(images.into_iter().map(|(name, image)| format!("{name} {}", image.digest)).collect())
}

#[tokio::test]
async fn what_is_exported_is_imported_under_its_name_and_digest() {
    let (world, file) = exported(&["r.io/team/app:v1"]).await;
    let digest = world.store.find(&"r.io/team/app:v1".parse().unwrap()).unwrap().digest;
    assert_eq!(imported(&file, None).await.unwrap(), [format!("r.io/team/app:v1 {digest}")]);
    assert_eq!(imported(&file, Some("other:v2")).await.unwrap(), [format!("other:v2 {digest}")]);
}

#[tokio::test]
async fn the_same_images_give_the_same_file_and_a_folder_will_do() {
    let (world, first) = exported(&["app:v1"]).await;
    let (_other, second) = exported(&["app:v1"]).await;
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    let folder = world.dir.path().join("folder");
    tar::Archive::new(File::open(&first).unwrap()).unpack(&folder).unwrap();
    assert_eq!(imported(&folder, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_docker_saved_in_its_own_way_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut layer = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(8);
    header.set_mode(0o644);
    layer.append_data(&mut header, "app.wasm", &b"\0asm\x01\0\0\0"[..]).unwrap();
    std::fs::create_dir(dir.path().join("abc")).unwrap();
    std::fs::write(dir.path().join("abc/layer.tar"), layer.into_inner().unwrap()).unwrap();
    std::fs::write(dir.path().join("c.json"), r#"{"config":{"Entrypoint":["/app.wasm"]}}"#).unwrap();
    let saved = r#"[{"Config":"c.json","RepoTags":["team/app:v1"],"Layers":["abc/layer.tar"]}]"#;
    std::fs::write(dir.path().join("manifest.json"), saved).unwrap();
    let names = imported(dir.path(), None).await.unwrap();
    assert!(names[0].starts_with("team/app:v1 sha256:"), "{names:?}");
}

#[tokio::test]
async fn a_damaged_archive_is_refused() {
    let (world, file) = exported(&["app:v1"]).await;
    let folder = world.dir.path().join("folder");
    tar::Archive::new(File::open(&file).unwrap()).unpack(&folder).unwrap();
    let module = folder.join("blobs/sha256").join(Digest::of(b"\0asm\x01\0\0\0").hex());
    std::fs::write(&module, b"\0evil\0\0\0").unwrap();
    assert!(matches!(imported(&folder, None).await, Err(LayoutError::Image(PullError::Digest { .. }))));
    std::fs::remove_file(&module).unwrap();
    assert!(matches!(imported(&folder, None).await, Err(LayoutError::Image(PullError::Lost { .. }))));
    std::fs::remove_file(folder.join("index.json")).unwrap();
    assert!(matches!(imported(&folder, None).await, Err(LayoutError::NoImages { .. })));
    assert!(matches!(imported(&world.dir.path().join("none"), None).await, Err(LayoutError::File { .. })));
}

#[tokio::test]
async fn an_archive_does_not_reach_out_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(dir.path().join("secret"), "{}").unwrap();
    std::fs::write(inner.join("manifest.json"), r#"[{"Config":"../secret","RepoTags":["a:b"],"Layers":[]}]"#).unwrap();
    assert!(matches!(imported(&inner, None).await, Err(LayoutError::NoImages { .. })));
    std::fs::write(inner.join("manifest.json"), r#"[{"Config":"link","RepoTags":["a:b"],"Layers":[]}]"#).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", inner.join("link")).unwrap();
    assert!(matches!(imported(&inner, None).await, Err(LayoutError::NoImages { .. })));
}

#[test]
fn a_name_is_the_images_own_or_the_one_that_is_given() {
    let named = |own: Option<&str>, given: Option<&str>| {
        name_of(own, given.map(|given| given.parse().unwrap()).as_ref()).map(|name| name.to_string())
    };
    assert_eq!(named(Some("r.io/app:v1"), None).as_deref(), Some("r.io/app:v1"));
    assert_eq!(named(Some("app:v1"), None).as_deref(), Some("app:v1"));
    assert_eq!(named(Some("v1"), None), None);
    assert_eq!(named(Some("v1"), Some("r.io/app")).as_deref(), Some("r.io/app:v1"));
    assert_eq!(named(Some("v1"), Some("r.io/app:v2")).as_deref(), Some("r.io/app:v2"));
    assert_eq!(named(None, Some("app")).as_deref(), Some("app"));
    assert_eq!(named(None, None), None);
}

#[tokio::test]
async fn images_are_looked_up_by_name_and_by_a_part_of_their_digest() {
    let (world, _) = exported(&["r.io/app:v1"]).await;
    let images = world.store.list().unwrap();
    let digest = images[0].image.digest.clone();
    let (whole, part) = (digest.to_string(), digest.hex()[..12].to_owned());
    for text in ["r.io/app:v1", &whole, &part, &format!("x@{digest}")] {
        assert!(lookup(&images, text).is_some(), "{text}");
    }
    for text in ["app:v1", "r.io/app", "zzzzzz", &digest.hex()[..5]] {
        assert!(lookup(&images, text).is_none(), "{text}");
    }
}
