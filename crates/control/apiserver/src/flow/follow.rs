//! Follows the stored flow schemas and levels, keeps Kubernetes' own among them as they are, and says which dangle.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::warn;
use wkube_api::object::format_time;
use wkube_api::{Object, Resource, conditions};
use wkube_base::Tasks;
use wkube_store::{Error, Signal};

use super::{GROUP, plan};
use crate::Api;
use crate::bootstrap;
use crate::call::Call;
use crate::follow;
use crate::registry::Registry;
use crate::registry::object_rules::Part;
use crate::registry::update;

/// Where both kinds are kept.
const PREFIX: &str = "/registry/flowcontrol.apiserver.k8s.io/";
/// How often seats are lent anew; `borrowingAdjustmentPeriod` upstream.
const LEND_EVERY: Duration = Duration::from_secs(10);

/// Starts following.
pub(crate) fn start(api: &Arc<Api>, tasks: &Tasks) {
    let lender = api.clone();
    tasks.spawn("flow-lending", async move {
        let mut ticks = interval_at(Instant::now() + LEND_EVERY, LEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            lender.flow.lend();
        }
    });
    let api = api.clone();
    follow::keep(tasks, "flow-objects", move || {
        let api = api.clone();
        async move { follow(&api).await }
    });
}

/// Looks at everything after every change, until the watch ends; returns why it did.
async fn follow(api: &Api) -> Option<Error> {
    let registry = &api.registry;
    let mut watch = match registry.store.watch(PREFIX, registry.store.revision()) {
        Ok(watch) => watch,
        Err(error) => return Some(error),
    };
    loop {
        look(api).await;
        loop {
            match watch.next().await? {
                Ok(Signal::Event(_)) => break,
                Ok(Signal::Progress(_)) => {}
                Err(error) => return Some(error),
            }
        }
    }
}

async fn look(api: &Api) {
    let registry = &api.registry;
    if let Err(status) = bootstrap::keep(registry, bootstrap::flow_control).await {
        warn!(error = status.message, "the objects of priority and fairness cannot be kept");
    }
    let (Some(schemas), Some(levels)) = (row(registry, "flowschemas"), row(registry, "prioritylevelconfigurations"))
    else {
        return;
    };
    let stored_schemas = registry.objects(schemas, "").await;
    let stored_levels = registry.objects(levels, "").await;
    for schema in &stored_schemas {
        let level = schema.str_at(&["spec", "priorityLevelConfiguration", "name"]);
        let is_there = stored_levels.iter().any(|stored| stored.name() == level);
        let Some(status) = condition(schema, level, is_there, registry.clock.now()) else { continue };
        let call = Call::own(schemas, "", schema.name());
        if let Err(status) = update::put(registry, &call, Part::Status, &["status"], status).await {
            warn!(schema = schema.name(), error = status.message, "a flow schema's condition cannot be written");
        }
    }
    api.flow.follow_plan(plan::plan(typed(&stored_schemas), typed(&stored_levels)));
}

/// One that cannot be read sorts nothing.
fn typed<K: DeserializeOwned>(objects: &[Arc<Object>]) -> Vec<K> {
    objects.iter().filter_map(|object| object.to_typed().ok()).collect()
}

fn row<'a>(registry: &'a Registry, plural: &str) -> Option<&'a Arc<Resource>> {
    registry.catalog.find(GROUP, "v1", plural)
}

/// Returns the new status if the condition `Dangling` is not what it should be (`apf_controller.go`, `syncFlowSchemaStatus`).
fn condition(schema: &Object, level: &str, is_there: bool, now: Timestamp) -> Option<serde_json::Value> {
    let (status, reason, message) = if is_there {
        (
            "False",
            "Found",
            format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"),
        )
    } else {
        (
            "True",
            "NotFound",
            format!(
                "This FlowSchema references the PriorityLevelConfiguration object named {level:?} but there is no such object"
            ),
        )
    };
    let mut new = schema.clone();
    let dangling = json!({
        "type": "Dangling", "status": status, "lastTransitionTime": format_time(now), "reason": reason,
        "message": message,
    });
    conditions::set(&mut new, dangling);
    new.0.remove("status").filter(|status| schema.0.get("status") != Some(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(conditions: &serde_json::Value) -> Object {
        serde_json::from_value(json!({"metadata": {"name": "s"}, "status": {"conditions": conditions}}))
            .expect("an object")
    }

    #[test]
    fn a_schema_says_whether_its_level_exists_and_since_when() {
        let at = |time: &str| time.parse::<Timestamp>().expect("a time");
        let (first, later) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T01:00:00Z"));
        let found = condition(&schema(&json!([])), "mine", true, first).expect("new");
        assert_eq!(found["conditions"][0]["status"], "False");
        let settled = schema(&found["conditions"]);
        assert_eq!(condition(&settled, "mine", true, later), None, "nothing to say twice");
        let dangling = condition(&settled, "mine", false, later).expect("changed");
        assert_eq!(dangling["conditions"].as_array().map(Vec::len), Some(1));
        assert_eq!(dangling["conditions"][0]["lastTransitionTime"], "2026-01-01T01:00:00Z");
        let renamed = condition(&settled, "other", true, later).expect("another level");
        assert_eq!(renamed["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }
}
