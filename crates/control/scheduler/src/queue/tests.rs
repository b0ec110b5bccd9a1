//! The order and the waits of pods without a node.

use serde_json::json;

use super::*;
use crate::build::{PodBuilder, pod};

fn queue(pods: &[PodBuilder]) -> PodQueue {
    let mut queue = PodQueue::default();
    for pod in pods {
        queue.set(pod.info());
    }
    queue
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn take(queue: &mut PodQueue, now: Instant) -> Option<String> {
    queue.take(now).map(|pod| pod.key().name)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn by(filter: &'static str) -> BTreeSet<&'static str> {
    BTreeSet::from([filter])
}

#[test]
fn higher_priority_goes_first_and_then_who_came_first() {
    let now = Instant::now();
    let important = pod("c").spec("priority", json!(10));
    let mut queue = queue(&[pod("b"), pod("a"), important]);
    let order: Vec<String> = std::iter::from_fn(|| take(&mut queue, now)).collect();
    assert_eq!(order, ["c", "b", "a"]);
}

#[test]
fn a_rejected_pod_waits_for_an_event_that_helps_and_for_its_back_off() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a")]);
    queue.take(now);
    queue.rejected(&pod("a").info(), by("NodeResourcesFit"), now);
    queue.wake(|filters| filters.contains("TaintToleration"));
    assert_eq!(take(&mut queue, now + seconds(60)), None, "that event does not help");
    queue.wake(|filters| filters.contains("NodeResourcesFit"));
    assert_eq!(take(&mut queue, now + seconds(60)).as_deref(), Some("a"));
}

#[test]
fn a_pod_woken_early_still_backs_off_from_one_second_to_ten() {
    let mut now = Instant::now();
    let mut queue = queue(&[pod("a")]);
    for wait in [1, 2, 4, 8, 10, 10] {
        assert_eq!(take(&mut queue, now).as_deref(), Some("a"));
        queue.rejected(&pod("a").info(), by("NodeResourcesFit"), now);
        queue.wake(|_| true);
        assert_eq!(queue.wakes_at(), Some(now + seconds(wait)));
        now += seconds(wait);
    }
}

#[test]
fn a_parked_pod_is_tried_again_after_five_minutes_without_any_event() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a")]);
    queue.take(now);
    queue.rejected(&pod("a").info(), by("NodeResourcesFit"), now);
    assert_eq!(take(&mut queue, now + PARKED_MAX - seconds(1)), None);
    assert_eq!(take(&mut queue, now + PARKED_MAX).as_deref(), Some("a"));
}

#[test]
fn a_failed_binding_only_backs_off() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a")]);
    queue.take(now);
    queue.failed(&pod("a").info(), now);
    assert_eq!(take(&mut queue, now), None);
    assert_eq!(take(&mut queue, now + seconds(1)).as_deref(), Some("a"));
}

#[test]
fn a_change_of_the_status_wakes_nothing_but_one_of_the_spec_does() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a").cpu("8")]);
    queue.take(now);
    queue.rejected(&pod("a").info(), by("NodeResourcesFit"), now);
    queue.set(pod("a").cpu("8").phase("Pending").meta("resourceVersion", json!("7")).info());
    assert_eq!(take(&mut queue, now), None);
    queue.set(pod("a").cpu("1").info());
    assert_eq!(take(&mut queue, now).as_deref(), Some("a"));
}

#[test]
fn a_namesake_starts_afresh() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a")]);
    queue.take(now);
    queue.rejected(&pod("a").info(), by("NodeResourcesFit"), now);
    queue.set(pod("a").meta("uid", json!("another")).info());
    assert_eq!(queue.take(now).map(|pod| pod.uid().to_owned()).as_deref(), Some("another"));
    assert_eq!(queue.count(), 1);
}

#[test]
fn a_pod_in_hand_is_not_handed_out_again() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a")]);
    queue.take(now);
    queue.set(pod("a").cpu("2").info());
    assert_eq!(take(&mut queue, now), None);
}

#[test]
fn the_fate_of_a_pod_does_not_touch_a_namesake() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a")]);
    let first = queue.take(now).expect("active");
    queue.remove(&key("a"));
    queue.set(pod("a").meta("uid", json!("another")).info());
    let second = queue.take(now).expect("active");
    queue.failed(&first, now);
    assert_eq!(queue.wakes_at(), None);
    queue.failed(&second, now);
    assert_eq!(queue.wakes_at(), Some(now + seconds(1)));
}

#[test]
fn a_removed_pod_leaves_nothing_behind() {
    let now = Instant::now();
    let mut queue = queue(&[pod("a"), pod("b"), pod("c")]);
    for _ in 0..2 {
        queue.take(now);
    }
    queue.rejected(&pod("a").info(), by("NodeResourcesFit"), now);
    queue.failed(&pod("b").info(), now);
    for name in ["a", "b", "c"] {
        queue.remove(&key(name));
    }
    queue.rejected(&pod("a").info(), by("NodeResourcesFit"), now);
    assert_eq!((queue.count(), queue.wakes_at(), take(&mut queue, now + PARKED_MAX)), (0, None, None));
}

#[test]
fn whatever_happens_every_pod_is_decided_within_five_minutes() {
    for seed in 0..200 {
        let rng = wkube_base::Rng::seeded(seed);
        let mut now = Instant::now();
        let mut queue = queue(&(0..5).map(|number| pod(&format!("p{number}"))).collect::<Vec<_>>());
        let mut in_hand: Vec<Arc<PodInfo>> = Vec::new();
        for _ in 0..200 {
            match rng.below(6) {
                0 | 1 => in_hand.extend(queue.take(now)),
                2 => in_hand.pop().into_iter().for_each(|pod| queue.rejected(&pod, by("X"), now)),
                3 => in_hand.pop().into_iter().for_each(|pod| queue.failed(&pod, now)),
                4 => queue.wake(|_| true),
                _ => now += Duration::from_millis(rng.below(20_000) as u64),
            }
        }
        in_hand.drain(..).for_each(|pod| queue.failed(&pod, now));
        now += PARKED_MAX;
        let decided: BTreeSet<ObjectKey> = std::iter::from_fn(|| queue.take(now)).map(|pod| pod.key()).collect();
        assert_eq!(decided.len(), 5, "seed {seed}");
    }
}
