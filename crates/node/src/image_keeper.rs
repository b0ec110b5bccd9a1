//! Looks after the images of a node: removes those that nobody needs when the disk fills, and compiles the others before
//! they are needed. What to remove is decided in `image_gc.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;

use crate::image_gc::{self, Candidate, Disk, Limits, Plan};
use crate::pod::spec;
use crate::pods::{Known, Pods};
use crate::runtime::StoredImage;

/// How often the disk is looked at (`ImageGCPeriod`).
const PERIOD: Duration = Duration::from_mins(5);

/// Looks after the images for ever. `dir` is where they are.
pub async fn keep(pods: Pods, dir: PathBuf, limits: Limits) {
    let runtime = pods.context().runtime.clone();
    let mut used: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        runtime.prepare_images().await;
        let stored = runtime.stored_images().await;
        let in_use = in_use(&pods).await;
        let now = pods.context().clock.now();
        let candidates = remember(&mut used, &stored, &in_use, now);
        let disk = measure(&dir).await;
        let plan = image_gc::plan(&candidates, &in_use, disk, &limits, now);
        carry_out(&pods, plan).await;
    }
}

/// Removes every image that no pod of the node needs: it is short of disk space.
pub async fn free_all(pods: &Pods) {
    let stored = pods.context().runtime.stored_images().await;
    let now = pods.context().clock.now();
    let in_use = in_use(pods).await;
    let candidates = remember(&mut BTreeMap::new(), &stored, &in_use, now);
    let mut plan = image_gc::free(&candidates, &in_use, u64::MAX, now);
    // It was never expected to be enough for that.
    plan.shortfall = None;
    carry_out(pods, plan).await;
}

async fn carry_out(pods: &Pods, plan: Plan) {
    if let Some((wanted, freed)) = plan.shortfall {
        // In kubelet's words (`image_gc_manager.go`, `GarbageCollect`).
        tracing::warn!(
            "failed to garbage collect required amount of images: attempted to free {wanted} bytes, but only found \
             {freed} bytes eligible to free"
        );
    }
    if !plan.remove.is_empty() {
        pods.context().runtime.remove_images(plan.remove).await;
    }
}

/// Notes what is used now, and returns the images with when they were used last.
fn remember(
    used: &mut BTreeMap<String, Timestamp>,
    stored: &[StoredImage],
    in_use: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<Candidate> {
    used.retain(|digest, _| stored.iter().any(|image| image.digest == *digest));
    used.extend(in_use.iter().map(|digest| (digest.clone(), now)));
    let candidate = |image: &StoredImage| Candidate {
        digest: image.digest.clone(),
        size: image.size_bytes,
        detected: image.saved_at,
        used: used.get(&image.digest).copied().unwrap_or(image.saved_at),
    };
    stored.iter().map(candidate).collect()
}

/// Returns the digests that pods need which are not over: what their containers run, and what their names lead to now.
async fn in_use(pods: &Pods) -> BTreeSet<String> {
    let mut digests = BTreeSet::new();
    for known in pods.each().filter(|known| !spec::is_finished(&known.pod)) {
        digests.extend(running(&known));
        for (container, _) in spec::containers(&known.pod) {
            let found = pods.context().runtime.find_image(container.image.as_deref().unwrap_or_default()).await;
            digests.extend(found.and_then(|image| digest_of(&image.id)));
        }
    }
    digests
}

/// The images that a pod's containers were started from, whatever their names lead to by now.
fn running(known: &Known) -> impl Iterator<Item = String> {
    let status = &known.status;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let containers = lists.into_iter().flat_map(|list| list.iter().flatten());
    containers.filter_map(|container: &ContainerStatus| digest_of(&container.image_id))
}

fn digest_of(image_id: &str) -> Option<String> {
    image_id.rsplit_once('@').map(|(_, digest)| digest.to_owned())
}

/// Measures the disk; one that cannot be measured has no size, and nothing is removed for it.
async fn measure(dir: &Path) -> Disk {
    let dir = dir.to_owned();
    // A file system may be slow to answer.
    let measured = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&dir)).await;
    match measured {
        Ok(Ok(disk)) => Disk {
            capacity: disk.f_blocks.saturating_mul(disk.f_frsize),
            available: disk.f_bavail.saturating_mul(disk.f_frsize),
        },
        Ok(Err(_)) | Err(_) => Disk { capacity: 0, available: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn stored(digest: &str) -> StoredImage {
        StoredImage { digest: digest.into(), size_bytes: 1, saved_at: at(10) }
    }

    #[test]
    fn an_image_was_used_last_when_a_pod_needed_it_last() {
        let mut used = BTreeMap::new();
        let images = [stored("a"), stored("b")];
        let times = |candidates: Vec<Candidate>| -> Vec<i64> {
            candidates.iter().map(|candidate| candidate.used.as_second()).collect()
        };
        let a = BTreeSet::from(["a".to_owned()]);
        assert_eq!(times(remember(&mut used, &images, &a, at(100))), [100, 10]);
        assert_eq!(times(remember(&mut used, &images, &BTreeSet::new(), at(200))), [100, 10]);
        remember(&mut used, &images[1..], &BTreeSet::new(), at(300));
        assert_eq!(times(remember(&mut used, &images, &BTreeSet::new(), at(400))), [10, 10], "it came anew");
    }

    #[test]
    fn the_digest_is_what_an_image_id_ends_with() {
        assert_eq!(digest_of("r.io/a@sha256:00").as_deref(), Some("sha256:00"));
        assert_eq!(digest_of(""), None);
    }
}
