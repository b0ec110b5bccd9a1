//! What the contract cannot ask of every engine: reopening, damage, locks, shared commits, failing disks.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::join_all;
use futures::task::noop_waker;
use parking_lot::RwLock;
use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};
use tempfile::TempDir;
use wkube_base::Rng;

use super::*;
use crate::Op;

/// A disk in memory that counts its syncs, can be held up, and can fail.
#[derive(Debug, Default)]
struct Disk {
    bytes: Option<InMemoryBackend>,
    syncs: AtomicUsize,
    gate: RwLock<()>,
    full: AtomicBool,
}

#[derive(Debug, Clone)]
struct Backend(Arc<Disk>);

impl Backend {
    fn bytes(&self) -> &InMemoryBackend {
        self.0.bytes.as_ref().expect("made by `disk`")
    }

    fn check(&self) -> Result<(), io::Error> {
        if self.0.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.bytes().len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.bytes().read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check()?;
        self.bytes().set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        drop(self.0.gate.read());
        self.check()?;
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        self.bytes().sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check()?;
        self.bytes().write(offset, data)
    }
}

fn disk() -> Arc<Disk> {
    Arc::new(Disk { bytes: Some(InMemoryBackend::new()), ..Disk::default() })
}

fn on(disk: &Arc<Disk>) -> RedbStore {
    let database = Database::builder().create_with_backend(Backend(disk.clone())).expect("a new database");
    let log = Log::of(database);
    log.initialize().expect("writable");
    RedbStore::start(Path::new("memory"), log, None).expect("starts")
}

