//! Seats are given, waited for and given back, and never lost.

use futures::FutureExt as _;
use wkube_base::Tasks;

use super::*;

const SHAPE: Queuing = Queuing { queues: 16, hand_size: 4, length_max: 5 };

fn level(mode: Mode, seats: u32) -> Arc<Level> {
    let level = Level::new("test", mode);
    level.resize(seats);
    level
}

fn free(level: &Level) -> i64 {
    level.free.load(Ordering::SeqCst)
}

#[tokio::test]
async fn seats_come_back_when_the_turn_is_over() {
    let level = level(Mode::Queue(SHAPE), 3);
    let turn = level.enter(|| unreachable!("nobody waits"), 2).await.expect("free");
    assert_eq!((free(&level), level.in_use(), turn.has_waited()), (1, 2, false));
    drop(turn);
    assert_eq!(free(&level), 3);
}

#[tokio::test]
async fn a_level_that_does_not_queue_refuses_at_once() {
    let level = level(Mode::Reject, 1);
    let _turn = level.enter(|| 0, 1).await.expect("free");
    assert_eq!(level.enter(|| 0, 1).await.err(), Some(Refusal::ConcurrencyLimit));
}

#[tokio::test]
async fn an_exempt_level_always_has_a_seat() {
    let level = level(Mode::Exempt, 0);
    let turns: Vec<_> = futures::future::join_all((0..100).map(|_| level.enter(|| 0, 1))).await;
    assert!(turns.iter().all(Result::is_ok));
    assert_eq!(level.in_use(), 100);
    drop(turns);
    assert_eq!(level.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_seat_of_who_leaves_or_is_told_after_a_while() {
    let level = level(Mode::Queue(SHAPE), 1);
    let first = level.enter(|| 0, 1).await.expect("free");
    let mut second = Box::pin(level.enter(|| 1, 1));
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(level.waiting(), 1);
    drop(first);
    let turn = second.await.expect("its turn");
    assert!(turn.has_waited() && level.waiting() == 0);
    let before = Instant::now();
    assert_eq!(level.enter(|| 2, 1).await.err(), Some(Refusal::TimeOut));
    assert_eq!((before.elapsed(), level.waiting()), (WAIT_MAX, 0));
    drop(turn);
    assert_eq!(free(&level), 1);
}

#[tokio::test]
async fn full_queues_refuse_and_other_flows_still_wait() {
    let level = level(Mode::Queue(Queuing { queues: 64, hand_size: 1, length_max: 2 }), 1);
    let _turn = level.enter(|| 0, 1).await.expect("free");
    let mut noisy: Vec<_> = (0..3).map(|_| Box::pin(level.enter(|| 7, 1))).collect();
    let answers: Vec<_> = noisy.iter_mut().map(|wait| wait.as_mut().now_or_never().map(Result::err)).collect();
    assert_eq!(answers, [None, None, Some(Some(Refusal::QueueFull))]);
    let mut quiet = Box::pin(level.enter(|| 8, 1));
    assert!(quiet.as_mut().now_or_never().is_none());
    assert_eq!(level.waiting(), 3);
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_nothing_behind() {
    let level = level(Mode::Queue(SHAPE), 1);
    let turn = level.enter(|| 0, 1).await.expect("free");
    let mut gone = Box::pin(level.enter(|| 1, 1));
    assert!(gone.as_mut().now_or_never().is_none());
    let mut late = Box::pin(level.enter(|| 2, 1));
    assert!(late.as_mut().now_or_never().is_none());
    drop(gone);
    assert_eq!(level.waiting(), 1);
    drop(turn);
    // The turn lies in the channel of somebody who goes before he looks.
    drop(late);
    assert_eq!((free(&level), level.waiting()), (1, 0));
}

#[tokio::test]
async fn a_request_wider_than_the_level_gets_all_of_it() {
    let level = level(Mode::Queue(SHAPE), 2);
    let wide = level.enter(|| 0, 10).await.expect("alone");
    assert!(level.enter(|| 0, 1).now_or_never().is_none());
    drop(wide);
    let narrow = level.enter(|| 0, 1).await.expect("free");
    assert!(level.enter(|| 0, 10).now_or_never().is_none(), "not beside another");
    drop(narrow);
    assert_eq!(free(&level), 2);
}

#[tokio::test]
async fn a_level_that_grows_lets_the_waiting_in_and_one_that_shrinks_throws_nobody_out() {
    let level = level(Mode::Queue(SHAPE), 1);
    let first = level.enter(|| 0, 1).await.expect("free");
    let mut second = Box::pin(level.enter(|| 1, 1));
    assert!(second.as_mut().now_or_never().is_none());
    level.resize(2);
    let second = second.await.expect("room");
    level.resize(1);
    assert_eq!(free(&level), -1);
    drop(first);
    assert!(level.enter(|| 2, 1).now_or_never().is_none(), "one seat, and it is taken");
    drop(second);
    assert!(level.enter(|| 2, 1).now_or_never().is_some_and(|turn| turn.is_ok()));
}

#[tokio::test]
async fn the_peak_counts_those_who_waited() {
    let level = level(Mode::Queue(SHAPE), 1);
    let turn = level.enter(|| 0, 1).await.expect("free");
    let waits: Vec<_> = (0..4)
        .map(|flow| {
            let mut wait = Box::pin(level.enter(move || flow, 1));
            assert!(wait.as_mut().now_or_never().is_none());
            wait
        })
        .collect();
    drop(waits);
    drop(turn);
    assert_eq!(level.take_peak(), 5);
    assert_eq!(level.take_peak(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_on_many_threads_never_loses_a_seat_nor_gets_one_too_many() {
    let (level, tasks) = (level(Mode::Queue(Queuing { queues: 32, hand_size: 4, length_max: 1000 }), 4), Tasks::new());
    let served = Arc::new(AtomicUsize::new(0));
    let crowd: Vec<_> = (0..64_u64)
        .map(|flow| {
            let (level, served) = (level.clone(), served.clone());
            tasks.spawn("client", async move {
                for round in 0..200 {
                    let turn = level.enter(|| flow, 1 + u32::from(round % 7 == 0)).await.expect("its turn");
                    assert!((1..=4).contains(&level.in_use()), "{}", level.in_use());
                    tokio::task::yield_now().await;
                    drop(turn);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    futures::future::join_all(crowd).await;
    assert_eq!(served.load(Ordering::Relaxed), 64 * 200);
    assert_eq!((free(&level), level.waiting()), (4, 0));
}
