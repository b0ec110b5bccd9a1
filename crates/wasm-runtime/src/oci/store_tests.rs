//! What is found, what is removed, and what is left alone.

use super::super::image::Module;
use super::*;

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// An image of one module, kept under `name`.
fn keep(store: &Store, name: &str, wasm: &[u8]) -> Image {
    let digest = store.put(&[b"manifest of ", wasm].concat()).unwrap();
    let module = Module { path: None, digest: store.put(wasm).unwrap(), size: wasm.len() as u64 };
    let image = Image {
        manifest: digest.clone(),
        parts: vec![digest.clone()],
        digest,
        size: module.size,
        modules: vec![module],
        process: super::super::manifest::Process::default(),
        root: None,
        signatures: Vec::new(),
    };
    store.save(&reference(name), &image).unwrap();
    image
}

fn opened() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn what_was_saved_is_found_by_name_and_by_digest_after_reopening() {
    let (dir, store) = opened();
    let image = keep(&store, "host.io/a/b:v1", b"one");
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.find(&reference("host.io/a/b:v1")), Some(image.clone()));
    assert_eq!(store.find(&reference("elsewhere").pinned(image.digest.clone())), Some(image.clone()));
    assert_eq!(&store.read(&image.modules[0].digest).unwrap()[..], b"one");
    for other in ["host.io/a/b:v2", "a/b:v1", "host.io/a/b"] {
        assert_eq!(store.find(&reference(other)), None, "{other}");
    }
}

#[test]
fn a_tag_follows_what_was_saved_last() {
    let (_dir, store) = opened();
    let first = keep(&store, "app", b"one");
    let second = keep(&store, "app:latest", b"two");
    assert_eq!(store.find(&reference("app")), Some(second));
    assert_eq!(store.find(&reference("app").pinned(first.digest.clone())), Some(first));
}

#[test]
fn damaged_modules_are_not_served() {
    let (_dir, store) = opened();
    let image = keep(&store, "app", b"good");
    fs::write(store.blob(&image.modules[0].digest), b"evil").unwrap();
    assert_eq!(store.read(&image.modules[0].digest).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(store.find(&reference("app")), None);
}

#[test]
fn images_are_listed_with_all_their_names() {
    let (_dir, store) = opened();
    let one = keep(&store, "r.io/app:v1", b"one");
    store.save(&reference("app"), &one).unwrap();
    let two = keep(&store, "other:v2", b"two");
    let listed: Vec<_> = store.list().unwrap().into_iter().map(|listed| (listed.image.digest, listed.names)).collect();
    let mut expected = vec![
        (one.digest, vec!["app:latest".to_owned(), "r.io/app:v1".to_owned()]),
        (two.digest, vec!["other:v2".to_owned()]),
    ];
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn a_removed_image_leaves_what_others_share_and_nothing_else() {
    let (dir, store) = opened();
    let one = keep(&store, "one", b"same");
    let mut two = keep(&store, "two", b"same");
    two.digest = store.put(b"another manifest").unwrap();
    two.parts = vec![two.digest.clone()];
    store.save(&reference("two"), &two).unwrap();
    assert_eq!(store.remove(&one.digest).unwrap(), Removal::Done);
    assert_eq!((store.find(&reference("one")), store.find(&reference("two"))), (None, Some(two.clone())));
    assert_eq!(store.remove(&one.digest).unwrap(), Removal::Gone);
    assert_eq!(store.remove(&two.digest).unwrap(), Removal::Done);
    assert_eq!(store.find(&reference("two")), None);
    for part in ["blobs/sha256", "images", "roots", "partial"] {
        assert_eq!(fs::read_dir(dir.path().join(part)).unwrap().count(), 0, "{part}");
    }
}

#[test]
fn nothing_is_removed_while_an_image_is_being_added() {
    let (dir, store) = opened();
    let image = keep(&store, "app", b"one");
    let adding = Store::open(dir.path()).unwrap().adding().unwrap();
    assert_eq!(store.remove(&image.digest).unwrap(), Removal::Busy);
    drop(adding);
    assert_eq!(store.remove(&image.digest).unwrap(), Removal::Done);
}

#[test]
fn what_a_killed_agent_left_is_swept_away_but_not_what_is_under_way() {
    let (dir, store) = opened();
    let (file, folder) = (store.temporary(), store.temporary());
    fs::write(&file, "half").unwrap();
    fs::create_dir(&folder).unwrap();
    let adding = store.adding().unwrap();
    Store::open(dir.path()).unwrap();
    assert!(file.exists() && folder.exists());
    drop(adding);
    Store::open(dir.path()).unwrap();
    assert!(!file.exists() && !folder.exists());
}

#[test]
fn the_record_of_an_earlier_version_is_still_found() {
    let (_dir, store) = opened();
    let module = store.put(b"module").unwrap();
    let digest = Digest::of(b"manifest");
    let text = format!(r#"{{"digest":"{digest}","module":"{module}","size":6}}"#);
    fs::write(store.entry_of_digest(&digest), &text).unwrap();
    fs::write(store.entry_of_name(&reference("app:v1")), &text).unwrap();
    assert_eq!(store.find(&reference("app:v1")).unwrap().modules[0].digest, module);
}
