//! How much of the past is kept: a pure policy.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Revision;
use crate::history::History;

/// How long a watcher or a paged list may take (etcd's default under Kubernetes: `--etcd-compaction-interval`).
pub(crate) const KEPT_FOR: Duration = Duration::from_mins(5);
/// A quiet cluster keeps this many revisions however old they are, so that a client that slept need not list again.
pub(crate) const KEPT_REVISIONS: u64 = 1_000;
/// How exactly time is remembered.
const MARK_EVERY: Duration = Duration::from_secs(10);
/// The window lives in memory. Beyond this, age no longer counts and half of it goes.
const WINDOW_BYTES_MAX: usize = 128 << 20;

/// When which revision was the newest. Time is counted from any fixed origin.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    marks: VecDeque<(Duration, Revision)>,
}

impl Retention {
    /// Notes the newest revision and returns up to where the past may be forgotten now, if anywhere.
    pub(crate) fn due(&mut self, now: Duration, history: &History) -> Option<Revision> {
        let newest = history.revision();
        if self.marks.back().is_none_or(|(at, marked)| now.saturating_sub(*at) >= MARK_EVERY && *marked < newest) {
            self.marks.push_back((now, newest));
        }
        if history.window_bytes() > WINDOW_BYTES_MAX {
            return Some(Revision(history.compacted().0.midpoint(newest.0)));
        }
        let count_allows = Revision(newest.0.saturating_sub(KEPT_REVISIONS));
        let mut due = None;
        while let Some((at, revision)) = self.marks.front()
            && now.saturating_sub(*at) >= KEPT_FOR
        {
            due = Some(*revision);
            if *revision > count_allows {
                break;
            }
            self.marks.pop_front();
        }
        due.map(|revision| revision.min(count_allows)).filter(|revision| *revision > history.compacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Txn;

    fn written(history: &mut History, times: usize, size: usize) {
        for _ in 0..times {
            history.apply(&Txn::put("a".into(), vec![0; size])).expect("no conditions");
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn young_history_is_kept_however_long_it_is() {
        let (mut history, mut retention) = (History::default(), Retention::default());
        for second in 0..300 {
            written(&mut history, 10, 1);
            assert_eq!(retention.due(seconds(second), &history), None);
        }
    }

    #[test]
    fn old_history_beyond_the_last_thousand_revisions_goes() {
        let (mut history, mut retention) = (History::default(), Retention::default());
        written(&mut history, 500, 1);
        assert_eq!(retention.due(seconds(0), &history), None);
        written(&mut history, 5_000, 1);
        assert_eq!(retention.due(seconds(300), &history), Some(Revision(501)));
    }

    #[test]
    fn the_last_thousand_revisions_stay_whatever_their_age() {
        let (mut history, mut retention) = (History::default(), Retention::default());
        written(&mut history, 1_200, 1);
        assert_eq!(retention.due(seconds(0), &history), None);
        written(&mut history, 1, 1);
        assert_eq!(retention.due(seconds(100_000), &history), Some(Revision(202)));
    }

    #[test]
    fn memory_is_bounded_before_age() {
        let (mut history, mut retention) = (History::default(), Retention::default());
        written(&mut history, 140, 1 << 20);
        assert_eq!(retention.due(seconds(0), &history), Some(Revision(71)));
    }

    #[test]
    fn marks_do_not_pile_up_while_few_revisions_are_written() {
        let (mut history, mut retention) = (History::default(), Retention::default());
        for round in 0..5_000 {
            written(&mut history, 1, 1);
            if let Some(revision) = retention.due(seconds(round * 10), &history) {
                history.compact(revision).expect("in the window");
            }
        }
        assert!(retention.marks.len() < 1_100, "{}", retention.marks.len());
        assert_eq!(history.compacted(), Revision(5_001 - 1_000));
    }
}
