//! Bodies and trailers in both directions, for both generations of `wasi:http`, fresh and reused.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;
use wkube_wasm_runtime::{Body, GuestSpec, HttpGuest, Limits, Reuse, ReuseMode};

use crate::http::serve;
use crate::support::{HTTP_0_2, HTTP_0_3, PATIENCE, eventually};

/// More than all buffers on the way together.
const CHUNKS: usize = 1_000;
const CHUNK: Bytes = Bytes::from_static(&[b'x'; 16 << 10]);

/// Both generations, each with fresh and with reused instances.
async fn guests() -> Vec<HttpGuest> {
    let mut guests = Vec::new();
    for wasm in [HTTP_0_2, HTTP_0_3] {
        for mode in [ReuseMode::Never, ReuseMode::Always] {
            let reuse = Reuse { mode, idle: Duration::from_hours(1), ..Reuse::default() };
            let limits = Limits { reuse, ..Limits::default() };
            guests.push(serve(wasm, GuestSpec { limits, ..GuestSpec::default() }).await);
        }
    }
    guests
}

/// A request whose body is what is sent on the channel, one frame at a time.
fn upload() -> (mpsc::Sender<Frame<Bytes>>, Request<Body>) {
    let (sender, receiver) = mpsc::channel::<Frame<Bytes>>(1);
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
    });
    let body = StreamBody::new(frames.boxed()).map_err(|never| match never {}).boxed_unsync();
    (sender, Request::post("/echo").header("host", "guest.test").body(body).unwrap())
}

#[tokio::test]
async fn a_large_body_comes_back_as_it_is_sent() {
    for guest in guests().await {
        let (sender, request) = upload();
        let send = async move {
            for _ in 0..CHUNKS {
                sender.send(Frame::data(CHUNK)).await.unwrap();
            }
        };
        let receive = async {
            let mut body = guest.handle(request).await.unwrap().into_body();
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                bytes += frame.unwrap().into_data().map_or(0, |data| data.len());
            }
            bytes
        };
        let both = tokio::time::timeout(PATIENCE, futures::future::join(send, receive));
        assert_eq!(both.await.unwrap().1, CHUNKS * CHUNK.len());
    }
}

#[tokio::test]
async fn the_answer_begins_before_the_request_has_ended() {
    for guest in guests().await {
        let (sender, request) = upload();
        let (response, sent) =
            tokio::join!(guest.handle(request), sender.send(Frame::data(Bytes::from_static(b"hello"))));
        sent.unwrap();
        let mut body = response.unwrap().into_body();
        let first = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap();
        assert_eq!(first.unwrap().unwrap().into_data().unwrap(), "hello");
        drop(sender);
        assert!(tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn trailers_reach_the_guest_and_come_back() {
    for guest in guests().await {
        let (sender, request) = upload();
        let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), "42".parse().unwrap())]);
        let expected = trailers.clone();
        let send = async move {
            sender.send(Frame::data(CHUNK)).await.unwrap();
            sender.send(Frame::trailers(trailers)).await.unwrap();
        };
        let receive = async { guest.handle(request).await.unwrap().into_body().collect().await.unwrap() };
        let both = tokio::time::timeout(PATIENCE, futures::future::join(send, receive));
        let collected = both.await.unwrap().1;
        assert_eq!(collected.trailers(), Some(&expected));
        assert_eq!(collected.to_bytes(), CHUNK);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_sender() {
    for guest in guests().await {
        let (sender, request) = upload();
        let (response, _) = tokio::join!(guest.handle(request), sender.send(Frame::data(CHUNK)));
        let body = response.unwrap().into_body();
        let mut sent = 0;
        // What is sent is taken until everything on the way is full. That it is never taken cannot be waited for, but that
        // a body without an end is not taken whole can.
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(200), sender.send(Frame::data(CHUNK))).await {
            sent += 1;
            assert!(sent < CHUNKS, "{sent} chunks were taken although nobody reads");
        }
        assert!(guest.memory_used() < 8 << 20);
        drop(body);
        eventually("the request is gone", || guest.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_midway_frees_the_guest_and_its_sender() {
    for guest in guests().await {
        let (sender, request) = upload();
        let (response, _) = tokio::join!(guest.handle(request), sender.send(Frame::data(CHUNK)));
        let mut body = response.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        drop(body);
        tokio::time::timeout(PATIENCE, sender.closed()).await.expect("the request's body is let go");
        eventually("the request is gone", || guest.in_flight() == 0).await;
        eventually("and its instance", || guest.instances() == 0).await;
    }
}
