//! What the contract cannot ask of every engine: reopening, damage, locks, shared commits, failing disks.

use std::pin::pin;
use std::task::{Context, Poll};

use futures::future::join_all;
use futures::task::noop_waker;
use tempfile::TempDir;
use wkube_base::Rng;

use super::crash_tests::{new_store, store_on};
use super::*;
use crate::Op;

fn opened(directory: &TempDir) -> RedbStore {
    RedbStore::open(&directory.path().join("store")).expect("opens")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

async fn put(store: &RedbStore, key: &str, value: &str) -> Revision {
    store.commit(Txn::put(key.into(), value.to_owned())).await.expect("no conditions")
}

fn opened_log(path: &Path) -> Log {
    Log::open(Files::new(path).open().expect("exists"), |_| Ok(())).expect("opens").0
}

fn records(path: &Path) -> Vec<(u64, String)> {
    opened_log(path).records()
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
    let path = directory.path().join("store");
    let store = opened(&directory);
    let versions: Vec<String> = (0..1_500).map(|round| round.to_string()).collect();
    join_all(versions.iter().map(|version| put(&store, "a", version))).await;
    let newest = store.revision();
    store.compact(newest).await.expect("in the window");
    put(&store, "b", "1").await;
    // One transaction sweeps only part of the 1,499 obsolete records.
    drop(store);
    let left = records(&path);
    assert!((3..=1_501).contains(&left.len()), "{} records", left.len());
    for key in ["b", "c", "d"] {
        let store = opened(&directory);
        store.compact(store.revision()).await.expect("in the window");
        put(&store, key, "1").await;
    }
    let expected = [(newest.0, "a"), (newest.0 + 2, "b"), (newest.0 + 3, "c"), (newest.0 + 4, "d")];
    assert_eq!(records(&path), expected.map(|(at, key)| (at, key.to_owned())));
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
    assert_eq!(names, ["store", "store.lock", "store.reserve"], "there is a log once something has been written");
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
async fn damage_is_refused_with_a_name_and_advice() {
    let directory = directory();
    let store = opened(&directory);
    join_all((0..40).map(|number| put(&store, ["a", "b", "c"][number % 3], "some value"))).await;
    let truth = everything(&store, None);
    drop(store);
    let good = fs::read(directory.path().join("store")).expect("readable");
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
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Foreign { .. }), "cut at {cut}: {error:?}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
    let error = reopen_as(&directory, b"this has never been a database").expect_err("not a database");
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert_eq!(reopen_as(&directory, &good).expect("undamaged"), truth);
}

#[tokio::test]
async fn waiting_writers_share_commits() {
    let (disk, store) = new_store();
    let syncs_before = disk.syncs();
    let names: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
    let mut all = pin!(join_all(names.iter().map(|name| put(&store, name, "1"))));
    let (came, gate) = (disk.came(), disk.gate.write());
    assert!(matches!(all.as_mut().poll(&mut Context::from_waker(&noop_waker())), Poll::Pending));
    // Everyone has asked; the first batch hangs in its sync.
    disk.wait_at_gate(came);
    assert_eq!(store.revision(), Revision(1), "nothing is visible before it is durable");
    drop(gate);
    let revisions = all.await;
    assert_eq!(revisions.iter().max(), Some(&Revision(201)));
    let syncs = disk.syncs() - syncs_before;
    // Two frames, a segment, and what the applier needs for each.
    assert!(syncs <= 20, "200 commits took {syncs} syncs");
}

#[tokio::test]
async fn a_patient_commit_is_durable_when_it_is_acknowledged_and_shares_a_sync() {
    let (disk, store) = new_store();
    let before = disk.syncs();
    let heartbeats: Vec<String> = (0..50).map(|number| format!("lease{number}")).collect();
    let mut patient =
        pin!(join_all(heartbeats.iter().map(|name| store.commit_patiently(Txn::put((&**name).into(), "1")))));
    assert!(matches!(patient.as_mut().poll(&mut Context::from_waker(&noop_waker())), Poll::Pending));
    put(&store, "a", "1").await;
    let acknowledged = patient.await;
    assert!(acknowledged.iter().all(Result::is_ok), "{acknowledged:?}");
    assert!(disk.syncs() - before <= 12, "{} syncs for 51 commits", disk.syncs() - before);
    let alone = store.commit_patiently(Txn::put("a".into(), "2")).await.expect("patience ends");
    assert_eq!(store.get("a").expect("readable").expect("exists").modified, alone);
    store.close().await.expect("closes");
    assert_eq!(store_on(&disk).expect("opens").revision(), alone);
}

#[tokio::test]
async fn a_file_is_rewritten_while_it_is_in_use() {
    let directory = directory();
    let store = opened(&directory);
    let noise: String = (0..6_000_u32)
        .map(|n| char::from(b'!' + u8::try_from(n.wrapping_mul(2_654_435_761) >> 26).expect("six bits")))
        .collect();
    for round in 0..600 {
        put(&store, &format!("k{}", round % 20), &format!("{round}{noise}")).await;
    }
    // Everything is in the file, and nothing only in the log.
    drop(store);
    let store = opened(&directory);
    let before = store.health().bytes;
    store.compact(Revision(store.revision().0 - 5)).await.expect("in the window");
    let writes = async {
        for round in 0..200 {
            put(&store, &format!("l{}", round % 20), &round.to_string()).await;
        }
    };
    futures::join!(store.rewrite(), writes);
    assert!(store.health().bytes < before / 2, "{} of {before}", store.health().bytes);
    let last = put(&store, "last", "1").await;
    let (truth, past) = (everything(&store, None), everything(&store, Some(Revision(last.0 - 3))));
    drop(store);
    let store = opened(&directory);
    assert_eq!((everything(&store, None), everything(&store, Some(Revision(last.0 - 3)))), (truth, past));
}

#[tokio::test]
async fn an_older_store_is_upgraded_and_a_newer_one_refused_untouched() {
    let directory = directory();
    let store = opened(&directory);
    put(&store, "a", "1").await;
    drop(store);
    let path = directory.path().join("store");
    let pretend = |version| opened_log(&path).pretend(version);
    pretend(1);
    assert_eq!(inspect(&path, &Lock::take(&path).expect("free")).expect("readable").schema, 1);
    assert_eq!(everything(&opened(&directory), None).len(), 1);
    assert_eq!(inspect(&path, &Lock::take(&path).expect("free")).expect("readable").schema, log::SCHEMA);
    pretend(99);
    let before = fs::read(&path).expect("readable");
    let error = RedbStore::open(&path).expect_err("newer");
    assert!(matches!(error, OpenError::Schema { found: 99, known: log::SCHEMA, .. }), "{error:?}");
    assert!(error.to_string().contains("use a newer wkube"), "{error}");
    assert_eq!(fs::read(&path).expect("readable"), before);
}

#[tokio::test]
async fn a_log_without_its_store_is_not_written_over() {
    let directory = directory();
    let path = directory.path().join("store");
    let segment = directory.path().join("store.wal").join("00000001.wal");
    let (store, beside) = (opened(&directory), fs::read(directory.path().join("store")).expect("readable"));
    put(&store, "a", "1").await;
    let log = fs::read(&segment).expect("the commit is in it");
    drop(store);
    assert!(!segment.exists(), "a store that was closed needs none");
    fs::remove_file(&path).expect("writable");
    fs::write(&segment, &log).expect("writable");
    let lock = Lock::take(&path).expect("free");
    let error =
        create_from(&path, &lock, Revision(9), []).expect_err("the log holds what was written to another store");
    assert!(matches!(error, OpenError::Exists { .. }), "{error:?}");
    drop(lock);
    let error = RedbStore::open(&path).expect_err("the log holds what was written to another store");
    assert!(matches!(&error, OpenError::Exists { path } if path.ends_with("store.wal")), "{error:?}");
    // With its store it is whole again, also for those who only look.
    fs::write(&path, beside).expect("writable");
    let lock = Lock::take(&path).expect("free");
    assert_eq!(inspect(&path, &lock).expect("whole").listed.entries.len(), 1);
    assert_eq!(rewrite_file(&path, &lock).expect("whole").health.revision, Revision(2));
    assert!(!segment.exists(), "all of it is in the file");
    drop(lock);
    assert_eq!(everything(&opened(&directory), None).len(), 1);
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_untouched() {
    let directory = directory();
    let path = directory.path().join("store");
    let theirs: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("theirs");
    let database = redb::Database::create(&path).expect("writable");
    let txn = database.begin_write().expect("writable");
    txn.open_table(theirs).expect("new").insert(1, 2).expect("writable");
    txn.commit().expect("writable");
    drop(database);
    let before = fs::read(&path).expect("readable");
    let error = RedbStore::open(&path).expect_err("not ours");
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert_eq!(fs::read(&path).expect("readable"), before);
}

#[tokio::test]
async fn looking_at_a_store_changes_nothing_and_rewriting_it_keeps_everything() {
    let directory = directory();
    let (store, rng) = (opened(&directory), Rng::seeded(1));
    for round in 0..300 {
        let mut noise = vec![0; 20_000];
        rng.fill(&mut noise);
        store.commit(Txn::put(["a", "b"][round % 2].into(), noise)).await.expect("no conditions");
    }
    let (truth, revision) = (everything(&store, None), store.revision());
    drop(store);
    let path = directory.path().join("store");
    let before = fs::read(&path).expect("readable");
    let lock = Lock::take(&path).expect("free");
    assert!(matches!(Lock::take(&path), Err(OpenError::InUse { .. })));
    let found = inspect(&path, &lock).expect("whole");
    assert_eq!((found.health.revision, found.health.keys, &found.listed.entries), (revision, 2, &truth));
    assert_eq!(fs::read(&path).expect("readable"), before);
    let smaller = rewrite_file(&path, &lock).expect("whole");
    assert!(smaller.health.bytes < found.health.bytes && smaller.records == 2, "{smaller:?}");
    drop(lock);
    let store = opened(&directory);
    assert_eq!((everything(&store, None), store.revision()), (truth, revision));
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
