//! What others may know of a pod's worker: the object and its status, whole while things happen to the pod and packed
//! into text while nothing does. Of the memory of a pod at rest, these would be the most.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};
use serde::{Deserialize, Serialize};
use wkube_base::Latest;
use wkube_client::{Kind as _, Lister, Packed};

use super::life::Life;
use super::spec;
use crate::eviction::local;

/// What others may know of a worker.
#[derive(Debug, Default)]
pub struct View {
    seen: Seen,
    /// What is asked of every pod again and again, always at hand.
    brief: Brief,
    /// Whether nothing runs and never will.
    pub is_stopped: bool,
}

#[derive(Debug, Default)]
enum Seen {
    /// The worker has not begun.
    #[default]
    Nothing,
    Whole {
        pod: Arc<Pod>,
        /// On the heap, so that a view at rest has no room for it.
        status: Box<PodStatus>,
    },
    AtRest(Arc<AtRest>),
}

/// The least that has to be known of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brief {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether what it has on disk is limited.
    pub has_disk_limits: bool,
}

impl View {
    /// Returns the newest object that the worker has taken in, and the newest status.
    pub fn known(&self) -> Option<(Arc<Pod>, PodStatus)> {
        match &self.seen {
            Seen::Nothing => None,
            Seen::Whole { pod, status } => Some((Arc::clone(pod), PodStatus::clone(status))),
            Seen::AtRest(at_rest) => {
                let (pod, status, _) = at_rest.open();
                Some((pod, status))
            }
        }
    }

    /// Returns what is always at hand; empty before the worker has begun.
    pub fn brief(&self) -> &Brief {
        &self.brief
    }

    /// Whether the pod rests.
    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.seen, Seen::AtRest(_))
    }

    /// Returns the newest status, as long as the worker is awake.
    pub(super) fn status(&self) -> Option<&PodStatus> {
        match &self.seen {
            Seen::Whole { status, .. } => Some(status),
            Seen::Nothing | Seen::AtRest(_) => None,
        }
    }

    pub(super) fn show(&mut self, pod: &Arc<Pod>, status: PodStatus) {
        if !matches!(&self.seen, Seen::Whole { pod: before, .. } if Arc::ptr_eq(before, pod)) {
            self.brief = Brief {
                namespace: spec::namespace(pod).to_owned(),
                name: spec::name(pod).to_owned(),
                has_disk_limits: local::has_limits(pod),
            };
        }
        self.seen = Seen::Whole { pod: Arc::clone(pod), status: Box::new(status) };
    }
}

/// A pod as text.
#[derive(Debug)]
struct AtRest {
    pod: Packed<Pod>,
    /// An [`Aside`].
    aside: Box<[u8]>,
}

/// What is to be known of a pod beside its object.
#[derive(Debug, Serialize, Deserialize)]
struct Aside {
    /// `None` if the object says the same, as it does once the API server has shown what was written.
    status: Option<PodStatus>,
    /// What its containers were granted, in their order.
    granted: Vec<ResourceRequirements>,
}

impl AtRest {
    fn open(&self) -> (Arc<Pod>, PodStatus, Vec<ResourceRequirements>) {
        let aside = serde_json::from_slice(&self.aside).expect("a status reads back what it wrote");
        let (pod, Aside { status, granted }) = (self.pod.open(), aside);
        let status = status.or_else(|| pod.status.clone()).unwrap_or_default();
        (Arc::new(pod), status, granted)
    }
}

/// A pod at rest: what its life and its view had is packed until it wakes.
#[must_use = "a life that was laid to rest is not whole until it wakes"]
pub(super) struct Rest(Arc<AtRest>);

impl Rest {
    /// Packs what the life and the view of a pod have; `None` if there is no status yet. The object that `listed` has as
    /// text already is not kept a second time.
    pub(super) fn begin(life: &mut Life, view: &Latest<View>, listed: &Lister<Pod>) -> Option<Self> {
        let status = Some(view.lock().status()?.clone()).filter(|status| !shows(&life.pod, status));
        let granted = life.containers.iter_mut().map(|container| std::mem::take(&mut container.resources)).collect();
        let aside = serde_json::to_vec(&Aside { status, granted }).expect("a status is text and numbers");
        let own = Packed::of(&*life.pod);
        let pod = listed.packed(&life.pod.key()).filter(|listed| *listed == own).unwrap_or(own);
        let at_rest = Arc::new(AtRest { pod, aside: aside.into() });
        // Nobody waits for either: what the view says is the same.
        view.update_silently(|view| view.seen = Seen::AtRest(Arc::clone(&at_rest)));
        life.pod = Arc::clone(&NOBODY);
        Some(Self(at_rest))
    }

