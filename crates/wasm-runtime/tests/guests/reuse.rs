//! Instances that answer many requests: who shares one, when it goes, and what happens to those in it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt as _;
use wkube_wasm_runtime::{ExitReason, GuestSpec, HandleError, HttpGuest, Limits, Reuse, ReuseMode, StdStream};

use crate::http::{fetch, get, handler, serve};
use crate::support::{HTTP_0_2, HTTP_0_3, PATIENCE, Printed, eventually};

/// Longer than a test takes: what goes then goes for another reason.
const NEVER: Duration = Duration::from_hours(1);

fn reuse(reuse: Reuse) -> GuestSpec {
    GuestSpec { limits: Limits { reuse, ..Limits::default() }, ..GuestSpec::default() }
}

fn kept() -> Reuse {
    Reuse { idle: NEVER, ..Reuse::default() }
}

/// Asks for the number of requests that the instance has had.
async fn count(guest: &HttpGuest) -> String {
    String::from_utf8(fetch(guest, "/count").await.unwrap().to_vec()).unwrap()
}

/// Waits until as many instances would take a request.
async fn at_rest(guest: &HttpGuest, instances: usize) {
    eventually("the instances are at rest", || guest.instances_at_rest() == instances).await;
}

/// Asks one time after the other, each when the instance before is at rest.
async fn counts(guest: &HttpGuest, times: usize) -> Vec<String> {
    let mut counts = Vec::new();
    for _ in 0..times {
        counts.push(count(guest).await);
        at_rest(guest, 1).await;
    }
    counts
}

#[tokio::test]
async fn an_instance_of_0_3_answers_one_request_after_the_other_and_one_of_0_2_only_if_asked_to() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    assert_eq!(counts(&guest, 3).await, ["1\n", "2\n", "3\n"]);
    assert_eq!(guest.instances(), 1);
    let guest = serve(HTTP_0_2, reuse(kept())).await;
    assert_eq!([count(&guest).await, count(&guest).await], ["1\n", "1\n"]);
    let guest = serve(HTTP_0_2, reuse(Reuse { mode: ReuseMode::Always, ..kept() })).await;
    assert_eq!(counts(&guest, 2).await, ["1\n", "2\n"]);
}

#[tokio::test]
async fn reuse_can_be_refused() {
    let guest = serve(HTTP_0_3, reuse(Reuse { mode: ReuseMode::Never, ..kept() })).await;
    assert_eq!([count(&guest).await, count(&guest).await], ["1\n", "1\n"]);
}

#[tokio::test]
async fn several_requests_are_in_one_instance_at_once() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(Box::pin(fetch(&guest, "/hold")));
        assert!(futures::poll!(waiting.last_mut().unwrap()).is_pending());
        at_rest(&guest, 1).await;
    }
    assert_eq!(count(&guest).await, "4\n", "those before it have no answer yet");
    assert_eq!((guest.instances(), waiting.len()), (1, 3));
}

#[tokio::test]
async fn more_than_an_instance_takes_at_once_go_to_another() {
    let guest = serve(HTTP_0_3, reuse(Reuse { concurrency: 2, ..kept() })).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(guest.handle(get("/stream/1000000")).await.unwrap());
    }
    // One that does not get to its end within a slice leaves those behind it to a new one.
    assert!((3..=5).contains(&guest.instances()), "{}", guest.instances());
    assert_eq!(guest.in_flight(), 5);
    drop(held);
    eventually("all instances are gone with those who left them", || guest.instances() == 0).await;
    assert_eq!(guest.in_flight(), 0);
}

#[tokio::test]
async fn a_guest_of_0_2_that_is_reused_has_one_request_at_a_time() {
    let guest = serve(HTTP_0_2, reuse(Reuse { mode: ReuseMode::Always, ..kept() })).await;
    let held = guest.handle(get("/stream/1000000")).await.unwrap();
    assert_eq!(count(&guest).await, "1\n", "it has another instance");
    drop(held);
}

