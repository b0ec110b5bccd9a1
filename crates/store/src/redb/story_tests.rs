//! Clients that call at the same time while the power fails again and again: all they were told is one story.

use std::io;

use futures::executor::block_on;
use wkube_base::Rng;

use super::crash_tests::{new_store, store_on};
use super::simulated::Trouble;
use super::*;
use crate::linear::{Script, Session};

/// More calls of each client than any cut waits for.
const STEPS_MAX: usize = 1_000;

#[test]
fn clients_of_a_store_that_loses_power_are_told_one_story() {
    for seed in 0..12 {
        let rng = Rng::seeded(seed);
        let (mut disk, store) = new_store();
        drop(store);
        let mut session = Session::new(Script { clients: 6, watchers: 2, keys: 4 }, Revision(1), seed);
        for _ in 0..4 {
            disk.trouble(Some(Trouble { after: 20 + rng.below(300), error: io::ErrorKind::Other, lasts: true }));
            if let Ok(store) = store_on(&disk) {
                session.run(&store, STEPS_MAX);
                let dark = block_on(store.commit(Txn::put("dark".into(), "")));
                assert!(dark.is_err(), "commits are acknowledged without reaching the disk");
            }
            let survival = [0.0, 0.1, 0.5, 0.9, 1.0][rng.below(5)];
            disk = disk.after_cut(survival, &rng);
        }
        let store = store_on(&disk).expect("opens, and is whole, after a cut");
        session.run(&store, 30);
        if let Err(problem) = session.recorder.check() {
            panic!("seed {seed}: {problem}");
        }
    }
}
