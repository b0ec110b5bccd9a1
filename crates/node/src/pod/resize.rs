//! Other resources for a pod that runs (KEP-1287). The spec says what is wanted; the node grants all of it or nothing;
//! what was granted is given to each container, with a restart where its `resizePolicy` wants one.
//!
//! ```text
//!   Settled --(the spec wants something else)--> Asked --granted--> Settled; containers resize
//!      ^                                          |  ^
//!      | the spec wants what is granted           v  | a while has passed, or the spec changes again
//!      +--------------------------------------- Pending (Deferred or Infeasible)
//! ```

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, ResourceRequirements};

use super::backoff::later;
use super::container::State;
use super::effect::{Effect, Note, Report};
use super::life::Life;
use super::spec;
use crate::admission::Fit;

/// When a resize is tried again that did not fit because of others (`pkg/kubelet/allocation`, `RetryPendingResizes`:
/// every minute, and whenever a pod goes; this is short enough to need no word from them).
const DEFERRED_RETRY: Duration = Duration::from_secs(10);

/// Where a pod is with what it wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resize {
    /// Whether the node was asked and has not answered.
    is_asked: bool,
    /// What the node did not grant.
    pub pending: Option<Pending>,
}

/// A resize that the node does not grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: &'static str,
    /// The node's sentence.
    pub message: String,
    /// When to ask again; `None` if asking again is of no use.
    pub retry_at: Option<Timestamp>,
}

impl Resize {
    /// Returns when to ask again; `None` while an answer is awaited.
    pub(crate) fn retry_at(&self) -> Option<Timestamp> {
        self.pending.as_ref().filter(|_| !self.is_asked)?.retry_at
    }
}

impl Life {
    /// Asks the node if the spec wants something else than was granted. `is_new` if the spec has just changed: an answer
    /// to an earlier one says nothing about it.
    pub(crate) fn ask_to_resize(&mut self, is_new: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        self.resize.is_asked &= !is_new;
        if !self.wants_other_resources() {
            if std::mem::take(&mut self.resize).pending.is_some() {
                effects.push(Effect::Publish(Report::Progress));
            }
            return;
        }
        let is_due =
            self.resize.pending.as_ref().is_none_or(|pending| is_new || pending.retry_at.is_some_and(|at| at <= now));
        if is_due && !self.resize.is_asked {
            self.resize.is_asked = true;
            effects.push(Effect::Allocate);
        }
    }

    /// Takes in the node's answer about the spec of this generation.
    pub(crate) fn allocated(&mut self, of: Option<i64>, fit: Fit, now: Timestamp, effects: &mut Vec<Effect>) {
        if of != self.pod.metadata.generation || !std::mem::take(&mut self.resize.is_asked) {
            return;
        }
        let before = self.resize.pending.take();
        let pending = |reason, message, retry_at| Some(Pending { reason, message, retry_at });
        self.resize.pending = match fit {
            Fit::Granted => {
                self.grant(now, effects);
                None
            }
            Fit::Deferred(message) => pending("Deferred", message, Some(later(now, DEFERRED_RETRY))),
            Fit::Infeasible(message) => pending("Infeasible", message, None),
        };
        let told =
            |pending: &Option<Pending>| pending.as_ref().map(|pending| (pending.reason, pending.message.clone()));
        if let Some(news) = self.resize.pending.as_ref().filter(|_| told(&before) != told(&self.resize.pending)) {
            let reason = if news.reason == "Deferred" { "ResizeDeferred" } else { "ResizeInfeasible" };
            effects.push(Effect::Record(Note::warning(reason, news.message.clone())));
        }
        effects.push(Effect::Publish(Report::Progress));
    }

    /// Returns a container's spec with the resources that it was granted.
    pub fn granted_spec(&self, name: &str) -> Option<ContainerSpec> {
        let container = self.containers.iter().find(|container| container.name == name)?;
        let spec = spec::container(&self.pod, name)?.into_owned();
        Some(ContainerSpec { resources: Some(container.resources.clone()), ..spec })
    }

    fn wants_other_resources(&self) -> bool {
        self.containers.iter().filter(|container| container.may_resize()).any(|container| {
            spec::container(&self.pod, &container.name)
                .is_some_and(|spec| spec.resources.clone().unwrap_or_default() != container.resources)
        })
    }

    fn grant(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let pod = std::sync::Arc::clone(&self.pod);
        for container in self.containers.iter_mut().filter(|container| container.may_resize()) {
            let Some(spec) = spec::container(&pod, &container.name) else { continue };
            let wanted = spec.resources.clone().unwrap_or_default();
            if wanted == container.resources {
                continue;
            }
            let restarts = wants_restart(&spec, &container.resources, &wanted);
            container.resources = wanted;
            match container.state {
                State::Up { .. } if restarts => {
                    container.is_resizing = true;
                    container.is_replaced = true;
                    let message = format!("Container {} resize requires restart", container.name);
                    container.ask_to_stop(later(now, spec::grace(&pod)), &message, effects);
                }
                State::Up { .. } => {
                    effects.push(Effect::Resize { container: container.name.clone(), attempt: container.restarts });
                }
                // It may have been given the old ones already; it is told once it runs.
                State::Starting => container.is_resizing = true,
                State::Pending | State::Waiting { .. } | State::Exited(_) => {}
            }
        }
        effects.push(Effect::Record(Note::normal("ResizeCompleted", "Pod resize completed")));
    }
}

/// Whether a resource that changes is one for which the container wants to start again.
fn wants_restart(spec: &ContainerSpec, old: &ResourceRequirements, new: &ResourceRequirements) -> bool {
    let amounts = |of: &ResourceRequirements, name: &str| {
        let one = |list: &Option<std::collections::BTreeMap<String, _>>| {
            list.as_ref().and_then(|list| list.get(name).cloned())
        };
        (one(&of.requests), one(&of.limits))
    };
    let policies = spec.resize_policy.iter().flatten();
    policies
        .filter(|policy| policy.restart_policy == "RestartContainer")
        .any(|policy| amounts(old, &policy.resource_name) != amounts(new, &policy.resource_name))
}
