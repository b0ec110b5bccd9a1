//! A disk in memory for tests: it counts, fills up, fails, and loses power, keeping unsynced sectors or losing them, each on
//! its own, as real ones do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use redb::StorageBackend;
use wkube_base::Rng;

use super::bytes::Backend;
use super::disk::{Disk, Replacing};

const SECTOR: usize = 512;
/// What the disk holds back when it is asked to.
pub(super) const RESERVE: usize = 256 << 10;

/// What was done, for looking at every moment of it again.
#[derive(Debug, Clone)]
pub(super) enum Done {
    Made(usize),
    Wrote(usize, usize, Vec<u8>),
    Sized(usize, usize),
    Synced(usize),
    Renamed(usize),
    DirectorySynced,
}

/// A file: what the last sync made safe, what the running system sees, and the sectors written since.
#[derive(Debug, Clone, Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Sectors that occupy space; the others are holes.
    occupied: BTreeSet<usize>,
}

/// A directory with a store in it, and perhaps one that is to take its place.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    files: BTreeMap<usize, Content>,
    /// The file that has the store's name now, and the one that has it after a power cut.
    store: usize,
    store_durable: usize,
    reserve: usize,
}

impl State {
    /// Returns a disk with one file.
    pub(super) fn with(content: Vec<u8>) -> Self {
        let occupied = (0..content.len().div_ceil(SECTOR)).collect();
        let file = Content { durable: content.clone(), current: content, dirty: BTreeSet::new(), occupied };
        Self { files: BTreeMap::from([(0, file)]), ..Self::default() }
    }

    pub(super) fn apply(&mut self, done: &Done) {
        match done {
            Done::Made(file) => drop(self.files.insert(*file, Content::default())),
            Done::Wrote(file, at, data) => {
                let file = self.files.entry(*file).or_default();
                file.current[*at..at + data.len()].copy_from_slice(data);
                let sectors = at / SECTOR..=(at + data.len() - 1) / SECTOR;
                file.dirty.extend(sectors.clone());
                file.occupied.extend(sectors);
            }
            Done::Sized(file, len) => self.files.entry(*file).or_default().current.resize(*len, 0),
            Done::Synced(file) => {
                let file = self.files.entry(*file).or_default();
                file.durable.resize(file.current.len(), 0);
                for sector in std::mem::take(&mut file.dirty) {
                    let range = sector * SECTOR..((sector + 1) * SECTOR).min(file.current.len());
                    if range.start < range.end {
                        file.durable[range.clone()].copy_from_slice(&file.current[range]);
                    }
                }
            }
            Done::Renamed(file) => self.store = *file,
            Done::DirectorySynced => self.store_durable = self.store,
        }
    }

    fn occupied(&self) -> usize {
        self.files.values().map(|file| file.occupied.len() * SECTOR).sum::<usize>() + self.reserve
    }

    /// Returns the store's file as it is found when the power comes back: each unsynced sector survived with this
    /// probability, and so did an unsynced rename.
    pub(super) fn after_cut(&self, survival: f64, rng: &Rng) -> Vec<u8> {
        let file = if rng.unit() < survival { self.store } else { self.store_durable };
        let Some(file) = self.files.get(&file) else { return Vec::new() };
        let mut found = file.durable.clone();
        if rng.unit() < survival {
            found.resize(file.current.len(), 0);
        }
        for sector in file.dirty.iter().filter(|_| rng.unit() < survival) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(file.current.len()).min(found.len());
            if range.start < range.end {
                found[range.clone()].copy_from_slice(&file.current[range]);
            }
        }
        found
    }
}

/// What happens to one step from now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    /// How many steps still succeed.
    pub(super) after: usize,
    pub(super) error: io::ErrorKind,
    /// Whether all later steps fail, too.
    pub(super) lasts: bool,
}

#[derive(Debug, Default)]
struct Inside {
    state: State,
    made: usize,
    history: Vec<Done>,
    /// Whether `history` is kept.
    records: bool,
    trouble: Option<Trouble>,
    capacity: Option<usize>,
    syncs: usize,
}

/// The disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct SimulatedDisk {
    inside: Arc<Mutex<Inside>>,
    /// Held for writing, it holds up every sync.
    pub(super) gate: Arc<RwLock<()>>,
}

impl SimulatedDisk {
    /// Returns a disk with a store's file.
    pub(super) fn with(content: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.inside.lock().state = State::with(content);
        disk
    }

