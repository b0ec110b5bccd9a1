//! The fair queues by cases, and by simulation: flows that ask for more than their share get their share.

use std::collections::BTreeMap;

use super::*;

const SHAPE: Queuing = Queuing { queues: 8, hand_size: 2, length_max: 50 };

fn all(_: u32) -> bool {
    true
}

#[test]
fn one_flow_is_served_in_its_order() {
    let mut queues = FairQueues::new(Queuing { queues: 1, hand_size: 1, length_max: 9 });
    for item in 1..=3 {
        queues.enqueue(7, 1, item).expect("room");
    }
    let order: Vec<_> = std::iter::from_fn(|| queues.dispatch(all)).map(|next| next.item).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn a_full_hand_gives_the_request_back() {
    let mut queues = FairQueues::new(Queuing { queues: 4, hand_size: 2, length_max: 3 });
    let taken = (0..10).filter(|item| queues.enqueue(5, 1, *item).is_ok()).count();
    assert_eq!(taken, 6, "two queues of three");
    let others = (0..64).filter(|flow| queues.enqueue(*flow, 1, 0).is_ok()).count();
    assert_eq!(others, 6, "the other two queues are still there for others");
}

#[test]
fn nothing_overtakes_a_wide_request() {
    let mut queues = FairQueues::new(Queuing { queues: 1, hand_size: 1, length_max: 9 });
    queues.enqueue(0, 10, "wide").expect("room");
    queues.enqueue(0, 1, "narrow").expect("room");
    assert_eq!(queues.dispatch(|seats| seats <= 5), None);
    assert_eq!(queues.dispatch(|seats| seats <= 10).map(|next| next.item), Some("wide"));
}

#[test]
fn who_leaves_is_not_served() {
    let mut queues = FairQueues::new(SHAPE);
    let ticket = queues.enqueue(1, 1, "a").expect("room");
    assert_eq!(queues.remove(ticket), Some("a"));
    assert_eq!(queues.remove(ticket), None);
    assert_eq!(queues.dispatch(all), None);
    let ticket = queues.enqueue(1, 1, "b").expect("room");
    assert!(queues.dispatch(all).is_some());
    assert_eq!(queues.remove(ticket), None, "its turn has come");
}

#[test]
fn a_queue_that_rests_saves_nothing_up() {
    let mut queues = FairQueues::new(Queuing { queues: 2, hand_size: 1, length_max: 900 });
    for _ in 0..100 {
        queues.enqueue(0, 1, "busy").expect("room");
    }
    for _ in 0..50 {
        let next = queues.dispatch(all).expect("waiting");
        queues.finish(next.queue, 1, ESTIMATE);
    }
    for _ in 0..50 {
        queues.enqueue(1, 1, "late").expect("room");
    }
    let next: Vec<_> = (0..20).filter_map(|_| queues.dispatch(all)).map(|next| next.item).collect();
    assert_eq!(next.iter().filter(|item| **item == "late").count(), 10, "half of the turns: {next:?}");
}

/// A client in the simulation: keeps `outstanding` requests of this width and length in the queues.
struct Client {
    outstanding: usize,
    seats: u32,
    length: Duration,
}

/// Runs clients against `seats` for some virtual time; returns the seat-seconds that each got.
fn simulate(clients: &[Client], seats: u32, time: Duration) -> Vec<f64> {
    let mut queues = FairQueues::new(Queuing { queues: 64, hand_size: 6, length_max: 100 });
    let flow = |client: usize| (client as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut got = vec![0.0; clients.len()];
    for (index, client) in clients.iter().enumerate() {
        for _ in 0..client.outstanding {
            assert!(queues.enqueue(flow(index), client.seats, index).is_ok());
        }
    }
    let (mut now, mut free, mut serial) = (Duration::ZERO, seats, 0_u64);
    let mut running = BTreeMap::new();
    while now < time {
        while let Some(next) = queues.dispatch(|wanted| wanted <= free) {
            free -= next.seats;
            serial += 1;
            running.insert((now + clients[next.item].length, serial), next);
        }
        let Some(((end, _), done)) = running.pop_first() else { break };
        now = end;
        free += done.seats;
        let client = &clients[done.item];
        got[done.item] += work(done.seats, client.length);
        queues.finish(done.queue, done.seats, client.length);
        let _ = queues.enqueue(flow(done.item), client.seats, done.item);
    }
    got
}

fn narrow(outstanding: usize) -> Client {
    Client { outstanding, seats: 1, length: Duration::from_millis(10) }
}

#[test]
fn an_elephant_leaves_the_mice_what_they_ask_for() {
    let mut clients = vec![narrow(300)];
    clients.extend((0..8).map(|_| narrow(1)));
    let got = simulate(&clients, 10, Duration::from_secs(20));
    // A mouse that asks for one thing at a time waits at most one turn for it.
    for mouse in &got[1..] {
        assert!(*mouse > 8.0, "{got:?}");
    }
    assert!(got[0] > 20.0 && got.iter().sum::<f64>() > 190.0, "the elephant takes what is left: {got:?}");
}

#[test]
fn flows_that_want_more_than_there_is_get_about_the_same() {
    let got = simulate(&[narrow(200), narrow(400), narrow(100)], 10, Duration::from_secs(30));
    let (least, most) = (got.iter().copied().fold(f64::MAX, f64::min), got.iter().copied().fold(0.0, f64::max));
    // Not the same: two hands may share a queue. But the one with four times the requests has not four times the turns.
    assert!(most / least < 1.6, "{got:?}");
}

#[test]
fn long_and_wide_requests_pay_for_what_they_take() {
    let greedy = Client { outstanding: 100, seats: 5, length: Duration::from_millis(100) };
    let got = simulate(&[greedy, narrow(100)], 10, Duration::from_mins(1));
    assert!(got[0] / got[1] < 1.6 && got[1] / got[0] < 1.6, "seat-seconds, not requests: {got:?}");
}
