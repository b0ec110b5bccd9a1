//! The addresses of pods: every node has a /24 of the cluster's 10.42.0.0/16 (`pkg/controller/nodeipam`).

use std::collections::BTreeSet;

/// Returns the first range that no node has; `None` if all 256 are taken.
pub(super) fn first_free(taken: &BTreeSet<String>) -> Option<String> {
    (0..=255u8).map(|third| format!("10.42.{third}.0/24")).find(|range| !taken.contains(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_range_is_next_until_none_is_left() {
        let mut taken = BTreeSet::from(["10.42.0.0/24".to_owned(), "10.42.2.0/24".to_owned()]);
        assert_eq!(first_free(&taken).as_deref(), Some("10.42.1.0/24"));
        taken.extend((0..=255).map(|third| format!("10.42.{third}.0/24")));
        assert_eq!(first_free(&taken), None);
    }
}