    /// Notes everything from now on.
    pub(super) fn record(&self) -> State {
        let mut inside = self.inside.lock();
        inside.records = true;
        inside.state.clone()
    }

    /// Returns what has been done since it is noted.
    pub(super) fn history(&self) -> Vec<Done> {
        self.inside.lock().history.clone()
    }

    /// Returns how many steps have been noted.
    pub(super) fn steps(&self) -> usize {
        self.inside.lock().history.len()
    }

    pub(super) fn trouble(&self, trouble: Option<Trouble>) {
        self.inside.lock().trouble = trouble;
    }

    /// Limits the disk to what it has now and so many bytes more; `None` for no limit.
    pub(super) fn spare(&self, bytes: Option<usize>) {
        let mut inside = self.inside.lock();
        inside.capacity = bytes.map(|bytes| inside.state.occupied() + bytes);
    }

    pub(super) fn syncs(&self) -> usize {
        self.inside.lock().syncs
    }

    /// Returns what is found when the power comes back.
    pub(super) fn after_cut(&self, survival: f64, rng: &Rng) -> Vec<u8> {
        self.inside.lock().state.after_cut(survival, rng)
    }

    /// Returns the store's file as it is.
    pub(super) fn content(&self) -> Vec<u8> {
        let inside = self.inside.lock();
        inside.state.files.get(&inside.state.store).map_or_else(Vec::new, |file| file.current.clone())
    }

    fn step(&self, done: Done) -> io::Result<()> {
        let mut inside = self.inside.lock();
        if let Some(trouble) = &mut inside.trouble {
            let (error, lasts) = (trouble.error, trouble.lasts);
            if trouble.after == 0 {
                if !lasts {
                    inside.trouble = None;
                }
                return Err(error.into());
            }
            trouble.after -= 1;
        }
        if let (Some(capacity), Done::Wrote(file, at, data)) = (inside.capacity, &done) {
            let occupied = inside.state.files.get(file).map(|file| &file.occupied);
            let new = (at / SECTOR..=(at + data.len() - 1) / SECTOR)
                .filter(|sector| occupied.is_none_or(|occupied| !occupied.contains(sector)));
            if inside.state.occupied() + new.count() * SECTOR > capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        inside.syncs += usize::from(matches!(done, Done::Synced(_)));
        inside.state.apply(&done);
        if inside.records {
            inside.history.push(done);
        }
        Ok(())
    }

    fn file(&self, number: usize) -> Backend {
        Box::new(SimulatedFile { disk: self.clone(), number })
    }
}

impl Disk for SimulatedDisk {
    fn open(&self) -> io::Result<Backend> {
        let store = self.inside.lock().state.store;
        Ok(self.file(store))
    }

    fn replacement(&self) -> io::Result<Backend> {
        let number = {
            let mut inside = self.inside.lock();
            inside.made += 1;
            inside.made
        };
        self.step(Done::Made(number))?;
        Ok(self.file(number))
    }

    fn replace(&self) -> Result<(), Replacing> {
        let number = self.inside.lock().made;
        self.step(Done::Renamed(number)).map_err(Replacing::Refused)?;
        self.step(Done::DirectorySynced).map_err(Replacing::Unknown)
    }

    fn discard(&self) {
        let mut inside = self.inside.lock();
        let store = inside.state.store;
        inside.state.files.retain(|number, _| *number == store);
    }

    fn reserve(&self) -> io::Result<()> {
        let mut inside = self.inside.lock();
        let occupied = inside.state.occupied() - inside.state.reserve;
        if inside.capacity.is_some_and(|capacity| occupied + RESERVE > capacity) {
            inside.state.reserve = 0;
            return Err(io::ErrorKind::StorageFull.into());
        }
        inside.state.reserve = RESERVE;
        Ok(())
    }

    fn release(&self) {
        self.inside.lock().state.reserve = 0;
    }

    fn size(&self) -> u64 {
        self.content().len() as u64
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    number: usize,
}

impl SimulatedFile {
    fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let inside = self.disk.inside.lock();
        look(inside.state.files.get(&self.number).map_or(&[][..], |file| &file.current))
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("small")
}

impl StorageBackend for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = place(offset);
        self.with(|bytes| {
            out.copy_from_slice(bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.step(Done::Sized(self.number, place(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        drop(self.disk.gate.read());
        self.disk.step(Done::Synced(self.number))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.step(Done::Wrote(self.number, place(offset), data.to_owned()))
    }
}
