//! Power cuts: whatever was acknowledged is there afterwards, nothing is there by half, and the file always opens.
//!
//! `WKUBE_LONG_TESTS=1` cuts ten times as often.

use std::collections::BTreeMap;
use std::{env, io};

use super::simulated::{Done, Name, SimulatedDisk, State, Trouble};
use super::*;
use crate::{Key, Op};
use wkube_base::Rng;

/// Every key and value at one revision.
type World = BTreeMap<Key, ::bytes::Bytes>;

pub(super) fn store_on(disk: &SimulatedDisk) -> Result<RedbStore, OpenError> {
    let path = Path::new("simulated");
    RedbStore::start(Arc::new(disk.clone()), path, None)
}

pub(super) fn new_store() -> (SimulatedDisk, RedbStore) {
    let disk = SimulatedDisk::with(Vec::new());
    drop(Log::create(disk.open().expect("in memory"), crate::history::EMPTY, log::new_wal()).expect("writable"));
    let store = store_on(&disk).expect("opens");
    (disk, store)
}

fn times(quick: usize) -> usize {
    if env::var_os("WKUBE_LONG_TESTS").is_some() { quick * 10 } else { quick }
}

fn world(store: &RedbStore) -> World {
    let listed = store.list(&Range::default()).expect("the newest can be listed");
    listed.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

/// What a script of commits did: what the world was at every revision, and what had been acknowledged after which step.
struct Script {
    before: State,
    history: Vec<Done>,
    worlds: BTreeMap<Revision, World>,
    acknowledged: Vec<(usize, Revision)>,
}

impl Script {
    /// Commits of one key and of several, deletions, compactions, and a file that is rewritten.
    async fn play(seed: u64, commits: usize) -> Self {
        let rng = Rng::seeded(seed);
        let (disk, store) = new_store();
        let before = disk.record();
        let mut worlds = BTreeMap::from([(store.revision(), World::new())]);
        let mut acknowledged = vec![(0, store.revision())];
        for number in 0..commits {
            let txn = random_txn(&rng, number);
            let mut expected = world(&store);
            for op in &txn.ops {
                match op {
                    Op::Put(key, value) => drop(expected.insert(key.clone(), value.clone())),
                    Op::Delete(key) => drop(expected.remove(key)),
                }
            }
            let revision = store.commit(txn).await.expect("the disk is well");
            assert_eq!(world(&store), expected);
            worlds.insert(revision, expected);
            acknowledged.push((disk.steps(), revision));
            match number % 20 {
                7 => store.compact(Revision(revision.0 - 3)).await.expect("in the window"),
                13 => store.rewrite().await,
                _ => {}
            }
        }
        store.close().await.expect("closes");
        let history = disk.history();
        Self { before, history, worlds, acknowledged }
    }

    /// Returns the newest revision that had been acknowledged when `steps` had been taken.
    fn promised(&self, steps: usize) -> Revision {
        let until = self.acknowledged.partition_point(|(at, _)| *at <= steps);
        self.acknowledged[until - 1].1
    }

    /// What is found is one of the worlds that were, and none that is older than what was promised.
    fn check(&self, disk: &SimulatedDisk, promised: Revision, case: &str) {
        let store = store_on(disk).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        let revision = store.revision();
        assert!(revision >= promised, "{case}: {promised:?} was acknowledged, {revision:?} was found");
        assert_eq!(Some(&world(&store)), self.worlds.get(&revision), "{case}: at {revision:?}");
        for at in store.health().compacted.0..=revision.0 {
            let listed =
                store.list(&Range { at: Some(Revision(at)), ..Range::default() }).expect("the window is whole");
            let past: World = listed.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
            assert_eq!(Some(&past), self.worlds.get(&Revision(at)), "{case}: {at} of {revision:?}");
        }
    }
}

fn random_txn(rng: &Rng, number: usize) -> Txn {
    let key = |rng: &Rng| Key::from(format!("k{:02}", rng.below(24)));
    let value = |rng: &Rng| format!("{number} ").repeat(1 + rng.below(60) * rng.below(12));
    let mut ops = BTreeMap::from([("always".into(), Op::Put("always".into(), value(rng).into()))]);
    for _ in 0..rng.below(4) {
        let key = key(rng);
        let op = if rng.below(3) == 0 { Op::Delete(key.clone()) } else { Op::Put(key.clone(), value(rng).into()) };
        ops.insert(key, op);
    }
    Txn { preconditions: Vec::new(), ops: ops.into_values().collect() }
}

const SURVIVALS: [f64; 5] = [0.0, 0.5, 1.0, 0.1, 0.9];

#[tokio::test]
async fn a_power_cut_at_any_step_loses_nothing_that_was_acknowledged() {
    for seed in 0..times(1) as u64 {
        let script = Script::play(seed, 280).await;
        assert!(script.history.len() > 2_000, "{} steps are thousands of cuts", script.history.len());
        let rng = Rng::seeded(seed);
        let mut state = script.before.clone();
        for (step, done) in script.history.iter().enumerate() {
            state.apply(done);
            let survival = SURVIVALS[step % SURVIVALS.len()];
            let case = format!("seed {seed}, step {step}, {survival}");
            script.check(&SimulatedDisk::found(state.after_cut(survival, &rng)), script.promised(step + 1), &case);
        }
    }
}

#[tokio::test]
async fn a_power_cut_while_recovering_from_a_power_cut_loses_nothing_either() {
    let script = Script::play(77, 60).await;
    let rng = Rng::seeded(77);
    let mut state = script.before.clone();
    for (step, done) in script.history.iter().enumerate() {
        state.apply(done);
        if rng.below(10) != 0 {
            continue;
        }
        for _ in 0..times(2) {
            let survival = SURVIVALS[rng.below(SURVIVALS.len())];
            let disk = SimulatedDisk::found(state.after_cut(survival, &rng));
            disk.trouble(Some(Trouble { after: rng.below(12), error: io::ErrorKind::Other, lasts: true }));
            // Whether it opens before the power goes again does not matter.
            drop(store_on(&disk));
            script.check(&disk.after_cut(survival, &rng), script.promised(step + 1), &format!("step {step}, twice"));
        }
    }
}

#[tokio::test]
async fn a_store_that_loses_power_again_and_again_goes_on_from_what_it_promised() {
    for seed in 0..times(10) as u64 {
        let rng = Rng::seeded(seed);
        let (mut disk, store) = new_store();
        drop(store);
        let mut promised = Revision(1);
        for cut in 0..6 {
            disk.trouble(Some(Trouble { after: 4 + rng.below(300), error: io::ErrorKind::Other, lasts: true }));
            if let Ok(store) = store_on(&disk) {
                assert!(store.revision() >= promised, "seed {seed}, cut {cut}");
                for number in 0..200 {
                    match store.commit(random_txn(&rng, number)).await {
                        Ok(revision) => promised = promised.max(revision),
                        Err(_) => break,
                    }
                }
            }
            let survival = SURVIVALS[rng.below(SURVIVALS.len())];
            disk = disk.after_cut(survival, &rng);
        }
        assert!(store_on(&disk).expect("opens").revision() >= promised, "seed {seed}");
    }
}

#[tokio::test]
async fn every_flipped_bit_is_found_or_harmless() {
    let (disk, store) = new_store();
    let rng = Rng::seeded(5);
    for number in 0..40 {
        store.commit(random_txn(&rng, number)).await.expect("the disk is well");
    }
    let truth = world(&store);
    store.close().await.expect("closes");
    let good = disk.content();
    // Most of a file is free space; aim at what is used, though even there freed pages keep old content.
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..times(2_000) {
        let mut bad = good.clone();
        bad[used[rng.below(used.len())]] ^= 1 << rng.below(8);
        let disk = SimulatedDisk::with(bad.clone());
        match store_on(&disk) {
            Ok(store) => {
                assert_eq!(world(&store), truth);
                harmless += 1;
            }
            Err(OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::Schema { .. }) => {
                assert_eq!(disk.content(), bad, "what is refused is not touched");
                refused += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused > harmless / 10, "{refused} refused, {harmless} harmless");
}

/// Returns a disk on which nothing of the log has been applied, and what is written on it.
async fn unapplied() -> (BTreeMap<Name, Vec<u8>>, World) {
    let (disk, store) = new_store();
    let (file, rng) = (disk.content(), Rng::seeded(8));
    for number in 0..6 {
        store.commit(random_txn(&rng, number)).await.expect("the disk is well");
    }
    let (mut files, truth) = (disk.contents(), world(&store));
    files.insert(Name::Store, file);
    (files, truth)
}

#[tokio::test]
async fn every_flipped_bit_of_the_log_is_found_or_harmless() {
    let ((good, truth), rng) = (unapplied().await, Rng::seeded(9));
    assert_eq!(world(&store_on(&SimulatedDisk::of(good.clone())).expect("opens")), truth);
    let segment = *good.keys().find(|name| **name != Name::Store).expect("there is a log");
    let used: Vec<usize> = (0..good[&segment].len()).filter(|at| good[&segment][*at] != 0).collect();
    let mut harmless = 0;
    for _ in 0..times(2_000) {
        let mut bad = good.clone();
        bad.entry(segment).and_modify(|bytes| bytes[used[rng.below(used.len())]] ^= 1 << rng.below(8));
        let disk = SimulatedDisk::of(bad.clone());
        match store_on(&disk) {
            Ok(store) => {
                assert_eq!(world(&store), truth, "also the last commit");
                harmless += 1;
            }
            Err(error @ OpenError::Damaged { .. }) => {
                let cause = std::error::Error::source(&error).expect("says why").to_string();
                assert!(cause.contains("of the log"), "{cause}");
                assert_eq!(disk.contents(), bad, "what is refused is not touched");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    // A frame is padded with zeros, so all that is not zero is needed.
    assert_eq!(harmless, 0);
}

#[tokio::test]
async fn a_log_that_is_cut_off_or_another_stores_is_refused() {
    let (good, _) = unapplied().await;
    let segment = *good.keys().find(|name| **name != Name::Store).expect("there is a log");
    for length in [5_000, 9_000, good[&segment].len() - 1] {
        let mut bad = good.clone();
        bad.entry(segment).and_modify(|bytes| bytes.truncate(length));
        assert!(matches!(store_on(&SimulatedDisk::of(bad)), Err(OpenError::Damaged { .. })), "{length}");
    }
    let mut others = good;
    others.insert(Name::Store, new_store().0.content());
    let error = store_on(&SimulatedDisk::of(others)).map(drop).expect_err("another store's");
    assert!(format!("{error:?}").contains("Alien"), "{error:?}");
}

#[tokio::test]
async fn a_torn_file_is_refused() {
    let (disk, store) = new_store();
    let rng = Rng::seeded(6);
    for number in 0..40 {
        store.commit(random_txn(&rng, number)).await.expect("the disk is well");
    }
    let truth = world(&store);
    store.close().await.expect("closes");
    let good = disk.content();
    for _ in 0..times(200) {
        let mut torn = good[..rng.below(good.len())].to_owned();
        if rng.below(2) == 0 {
            // A page that belongs elsewhere.
            torn.clone_from(&good);
            let pages = good.len() / 4096;
            let (from, to) = (rng.below(pages) * 4096, rng.below(pages) * 4096);
            torn.copy_within(from..from + 4096, to);
        }
        match store_on(&SimulatedDisk::with(torn)) {
            Ok(store) => assert_eq!(world(&store), truth),
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("simulated") && message.contains("move it away"), "{message}");
            }
        }
    }
}
