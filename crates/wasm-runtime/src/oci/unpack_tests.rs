//! Layers as builders make them, and as somebody makes them who wants to get out.

use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;

enum Item<'a> {
    File(&'a str, &'a [u8]),
    Dir(&'a str),
    Symlink(&'a str, &'a str),
    Hardlink(&'a str, &'a str),
    Fifo(&'a str),
}

/// Writes the name as it is: the builder's own checks would refuse the bad ones.
fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let (mut head, bytes, target) = match item {
            Item::File(name, bytes) => (header(EntryType::Regular, name, bytes.len() as u64), *bytes, None),
            Item::Dir(name) => (header(EntryType::Directory, name, 0), &b""[..], None),
            Item::Symlink(name, to) => (header(EntryType::Symlink, name, 0), &b""[..], Some(to)),
            Item::Hardlink(name, to) => (header(EntryType::Link, name, 0), &b""[..], Some(to)),
            Item::Fifo(name) => (header(EntryType::Fifo, name, 0), &b""[..], None),
        };
        if let Some(to) = target {
            head.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
            head.set_cksum();
        }
        builder.append(&head, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct World {
    dir: tempfile::TempDir,
    layers: Vec<Layer>,
}

impl World {
    fn of(layers: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let write = |(number, bytes): (usize, &Vec<u8>)| {
            let file = dir.path().join(format!("layer-{number}"));
            fs::write(&file, bytes).unwrap();
            Layer { file, diff_id: None }
        };
        let layers = layers.iter().enumerate().map(write).collect();
        Self { dir, layers }
    }

    fn unpack(&self) -> Result<(), (usize, String)> {
        unpack(&self.layers, &self.dir.path().join("root"))
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join("root").join(path)).ok()
    }
}

fn unpacked(layers: &[Vec<u8>]) -> World {
    let world = World::of(layers);
    world.unpack().unwrap();
    world
}

fn refused(layers: &[Vec<u8>]) -> String {
    let world = World::of(layers);
    let reason = world.unpack().unwrap_err().1;
    assert_eq!(fs::read_to_string(world.dir.path().join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), layers.len() + 2, "nothing is left outside");
    reason
}

#[test]
fn upper_layers_replace_and_remove_what_lower_ones_have() {
    let world = unpacked(&[
        tar(&[Item::Dir("etc/"), Item::File("./etc/a", b"1"), Item::File("/etc/b", b"1"), Item::File("c", b"1")]),
        tar(&[Item::File("etc/a", b"2"), Item::File("etc/.wh.b", b""), Item::File("new/deep/d", b"2")]),
    ]);
    assert_eq!(world.read("etc/a").as_deref(), Some("2"));
    assert_eq!(world.read("etc/b"), None);
    assert_eq!(world.read("c").as_deref(), Some("1"));
    assert_eq!(world.read("new/deep/d").as_deref(), Some("2"));
}

#[test]
fn an_opaque_directory_hides_all_below_and_nothing_of_its_own_layer() {
    let world = unpacked(&[
        tar(&[Item::File("d/old", b"1"), Item::File("d/sub/old", b"1")]),
        tar(&[Item::File("d/new", b"2"), Item::File("d/.wh..wh..opq", b""), Item::File("none/.wh..wh..opq", b"")]),
    ]);
    assert_eq!((world.read("d/old"), world.read("d/sub/old")), (None, None));
    assert_eq!(world.read("d/new").as_deref(), Some("2"));
}

#[test]
fn a_file_may_become_a_directory_and_back() {
    let world = unpacked(&[
        tar(&[Item::File("a", b"1"), Item::File("b/x", b"1")]),
        tar(&[Item::File("a/x", b"2")][..0]),
        tar(&[Item::Dir("a"), Item::File("a/x", b"2"), Item::File("b", b"2")]),
    ]);
    assert_eq!(world.read("a/x").as_deref(), Some("2"));
    assert_eq!(world.read("b").as_deref(), Some("2"));
}

#[test]
fn links_within_the_image_work_also_those_that_begin_at_its_root() {
    let world = unpacked(&[tar(&[
        Item::File("usr/bin/x", b"x"),
        Item::Symlink("bin", "usr/bin"),
        Item::Symlink("usr/lib/x", "/usr/bin/x"),
        Item::Hardlink("y", "usr/bin/x"),
        Item::Symlink("dangling", "nowhere"),
        Item::Fifo("pipe"),
    ])]);
    for path in ["bin/x", "usr/lib/x", "y"] {
        assert_eq!(world.read(path).as_deref(), Some("x"), "{path}");
    }
    assert!(!world.dir.path().join("root/pipe").exists());
}

#[test]
fn a_layer_writes_through_a_link_of_a_lower_one_only_within_the_image() {
    let world =
        unpacked(&[tar(&[Item::Dir("usr/bin"), Item::Symlink("bin", "usr/bin")]), tar(&[Item::File("bin/x", b"x")])]);
    assert_eq!(world.read("usr/bin/x").as_deref(), Some("x"));
}

#[test]
fn nothing_gets_out() {
    assert!(refused(&[tar(&[Item::File("../secret", b"evil")])]).contains("leads out of the image"));
    assert!(refused(&[tar(&[Item::File("a/../../secret", b"evil")])]).contains("leads out of the image"));
    assert!(refused(&[tar(&[Item::Hardlink("a", "../secret")])]).contains("leads out of the image"));
    for target in ["..", "../secret", "a/../../.."] {
        refused(&[tar(&[Item::Symlink("up", target), Item::File("up/secret", b"evil")])]);
    }
}

#[test]
fn an_absolute_link_stays_in_the_image() {
    let world = unpacked(&[tar(&[Item::Dir("tmp"), Item::Symlink("up", "/tmp"), Item::File("up/x", b"x")])]);
    assert_eq!(world.read("tmp/x").as_deref(), Some("x"));
}

#[test]
fn layers_are_read_however_they_are_compressed() {
    let plain = tar(&[Item::File("a", b"1")]);
    let zstd = ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    for layer in [plain.clone(), gzip(&plain), [gzip(&plain[..512]), gzip(&plain[512..])].concat(), zstd] {
        assert_eq!(unpacked(&[layer]).read("a").as_deref(), Some("1"));
    }
}

#[test]
fn a_layer_must_be_what_the_config_says() {
    let plain = tar(&[Item::File("a", b"1")]);
    let mut world = World::of(&[gzip(&plain)]);
    world.layers[0].diff_id = Some(Digest::of(&plain));
    world.unpack().unwrap();
    world.layers[0].diff_id = Some(Digest::of(b"other"));
    let (layer, reason) = world.unpack().unwrap_err();
    assert!(layer == 0 && reason.contains("without compression its digest is"), "{reason}");
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in [gzip(&tar(&[Item::File("a", b"1")]))[..40].to_vec(), vec![0x28, 0xb5, 0x2f, 0xfd, 9], vec![7; 600]] {
        refused(&[bytes]);
    }
}

#[test]
fn a_bomb_stops_at_its_budget_and_long_names_at_theirs() {
    let bomb = gzip(&tar(&[Item::File("zeroes", &vec![0; 4 << 20])]));
    assert!(bomb.len() < 10_000);
    let world = World::of(&[bomb]);
    let error = check(&world.layers[0], 1 << 20).unwrap_err();
    assert!(error.to_string().contains("unpack to more than"), "{error}");
    let name = vec![b'n'; usize::try_from(EXTENSION_BYTES_MAX + 1).unwrap()];
    let mut builder = Builder::new(Vec::new());
    builder.append(&header(EntryType::GNULongName, "././@LongLink", name.len() as u64), &name[..]).unwrap();
    assert!(refused(&[builder.into_inner().unwrap()]).contains("a name has more than"));
}
