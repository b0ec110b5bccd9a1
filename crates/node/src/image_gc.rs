//! Which images are removed, and when (`kubelet/images/image_gc_manager.go`). Pure: the shell is `images.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::pod::backoff::elapsed;

/// What kubelet has as flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From this much of the disk on, in percent, images are removed (`imageGCHighThresholdPercent`).
    pub high_percent: u64,
    /// Down to this much (`imageGCLowThresholdPercent`).
    pub low_percent: u64,
    /// How long an image is left alone after it came (`imageMinimumGCAge`).
    pub age_min: Duration,
    /// How long an image is kept that nobody uses; `None` is for ever (`imageMaximumGCAge`).
    pub unused_max: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, age_min: Duration::from_mins(2), unused_max: None }
    }
}

/// Limits that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It would remove images for ever.
    #[error(
        "invalid configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be less than \
         imageGCHighThresholdPercent (--image-gc-high-threshold) {high}"
    )]
    Percent {
        /// Where it ends.
        low: u64,
        /// Where it begins.
        high: u64,
    },
    /// It would remove images before they may be removed.
    #[error("invalid configuration: imageMaximumGCAge {max:?} must be greater than imageMinimumGCAge {min:?}")]
    Age {
        /// How long an image is kept that nobody uses.
        max: Duration,
        /// How long an image is left alone.
        min: Duration,
    },
}

impl Limits {
    /// Returns the limits if they make sense together (`apis/config/validation/validation.go`).
    ///
    /// # Errors
    /// If not.
    pub fn checked(self) -> Result<Self, Invalid> {
        let Self { high_percent: high, low_percent: low, age_min: min, unused_max } = self;
        if low >= high {
            return Err(Invalid::Percent { low, high });
        }
        match unused_max.filter(|max| *max <= min) {
            Some(max) => Err(Invalid::Age { max, min }),
            None => Ok(self),
        }
    }
}

/// An image, as the collector sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its digest.
    pub digest: String,
    /// What its removal frees, about.
    pub size: u64,
    /// When it came.
    pub detected: Timestamp,
    /// When a pod used it last; when it came, if none did since the agent started.
    pub used: Timestamp,
}

/// The disk that the images are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its size in bytes.
    pub capacity: u64,
    /// What of it can be written to.
    pub available: u64,
}

