//! A disk in memory for tests: it counts, fills up, fails, and loses power, keeping unsynced sectors or losing them, each on
//! its own, as real ones do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::StorageBackend;
use wkube_base::Rng;

use super::bytes::Backend;
use super::disk::{Disk, Replacing};
use super::wal::Sizes;

const SECTOR: usize = 512;
/// What the disk holds back when it is asked to.
pub(super) const RESERVE: usize = 256 << 10;

/// A small log, so that a short script fills its segments many times, and an applier that comes between all commits.
const SIZES: Sizes =
    Sizes { segment: 48 << 10, applied_at_once: 12 << 10, backlog: 64 << 10, every: Duration::from_millis(1) };

/// What a file is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Store,
    Segment(u64),
}

/// What was done, for looking at every moment of it again.
#[derive(Debug, Clone)]
pub(super) enum Done {
    Made(usize),
    Wrote(usize, usize, Vec<u8>),
    Sized(usize, usize),
    Synced(usize),
    Named(Name, usize),
    Removed(Name),
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

impl Content {
    /// Returns the file as it is found when the power comes back.
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

/// A directory with a store in it, its log, and perhaps one that is to take the store's place.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    files: BTreeMap<usize, Content>,
    /// Which file has which name now, and after a power cut.
    names: BTreeMap<Name, usize>,
    names_durable: BTreeMap<Name, usize>,
    reserve: usize,
}

impl State {
    /// Returns a disk with these files.
    fn with(found: BTreeMap<Name, Vec<u8>>) -> Self {
        let (mut files, mut names) = (BTreeMap::new(), BTreeMap::new());
        for (number, (name, content)) in found.into_iter().enumerate() {
            let occupied = (0..content.len().div_ceil(SECTOR)).collect();
            let file = Content { durable: content.clone(), current: content, dirty: BTreeSet::new(), occupied };
            files.insert(number, file);
            names.insert(name, number);
        }
        Self { files, names_durable: names.clone(), names, reserve: 0 }
    }

    pub(super) fn apply(&mut self, done: &Done) {
        match done {
            Done::Made(file) => drop(self.files.insert(*file, Content::default())),
            Done::Wrote(file, at, data) => {
                // Whoever still has a file that was discarded may go on writing to it.
                let Some(file) = self.files.get_mut(file) else { return };
                file.current[*at..at + data.len()].copy_from_slice(data);
                let sectors = at / SECTOR..=(at + data.len() - 1) / SECTOR;
                file.dirty.extend(sectors.clone());
                file.occupied.extend(sectors);
            }
            Done::Sized(file, len) => {
                if let Some(file) = self.files.get_mut(file) {
                    file.current.resize(*len, 0);
                }
            }
            Done::Synced(file) => {
                let Some(file) = self.files.get_mut(file) else { return };
                file.durable.resize(file.current.len(), 0);
                for sector in std::mem::take(&mut file.dirty) {
                    let range = sector * SECTOR..((sector + 1) * SECTOR).min(file.current.len());
                    if range.start < range.end {
                        file.durable[range.clone()].copy_from_slice(&file.current[range]);
                    }
                }
            }
            Done::Named(name, file) => drop(self.names.insert(*name, *file)),
            Done::Removed(name) => drop(self.names.remove(name)),
            Done::DirectorySynced => self.names_durable.clone_from(&self.names),
        }
    }

    /// What has no name, and will never have one again, occupies nothing.
    fn occupied(&self) -> usize {
        let newest = self.files.keys().next_back();
        let is_there = |number: &usize| self.names.values().any(|named| named == number) || Some(number) == newest;
        let files = self.files.iter().filter(|(number, _)| is_there(number));
        files.map(|(_, file)| file.occupied.len() * SECTOR).sum::<usize>() + self.reserve
    }

    /// Returns the disk as it is found when the power comes back: each unsynced sector survived with this probability, and
    /// so did each name that was given or taken away.
    pub(super) fn after_cut(&self, survival: f64, rng: &Rng) -> Self {
        let mut found = BTreeMap::new();
        for name in self.names.keys().chain(self.names_durable.keys()) {
            let names = if rng.unit() < survival { &self.names } else { &self.names_durable };
            if let Some(file) = names.get(name).and_then(|file| self.files.get(file)) {
                found.insert(*name, file.after_cut(survival, rng));
            }
        }
        Self::with(found)
    }

