//! What kubelet has as flags, too; names and meanings are the same.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use wkube_node::eviction::thresholds::Thresholds;
use wkube_node::image_gc::Limits;
use wkube_node::reserved::{Reservations, Reserved};

use super::parse_duration;

/// How much of the machine pods may use, and what happens when it runs short.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Resources")]
pub(crate) struct KubeletFlags {
    /// How many pods the node takes [default: by its memory and `vm.max_map_count`, at most 4,000]
    #[arg(long, value_name = "PODS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_pods: Option<u32>,
    /// What is kept for the agent, such as cpu=100m,memory=256Mi,ephemeral-storage=1Gi [default: memory=256Mi]
    #[arg(long, value_name = "AMOUNTS")]
    pub(crate) kube_reserved: Option<Written<Reserved>>,
    /// What is kept for other programs of the machine [default: nothing]
    #[arg(long, value_name = "AMOUNTS")]
    pub(crate) system_reserved: Option<Written<Reserved>>,
    /// Below what pods are evicted, such as memory.available<100Mi,nodefs.available<10% [default: these, and
    /// nodefs.inodesFree<5%,imagefs.available<15%, but no more than 2Gi and 3Gi of a disk]
    #[arg(long, value_name = "THRESHOLDS")]
    pub(crate) eviction_hard: Option<Written<Thresholds>>,
    /// The percentage of the disk in use from which on unused images are removed; 100 for never
    #[arg(long, value_name = "PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) image_gc_high_threshold: u8,
    /// The percentage down to which they are
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) image_gc_low_threshold: u8,
    /// How long an image is left alone after it came
    #[arg(
        long,
        alias = "minimum-image-ttl-duration",
        value_name = "TIME",
        default_value = "2m",
        value_parser = parse_duration
    )]
    pub(crate) image_minimum_gc_age: Duration,
    /// How long an image is kept that nobody uses; 0s for ever
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(crate) image_maximum_gc_age: Duration,
}

impl KubeletFlags {
    /// Returns what is not for pods.
    pub(crate) fn reservations(&self) -> Reservations {
        let value = |flag: &Option<Written<Reserved>>| flag.as_ref().map(|flag| flag.value);
        Reservations { kube: value(&self.kube_reserved), system: value(&self.system_reserved).unwrap_or_default() }
    }

    /// Returns when pods are evicted.
    pub(crate) fn eviction(&self) -> Thresholds {
        self.eviction_hard.as_ref().map(|flag| flag.value.clone()).unwrap_or_default()
    }

    /// Returns when images are removed.
    ///
    /// # Errors
    /// If the flags contradict each other.
    pub(crate) fn image_gc(&self) -> Result<Limits> {
        let limits = Limits {
            high_percent: self.image_gc_high_threshold.into(),
            low_percent: self.image_gc_low_threshold.into(),
            age_min: self.image_minimum_gc_age,
            unused_max: Some(self.image_maximum_gc_age).filter(|age| !age.is_zero()),
        };
        Ok(limits.checked()?)
    }

    /// Returns the same flags as words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let seconds = |time: Duration| format!("{}s", time.as_secs());
        let reserved = |flag: &Option<Written<Reserved>>| flag.as_ref().map(|flag| flag.text.clone());
        let flags = [
            ("--max-pods", self.max_pods.map(|pods| pods.to_string())),
            ("--kube-reserved", reserved(&self.kube_reserved)),
            ("--system-reserved", reserved(&self.system_reserved)),
            ("--eviction-hard", self.eviction_hard.as_ref().map(|flag| flag.text.clone())),
            ("--image-gc-high-threshold", Some(self.image_gc_high_threshold.to_string())),
            ("--image-gc-low-threshold", Some(self.image_gc_low_threshold.to_string())),
            ("--image-minimum-gc-age", Some(seconds(self.image_minimum_gc_age))),
            ("--image-maximum-gc-age", Some(seconds(self.image_maximum_gc_age))),
        ];
        flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
    }
}

/// A flag's value, and how it was written, for handing it on.
#[derive(Debug, Clone)]
pub(crate) struct Written<T> {
    text: String,
    value: T,
}

impl<T: FromStr> FromStr for Written<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        Ok(Self { text: text.to_owned(), value: text.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn read(words: &[&str]) -> Result<KubeletFlags, String> {
        let words = ["wkube", "node", "--server", "https://a"].iter().chain(words);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Node(node) => Ok(*node.node.kubelet),
            _ => panic!("not node"),
        }
    }

    #[test]
    fn the_flags_of_a_node_survive_being_handed_on() {
        for given in [
            &[][..],
            &["--max-pods=10000", "--eviction-hard=memory.available<5%", "--image-maximum-gc-age=24h"],
            &["--system-reserved=cpu=1,memory=1Gi", "--kube-reserved=", "--image-gc-high-threshold=70"],
        ] {
            let flags = read(given).unwrap();
            let words = flags.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(format!("{:?}", read(&words).unwrap()), format!("{flags:?}"));
        }
    }

    #[test]
    fn without_flags_everything_is_as_the_node_has_it() {
        let flags = read(&[]).unwrap();
        assert_eq!(flags.reservations(), Reservations::default());
        assert_eq!(flags.eviction(), Thresholds::default());
        assert_eq!(flags.image_gc().unwrap(), Limits::default());
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_starts() {
        for (word, problem) in [
            ("--max-pods=0", "0 is not in 1.."),
            ("--eviction-hard=swap<1", "unsupported eviction signal swap"),
            ("--system-reserved=gpu=1", "cannot reserve \"gpu\" resource"),
            ("--image-gc-high-threshold=101", "101 is not in 0..=100"),
        ] {
            let error = read(&[word]).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        let error = read(&["--image-gc-low-threshold=85"]).unwrap().image_gc().unwrap_err().to_string();
        assert!(error.contains("must be less than"), "{error}");
    }
}
