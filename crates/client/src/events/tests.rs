//! Events as they are written, and that recording never waits.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::*;
use crate::scripted::{Answer, Server, failure};

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}") } }))
        .expect("valid")
}

fn created() -> Answer {
    Answer::Document(201, json!({ "metadata": { "name": "e" }, "involvedObject": {} }))
}

/// Records `times` the same news and one other, and returns what the server was asked.
async fn record(server: &Server, act: impl Fn(&Recorder)) {
    let tasks = Tasks::new();
    let clock = Clock::manual(Timestamp::from_second(1).expect("in range"));
    let recorder = Recorder::new(&server.client(), &clock, "kubelet", "n1", &tasks);
    act(&recorder);
    tokio::time::sleep(Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_names_its_object_reason_and_source() {
    let server = Server::new([created()]);
    record(&server, |recorder| {
        recorder.event_at(&pod("web"), "spec.containers{app}", EventType::Warning, "BackOff", "waiting");
    })
    .await;
    let asked = &server.requests()[0];
    assert_eq!(asked.line, "POST /api/v1/namespaces/shop/events");
    let event = &asked.body;
    assert_eq!(event["metadata"]["name"], "web.3b9aca00");
    assert_eq!(
        event["involvedObject"],
        json!({
            "apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "shop", "uid": "uid-web",
            "fieldPath": "spec.containers{app}"
        })
    );
    assert_eq!(event["source"], json!({ "component": "kubelet", "host": "n1" }));
    assert_eq!(
        (&event["type"], &event["reason"], &event["message"]),
        (&json!("Warning"), &json!("BackOff"), &json!("waiting"))
    );
    assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:01Z");
}

#[tokio::test(start_paused = true)]
async fn the_same_news_is_counted_and_other_news_is_not() {
    let server = Server::new([created(), created(), created(), created()]);
    record(&server, |recorder| {
        recorder.event(&pod("web"), EventType::Normal, "Pulled", "image a");
        recorder.event(&pod("web"), EventType::Normal, "Pulled", "image a");
        recorder.event(&pod("web"), EventType::Normal, "Pulled", "image b");
        recorder.event(&pod("web"), EventType::Normal, "Pulled", "image a");
    })
    .await;
    let methods: Vec<String> = server.lines().iter().map(|line| line[..4].to_owned()).collect();
    assert_eq!(methods, ["POST", "PATC", "POST", "PATC"]);
    assert_eq!(server.requests()[3].body["count"], 3);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_has_gone_is_written_anew() {
    let server = Server::new([created(), Answer::Document(404, failure(404, "NotFound")), created()]);
    record(&server, |recorder| {
        recorder.event(&pod("web"), EventType::Normal, "Pulled", "image a");
        recorder.event(&pod("web"), EventType::Normal, "Pulled", "image a");
    })
    .await;
    assert_eq!(server.requests()[2].body["count"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_tried_again_and_does_not_count_twice() {
    let server = Server::new([Answer::Cut, Answer::Document(409, failure(409, "AlreadyExists")), created()]);
    record(&server, |recorder| recorder.event(&pod("web"), EventType::Normal, "Pulled", "image a")).await;
    let names: Vec<_> = server.requests().iter().map(|asked| asked.body["metadata"]["name"].clone()).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0], names[1]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_not_tried_again() {
    let server = Server::new([Answer::Document(403, failure(403, "Forbidden"))]);
    record(&server, |recorder| recorder.event(&pod("web"), EventType::Normal, "Pulled", "image a")).await;
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_about_cluster_scoped_objects_live_in_default() {
    let server = Server::new([created()]);
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": "n1" } })).expect("valid");
    record(&server, |recorder| recorder.event(&node, EventType::Normal, "NodeReady", "ready")).await;
    assert_eq!(server.lines(), ["POST /api/v1/namespaces/default/events"]);
    assert!(server.requests()[0].body["involvedObject"].get("namespace").is_none());
}

#[tokio::test(start_paused = true)]
async fn recording_never_waits_and_drops_what_is_too_much() {
    let server = Server::new([]);
    record(&server, |recorder| {
        for number in 0..WAITING_MAX * 2 {
            recorder.event(&pod("web"), EventType::Normal, "Pulled", format!("image {number}"));
        }
        assert_eq!(recorder.dropped.load(Ordering::Relaxed), WAITING_MAX as u64);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_event_hangs_holds_up_few_others() {
    let server = Server::new([Answer::Hold(Vec::new())].into_iter().chain((0..100).map(|_| created())));
    let tasks = Tasks::new();
    let recorder = Recorder::new(&server.client(), &Clock::system(), "kubelet", "n1", &tasks);
    for number in 0..100 {
        recorder.event(&pod(&format!("web-{number}")), EventType::Normal, "Pulled", "image a");
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let written = server.lines().len();
    assert!((75..100).contains(&written), "{written} of 100: only one lane of {LANES} waits");
    assert!((0..LANES).all(|lane| (0..100).any(|number| lane_of(&pod(&format!("web-{number}")).key()) == lane)));
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let message = cut("é".repeat(MESSAGE_BYTES_MAX));
    assert!(message.len() <= MESSAGE_BYTES_MAX && message.ends_with('é'), "{}", message.len());
}
