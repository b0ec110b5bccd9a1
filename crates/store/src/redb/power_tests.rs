//! Power cuts at random instants: whatever was acknowledged is there afterwards, whole.
//!
//! The simulated disk keeps unsynced sectors or loses them, each on its own, as real ones do.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use redb::{Builder, Database, StorageBackend};
use wkube_base::Rng;

use super::*;
use crate::Op;

mod story;

const SECTOR: usize = 512;

#[derive(Debug)]
struct Disk {
    /// What the last sync made safe.
    durable: Vec<u8>,
    /// What the running system sees.
    current: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<usize>,
    /// Operations left until the power goes; afterwards every operation fails.
    left: usize,
}

impl Disk {
    fn with(content: Vec<u8>) -> Self {
        Self { durable: content.clone(), current: content, dirty: BTreeSet::new(), left: usize::MAX }
    }

    fn step(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("the power is off"))?;
        Ok(())
    }

    /// Returns what is found when the power comes back: each unsynced sector survived with this probability.
    fn after_cut(&self, survival: f64, rng: &Rng) -> Vec<u8> {
        let mut found = self.durable.clone();
        if rng.unit() < survival {
            found.resize(self.current.len(), 0);
        }
        for sector in self.dirty.iter().filter(|_| rng.unit() < survival) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.current.len()).min(found.len());
            if range.start < range.end {
                found[range.clone()].copy_from_slice(&self.current[range]);
            }
        }
        found
    }
}

#[derive(Debug, Clone)]
struct Plugged(Arc<Mutex<Disk>>);

impl StorageBackend for Plugged {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("small");
        let disk = self.0.lock();
        let found = disk.current.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        disk.current.resize(usize::try_from(len).expect("small"), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        disk.durable = disk.current.clone();
        disk.dirty.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("small");
        let mut disk = self.0.lock();
        disk.step()?;
        disk.current[start..start + data.len()].copy_from_slice(data);
        disk.dirty.extend(start / SECTOR..=(start + data.len() - 1) / SECTOR);
        Ok(())
    }
}

fn open(disk: &Plugged) -> Result<Database, redb::DatabaseError> {
    let mut builder = Builder::new();
    builder.set_check_integrity_on_open(true).create_with_backend(disk.clone())
}

fn store_on(database: Database) -> Result<RedbStore, OpenError> {
    RedbStore::start(Path::new("simulated"), Log::of(database), None)
}

/// Writes until the power goes. Every commit writes its own revision into several keys. Returns the last acknowledged one.
async fn write_until_dark(store: &RedbStore, rng: &Rng) -> Revision {
    let mut acknowledged = store.revision();
    // More commits than any cut waits for.
    for _ in 0..1_000 {
        let value = (acknowledged.0 + 1).to_string();
        let keys = ["always".to_owned(), format!("k{}", rng.below(30)), format!("l{}", rng.below(30))];
        let ops = keys.map(|key| Op::Put(key.as_str().into(), value.clone().into())).into();
        match store.commit(Txn { preconditions: Vec::new(), ops }).await {
            Ok(revision) => acknowledged = revision,
            Err(_) => return acknowledged,
        }
        if rng.below(10) == 0 && store.compact(acknowledged).await.is_err() {
            return acknowledged;
        }
    }
    panic!("commits are acknowledged without reaching the disk");
}

fn check(store: &RedbStore, acknowledged: Revision, case: &str) {
    let revision = store.revision();
    assert!(revision >= acknowledged, "{case}: {acknowledged:?} was acknowledged, {revision:?} was found");
    let listed = store.list(&Range::default()).expect("the newest can be listed");
    let always = listed.entries.iter().find(|entry| &*entry.key == "always");
    assert_eq!(always.map(|entry| entry.modified), Some(revision).filter(|revision| revision.0 > 1), "{case}");
    for entry in &listed.entries {
        assert_eq!(entry.value, entry.modified.0.to_string(), "{case}: {}", entry.key);
    }
    for at in store.health().compacted.0..=revision.0 {
        store.list(&Range { at: Some(Revision(at)), ..Range::default() }).expect("the window is whole");
    }
}

#[tokio::test]
async fn no_power_cut_loses_what_was_acknowledged() {
    for seed in 0..60 {
        let rng = Rng::seeded(seed);
        let mut disk = Plugged(Arc::new(Mutex::new(Disk::with(Vec::new()))));
        Log::of(open(&disk).expect("a new database")).initialize().expect("writable");
        let mut acknowledged = Revision(1);
        for cut in 0..3 {
            let case = format!("seed {seed}, cut {cut}");
            // A third of the cuts hit the opening of the file itself.
            let budget = if rng.below(3) == 0 { rng.below(12) } else { 12 + rng.below(300) };
            disk.0.lock().left = budget;
            if let Ok(store) = open(&disk).map_err(drop).and_then(|database| store_on(database).map_err(drop)) {
                check(&store, acknowledged, &case);
                acknowledged = write_until_dark(&store, &rng).await.max(acknowledged);
            }
            let survival = [0.0, 0.1, 0.5, 0.9, 1.0][rng.below(5)];
            let found = disk.0.lock().after_cut(survival, &rng);
            disk = Plugged(Arc::new(Mutex::new(Disk::with(found))));
        }
        let store = store_on(open(&disk).expect("opens after a cut")).expect("is whole after a cut");
        check(&store, acknowledged, &format!("seed {seed}, end"));
    }
}
