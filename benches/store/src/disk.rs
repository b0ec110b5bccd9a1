//! What the disk does without a store.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::VALUE;

const SYNCS: usize = 300;

/// How long it takes to overwrite and confirm one value: how many a second, the middle, and the slowest hundredth.
#[allow(clippy::cast_precision_loss)]
pub fn fdatasync(directory: &Path) -> Result<(f64, Duration, Duration)> {
    let path = directory.join("raw");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; VALUE * SYNCS], 0)?;
    file.sync_all()?;
    let (mut took, whole) = (Vec::with_capacity(SYNCS), Instant::now());
    for turn in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&[1; VALUE], (turn * VALUE) as u64)?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    let rate = SYNCS as f64 / whole.elapsed().as_secs_f64();
    took.sort_unstable();
    fs::remove_file(path)?;
    Ok((rate, took[SYNCS / 2], took[SYNCS * 99 / 100]))
}
