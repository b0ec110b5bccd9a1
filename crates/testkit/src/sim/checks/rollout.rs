//! A Deployment keeps its budgets: its sets never want more pods than the surge allows, and it never takes pods away below
//! what must stay available.

use std::collections::BTreeMap;

use serde_json::Value;
use wkube_api::intstr::{self, Round};

use super::{Check, Seen, is_terminal, owner, uid};

#[derive(Default)]
pub(super) struct Rollout {
    /// Deployments by UID.
    deployments: BTreeMap<String, BTreeMap<i64, Budget>>,
    /// Sets by UID: whose they are, and how many pods they want.
    sets: BTreeMap<String, (String, i64)>,
    /// Ready pods that nobody has begun to delete, by UID, with their set.
    available: BTreeMap<String, String>,
}

/// What one generation of a Deployment allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    most: i64,
    least_available: i64,
}

impl Check for Rollout {
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen.kind {
            "Deployment" => self.deployment(seen),
            "ReplicaSet" => return self.set(seen),
            "Pod" => return self.pod(seen),
            _ => {}
        }
        Ok(())
    }
}

impl Rollout {
    fn deployment(&mut self, seen: &Seen<'_>) {
        let Some(now) = seen.now else {
            seen.before.map(|before| self.deployments.remove(uid(before)));
            return;
        };
        let generation = now["metadata"]["generation"].as_i64().unwrap_or_default();
        let observed = now["status"]["observedGeneration"].as_i64().unwrap_or_default();
        let budgets = self.deployments.entry(uid(now).to_owned()).or_default();
        budgets.insert(generation, Budget::of(&now["spec"]));
        // A controller that has reported a generation never acts on an older one again.
        budgets.retain(|generation, _| *generation >= observed);
    }

    fn set(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Some(now) = seen.now else {
            seen.before.map(|before| self.sets.remove(uid(before)));
            return Ok(());
        };
        let Some(owner) = owner(now) else { return Ok(()) };
        let wants = now["spec"]["replicas"].as_i64().unwrap_or_default();
        let before = self.sets.insert(uid(now).to_owned(), (owner.to_owned(), wants));
        let (had, sum) = (before.map_or(0, |(_, wants)| wants), self.wanted(owner));
        let Some(most) = self.budgets(owner).map(|budget| budget.most).max() else { return Ok(()) };
        if wants > had && sum > most {
            return Err(format!("ReplicaSet {} goes from {had} to {wants}: {sum} pods of at most {most}", seen.name));
        }
        let least = self.budgets(owner).map(|budget| budget.least_available).min().unwrap_or_default();
        if wants < had && sum < least {
            return Err(format!("ReplicaSet {} goes from {had} to {wants}: {sum} pods of at least {least}", seen.name));
        }
        Ok(())
    }

    fn pod(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Some(object) = seen.now.or(seen.before) else { return Ok(()) };
        let Some(set) = owner(object) else { return Ok(()) };
        let is_available = seen.now.is_some_and(|now| is_ready(now) && !is_deleting(now) && !is_terminal(now));
        if is_available {
            self.available.insert(uid(object).to_owned(), set.to_owned());
            return Ok(());
        }
        let was_available = self.available.remove(uid(object)).is_some();
        // Only a pod that its set takes away counts: not one that its node lost, which `DisruptionTarget` tells.
        let is_taken_away = was_available && seen.now.is_none_or(|now| is_deleting(now) && !is_disrupted(now));
        let Some((deployment, _)) = self.sets.get(set).filter(|_| is_taken_away) else { return Ok(()) };
        let sets = |uid: &str| self.sets.get(uid).is_some_and(|(owner, _)| owner == deployment);
        let left = self.available.values().filter(|set| sets(set)).count();
        let least = self.budgets(deployment).map(|budget| budget.least_available).min().unwrap_or_default();
        if i64::try_from(left).unwrap_or(i64::MAX) < least {
            return Err(format!("pod {} is taken away: {left} pods are available of at least {least}", seen.name));
        }
        Ok(())
    }

    fn wanted(&self, deployment: &str) -> i64 {
        self.sets.values().filter(|(owner, _)| owner == deployment).map(|(_, wants)| wants).sum()
    }

    fn budgets(&self, deployment: &str) -> impl Iterator<Item = Budget> {
        self.deployments.get(deployment).into_iter().flat_map(BTreeMap::values).copied()
    }
}

impl Budget {
    fn of(spec: &Value) -> Self {
        let replicas = spec["replicas"].as_i64().unwrap_or(1);
        let rolling = &spec["strategy"]["rollingUpdate"];
        let total = i32::try_from(replicas).unwrap_or(i32::MAX);
        let pods = |value: &Value, round| i64::from(intstr::scaled_json(value, total, round).unwrap_or_default());
        let (surge, unavailable) =
            (pods(&rolling["maxSurge"], Round::Up), pods(&rolling["maxUnavailable"], Round::Down));
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { most: replicas + surge, least_available: replicas - unavailable }
    }
}

fn is_ready(pod: &Value) -> bool {
    has_condition(pod, "Ready")
}

fn is_disrupted(pod: &Value) -> bool {
    has_condition(pod, "DisruptionTarget")
}

fn has_condition(pod: &Value, name: &str) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == name && condition["status"] == "True")
}

fn is_deleting(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}
