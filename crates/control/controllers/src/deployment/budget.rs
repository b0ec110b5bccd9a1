//! How many pods a rollout may add and how many it may take away (`pkg/controller/deployment/util/deployment_util.go`).

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wkube_api::intstr::{self, Round};

/// The strategy with its limits in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    /// All old pods end before the first new one starts.
    Recreate { replicas: i32 },
    /// Old and new pods side by side.
    Rolling {
        replicas: i32,
        /// How many pods above `replicas` may exist.
        surge: i32,
        /// How many pods below `replicas` may be available.
        unavailable: i32,
    },
}

impl Budget {
    /// Resolves the Deployment's strategy. A surge in percent is rounded up, unavailable pods in percent are rounded down; if
    /// both come out as zero, one pod may be unavailable, or nothing could ever move (`ResolveFenceposts`).
    pub(super) fn of(deployment: &Deployment) -> Self {
        let replicas = deployment.spec.replicas.unwrap_or(1).max(0);
        let strategy = deployment.spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self::Recreate { replicas };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = pods_of(rolling.and_then(|rolling| rolling.max_surge.as_ref()), replicas, Round::Up);
        let unavailable = pods_of(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), replicas, Round::Down);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self::Rolling { replicas, surge, unavailable: unavailable.min(replicas) }
    }

    /// How many pods the user wants.
    pub(super) fn replicas(&self) -> i32 {
        match self {
            Self::Recreate { replicas } | Self::Rolling { replicas, .. } => *replicas,
        }
    }

    /// How many pods may exist at most.
    pub(super) fn max(&self) -> i32 {
        match self {
            Self::Recreate { replicas } => *replicas,
            Self::Rolling { replicas, surge, .. } => replicas.saturating_add(*surge),
        }
    }

    /// How many pods must stay available.
    pub(super) fn min_available(&self) -> i32 {
        match self {
            Self::Recreate { replicas } => *replicas,
            Self::Rolling { replicas, unavailable, .. } => replicas - unavailable,
        }
    }
}

/// Returns a number of pods; left out or unreadable means the default of 25%.
fn pods_of(value: Option<&IntOrString>, replicas: i32, round: Round) -> i32 {
    let default = IntOrString::String("25%".to_owned());
    let pods = value.and_then(|value| intstr::scaled(value, replicas, round).ok());
    pods.or_else(|| intstr::scaled(&default, replicas, round).ok()).unwrap_or_default().max(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};

    use super::*;

    fn value(text: &str) -> IntOrString {
        text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        for (replicas, surge, unavailable, expected) in [
            (10, "25%", "25%", (3, 2)),
            (4, "25%", "25%", (1, 1)),
            (1, "25%", "25%", (1, 0)),
            (3, "0", "0", (0, 1)),
            (2, "0%", "10%", (0, 1)),
            (5, "2", "100%", (2, 5)),
            (2, "1", "7", (1, 2)),
            (0, "25%", "25%", (0, 0)),
        ] {
            let rolling =
                RollingUpdateDeployment { max_surge: Some(value(surge)), max_unavailable: Some(value(unavailable)) };
            let strategy =
                DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) };
            let spec =
                DeploymentSpec { replicas: Some(replicas), strategy: Some(strategy), ..DeploymentSpec::default() };
            let budget = Budget::of(&Deployment { spec, ..Deployment::default() });
            let Budget::Rolling { surge, unavailable, .. } = budget else { panic!("rolling") };
            assert_eq!((surge, unavailable), expected, "{replicas} replicas");
        }
    }
}
