//! Writes the rules that an aggregated `ClusterRole` has into it (`pkg/controller/clusterroleaggregation`).
//!
//! The authorizer sums them up itself, so that they hold at once; this is for those who read roles.

use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::json;
use tracing::warn;
use wkube_api::{Object, Resource, Status};
use wkube_base::{Backoff, Tasks};
use wkube_store::{Error, Signal};

use crate::Api;
use crate::access::Fresh;
use crate::auth::{Policy, User};
use crate::call::Call;
use crate::registry::keys;
use crate::registry::object_rules::Part;
use crate::registry::update::{self, Origin};
use crate::router::Verb;

/// Starts following cluster roles.
pub(crate) fn start(api: &Arc<Api>, tasks: &Tasks) {
    let api = api.clone();
    tasks.spawn("role-aggregation", async move {
        let mut failures = 0;
        loop {
            let error = follow(&api).await;
            if matches!(error, Some(Error::Closed)) {
                return;
            }
            failures += 1;
            tokio::time::sleep(Backoff::RECONNECT.after(failures)).await;
        }
    });
}

async fn follow(api: &Api) -> Option<Error> {
    let row = row(api)?.clone();
    let mut watch = match api.registry.store.watch(&keys::prefix(&row), api.registry.store.revision()) {
        Ok(watch) => watch,
        Err(error) => return Some(error),
    };
    settle(api).await;
    loop {
        match watch.next().await? {
            Ok(Signal::Event(_)) => settle(api).await,
            Ok(Signal::Progress(_)) => {}
            Err(error) => return Some(error),
        }
    }
}

/// Brings every aggregated role up to date.
pub(crate) async fn settle(api: &Api) {
    let Some(row) = row(api) else { return };
    let roles = api.registry.objects(row, "").await;
    let policy = api.access.policy(&api.registry, Fresh::Yes).await;
    for role in roles.iter().filter_map(|role| outdated(role, &policy)) {
        if let Err(status) = write(api, row, &role).await {
            warn!(role = role.name(), error = status.message, "a role's rules cannot be summed up");
        }
    }
}

/// Returns the role with the rules that it should have; `None` if it has them.
fn outdated(role: &Object, policy: &Policy) -> Option<Object> {
    role.at(&["aggregationRule"])?;
    let rules = json!(policy.cluster_role(role.name())?);
    let held = role.at(&["rules"]).cloned().unwrap_or_else(|| json!([]));
    if held == rules || (held.is_null() && rules == json!([])) {
        return None;
    }
    let mut new = role.clone();
    new.set(&["rules"], rules);
    Some(new)
}

async fn write(api: &Api, row: &Arc<Resource>, role: &Object) -> Result<(), Status> {
    let user = User { name: "system:apiserver".into(), groups: vec!["system:masters".into()], ..User::default() };
    let call = Call::internal(user, Verb::Update, row.clone(), "", role.name());
    let rules = role.at(&["rules"]).cloned().unwrap_or_default();
    let with_rules = |old: &Object| {
        let mut new = old.clone();
        new.set(&["rules"], rules.clone());
        Ok(new)
    };
    match update::change(&api.registry, &call, Part::Whole, Origin::Server, with_rules).await {
        Err(status) if !status.is_not_found() => Err(status),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn row(api: &Api) -> Option<&Arc<Resource>> {
    api.registry.catalog.find("rbac.authorization.k8s.io", "v1", "clusterroles")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_aggregated_roles_with_other_rules_are_written() {
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        let part = json!({"metadata": {"name": "part", "labels": {"to": "sum"}}, "rules": [rule]});
        let sum = |rules: &Value| {
            json!({"metadata": {"name": "sum"}, "rules": rules,
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}})
        };
        let typed = |roles: Value| Policy::new(&[], &[], &serde_json::from_value::<Vec<_>>(roles).expect("roles"), &[]);
        let policy = typed(json!([part, sum(&json!([]))]));
        let object = |value: Value| serde_json::from_value::<Object>(value).expect("an object");
        let new = outdated(&object(sum(&json!([]))), &policy).expect("rules are missing");
        assert_eq!(new.at(&["rules"]), Some(&json!([rule])));
        assert_eq!(outdated(&new, &policy), None);
        assert_eq!(outdated(&object(part), &policy), None);
    }
}
