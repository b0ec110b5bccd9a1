//! Writes pod statuses: the newest wins per pod, the last one comes before the object's removal, and only a few writes
//! are under way at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use wkube_api::ObjectKey;
use wkube_base::{Backoff, Tasks};
use wkube_client::api::{DeleteOptions, Patch};
use wkube_client::{Api, Client, Error, Kind as _, Revision};

use crate::pod::{spec, status};
use crate::static_pods::mirror;

/// How many writes are under way at once. Two cores answer about this many before more only wait.
const WRITES_MAX: usize = 16;

/// Retries of a status: 500 ms doubling to 30 s; the newest status is written whenever the server is back.
const RETRY: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30) };

/// A handle on the writer. Clones share it.
#[derive(Clone)]
pub struct Statuses(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    written: Mutex<BTreeMap<String, Written>>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    jobs: BTreeMap<String, Job>,
    /// Whose turn it was last: the next one's is next, or those that come first would always be first.
    latest: String,
}

/// What the server was told last about one pod, and at which revision.
struct Written {
    /// The status by its sum: whoever compares needs no more, and every pod keeps one.
    status: [u8; 32],
    at: Revision,
}

/// Where it is told.
struct Writer {
    pods: Api<Pod>,
    nodes: Api<Node>,
}

/// What is to be told about one pod.
#[derive(Clone)]
struct Job {
    pod: Arc<Pod>,
    status: Option<PodStatus>,
    is_forgotten: bool,
    failures: u32,
}

impl Statuses {
    /// Starts the writer.
    pub fn start(client: &Client, tasks: &Tasks) -> Self {
        let shared = Arc::new(Shared { waiting: Mutex::default(), written: Mutex::default(), changed: Notify::new() });
        let client = client.named("kubelet");
        let api = Writer { pods: Api::new(&client), nodes: Api::new(&client) };
        tasks.spawn("pod statuses", run(api, Arc::clone(&shared)));
        Self(shared)
    }

    /// Writes a status, unless it is the one that was written last and `pod` still shows it.
    pub fn publish(&self, pod: &Arc<Pod>, status: PodStatus) {
        self.0.enter(pod, Some(status), false);
    }

    /// Removes the object of a deleted pod once its last status is written.
    pub fn forget(&self, pod: &Arc<Pod>) {
        self.0.enter(pod, None, true);
    }

    /// Drops what is remembered of a pod whose object is gone.
    pub fn drop_pod(&self, uid: &str) {
        self.0.waiting.lock().jobs.remove(uid);
        self.0.written.lock().remove(uid);
    }
}

impl Shared {
    fn enter(&self, pod: &Arc<Pod>, status: Option<PodStatus>, is_forgotten: bool) {
        let mut waiting = self.waiting.lock();
        let new = || Job { pod: Arc::clone(pod), status: None, is_forgotten: false, failures: 0 };
        let job = waiting.jobs.entry(spec::uid(pod).to_owned()).or_insert_with(new);
        job.pod = Arc::clone(pod);
        job.is_forgotten |= is_forgotten;
        if status.is_some() {
            job.status = status;
        }
        drop(waiting);
        self.changed.notify_one();
    }

    fn take(&self, busy: &BTreeSet<String>) -> Option<(String, Job)> {
        let mut waiting = self.waiting.lock();
        let Waiting { jobs, latest } = &mut *waiting;
        let after = jobs.range::<String, _>((Excluded(&*latest), Unbounded));
        let uid =
            after.chain(jobs.range::<String, _>(..=&*latest)).map(|(uid, _)| uid).find(|uid| !busy.contains(*uid))?;
        latest.clone_from(uid);
        let job = jobs.remove(&*latest)?;
        Some((latest.clone(), job))
    }

    /// Puts a failed job back under whatever newer one has come meanwhile.
    fn put_back(&self, uid: String, failed: Job) {
        let mut waiting = self.waiting.lock();
        let job = waiting.jobs.entry(uid).or_insert_with(|| Job { status: None, ..failed.clone() });
        job.status = job.status.take().or(failed.status);
        job.is_forgotten |= failed.is_forgotten;
        job.failures = failed.failures;
    }
}

async fn run(api: Writer, shared: Arc<Shared>) {
    // A pod is busy while it is written, and while it rests after a write that failed: resting takes nobody's place.
    let mut busy = BTreeSet::new();
    let mut writes = FuturesUnordered::new();
    let mut resting = FuturesUnordered::new();
    loop {
        while writes.len() < WRITES_MAX
            && let Some((uid, job)) = shared.take(&busy)
        {
            busy.insert(uid.clone());
            writes.push(write(&api, &shared, uid, job));
        }
        tokio::select! {
            biased;
            Some((uid, rest)) = writes.next() => match rest {
                None => { busy.remove(&uid); }
                Some(rest) => resting.push(async move {
                    tokio::time::sleep(rest).await;
                    uid
                }),
            },
            Some(uid) = resting.next() => { busy.remove(&uid); }
            () = shared.changed.notified() => {}
        }
    }
}

