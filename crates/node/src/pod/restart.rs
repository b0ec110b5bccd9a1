//! When a container that ended starts again: by its own rules and policy, or by its pod's policy.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

use super::container::Role;

/// What `restartPolicy` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Start again, however it ended.
    Always,
    /// Start again unless it ended with 0.
    OnFailure,
    /// Leave it.
    Never,
}

impl RestartPolicy {
    /// Reads the field; absent or unknown is `Always`, the API's default.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }
}

/// When one container starts again.
#[derive(Debug, Clone, PartialEq)]
pub struct Restarts {
    policy: RestartPolicy,
    /// Looked at first; the first that fits decides (`restartPolicyRules`).
    rules: Vec<ContainerRestartRule>,
    /// Whether it is done once it has succeeded, whatever its policy.
    ends_with_success: bool,
}

impl Restarts {
    /// Returns what a container and the pod's policy say.
    pub fn of(spec: &Container, role: Role, pod: RestartPolicy) -> Self {
        let own = spec.restart_policy.as_deref();
        let policy = match role {
            Role::Ephemeral => RestartPolicy::Never,
            Role::Init | Role::Sidecar | Role::App => own.map_or(pod, |own| RestartPolicy::parse(Some(own))),
        };
        let rules = spec.restart_policy_rules.clone().unwrap_or_default();
        Self { policy, rules, ends_with_success: role == Role::Init }
    }

    /// Whether the container runs again after it ended with `code` (`pkg/kubelet/container/helpers.go`,
    /// `ShouldContainerBeRestarted`).
    pub fn after(&self, code: i32) -> bool {
        if self.ends_with_success && code == 0 {
            return false;
        }
        if let Some(rule) = self.rules.iter().find(|rule| fits(rule, code)) {
            return rule.action == "Restart";
        }
        match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        }
    }
}

fn fits(rule: &ContainerRestartRule, code: i32) -> bool {
    let Some(codes) = &rule.exit_codes else { return false };
    let is_in = codes.values.iter().flatten().any(|value| *value == code);
    match codes.operator.as_str() {
        "In" => is_in,
        "NotIn" => !is_in,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Which of the codes 0, 1, 42 and 137 a container starts again after.
    fn after(role: Role, pod: RestartPolicy, container: Value) -> Vec<i32> {
        let mut spec = json!({ "name": "c" });
        spec.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let restarts = Restarts::of(&serde_json::from_value(spec).unwrap(), role, pod);
        [0, 1, 42, 137].into_iter().filter(|code| restarts.after(*code)).collect()
    }

    #[test]
    fn the_pods_policy_holds_where_the_container_has_none() {
        for (pod, expected) in [
            (RestartPolicy::Always, &[0, 1, 42, 137][..]),
            (RestartPolicy::OnFailure, &[1, 42, 137]),
            (RestartPolicy::Never, &[]),
        ] {
            assert_eq!(after(Role::App, pod, json!({})), expected);
        }
        assert_eq!(after(Role::App, RestartPolicy::Never, json!({ "restartPolicy": "Always" })), [0, 1, 42, 137]);
        assert!(after(Role::App, RestartPolicy::Always, json!({ "restartPolicy": "Never" })).is_empty());
    }

    #[test]
    fn an_init_container_that_succeeded_is_done_and_an_ephemeral_one_runs_once() {
        assert_eq!(after(Role::Init, RestartPolicy::Always, json!({})), [1, 42, 137]);
        assert_eq!(after(Role::Sidecar, RestartPolicy::Never, json!({ "restartPolicy": "Always" })), [0, 1, 42, 137]);
        assert!(after(Role::Ephemeral, RestartPolicy::Always, json!({})).is_empty());
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_else_the_policy() {
        let rule = |operator: &str, values: &[i32]| json!({ "action": "Restart", "exitCodes": { "operator": operator, "values": values } });
        let with = |policy: &str, rules: Value| json!({ "restartPolicy": policy, "restartPolicyRules": rules });
        assert_eq!(after(Role::App, RestartPolicy::Always, with("Never", json!([rule("In", &[42])]))), [42]);
        let others = with("Never", json!([rule("In", &[0]), rule("NotIn", &[0, 1])]));
        assert_eq!(after(Role::App, RestartPolicy::Always, others.clone()), [0, 42, 137]);
        assert_eq!(after(Role::Init, RestartPolicy::Always, others), [42, 137], "success is not up to rules");
        let on_failure = with("OnFailure", json!([rule("In", &[0])]));
        assert_eq!(after(Role::App, RestartPolicy::Never, on_failure), [0, 1, 42, 137]);
        let unknown = json!([{ "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [1] } }]);
        assert_eq!(after(Role::App, RestartPolicy::Always, with("Always", unknown)), [0, 42, 137]);
    }
}