    /// Returns what the files hold.
    pub(super) fn contents(&self) -> BTreeMap<Name, Vec<u8>> {
        self.names.iter().map(|(name, file)| (*name, self.files[file].current.clone())).collect()
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
    replacement: usize,
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
    /// How many syncs have come to the gate.
    came: Arc<AtomicUsize>,
}

impl SimulatedDisk {
    /// Returns a disk with a store's file.
    pub(super) fn with(content: Vec<u8>) -> Self {
        Self::of(BTreeMap::from([(Name::Store, content)]))
    }

    /// Returns a disk with these files.
    pub(super) fn of(named: BTreeMap<Name, Vec<u8>>) -> Self {
        Self::found(State::with(named))
    }

    /// Returns a disk that was found like this.
    pub(super) fn found(state: State) -> Self {
        let disk = Self::default();
        {
            let mut inside = disk.inside.lock();
            inside.made = state.files.len();
            inside.state = state;
        }
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

    /// Waits until one more sync than `before` has come to the gate.
    pub(super) fn wait_at_gate(&self, before: usize) {
        while self.came() <= before {
            std::thread::yield_now();
        }
    }

    /// Returns how many syncs have come to the gate.
    pub(super) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// Returns what is found when the power comes back.
    pub(super) fn after_cut(&self, survival: f64, rng: &Rng) -> Self {
        Self::found(self.inside.lock().state.after_cut(survival, rng))
    }

    /// Returns the store's file as it is.
    pub(super) fn content(&self) -> Vec<u8> {
        self.contents().remove(&Name::Store).unwrap_or_default()
    }

    /// Returns all files as they are.
    pub(super) fn contents(&self) -> BTreeMap<Name, Vec<u8>> {
        self.inside.lock().state.contents()
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

    fn make(&self) -> io::Result<usize> {
        let number = {
            let mut inside = self.inside.lock();
            inside.made += 1;
            inside.made
        };
        self.step(Done::Made(number))?;
        Ok(number)
    }

    fn named(&self, name: Name) -> io::Result<Backend> {
        let named = self.inside.lock().state.names.get(&name).copied();
        Ok(self.file(named.ok_or(io::ErrorKind::NotFound)?))
    }

    fn file(&self, number: usize) -> Backend {
        Box::new(SimulatedFile { disk: self.clone(), number })
    }
}

impl Disk for SimulatedDisk {
    fn open(&self) -> io::Result<Backend> {
        self.named(Name::Store)
    }

    fn replacement(&self) -> io::Result<Backend> {
        let number = self.make()?;
        self.inside.lock().replacement = number;
        Ok(self.file(number))
    }

    fn replace(&self) -> Result<(), Replacing> {
        let number = self.inside.lock().replacement;
        self.step(Done::Named(Name::Store, number)).map_err(Replacing::Refused)?;
        self.step(Done::DirectorySynced).map_err(Replacing::Unknown)
    }

    fn discard(&self) {
        let mut inside = self.inside.lock();
        let named: Vec<_> = inside.state.names.values().copied().collect();
        inside.state.files.retain(|number, _| named.contains(number));
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

    fn sizes(&self) -> Sizes {
        SIZES
    }

    fn read_log(&self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let segment = |(name, content)| match name {
            Name::Store => None,
            Name::Segment(name) => Some((name, content)),
        };
        Ok(self.contents().into_iter().filter_map(segment).collect())
    }

    fn segment(&self, name: u64) -> io::Result<Backend> {
        self.named(Name::Segment(name))
    }

    fn make_segment(&self, name: u64, bytes: u64) -> io::Result<Backend> {
        let number = self.make()?;
        self.step(Done::Named(Name::Segment(name), number))?;
        let file = self.file(number);
        let made = file.set_len(bytes).and_then(|()| file.write(0, &vec![0; place(bytes)]));
        let made = made.and_then(|()| file.sync_data()).and_then(|()| self.step(Done::DirectorySynced));
        if let Err(error) = made {
            self.inside.lock().state.apply(&Done::Removed(Name::Segment(name)));
            return Err(error);
        }
        Ok(file)
    }

    fn clear_log(&self) -> io::Result<()> {
        let names: Vec<_> =
            self.inside.lock().state.names.keys().copied().filter(|name| *name != Name::Store).collect();
        for name in &names {
            self.step(Done::Removed(*name))?;
        }
        if names.is_empty() { Ok(()) } else { self.step(Done::DirectorySynced) }
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
        self.disk.came.fetch_add(1, Ordering::SeqCst);
        drop(self.disk.gate.read());
        self.disk.step(Done::Synced(self.number))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.step(Done::Wrote(self.number, place(offset), data.to_owned()))
    }
}