/// Writes one pod's news. If that failed, returns for how long the pod has to rest.
async fn write(api: &Writer, shared: &Shared, uid: String, mut job: Job) -> (String, Option<Duration>) {
    let is_static = mirror::is_static(&job.pod);
    let written = if is_static { api.mirror(&job).await } else { try_write(&api.pods, shared, &uid, &mut job).await };
    let Err(error) = written else { return (uid, None) };
    // A static pod goes on without an object.
    if !is_static && is_gone(&api.pods, &job.pod, &error).await {
        shared.written.lock().remove(&uid);
        return (uid, None);
    }
    tracing::debug!(pod = %spec::full_name(&job.pod), %error, "pod status not written; trying again");
    job.failures = job.failures.saturating_add(1);
    let rest = RETRY.after(job.failures);
    shared.put_back(uid.clone(), job);
    (uid, Some(rest))
}

impl Writer {
    /// Shows a static pod as its mirror, which is made if there is none, and made again if it shows another pod.
    async fn mirror(&self, job: &Job) -> Result<(), Error> {
        let key = ObjectKey::new(spec::namespace(&job.pod), spec::name(&job.pod));
        let found = self.pods.find(&key).await?;
        let remove = |stale: Pod| {
            let options = DeleteOptions::of_uid(spec::uid(&stale)).grace(0);
            let key = &key;
            async move {
                match self.pods.delete(key, &options).await {
                    Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
                    done => done,
                }
            }
        };
        if job.is_forgotten {
            let own = found.filter(|found| mirror::mirrored(found) == Some(spec::uid(&job.pod)));
            return if let Some(own) = own { remove(own).await } else { Ok(()) };
        }
        let Some(status) = &job.status else { return Ok(()) };
        let shown = match found {
            Some(found) if mirror::is_mirror_of(&found, &job.pod) => found,
            Some(other) if mirror::mirrored(&other).is_none() => {
                return Err(Error::other("another pod has the name of this static pod"));
            }
            stale => {
                if let Some(stale) = stale {
                    remove(stale).await?;
                }
                let node = job.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
                let node = self.nodes.get(&ObjectKey::new("", node)).await?;
                self.pods.create(&mirror::mirror_of(&job.pod, &node)).await?
            }
        };
        self.pods.patch_status(&key, &Patch::Strategic(status::patch_of(&shown, status))).await.map(drop)
    }
}

async fn try_write(pods: &Api<Pod>, shared: &Shared, uid: &str, job: &mut Job) -> Result<(), Error> {
    let key = ObjectKey::new(spec::namespace(&job.pod), spec::name(&job.pod));
    if let Some(status) = &job.status {
        let sum = sum_of(status);
        let is_news = shared.written.lock().get(uid).is_none_or(|written| {
            // Somebody else may have written since: the node controller says `Ready: False` of a silent node's pods
            // (`status_manager.go`, `needsReconcile`).
            written.status != sum || (job.pod.revision() > written.at && status::is_overruled(&job.pod, status))
        });
        if is_news {
            let told = pods.patch_status(&key, &Patch::Strategic(status::patch_of(&job.pod, status))).await?;
            let written = Written { status: sum, at: told.revision() };
            shared.written.lock().insert(uid.to_owned(), written);
        }
        job.status = None;
    }
    if job.is_forgotten {
        pods.delete(&key, &DeleteOptions::of_uid(uid).grace(0)).await?;
        shared.written.lock().remove(uid);
    }
    Ok(())
}

fn sum_of(status: &PodStatus) -> [u8; 32] {
    // A status is made of texts, numbers and times: there is nothing in it that cannot be written.
    Sha256::digest(serde_json::to_vec(status).unwrap_or_default()).into()
}

/// Whether another pod has the name now, or none has. A conflict may also be mere contention; and that a pod of another
/// node, or of none, is not ours to write is what a server may say of a name that has gone to another, or to nobody.
async fn is_gone(pods: &Api<Pod>, pod: &Pod, error: &Error) -> bool {
    if !(error.is_conflict() || error.is_forbidden()) {
        return error.is_not_found();
    }
    let key = ObjectKey::new(spec::namespace(pod), spec::name(pod));
    let found = pods.find(&key).await;
    found.is_ok_and(|found| found.is_none_or(|found| spec::uid(&found) != spec::uid(pod)))
}

#[cfg(test)]
#[path = "status_writer_tests.rs"]
mod tests;