fn opened(directory: &TempDir) -> RedbStore {
    RedbStore::open(&directory.path().join("store")).expect("opens")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

async fn put(store: &RedbStore, key: &str, value: &str) -> Revision {
    store.commit(Txn::put(key.into(), value.to_owned())).await.expect("no conditions")
}

fn everything(store: &RedbStore, at: Option<Revision>) -> Vec<Entry> {
    store.list(&Range { at, ..Range::default() }).expect("in the window").entries
}

#[tokio::test]
async fn reopening_finds_everything_and_the_past() {
    let directory = directory();
    let store = opened(&directory);
    put(&store, "a", "1").await;
    let then = put(&store, "b", "1").await;
    put(&store, "a", "2").await;
    let both = Txn { preconditions: vec![], ops: vec![Op::Delete("b".into()), Op::Put("c".into(), "1".into())] };
    let last = store.commit(both).await.expect("no conditions");
    let (past, present) = (everything(&store, Some(then)), everything(&store, None));
    drop(store);
    let store = opened(&directory);
    assert_eq!(store.revision(), last);
    assert_eq!((everything(&store, Some(then)), everything(&store, None)), (past, present));
    assert_eq!(put(&store, "d", "1").await, Revision(last.0 + 1));
}

#[tokio::test]
async fn revisions_never_run_backwards_although_the_last_deletion_was_compacted_away() {
    let directory = directory();
    let store = opened(&directory);
    let created = put(&store, "a", "1").await;
    let deleted = store.commit(Txn::delete("a".into(), created)).await.expect("unchanged");
    store.compact(deleted).await.expect("in the window");
    drop(store);
    let store = opened(&directory);
    assert_eq!((store.revision(), store.health().compacted), (deleted, deleted));
    assert_eq!(put(&store, "a", "1").await, Revision(deleted.0 + 1));
}

#[tokio::test]
async fn compaction_leaves_one_record_per_live_key_also_if_it_is_cut_off() {
    let directory = directory();
    let store = opened(&directory);
    for round in 0..700 {
        put(&store, "a", &round.to_string()).await;
    }
    let newest = store.revision();
    // One commit sweeps only part of the 699 obsolete records.
    store.compact(newest).await.expect("in the window");
    drop(store);
    let path = directory.path().join("store");
    let left = Log::open(&path).expect("opens").records();
    assert!((2..700).contains(&left.len()), "{} records", left.len());
    let store = opened(&directory);
    for _ in 0..3 {
        put(&store, "b", "1").await;
    }
    store.compact(store.revision()).await.expect("in the window");
    put(&store, "c", "1").await;
    let expected = [(newest.0, "a"), (newest.0 + 3, "b"), (newest.0 + 4, "c")].map(|(at, key)| (at, key.to_owned()));
    drop(store);
    assert_eq!(Log::open(&path).expect("opens").records(), expected);
}

#[tokio::test]
async fn a_second_store_on_the_same_file_is_told_who_has_it() {
    let directory = directory();
    let first = opened(&directory);
    let error = RedbStore::open(&directory.path().join("store")).expect_err("in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("another running wkube") && message.contains(&*directory.path().to_string_lossy()));
    first.close().await.expect("closes");
    opened(&directory);
}

#[tokio::test]
async fn a_new_store_is_private_and_leaves_no_scaffolding() {
    let directory = directory();
    fs::write(directory.path().join("store.new"), "left by a crash").expect("writable");
    let _store = opened(&directory);
    let mut names: Vec<_> = fs::read_dir(directory.path()).expect("readable").flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, ["store", "store.lock"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(directory.path().join("store")).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Opens what is in `bytes` and returns its entries, or the error.
fn reopen_as(directory: &TempDir, bytes: &[u8]) -> Result<Vec<Entry>, OpenError> {
    fs::write(directory.path().join("store"), bytes).expect("writable");
    RedbStore::open(&directory.path().join("store")).map(|store| everything(&store, None))
}

#[tokio::test]
async fn damage_is_refused_or_harmless_but_never_believed() {
    let directory = directory();
    let store = opened(&directory);
    join_all((0..40).map(|number| put(&store, ["a", "b", "c"][number % 3], "some value"))).await;
    let truth = everything(&store, None);
    drop(store);
    let good = fs::read(directory.path().join("store")).expect("readable");
    let rng = Rng::seeded(3);
    for _ in 0..40 {
        let mut bad = good.clone();
        // Most of a new file is free space; aim at what is used.
        let used: Vec<usize> = (0..bad.len()).filter(|at| bad[*at] != 0).collect();
        bad[used[rng.below(used.len())]] ^= 1 << rng.below(8);
        match reopen_as(&directory, &bad) {
            // Free pages keep old content, where a flip does no harm.
            Ok(found) => assert_eq!(found, truth),
            Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}"),
        }
    }
    let mut forged = good.clone();
    for at in 0..forged.len() - 10 {
        if &forged[at..at + 10] == b"some value" {
            forged[at + 1] = b'a';
        }
    }
    let error = reopen_as(&directory, &forged).expect_err("every value was changed");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    for cut in [0, 1, 100, 4096, good.len() / 2] {
        let error = reopen_as(&directory, &good[..cut]).expect_err("truncated");
        assert!(matches!(error, OpenError::Damaged { .. }), "cut at {cut}: {error:?}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
    let error = reopen_as(&directory, b"this has never been a database").expect_err("not a database");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(reopen_as(&directory, &good).expect("undamaged"), truth);
}

#[tokio::test]
async fn waiting_writers_share_commits() {
    let disk = disk();
    let store = on(&disk);
    let syncs_before = disk.syncs.load(Ordering::SeqCst);
    let names: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
    let mut all = pin!(join_all(names.iter().map(|name| put(&store, name, "1"))));
    let gate = disk.gate.write();
    // Everyone has asked; the first batch hangs in its sync.
    assert!(matches!(all.as_mut().poll(&mut Context::from_waker(&noop_waker())), Poll::Pending));
    assert_eq!(store.revision(), Revision(1), "nothing is visible before it is durable");
    drop(gate);
    let revisions = all.await;
    assert_eq!(revisions.iter().max(), Some(&Revision(201)));
    let syncs = disk.syncs.load(Ordering::SeqCst) - syncs_before;
    assert!(syncs <= 8, "200 commits took {syncs} syncs");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_keeps_reading() {
    let disk = disk();
    let store = on(&disk);
    let written = put(&store, "a", "1").await;
    disk.full.store(true, Ordering::SeqCst);
    let error = store.commit(Txn::put("a".into(), "2")).await.expect_err("the disk is full");
    let Error::Engine(source) = &error else { panic!("{error:?}") };
    let kind = source.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::StorageFull));
    disk.full.store(false, Ordering::SeqCst);
    // Nobody knows what the failed sync left behind, so only reopening helps.
    let error = store.commit(Txn::create("b".into(), "1")).await.expect_err("failed before");
    assert!(matches!(error, Error::Engine(_)), "{error:?}");
    assert_eq!(store.get("a").expect("readable").expect("exists").modified, written);
    assert_eq!(store.revision(), written);
}

#[tokio::test]
async fn commits_handed_in_before_a_close_are_finished() {
    let directory = directory();
    let store = opened(&directory);
    let commits = join_all((0..20).map(|_| store.commit(Txn::put("a".into(), "1"))));
    let (results, closed) = futures::join!(commits, store.close());
    closed.expect("closes");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    drop(store);
    assert_eq!(opened(&directory).revision(), Revision(21));
}
