//! Priority and fairness: so that one noisy client cannot starve nodes and controllers
//! (`apiserver/pkg/util/flowcontrol`).
//!
//! ```text
//! request ─ first FlowSchema that matches (schema) ─> PriorityLevel (level) ─ free seat ───────> answered
//!                └ flow: user or namespace                       └ else wait in fair queues (fair, shuffle)
//! stored objects ─ follow ─> plan ─> schemas and levels;    every 10 s: demand ─ shares ─> seats per level
//! ```

mod bootstrap;
mod fair;
mod follow;
mod level;
mod metrics;
mod plan;
mod schema;
mod shares;
mod shuffle;
pub(crate) mod slow;
mod width;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use parking_lot::Mutex;
use tokio::time::Instant;
use wkube_api::Status;

pub(crate) use self::bootstrap::{GROUP, MANDATORY, documents, is_kept_by_hand};
pub(crate) use self::follow::start;
use self::level::{Level, Mode, Turn};
use self::plan::{Plan, SchemaPlan};
pub(crate) use self::schema::{Asked, On};
use self::shares::{Bounds, Demand};
pub(crate) use self::width::seats;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// No single request takes more of its level than this part (`list_work_estimator.go`, `maxSeats`).
const WIDTH_PART: f64 = 0.15;

/// Sorts requests, and makes them wait.
pub(crate) struct FlowControl {
    /// In the order in which they are asked.
    schemas: ArcSwap<Vec<Arc<Schema>>>,
    levels: Mutex<BTreeMap<String, Held>>,
    /// Seats of all levels together.
    total: u32,
}

/// A level and what is known about its demand.
struct Held {
    level: Arc<Level>,
    bounds: Bounds,
    wanted: f64,
}

/// A flow schema at work.
pub(crate) struct Schema {
    plan: SchemaPlan,
    level: Arc<Level>,
    uid: HeaderValue,
    level_uid: HeaderValue,
    counts: Arc<metrics::Counts>,
}

/// The right to be answered; dropping it lets in the next.
pub(crate) struct Permit {
    schema: Arc<Schema>,
    _turn: Turn,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.schema.counts.ended();
    }
}

/// A request that is not answered now.
pub(crate) struct Refused {
    schema: Arc<Schema>,
}

impl Refused {
    /// Returns the 429 (`tooManyRequests` in `server/filters/priority-and-fairness.go`).
    pub(crate) fn status() -> Status {
        Status::too_many_requests("Too many requests, please try again later.", 1)
    }
}

/// Says by which objects a request was sorted.
pub(crate) trait Sorted {
    /// The schema.
    fn schema(&self) -> &Schema;

    /// Adds the headers.
    fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(SCHEMA_UID, self.schema().uid.clone());
        headers.insert(LEVEL_UID, self.schema().level_uid.clone());
    }
}

impl Sorted for Permit {
    fn schema(&self) -> &Schema {
        &self.schema
    }
}

impl Sorted for Refused {
    fn schema(&self) -> &Schema {
        &self.schema
    }
}

impl FlowControl {
    /// Returns flow control with `total` seats that sorts by Kubernetes' own objects until it is told otherwise.
    pub(crate) fn new(total: u32) -> Self {
        let control = Self { schemas: ArcSwap::default(), levels: Mutex::default(), total };
        let typed = |kind: &'static str| documents().into_iter().filter(move |one| one["kind"] == kind);
        let schemas = typed("FlowSchema").filter_map(|one| serde_json::from_value::<FlowSchema>(one).ok());
        let levels = typed("PriorityLevelConfiguration");
        let levels = levels.filter_map(|one| serde_json::from_value::<PriorityLevelConfiguration>(one).ok());
        control.follow_plan(plan::plan(schemas.collect(), levels.collect()));
        control
    }

    /// Lets a request in, after a wait if need be. `width` is asked for the request's seats only if they are counted.
    ///
    /// # Errors
    /// If its level has no seat for it, nor will have soon.
    pub(crate) async fn admit(&self, asked: &Asked<'_>, width: impl FnOnce() -> u32) -> Result<Permit, Refused> {
        let schema = self.sort(asked);
        let seats = if schema.level.mode() == Mode::Exempt { 1 } else { width().min(widest(&schema.level)) };
        let began = (schema.level.waiting() > 0).then(Instant::now);
        let flow = || schema.plan.distinguisher.flow(&schema.plan.name, asked);
        match schema.level.enter(flow, seats).await {
            Ok(turn) => {
                schema.counts.began(began.filter(|_| turn.has_waited()).map(|began| began.elapsed()));
                Ok(Permit { schema, _turn: turn })
            }
            Err(refusal) => {
                schema.counts.refused(refusal);
                Err(Refused { schema })
            }
        }
    }