    /// Gives them back.
    pub(super) fn end(self, life: &mut Life, view: &Latest<View>) {
        let (pod, status, granted) = self.0.open();
        life.pod = pod;
        for (container, granted) in life.containers.iter_mut().zip(granted) {
            container.resources = granted;
        }
        view.update_silently(|view| {
            view.seen = Seen::Whole { pod: Arc::clone(&life.pod), status: Box::new(status) };
        });
    }
}

/// Whether an object has this status, as text: times have fractions of seconds only until they are written.
fn shows(pod: &Pod, status: &PodStatus) -> bool {
    let text = |status: &PodStatus| serde_json::to_string(status).expect("a status is text and numbers");
    pod.status.as_ref().is_some_and(|shown| shown == status || text(shown) == text(status))
}

/// What stands in the place of a pod that is packed.
static NOBODY: LazyLock<Arc<Pod>> = LazyLock::new(Arc::default);

/// The newest object of a pod, for those who need it now and then: whoever held one object would keep it in memory beside
/// all that came after it.
#[derive(Debug, Clone)]
pub struct Newest(Arc<Latest<View>>);

impl Newest {
    /// Returns the newest object of whose view this is.
    pub fn of(view: &Arc<Latest<View>>) -> Self {
        Self(Arc::clone(view))
    }

    /// Returns the object.
    pub fn get(&self) -> Arc<Pod> {
        self.0.lock().known().map(|(pod, _)| pod).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    use super::*;

    fn pod() -> Arc<Pod> {
        let pod = json!({
            "metadata": { "name": "a", "namespace": "b", "uid": "u", "labels": { "x": "y" } },
            "spec": { "containers": [{ "name": "main", "resources": { "limits": { "memory": "16Mi" } } }] },
            "status": { "phase": "Running" },
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn status() -> PodStatus {
        PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() }
    }

    #[test]
    fn who_wakes_is_as_before_and_others_have_seen_it_all_the_time() {
        let view = Arc::new(Latest::new(View::default()));
        let mut life = Life::new(pod(), Timestamp::UNIX_EPOCH);
        view.update(|view| view.show(&life.pod, status()));
        life.containers[0]
            .resources
            .limits
            .get_or_insert_default()
            .insert("cpu".to_owned(), Quantity("500m".to_owned()));
        let before = life.clone();
        let rest = Rest::begin(&mut life, &view, &Lister::fixed([])).unwrap();
        assert_ne!(life, before, "what is packed is not there twice");
        assert_eq!(view.lock().known(), Some((pod(), status())));
        assert_eq!(*view.lock().brief(), Brief { namespace: "b".into(), name: "a".into(), has_disk_limits: false });
        assert_eq!(Newest::of(&view).get(), pod());
        rest.end(&mut life, &view);
        assert_eq!(life, before);
        assert_eq!(view.lock().status(), Some(&status()));
    }

    #[test]
    fn a_status_that_the_object_shows_is_not_kept_beside_it() {
        let asides = [status(), PodStatus { message: Some("not written yet".to_owned()), ..status() }].map(|status| {
            let view = Latest::new(View::default());
            let mut life = Life::new(pod(), Timestamp::UNIX_EPOCH);
            view.update(|view| view.show(&life.pod, status.clone()));
            let Rest(at_rest) = Rest::begin(&mut life, &view, &Lister::fixed([])).unwrap();
            assert_eq!(view.lock().known(), Some((pod(), status)));
            String::from_utf8(at_rest.aside.to_vec()).unwrap()
        });
        assert!(!asides[0].contains("Running"), "{}", asides[0]);
        assert!(asides[1].contains("not written yet"), "{}", asides[1]);
    }

    #[test]
    fn who_has_shown_nothing_does_not_rest() {
        let view = Latest::new(View::default());
        let mut life = Life::new(pod(), Timestamp::UNIX_EPOCH);
        assert!(Rest::begin(&mut life, &view, &Lister::fixed([])).is_none());
        assert_eq!(life.pod, pod());
        assert_eq!(view.lock().known(), None);
    }
}
