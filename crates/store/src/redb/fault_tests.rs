//! Disks that fill up or fail at every possible step: what is acknowledged is kept, and clients are told what is true.

use super::crash_tests::{new_store, store_on};
use super::simulated::{RESERVE, SimulatedDisk, Trouble};
use super::*;
use crate::Op;
use std::io;
use std::time::Duration;

fn put(key: &str, size: usize) -> Txn {
    // Noise does not compress.
    let mut noise = 0x0139_408d_cbbf_7a44_u64 ^ size as u64;
    let next = |_| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()[0]
    };
    Txn::put(key.into(), (0..size).map(next).collect::<Vec<u8>>())
}

fn delete(key: &str) -> Txn {
    Txn { preconditions: Vec::new(), ops: vec![Op::Delete(key.into())] }
}

/// Fills the disk; returns how many keys were taken.
async fn fill(store: &RedbStore) -> usize {
    for number in 0..10_000 {
        match store.commit(put(&format!("k{number}"), 4_000)).await {
            Ok(_) => {}
            Err(Error::Full(reason)) => {
                assert!(reason.to_string().contains("simulated"), "{reason}");
                return number;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the disk never fills up");
}

#[tokio::test]
async fn a_full_disk_takes_deletions_and_everything_once_there_is_space() {
    let (disk, store) = new_store();
    disk.spare(Some(1 << 20));
    let taken = fill(&store).await;
    assert!(taken > 50, "{taken}");
    assert!(matches!(store.refusal(), Some(Error::Full(_))));
    let refused = store.commit(put("more", 10)).await.expect_err("full");
    assert!(matches!(refused, Error::Full(_)), "{refused:?}");
    assert_eq!(store.list(&Range::default()).expect("reads go on").entries.len(), taken);
    for number in 0..20 {
        store.commit(delete(&format!("k{number}"))).await.expect("deletions go on");
    }
    disk.spare(Some(4 * RESERVE));
    wait_for_space(&store).await;
    let revision = store.commit(put("more", 10)).await.expect("there is space");
    assert_eq!(store.refusal().map(drop), None);
    store.close().await.expect("closes");
    let store = store_on(&disk).expect("opens");
    // The probe is there, too.
    assert_eq!((store.revision(), store.health().keys), (revision, taken - 20 + 2));
}

/// The writer looks once a second; its clock is not the test's.
async fn wait_for_space(store: &RedbStore) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while store.refusal().is_some() {
        assert!(Instant::now() < deadline, "nobody noticed that there is space");
        let _ = store.commit(put("probe", 1)).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_on_a_full_disk_opens_and_says_so() {
    let (disk, store) = new_store();
    let written = store.commit(put("a", 10)).await.expect("there is space");
    store.close().await.expect("closes");
    disk.spare(Some(0));
    disk.release();
    let store = store_on(&disk).expect("opens");
    assert_eq!(store.get("a").expect("readable").expect("exists").modified, written);
    assert!(matches!(store.commit(put("b", 2 * RESERVE)).await, Err(Error::Full(_))));
}

#[tokio::test]
async fn garbage_makes_room_before_anything_is_refused_for_good() {
    const SPARE: usize = 4 << 20;
    let (disk, store) = new_store();
    disk.spare(Some(SPARE));
    // All the same key: nearly everything in the file is past. It is four times what the disk has room for.
    for _ in 0..4 * SPARE / 4_000 {
        match store.commit(put("a", 4_000)).await {
            // As a rule nobody notices: what is in the log already is only carried over later.
            Ok(_) => {}
            Err(Error::Full(_)) => wait_for_space(&store).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(store.health().compacted > crate::history::EMPTY, "the past was given up");
    wait_for_space(&store).await;
    store.commit(put("a", 4_000)).await.expect("nobody had to free anything");
}

/// Runs commits into trouble at step `after`, and returns the revisions that were acknowledged and the first error.
async fn run_into(disk: &SimulatedDisk, trouble: Trouble) -> (Revision, Option<Error>) {
    let store = store_on(disk).expect("opens");
    disk.trouble(Some(trouble));
    let (mut acknowledged, mut first) = (store.revision(), None);
    for number in 0..24 {
        match store.commit(put(&format!("k{}", number % 5), 600)).await {
            Ok(revision) => {
                assert!(revision > acknowledged, "revisions are not used twice");
                acknowledged = revision;
            }
            Err(error) => {
                assert!(store.revision() >= acknowledged);
                first.get_or_insert(error);
            }
        }
    }
    (acknowledged, first)
}

#[tokio::test]
async fn an_error_at_any_step_is_told_and_costs_nothing_that_was_acknowledged() {
    let (clean, store) = new_store();
    for number in 0..20 {
        store.commit(put(&format!("k{}", number % 7), 900)).await.expect("the disk is well");
    }
    store.close().await.expect("closes");
    let (mut told, content) = (0, clean.content());
    for error in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for lasts in [false, true] {
            for after in 0..150 {
                let disk = SimulatedDisk::with(content.clone());
                let (acknowledged, first) = run_into(&disk, Trouble { after, error, lasts }).await;
                told += usize::from(first.is_some());
                let case = format!("{error:?} after {after}, lasts: {lasts}");
                if let Some(first) = &first {
                    let is_full = error == io::ErrorKind::StorageFull;
                    assert!(
                        matches!(first, Error::Engine(_)) || (is_full && matches!(first, Error::Full(_))),
                        "{case}: {first:?}"
                    );
                }
                disk.trouble(None);
                let store = store_on(&disk).unwrap_or_else(|error| panic!("{case}: {error:?}"));
                assert!(store.revision() >= acknowledged, "{case}");
            }
        }
    }
    assert!(told > 200, "{told} errors were told");
}

#[tokio::test]
async fn a_broken_disk_stops_the_store_and_says_why() {
    let (disk, store) = new_store();
    let written = store.commit(put("a", 10)).await.expect("the disk is well");
    let broken = store.broken();
    disk.trouble(Some(Trouble { after: 0, error: io::ErrorKind::Other, lasts: false }));
    let error = store.commit(put("a", 10)).await.expect_err("the disk failed");
    assert!(matches!(error, Error::Engine(_)), "{error:?}");
    // The disk is well again, but nobody knows what is on it.
    assert!(matches!(store.commit(put("b", 10)).await, Err(Error::Engine(_))));
    assert!(broken.await.to_string().contains("simulated"));
    assert_eq!(store.get("a").expect("readable").expect("exists").modified, written);
    drop(store);
    assert_eq!(store_on(&disk).expect("opens").revision(), written);
}
