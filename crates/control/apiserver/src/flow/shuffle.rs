//! Shuffle sharding: each flow gets a small hand of queues, so that a noisy flow shares all of them with hardly anybody
//! (`apiserver/pkg/util/shufflesharding/dealer.go`). Pure.

/// The largest hand that Kubernetes' validation allows.
pub(crate) const HAND_MAX: usize = 15;

/// Calls `pick` with each card of the hand that `hash` stands for: `hand` different numbers below `deck`.
pub(crate) fn deal(hash: u64, deck: usize, hand: usize, mut pick: impl FnMut(usize)) {
    let hand = hand.min(deck).min(HAND_MAX);
    let mut rest = hash;
    let mut drawn = [0; HAND_MAX];
    for card in 0..hand {
        let left = (deck - card) as u64;
        // Each draw is among the cards that are left, in their order.
        let mut number = usize::try_from(rest % left).unwrap_or_default();
        rest /= left;
        let held = &mut drawn[..=card];
        held[card] = number;
        for earlier in (0..card).rev() {
            if number >= held[earlier] {
                number += 1;
            }
        }
        pick(number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn hand(hash: u64, deck: usize, size: usize) -> Vec<usize> {
        let mut cards = Vec::new();
        deal(hash, deck, size, |card| cards.push(card));
        cards
    }

    #[test]
    fn a_hand_has_different_cards_of_the_deck() {
        for hash in (0..5000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let cards = hand(hash, 16, 6);
            assert_eq!(cards.iter().collect::<BTreeSet<_>>().len(), 6, "{cards:?}");
            assert!(cards.iter().all(|card| *card < 16), "{cards:?}");
        }
    }

    #[test]
    fn every_hand_of_a_small_deck_is_dealt_equally_often() {
        let mut hands = std::collections::BTreeMap::new();
        for hash in 0..6 * 5 * 4 {
            *hands.entry(hand(hash, 6, 3)).or_insert(0) += 1;
        }
        assert_eq!((hands.len(), hands.values().all(|times| *times == 1)), (120, true));
    }

    #[test]
    fn a_hand_is_never_larger_than_the_deck() {
        assert_eq!(hand(7, 1, 6), [0]);
        assert_eq!(hand(u64::MAX, 3, 15).len(), 3);
    }
}
