//! Writes the rules that an aggregated `ClusterRole` has into it (`pkg/controller/clusterroleaggregation`).
//!
//! The authorizer sums them up itself, so that they hold at once; this is for those who read roles.

use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tracing::warn;
use wkube_api::{Object, Resource};
use wkube_base::Tasks;
use wkube_store::{Error, Signal};

use crate::Api;
use crate::access::Fresh;
use crate::auth::Policy;
use crate::call::Call;
use crate::follow;
use crate::registry::keys;
use crate::registry::object_rules::Part;
use crate::registry::update;

/// Starts following cluster roles.
pub(crate) fn start(api: &Arc<Api>, tasks: &Tasks) {
    let api = api.clone();
    follow::keep(tasks, "role-aggregation", move || {
        let api = api.clone();
        async move { follow(&api).await }
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
    for role in &roles {
        let Some(sum) = missing_rules(role, &policy) else { continue };
        let call = Call::own(row, "", role.name());
        if let Err(status) = update::put(&api.registry, &call, Part::Whole, &["rules"], sum).await {
            warn!(role = role.name(), error = status.message, "a role's rules cannot be summed up");
        }
    }
}

/// Returns the rules that the role should have; `None` if it has them.
fn missing_rules(role: &Object, policy: &Policy) -> Option<Value> {
    role.at(&["aggregationRule"])?;
    let rules = json!(policy.cluster_role(role.name())?);
    let held = role.at(&["rules"]).cloned().unwrap_or_else(|| json!([]));
    if held == rules || (held.is_null() && rules == json!([])) {
        return None;
    }
    Some(rules)
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
        assert_eq!(missing_rules(&object(sum(&json!([]))), &policy), Some(json!([rule])));
        assert_eq!(missing_rules(&object(sum(&json!([rule]))), &policy), None);
        assert_eq!(missing_rules(&object(part), &policy), None);
    }
}