#[tokio::test]
async fn an_instance_has_served_its_time_after_so_many_requests() {
    let guest = serve(HTTP_0_3, reuse(Reuse { requests: 2, ..kept() })).await;
    for _ in 0..2 {
        assert_eq!(counts(&guest, 1).await, ["1\n"]);
        assert_eq!(count(&guest).await, "2\n");
        eventually("it is gone", || guest.instances() == 0).await;
    }
}

#[tokio::test]
async fn an_idle_guest_has_no_instance_and_no_memory() {
    let guest = serve(HTTP_0_3, reuse(Reuse { idle: Duration::from_millis(1), ..Reuse::default() })).await;
    assert_eq!(guest.instances(), 0, "nothing runs before the first request");
    for _ in 0..2 {
        fetch(&guest, "/").await.unwrap();
        eventually("the instance is gone", || guest.instances() == 0).await;
        assert_eq!(guest.memory_used(), 0);
    }
}

#[tokio::test]
async fn an_instance_that_has_grown_is_given_no_further_request() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    assert_eq!(fetch(&guest, "/leak/1").await.unwrap(), "1\n");
    at_rest(&guest, 1).await;
    assert_eq!(fetch(&guest, "/leak/40").await.unwrap(), "2\n");
    eventually("it is gone", || guest.instances() == 0).await;
}

#[tokio::test]
async fn a_trap_fails_the_requests_in_its_instance_with_the_reason_and_no_others() {
    let printed = Printed::new();
    let spec = GuestSpec { output: Some(printed.clone()), ..reuse(Reuse { concurrency: 2, ..kept() }) };
    let guest = Arc::new(serve(HTTP_0_3, spec).await);
    let mut elsewhere = Vec::new();
    for at_rest_after in [1, 0] {
        elsewhere.push(guest.handle(get("/stream/1000000")).await);
        at_rest(&guest, at_rest_after).await;
    }
    let mut neighbour = Box::pin(fetch(&guest, "/hold"));
    assert!(futures::poll!(&mut neighbour).is_pending());
    at_rest(&guest, 1).await;
    assert_eq!(guest.instances(), 2);
    let error = fetch(&guest, "/trap").await.unwrap_err();
    for error in [error, neighbour.await.unwrap_err()] {
        assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
        assert!(matches!(&error, HandleError::Trapped(exit) if exit.reason == ExitReason::Trapped), "{error:?}");
    }
    eventually("it is logged", || printed.text(StdStream::Stderr).contains("wasm trap")).await;
    for response in elsewhere {
        assert!(response.unwrap().into_body().frame().await.unwrap().is_ok(), "the other instance goes on");
    }
    assert_eq!(count(&guest).await, "1\n", "and a new one is there");
}

#[tokio::test]
async fn an_error_that_a_guest_returns_is_no_reason_to_end_its_instance() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    let error = fetch(&guest, "/error").await.unwrap_err();
    assert!(matches!(&error, HandleError::NoResponse(text) if text.contains("ConfigurationError")), "{error:?}");
    at_rest(&guest, 1).await;
    assert_eq!(count(&guest).await, "2\n");
}

#[tokio::test]
async fn a_body_that_is_cut_by_a_trap_does_not_look_whole() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    // A guest that is about to write when the second request comes leaves that to another instance: once more, then.
    loop {
        let body = guest.handle(get("/stream/1000000")).await.unwrap().into_body();
        at_rest(&guest, 1).await;
        fetch(&guest, "/trap").await.unwrap_err();
        let left = || (guest.instances(), guest.instances_at_rest());
        eventually("one instance is gone", || [(0, 0), (1, 1)].contains(&left())).await;
        if guest.instances() == 0 {
            assert!(body.collect().await.is_err());
            return;
        }
        drop(body);
        eventually("nothing is left", || guest.instances() == 0).await;
    }
}

