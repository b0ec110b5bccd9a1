//! Chance, injected: one seed gives one run.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, RngExt as _, SeedableRng};

/// The alphabet of generated names: no vowels and no look-alikes, so that no words appear (`apimachinery/pkg/util/rand`).
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A shared source of random values. Clones draw from the same stream; `split` starts an independent one.
#[derive(Debug, Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl Rng {
    /// Returns a source seeded from the operating system.
    pub fn from_entropy() -> Self {
        let rng = StdRng::try_from_rng(&mut SysRng).expect("the operating system provides randomness");
        Self(Arc::new(Mutex::new(rng)))
    }

    /// Returns the source that always draws the same values for `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Returns an independent source, so that one user's draws do not shift another's.
    #[must_use]
    pub fn split(&self) -> Self {
        Self::seeded(self.next_u64())
    }

    /// Draws any number.
    pub fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// Draws a number below `bound`, which must not be zero.
    pub fn below(&self, bound: usize) -> usize {
        self.0.lock().random_range(0..bound)
    }

    /// Draws from 0.0 up to, not including, 1.0.
    pub fn unit(&self) -> f64 {
        self.0.lock().random()
    }

    /// Draws the random end of a generated Kubernetes name, such as `x7k2p` for a length of 5.
    pub fn name_suffix(&self, length: usize) -> String {
        (0..length).map(|_| char::from(NAME_ALPHABET[self.below(NAME_ALPHABET.len())])).collect()
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_draws() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        assert_eq!(a.name_suffix(5), b.name_suffix(5));
        assert_eq!(a.split().next_u64(), b.split().next_u64());
    }

    #[test]
    fn name_suffixes_use_kubernetes_alphabet() {
        let name = Rng::seeded(1).name_suffix(500);
        assert!(name.bytes().all(|byte| NAME_ALPHABET.contains(&byte)), "{name}");
    }
}
