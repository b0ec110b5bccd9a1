//! Sets of completion indexes, written as Kubernetes does: `0-3,5,7-9`.

use std::collections::BTreeSet;
use std::fmt;

/// The completion indexes that have succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<u32>);

impl Indexes {
    /// Reads the written form; indexes from `completions` on do not count, and what cannot be read is skipped.
    pub(super) fn parse(text: &str, completions: u32) -> Self {
        let mut indexes = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
                indexes.extend(first..=last.min(completions.saturating_sub(1)));
            }
        }
        indexes.retain(|index| *index < completions);
        Self(indexes)
    }

    /// Adds an index.
    pub(super) fn insert(&mut self, index: u32) {
        self.0.insert(index);
    }

    /// Whether the index has succeeded.
    pub(super) fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    /// Returns how many have succeeded.
    pub(super) fn count(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for index in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => runs.push((*index, *index)),
            }
        }
        for (position, (first, last)) in runs.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                // Two neighbours are a list, three are a range (`succeededIndexes.String`).
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_three_are_written_as_ranges_and_read_back() {
        for text in ["", "0", "0,1", "0-2", "0-2,4,6,7,9-11"] {
            assert_eq!(Indexes::parse(text, 100).to_string(), text);
        }
    }

    #[test]
    fn indexes_beyond_the_completions_and_nonsense_are_skipped() {
        assert_eq!(Indexes::parse("0-4000000000,x,7-3,,9", 3).to_string(), "0-2");
        assert_eq!(Indexes::parse("0-2", 0).count(), 0);
    }
}