#[tokio::test]
async fn whoever_goes_away_takes_the_instance_along_once_the_others_are_answered() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    let mut gone = Box::pin(fetch(&guest, "/hold"));
    assert!(futures::poll!(&mut gone).is_pending());
    at_rest(&guest, 1).await;
    let mut stays = guest.handle(get("/stream/1000")).await.unwrap().into_body();
    assert_eq!(guest.instances(), 1);
    drop(gone);
    eventually("its turn is free", || guest.in_flight() == 1).await;
    assert_eq!(count(&guest).await, "1\n", "nobody else is let in");
    let mut bytes = 0;
    while let Some(frame) = stays.frame().await {
        bytes += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    assert_eq!(bytes, 1000 * 4096);
    eventually("the instance is gone", || guest.instances() == 1).await;
}

#[tokio::test]
async fn a_guest_that_computes_too_long_is_cut_off() {
    let limits = Limits { request_deadline: Duration::from_millis(100), reuse: kept(), ..Limits::default() };
    let spec = GuestSpec { limits, ..GuestSpec::default() };
    let guest = Arc::new(serve(HTTP_0_3, spec).await);
    let mut spins = Box::pin(fetch(&guest, "/spin/100000000"));
    assert!(futures::poll!(&mut spins).is_pending());
    let error = spins.await.unwrap_err();
    assert_eq!(error, HandleError::DeadlineExceeded(Duration::from_millis(100)));
    eventually("the instance is gone", || guest.instances() == 0).await;
}

#[tokio::test]
async fn requests_behind_a_guest_that_computes_get_an_instance_of_their_own() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    let mut spins = Box::pin(fetch(&guest, "/spin/100000000"));
    assert!(futures::poll!(&mut spins).is_pending());
    eventually("it computes", || guest.cpu_time() > Duration::from_millis(10)).await;
    let answers = join_all((0..8).map(|_| count(&guest))).await;
    assert_eq!(answers.len(), 8);
    drop(spins);
    eventually("only those at rest are left", || guest.instances() == guest.instances_at_rest()).await;
}

#[tokio::test]
async fn draining_ends_idle_instances_at_once_and_busy_ones_after_their_requests() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    fetch(&guest, "/").await.unwrap();
    let mut body = guest.handle(get("/stream/50")).await.unwrap().into_body();
    let read = async {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().into_data().map_or(0, |data| data.len());
        }
        bytes
    };
    let ((), bytes) = tokio::join!(guest.drain(PATIENCE), read);
    assert_eq!((bytes, guest.instances(), guest.in_flight()), (50 * 4096, 0, 0));
    assert_eq!(fetch(&guest, "/").await.unwrap_err(), HandleError::Closed);
}

#[tokio::test]
async fn a_killed_guest_drops_its_instances_and_those_in_them() {
    let guest = Arc::new(serve(HTTP_0_3, reuse(kept())).await);
    let held = guest.handle(get("/stream/1000000")).await.unwrap();
    let mut waits = Box::pin(fetch(&guest, "/hold"));
    assert!(futures::poll!(&mut waits).is_pending());
    guest.kill();
    assert_eq!(waits.await.unwrap_err(), HandleError::Closed);
    eventually("the instances are gone", || guest.instances() == 0).await;
    assert!(held.into_body().collect().await.is_err(), "a cut body must not look whole");
}

#[tokio::test]
async fn a_reused_guest_that_never_sets_an_answer_is_a_bad_gateway() {
    let guest = serve(handler("").as_bytes(), reuse(Reuse { mode: ReuseMode::Always, ..kept() })).await;
    let error = fetch(&guest, "/").await.unwrap_err();
    assert_eq!(error, HandleError::NoResponse("it returned without an answer".to_owned()));
}

#[tokio::test]
async fn many_requests_share_a_few_instances() {
    let guest = serve(HTTP_0_3, reuse(kept())).await;
    let answers = join_all((0..200).map(|_| fetch(&guest, "/"))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == "hello from wasi:http 0.3\n"));
    assert!(guest.instances() <= 64, "{}", guest.instances());
    eventually("every turn is free", || guest.in_flight() == 0).await;
}