impl Disk {
    /// Returns how much of the disk is in use, in percent.
    pub fn used_percent(self) -> u64 {
        let free = (self.available.min(self.capacity) * 100).checked_div(self.capacity);
        free.map_or(0, |free| 100 - free)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The images to remove, in this order.
    pub remove: Vec<String>,
    /// How many bytes were to be freed, and how many that would free, if it is too little.
    pub shortfall: Option<(u64, u64)>,
}

/// Decides what to remove. `in_use` are digests that a pod of the node needs.
pub fn plan(images: &[Candidate], in_use: &BTreeSet<String>, disk: Disk, limits: &Limits, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let idle = |image: &&Candidate| !in_use.contains(&image.digest);
    if let Some(unused_max) = limits.unused_max {
        let old = images.iter().filter(idle).filter(|image| elapsed(image.used, now) > unused_max);
        plan.remove.extend(old.map(|image| image.digest.clone()));
    }
    // The kubelet turns this off by 100 percent (`StartGarbageCollection`), though a disk can be that full.
    let is_off = disk.capacity == 0 || limits.high_percent >= 100;
    if is_off || disk.used_percent() < limits.high_percent {
        return plan;
    }
    let wanted = (disk.capacity / 100 * (100 - limits.low_percent)).saturating_sub(disk.available);
    let freed = images.iter().filter(|image| plan.remove.contains(&image.digest)).map(|image| image.size).sum();
    take(&mut plan, images.iter().filter(idle), wanted, freed, limits.age_min, now);
    plan
}

/// Decides what to remove so that at least `wanted` bytes are freed, for a node that is short of disk space: everything
/// that is not in use, if need be.
pub fn free(images: &[Candidate], in_use: &BTreeSet<String>, wanted: u64, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let idle = images.iter().filter(|image| !in_use.contains(&image.digest));
    take(&mut plan, idle, wanted, 0, Duration::ZERO, now);
    plan
}

/// Takes the images that were not used for longest, until it is enough.
fn take<'a>(
    plan: &mut Plan,
    idle: impl Iterator<Item = &'a Candidate>,
    wanted: u64,
    mut freed: u64,
    age_min: Duration,
    now: Timestamp,
) {
    let mut idle: Vec<&Candidate> = idle.filter(|image| !plan.remove.contains(&image.digest)).collect();
    idle.sort_by_key(|image| (image.used, image.detected, image.digest.clone()));
    for image in idle {
        if freed >= wanted {
            break;
        }
        if elapsed(image.detected, now) < age_min {
            continue;
        }
        freed = freed.saturating_add(image.size);
        plan.remove.push(image.digest.clone());
    }
    plan.shortfall = (freed < wanted).then_some((wanted, freed));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// An image of ten bytes that came and was used so many seconds ago.
    fn image(digest: &str, detected_ago: i64, used_ago: i64) -> Candidate {
        Candidate { digest: digest.into(), size: 10, detected: at(NOW - detected_ago), used: at(NOW - used_ago) }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn check(images: &[Candidate], in_use: &[&str], available: u64, limits: &Limits, expected: &[&str]) -> Plan {
        let plan = plan(images, &names(in_use), Disk { capacity: 1_000, available }, limits, at(NOW));
        assert_eq!(plan.remove, expected.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        plan
    }

    fn three() -> [Candidate; 3] {
        [image("a", 900, 300), image("b", 900, 600), image("c", 900, 200)]
    }

    #[test]
    fn nothing_is_removed_below_the_threshold() {
        check(&three(), &[], 160, &Limits::default(), &[]);
        check(&three(), &[], 1_000, &Limits::default(), &[]);
    }

    #[test]
    fn the_longest_unused_go_first_and_no_more_than_needed() {
        // 85 % used; 200 bytes shall be available.
        let plan = check(&three(), &[], 150, &Limits::default(), &["b", "a", "c"]);
        assert_eq!(plan.shortfall, Some((50, 30)));
        let limits = Limits { low_percent: 84, ..Limits::default() };
        assert_eq!(check(&three(), &[], 150, &limits, &["b"]).shortfall, None);
        let limits = Limits { low_percent: 83, ..Limits::default() };
        assert_eq!(check(&three(), &[], 150, &limits, &["b", "a"]).shortfall, None);
    }

    #[test]
    fn a_threshold_of_a_hundred_percent_turns_it_off() {
        let limits = Limits { high_percent: 100, ..Limits::default() };
        assert_eq!(check(&three(), &[], 0, &limits, &[]).shortfall, None);
        let limits = Limits { unused_max: Some(Duration::from_secs(500)), ..limits };
        check(&three(), &[], 0, &limits, &["b"]);
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let problem = |limits: Limits| limits.checked().unwrap_err().to_string();
        assert_eq!(
            problem(Limits { low_percent: 85, ..Limits::default() }),
            "invalid configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) 85 must be less than \
             imageGCHighThresholdPercent (--image-gc-high-threshold) 85"
        );
        let unused_max = Some(Duration::from_mins(2));
        assert_eq!(
            problem(Limits { unused_max, ..Limits::default() }),
            "invalid configuration: imageMaximumGCAge 120s must be greater than imageMinimumGCAge 120s"
        );
        assert!(Limits::default().checked().is_ok());
    }

    #[test]
    fn what_is_in_use_stays_whatever_the_disk_says() {
        let plan = check(&three(), &["b", "a", "c"], 0, &Limits::default(), &[]);
        assert_eq!(plan.shortfall, Some((200, 0)));
        check(&three(), &["b"], 0, &Limits::default(), &["a", "c"]);
    }

    #[test]
    fn what_came_just_now_stays() {
        let images = [image("new", 119, 119), image("old", 120, 60)];
        check(&images, &[], 0, &Limits::default(), &["old"]);
    }

    #[test]
    fn what_nobody_uses_for_too_long_goes_although_there_is_room() {
        let limits = Limits { unused_max: Some(Duration::from_mins(5)), ..Limits::default() };
        check(&three(), &[], 1_000, &limits, &["b"]);
        check(&three(), &["b"], 1_000, &limits, &[]);
        check(&three(), &[], 150, &limits, &["b", "a", "c"]);
    }

    #[test]
    fn a_node_that_is_short_of_space_gives_all_that_it_need_not_have() {
        let young = [image("a", 1, 1), image("b", 1, 0)];
        let freed = |wanted| free(&young, &names(&["b"]), wanted, at(NOW));
        assert_eq!((freed(10).remove, freed(10).shortfall), (vec!["a".to_owned()], None));
        assert_eq!(freed(u64::MAX).shortfall, Some((u64::MAX, 10)));
        assert_eq!(freed(0), Plan::default());
    }

    #[test]
    fn a_disk_that_nobody_can_measure_and_a_clock_that_stepped_back_remove_nothing() {
        let nowhere = Disk { capacity: 0, available: 0 };
        assert_eq!(plan(&three(), &BTreeSet::new(), nowhere, &Limits::default(), at(NOW)), Plan::default());
        let ahead = [image("a", -900, -900)];
        check(&ahead, &[], 0, &Limits::default(), &[]);
    }
}
