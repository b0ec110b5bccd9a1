//! HTTP handlers: a fresh instance for each request, and what happens when something goes wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use wkube_wasm_runtime::{Body, Error, ExitReason, GuestSpec, HandleError, HttpGuest, Limits, StdStream};

use crate::support::{HTTP_0_2, HTTP_0_3, PATIENCE, Printed, eventually, load, memory};

pub(crate) fn get(path: &str) -> Request<Body> {
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    Request::get(path).header("host", "guest.test").body(body).unwrap()
}

pub(crate) async fn serve(wasm: &[u8], spec: GuestSpec) -> HttpGuest {
    load(wasm).await.serve(spec).unwrap()
}

pub(crate) async fn fetch(guest: &HttpGuest, path: &str) -> Result<Bytes, HandleError> {
    let response = tokio::time::timeout(PATIENCE, guest.handle(get(path))).await.expect("an answer")?;
    assert_eq!(response.status(), StatusCode::OK);
    Ok(response.into_body().collect().await.expect("a whole body").to_bytes())
}

/// A handler by WASI 0.2 whose function has this body.
pub(crate) fn handler(body: &str) -> String {
    format!(
        r#"(component
        (import "wasi:http/types@0.2.0" (instance $types
            (export "incoming-request" (type (sub resource)))
            (export "response-outparam" (type (sub resource)))))
        (alias export $types "incoming-request" (type $request))
        (alias export $types "response-outparam" (type $answer))
        (core module $m (memory 1) (func $handle (export "handle") (param i32 i32) {body}))
        (core instance $i (instantiate $m))
        (func $handle (param "request" (own $request)) (param "response-out" (own $answer))
            (canon lift (core func $i "handle")))
        (instance $handler (export "handle" (func $handle)))
        (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    )
}

#[tokio::test]
async fn each_generation_of_handlers_answers() {
    for (wasm, expected) in [(HTTP_0_2, "hello from wasi:http 0.2\n"), (HTTP_0_3, "hello from wasi:http 0.3\n")] {
        let guest = serve(wasm, GuestSpec::default()).await;
        for _ in 0..3 {
            assert_eq!(fetch(&guest, "/").await.unwrap(), expected);
        }
        eventually("the instances are gone", || guest.instances() == 0).await;
        assert_eq!((guest.in_flight(), guest.memory_used()), (0, 0));
        assert!(guest.memory_peak() > 0 && guest.cpu_time() > Duration::ZERO);
    }
}

#[tokio::test]
async fn many_requests_are_answered_at_once() {
    let guest = serve(HTTP_0_2, GuestSpec::default()).await;
    let answers = futures::future::try_join_all((0..100).map(|_| fetch(&guest, "/"))).await.unwrap();
    assert!(answers.iter().all(|answer| answer == "hello from wasi:http 0.2\n"));
}

#[tokio::test]
async fn a_body_streams_as_the_client_reads() {
    let guest = serve(HTTP_0_2, GuestSpec::default()).await;
    assert_eq!(fetch(&guest, "/stream/100").await.unwrap().len(), 100 * 4096);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_guest_and_one_that_goes_away_frees_it() {
    let guest = serve(HTTP_0_2, GuestSpec::default()).await;
    let response = guest.handle(get("/stream/1000000")).await.unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.is_some());
    assert_eq!(guest.in_flight(), 1);
    // Four gigabytes are not buffered: the instance has what it had.
    assert!(guest.memory_used() < 4 << 20);
    drop(body);
    eventually("the instance is gone", || guest.in_flight() == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_frees_the_guest() {
    let guest = serve(handler("(loop $l (br $l))").as_bytes(), GuestSpec::default()).await;
    let mut waiting = Box::pin(guest.handle(get("/")));
    let running = eventually("the guest runs", || guest.cpu_time() > Duration::from_millis(1));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("it never answers"),
        () = running => {}
    }
    drop(waiting);
    eventually("the instance is gone", || guest.in_flight() == 0).await;
}

#[tokio::test]
async fn a_trap_before_the_answer_is_a_bad_gateway_and_is_logged() {
    let printed = Printed::new();
    let spec = GuestSpec { output: Some(printed.clone()), ..GuestSpec::default() };
    let guest = serve(handler("unreachable").as_bytes(), spec).await;
    let error = fetch(&guest, "/").await.unwrap_err();
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    let HandleError::Trapped(exit) = error else { panic!("{error:?}") };
    assert_eq!((exit.code, exit.reason), (134, ExitReason::Trapped));
    assert!(printed.text(StdStream::Stderr).contains("!handle"), "{}", printed.text(StdStream::Stderr));
}

#[tokio::test]
async fn a_trap_before_anything_was_sent_is_a_bad_gateway_even_after_the_head_was_set() {
    let printed = Printed::new();
    let spec = GuestSpec { output: Some(printed.clone()), ..GuestSpec::default() };
    let guest = serve(HTTP_0_2, spec).await;
    let error = fetch(&guest, "/trap").await.unwrap_err();
    assert!(matches!(&error, HandleError::Trapped(exit) if exit.reason == ExitReason::Trapped), "{error:?}");
    let log = printed.text(StdStream::Stderr);
    assert!(log.contains("boom") && log.contains("wasm trap"), "{log}");
    assert_eq!(fetch(&guest, "/").await.unwrap(), "hello from wasi:http 0.2\n");
}

#[tokio::test]
async fn a_request_that_wants_too_much_memory_fails_alone() {
    let printed = Printed::new();
    let spec = GuestSpec { limits: memory(32), output: Some(printed.clone()), ..GuestSpec::default() };
    let guest = serve(HTTP_0_2, spec).await;
    let error = fetch(&guest, "/alloc/64").await.unwrap_err();
    assert!(matches!(&error, HandleError::Trapped(exit) if exit.reason == ExitReason::OutOfMemory), "{error:?}");
    assert!(printed.text(StdStream::Stderr).contains("more memory than its limit"));
    assert_eq!(fetch(&guest, "/").await.unwrap(), "hello from wasi:http 0.2\n");
}

#[tokio::test]
async fn a_guest_that_can_never_start_is_refused_when_it_is_served() {
    let limits = Limits { memory_bytes: 64 << 10, ..Limits::default() };
    let served = load(HTTP_0_2).await.serve(GuestSpec { limits, ..GuestSpec::default() });
    assert!(matches!(served.err(), Some(Error::MemoryLimit { limit: 65536, .. })));
}

#[tokio::test]
async fn a_guest_that_takes_too_long_is_cut_off() {
    let limits = Limits { request_deadline: Duration::from_millis(50), ..Limits::default() };
    let guest = serve(handler("(loop $l (br $l))").as_bytes(), GuestSpec { limits, ..GuestSpec::default() }).await;
    let error = fetch(&guest, "/").await.unwrap_err();
    assert_eq!(error, HandleError::DeadlineExceeded(Duration::from_millis(50)));
    assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
    eventually("the instance is gone", || guest.in_flight() == 0).await;
}

#[tokio::test]
async fn a_guest_that_returns_without_an_answer_is_a_bad_gateway() {
    let guest = serve(handler("").as_bytes(), GuestSpec::default()).await;
    let error = fetch(&guest, "/").await.unwrap_err();
    assert_eq!(error, HandleError::NoResponse("it ended with code 0".to_owned()));
}

#[tokio::test]
async fn a_request_without_a_host_is_the_clients_mistake() {
    let guest = serve(HTTP_0_2, GuestSpec::default()).await;
    let mut request = get("/");
    request.headers_mut().clear();
    assert_eq!(guest.handle(request).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn more_requests_than_may_run_wait_and_more_than_may_wait_are_turned_away() {
    let limits = Limits { concurrency: 1, queue: 16, ..Limits::default() };
    let guest = Arc::new(serve(HTTP_0_2, GuestSpec { limits, ..GuestSpec::default() }).await);
    let held = guest.handle(get("/stream/1000000")).await.unwrap();
    let mut waiting: Vec<_> = (0..16).map(|_| Box::pin(fetch(&guest, "/"))).collect();
    for request in &mut waiting {
        assert!(futures::poll!(request).is_pending());
    }
    let error = fetch(&guest, "/").await.unwrap_err();
    assert_eq!((error.status(), error.retry_after()), (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(1))));
    assert_eq!(error, HandleError::Overloaded);
    drop(held);
    futures::future::try_join_all(waiting).await.unwrap();
}

#[tokio::test]
async fn draining_lets_requests_end_and_then_refuses() {
    let guest = serve(HTTP_0_2, GuestSpec::default()).await;
    let mut body = guest.handle(get("/stream/50")).await.unwrap().into_body();
    let drained = guest.drain(PATIENCE);
    let read = async {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().into_data().unwrap().len();
        }
        bytes
    };
    let ((), bytes) = tokio::join!(drained, read);
    assert_eq!((bytes, guest.in_flight()), (50 * 4096, 0));
    assert_eq!(fetch(&guest, "/").await.unwrap_err(), HandleError::Closed);
}

#[tokio::test]
async fn draining_drops_what_does_not_end_in_time() {
    let guest = serve(HTTP_0_2, GuestSpec::default()).await;
    let mut body = guest.handle(get("/stream/1000000")).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    guest.drain(Duration::from_millis(10)).await;
    assert_eq!(guest.in_flight(), 0);
    assert!(body.collect().await.is_err(), "a cut body must not look whole");
}

#[tokio::test]
async fn a_killed_guest_drops_everything() {
    let guest = serve(HTTP_0_2, GuestSpec::default()).await;
    let _held = guest.handle(get("/stream/1000000")).await.unwrap();
    guest.kill();
    eventually("the instance is gone", || guest.in_flight() == 0).await;
    assert_eq!(fetch(&guest, "/").await.unwrap_err(), HandleError::Closed);
}
