use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::json;
use wkube_client::client::RequestBody;

use super::*;

/// What is asked for, as `PATCH name`, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Starts a writer whose server answers with `code` and notes what it is asked for.
fn writer(tasks: &Tasks, code: impl Fn(&Method, &str) -> u16 + Clone + Send + Sync + 'static) -> (Statuses, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let client = Client::new(tower::service_fn(move |request: Request<RequestBody>| {
        let name = request.uri().path().split('/').nth(6).unwrap_or_default().to_owned();
        noted.lock().push(format!("{} {name}", request.method()));
        let code = code(request.method(), &name);
        let body = match code {
            200 => json!({ "metadata": { "name": name, "namespace": "d", "uid": name, "resourceVersion": "7" } }),
            code => {
                let reason = match code {
                    403 => "Forbidden",
                    404 => "NotFound",
                    409 => "Conflict",
                    _ => "InternalError",
                };
                json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no" })
            }
        };
        let response = Response::builder().status(code).header("content-type", "application/json");
        std::future::ready(Ok::<_, std::io::Error>(response.body(Full::from(Bytes::from(body.to_string()))).unwrap()))
    }));
    (Statuses::start(&client, tasks), asked)
}

fn pod(name: &str) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.namespace = Some("d".to_owned());
    pod.metadata.uid = Some(name.to_owned());
    Arc::new(pod)
}

fn status(phase: &str) -> PodStatus {
    PodStatus { phase: Some(phase.to_owned()), ..PodStatus::default() }
}

/// Waits, in virtual time, until something was asked for.
async fn until_asked(asked: &Asked, what: &str) {
    let waiting = async {
        while !asked.lock().iter().any(|one| one == what) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_hours(1), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(start_paused = true)]
async fn pods_whose_writes_fail_do_not_hold_up_others() {
    let tasks = Tasks::new();
    let (statuses, asked) = writer(&tasks, |_, name| if name.starts_with("bad") { 500 } else { 200 });
    for index in 0..4 * WRITES_MAX {
        statuses.publish(&pod(&format!("bad-{index}")), status("Running"));
    }
    until_asked(&asked, &format!("PATCH bad-{}", 4 * WRITES_MAX - 1)).await;
    statuses.publish(&pod("good"), status("Running"));
    let told = tokio::time::timeout(Duration::from_millis(100), until_asked(&asked, "PATCH good"));
    told.await.expect("it waits for none of the others");
}

#[tokio::test(start_paused = true)]
async fn one_that_always_has_news_does_not_hold_up_others() {
    let tasks = Tasks::new();
    let (statuses, asked) = writer(&tasks, |_, _| 200);
    let news = statuses.clone();
    tasks.spawn("news", async move {
        for turn in 0_u64.. {
            (0..2 * WRITES_MAX).for_each(|index| news.publish(&pod(&format!("a-{index}")), status(&turn.to_string())));
            tokio::task::yield_now().await;
        }
    });
    statuses.publish(&pod("z"), status("Running"));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(asked.lock().iter().any(|one| one == "PATCH z"), "everybody has a turn");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_is_not_written_again() {
    for code in [403, 404, 409] {
        let tasks = Tasks::new();
        let (statuses, asked) = writer(&tasks, move |method, _| if method == Method::GET { 404 } else { code });
        statuses.publish(&pod("gone"), status("Failed"));
        statuses.forget(&pod("gone"));
        until_asked(&asked, "PATCH gone").await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let patches = asked.lock().iter().filter(|one| *one == "PATCH gone").count();
        assert_eq!((patches, statuses.0.written.lock().len()), (1, 0), "{code}");
        assert!(statuses.0.waiting.lock().jobs.is_empty(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_there_is_tried_again_and_nothing_is_remembered_once_it_is_removed() {
    let tasks = Tasks::new();
    let refusals = Arc::new(Mutex::new(3));
    let (statuses, asked) = writer(&tasks, move |method, _| {
        let mut refusals = refusals.lock();
        if method != Method::PATCH || *refusals == 0 {
            return 200;
        }
        *refusals -= 1;
        403
    });
    statuses.publish(&pod("slow"), status("Succeeded"));
    statuses.forget(&pod("slow"));
    until_asked(&asked, "DELETE slow").await;
    assert_eq!(asked.lock().iter().filter(|one| *one == "PATCH slow").count(), 4);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(statuses.0.written.lock().is_empty());
}
