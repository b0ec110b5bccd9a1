//! The queue's guarantees, by cases and against a naive model.

use std::time::Duration;

use super::*;

const NO_WAIT: Outcome = Outcome::Failed { at_least: Duration::ZERO };

fn queue() -> (QueueState<u8>, Instant) {
    (QueueState::new(Backoff { first: Duration::from_secs(1), max: Duration::from_secs(8) }), Instant::now())
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_key_asked_for_many_times_is_handed_out_once() {
    let (mut queue, now) = queue();
    queue.add(1);
    queue.add(1);
    assert_eq!(queue.take(now), Some(1));
    assert_eq!(queue.take(now), None);
}

#[tokio::test(start_paused = true)]
async fn keys_come_in_the_order_they_were_asked_for() {
    let (mut queue, now) = queue();
    for key in [3, 1, 2] {
        queue.add(key);
    }
    assert_eq!([queue.take(now), queue.take(now), queue.take(now)], [Some(3), Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_key_asked_for_while_it_is_worked_on_comes_again_afterwards() {
    let (mut queue, now) = queue();
    queue.add(1);
    queue.take(now);
    queue.add(1);
    assert_eq!(queue.take(now), None, "never twice at once");
    queue.done(&1, Outcome::Settled, now, 0.0);
    assert_eq!(queue.take(now), Some(1));
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_success_forgets_them() {
    let (mut queue, mut now) = queue();
    queue.add(1);
    for wait in [1, 2, 4, 8, 8] {
        assert_eq!(queue.take(now), Some(1));
        queue.done(&1, NO_WAIT, now, 1.0);
        assert_eq!(queue.wakes_at(), Some(after(now, wait)));
        now = after(now, wait);
    }
    queue.take(now);
    queue.done(&1, Outcome::Settled, now, 1.0);
    assert_eq!(queue.failures(&1), 0);
    assert_eq!(queue.wakes_at(), None);
}

#[tokio::test(start_paused = true)]
async fn jitter_shortens_a_wait_by_at_most_half() {
    let (mut queue, now) = queue();
    queue.add(1);
    queue.take(now);
    queue.done(&1, NO_WAIT, now, 0.0);
    assert_eq!(queue.wakes_at(), Some(now + Duration::from_millis(500)));
}

#[tokio::test(start_paused = true)]
async fn the_server_may_ask_for_a_longer_wait() {
    let (mut queue, now) = queue();
    queue.add(1);
    queue.take(now);
    queue.done(&1, Outcome::Failed { at_least: Duration::from_secs(30) }, now, 1.0);
    assert_eq!(queue.wakes_at(), Some(after(now, 30)));
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_that_is_asked_for_meanwhile_still_backs_off() {
    let (mut queue, now) = queue();
    queue.add(1);
    queue.take(now);
    queue.add(1);
    queue.done(&1, NO_WAIT, now, 1.0);
    assert_eq!(queue.take(now), None);
    assert_eq!(queue.take(after(now, 1)), Some(1));
}

#[tokio::test(start_paused = true)]
async fn the_earliest_of_several_times_wins() {
    let (mut queue, now) = queue();
    queue.add_at(1, after(now, 5));
    queue.add_at(1, after(now, 3));
    queue.add_at(1, after(now, 9));
    assert_eq!(queue.take(after(now, 2)), None);
    assert_eq!(queue.take(after(now, 3)), Some(1));
    assert_eq!(queue.wakes_at(), None);
}

#[tokio::test(start_paused = true)]
async fn asking_now_ends_a_wait() {
    let (mut queue, now) = queue();
    queue.add_at(1, after(now, 5));
    queue.add(1);
    assert_eq!(queue.take(now), Some(1));
    queue.done(&1, Outcome::Settled, now, 0.0);
    assert_eq!(queue.take(after(now, 9)), None);
}

/// What the guarantees say, written down as simply as possible.
#[derive(Default)]
struct Model {
    wanted: BTreeSet<u8>,
    active: BTreeSet<u8>,
    /// When a key that nobody wants now must come by itself; `None` if it may not.
    due: BTreeMap<u8, Instant>,
}

#[tokio::test(start_paused = true)]
async fn random_operations_lose_no_key_and_hand_none_out_twice() {
    for seed in 0..300 {
        let rng = Rng::seeded(seed);
        let (mut queue, mut now) = queue();
        let mut model = Model::default();
        for step in 0..400 {
            let key = u8::try_from(rng.below(6)).expect("small");
            match rng.below(6) {
                0 | 1 => {
                    queue.add(key);
                    model.wanted.insert(key);
                    model.due.remove(&key);
                }
                2 => {
                    let at = now + Duration::from_millis(rng.below(3_000) as u64);
                    queue.add_at(key, at);
                    if !model.wanted.contains(&key) {
                        let due = model.due.entry(key).or_insert(at);
                        *due = at.min(*due);
                    }
                }
                3 => now += Duration::from_millis(rng.below(1_500) as u64),
                4 => {
                    let due: Vec<u8> = model.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
                    for key in due {
                        model.due.remove(&key);
                        model.wanted.insert(key);
                    }
                    let taken = queue.take(now);
                    let free: Vec<u8> = model.wanted.difference(&model.active).copied().collect();
                    match taken {
                        None => assert!(free.is_empty(), "seed {seed} step {step}: {free:?} were kept back"),
                        Some(key) => {
                            assert!(free.contains(&key), "seed {seed} step {step}: {key} is not free: {free:?}");
                        }
                    }
                    if let Some(key) = taken {
                        model.wanted.remove(&key);
                        model.active.insert(key);
                    }
                }
                _ => {
                    let Some(key) = model.active.pop_first() else { continue };
                    queue.done(&key, Outcome::Settled, now, rng.unit());
                }
            }
            assert_eq!(queue.depth(), model.active.len() + model.wanted.difference(&model.active).count());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_shared_queue_wakes_its_taker_for_new_and_for_due_keys() {
    let queue = Queue::new(Backoff::CONTROLLER, Rng::seeded(1));
    queue.add_at(2, Instant::now() + Duration::from_mins(1));
    let start = Instant::now();
    let adder = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        queue.add(1);
    };
    let taker =
        async { (queue.take().await, start.elapsed().as_secs(), queue.take().await, start.elapsed().as_secs()) };
    let (order, ()) = tokio::join!(taker, adder);
    assert_eq!(order, (1, 5, 2, 60));
}
