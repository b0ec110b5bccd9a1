//! Static pods among the others: a file decides about them, and their object only shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{Handle, Pods};
use crate::checkpoint::Kind as Kept;
use crate::pod::spec;
use crate::pod::status::is_overruled;
use crate::static_pods::mirror::{is_mirror_of, is_static};

impl Pods {
    /// Takes the addresses of all pods that this node had, so that a static pod, which starts before anybody has said
    /// which of them still are, gets none of theirs.
    pub(crate) fn keep_all_addresses(&self) {
        let had = self.0.context.kept.recall_all::<Pod>(Kept::Pods);
        self.keep_addresses(&had.into_iter().map(|(_, pod)| Arc::new(pod)).collect::<Vec<_>>());
    }

    /// Makes these the static pods: others end, new ones start.
    pub(crate) fn want_static(&self, pods: Vec<Arc<Pod>>) {
        *self.0.statics.lock() = pods.into_iter().map(|pod| (spec::uid(&pod).to_owned(), pod)).collect();
        self.settle_static();
    }

    /// Ends the static pods that no file describes, and starts those that do not run. One that has the name of another
    /// waits until that one has ended: a changed file describes a new pod.
    pub(super) fn settle_static(&self) {
        let wanted: BTreeMap<String, Arc<Pod>> = self.0.statics.lock().clone();
        let running: BTreeMap<String, Handle> = {
            let workers = self.0.workers.lock();
            workers.iter().filter(|(_, one)| one.fixed.is_some()).map(|(uid, one)| (uid.clone(), one.clone())).collect()
        };
        for (uid, handle) in &running {
            let Some(pod) = handle.fixed.as_ref().filter(|_| !wanted.contains_key(uid)) else { continue };
            if !handle.mailbox.is_gone() {
                handle.mailbox.gone(spec::grace(pod));
            }
        }
        let name = |pod: &Pod| (spec::namespace(pod).to_owned(), spec::name(pod).to_owned());
        let is_named = |one: &Handle, pod: &Pod| one.fixed.as_ref().is_some_and(|other| name(other) == name(pod));
        for (uid, pod) in &wanted {
            if !running.contains_key(uid) && !running.values().any(|one| is_named(one, pod)) {
                self.keep_addresses(std::slice::from_ref(pod));
                self.start(&self.remembered(pod), None);
            }
        }
    }

    /// Looks at the object that shows a static pod: made again when somebody took it away, corrected when it says
    /// something else, removed when there is no such pod any more.
    pub(super) fn look_at_mirror(&self, hash: &str, mirror: &Arc<Pod>, is_gone: bool) {
        let handle = self.0.workers.lock().get(hash).cloned();
        let Some(handle) = handle.filter(|handle| handle.fixed.is_some()) else {
            if !is_gone && !self.0.statics.lock().contains_key(hash) {
                self.0.context.statuses.forget(mirror);
            }
            return;
        };
        let known = handle.view.lock().known();
        let (Some((pod, status)), false) = (known, handle.mailbox.is_gone()) else { return };
        if is_gone || !is_mirror_of(mirror, &pod) || is_overruled(mirror, &status) {
            self.0.context.statuses.publish(&pod, status);
        }
    }

    /// Returns what `pod` is if it comes from a file.
    pub(super) fn fixed(pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        is_static(pod).then(|| Arc::clone(pod))
    }
}
