//! Clients that call at the same time while the power fails again and again: all they were told is one story.

use super::*;
use crate::linear::{Script, Session};

/// More than anybody does before the power is gone.
const NO_END: usize = 1_000_000;

#[test]
fn clients_of_a_store_that_loses_power_are_told_one_story() {
    for seed in 0..12 {
        let rng = Rng::seeded(seed);
        let mut disk = Plugged(Arc::new(Mutex::new(Disk::with(Vec::new()))));
        Log::of(open(&disk).expect("a new database")).initialize().expect("writable");
        let mut session = Session::new(Script { clients: 6, watchers: 2, keys: 4 }, Revision(1), seed);
        for _ in 0..4 {
            disk.0.lock().left = 20 + rng.below(300);
            if let Ok(store) = open(&disk).map_err(drop).and_then(|database| store_on(database).map_err(drop)) {
                session.run(&store, NO_END);
            }
            let survival = [0.0, 0.1, 0.5, 0.9, 1.0][rng.below(5)];
            let found = disk.0.lock().after_cut(survival, &rng);
            disk = Plugged(Arc::new(Mutex::new(Disk::with(found))));
        }
        let store = store_on(open(&disk).expect("opens after a cut")).expect("is whole after a cut");
        session.run(&store, 30);
        if let Err(problem) = session.recorder.check() {
            panic!("seed {seed}: {problem}");
        }
    }
}