    fn sort(&self, asked: &Asked<'_>) -> Arc<Schema> {
        let schemas = self.schemas.load();
        let found = schemas.iter().find(|schema| schema::matches(&schema.plan.rules, asked));
        // Whom not even `catch-all` names (a user without groups) is treated as by it; it is the last one.
        found
            .or_else(|| schemas.iter().rfind(|schema| MANDATORY.contains(&schema.plan.name.as_str())))
            .cloned()
            .expect("the mandatory schemas are always there")
    }

    /// Sorts by a new plan. Levels that stay as they are keep those who wait.
    fn follow_plan(&self, mut plan: Plan) {
        complete(&mut plan);
        let mut levels = self.levels.lock();
        let all: Vec<_> = plan.levels.values().map(|level| level.shares).collect();
        let mut held = BTreeMap::new();
        for (wanted, bounds) in plan.levels.values().zip(shares::bounds(self.total, &all)) {
            let before = levels.remove(&wanted.name).filter(|held| held.level.mode() == wanted.mode);
            let (level, demand) = match before {
                Some(Held { level, wanted, .. }) => (level, wanted),
                None => (Level::new(&wanted.name, wanted.mode), f64::from(bounds.nominal)),
            };
            held.insert(wanted.name.clone(), Held { level, bounds, wanted: demand });
        }
        let before = self.schemas.load();
        let schemas = plan.schemas.iter().filter_map(|schema| {
            let level = held.get(&schema.level)?.level.clone();
            let known = before.iter().find(|one| one.plan.name == schema.name && one.plan.level == schema.level);
            Some(Arc::new(Schema {
                uid: value(&schema.uid),
                level_uid: value(&plan.levels.get(&schema.level)?.uid),
                counts: known.map_or_else(Arc::default, |one| one.counts.clone()),
                plan: schema.clone(),
                level,
            }))
        });
        self.schemas.store(Arc::new(schemas.collect()));
        *levels = held;
        resize(&levels);
    }

    /// Moves seats from levels that do not need them to those that do.
    fn lend(&self) {
        let mut levels = self.levels.lock();
        for held in levels.values_mut() {
            #[expect(clippy::cast_precision_loss, reason = "seats are few")]
            let peak = held.level.take_peak() as f64;
            held.wanted = shares::smooth(held.wanted, peak);
        }
        resize(&levels);
    }
}

/// What nobody may take away: a schema for everyone, and one for those who repair the others.
fn complete(plan: &mut Plan) {
    let mandatory = documents().into_iter().filter(|one| MANDATORY.iter().any(|name| one["metadata"]["name"] == *name));
    let (levels, schemas): (Vec<_>, Vec<_>) = mandatory.partition(|one| one["kind"] == "PriorityLevelConfiguration");
    let own = plan::plan(
        schemas.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect(),
        levels.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect(),
    );
    for (name, level) in own.levels {
        let stored = plan.levels.remove(&name).map(|stored| stored.uid).unwrap_or_default();
        plan.levels.insert(name, plan::LevelPlan { uid: stored, ..level });
    }
    for schema in own.schemas {
        if !plan.schemas.iter().any(|stored| stored.name == schema.name) {
            let at = if schema.name == MANDATORY[0] { 0 } else { plan.schemas.len() };
            plan.schemas.insert(at, schema);
        }
    }
}

fn resize(levels: &BTreeMap<String, Held>) {
    let limited: Vec<_> = levels.values().filter(|held| held.level.mode() != Mode::Exempt).collect();
    let demands: Vec<_> = limited.iter().map(|held| Demand { bounds: held.bounds, wanted: held.wanted }).collect();
    for (held, seats) in limited.iter().zip(shares::allocate(&demands)) {
        held.level.resize(seats);
    }
}

fn widest(level: &Level) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "few")]
    let part = (level.limit() as f64 * WIDTH_PART).ceil() as u32;
    part.max(1)
}

fn value(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
