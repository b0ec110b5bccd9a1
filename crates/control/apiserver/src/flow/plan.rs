//! From flow schemas and priority levels as written to what requests are sorted by. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, PolicyRulesWithSubjects, PriorityLevelConfiguration, PriorityLevelConfigurationSpec,
};

use super::fair::Queuing;
use super::level::Mode;
use super::schema::Distinguisher;
use super::shares::Shares;
use super::shuffle::HAND_MAX;

/// Queues of one level; every dispatch looks at all of them. Kubernetes allows ten million.
const QUEUES_MAX: usize = 4096;

/// One level.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LevelPlan {
    /// Its name.
    pub(crate) name: String,
    /// Its uid, for a response header; empty before it is stored.
    pub(crate) uid: String,
    /// How it treats those who find no seat.
    pub(crate) mode: Mode,
    /// How many seats it asks for.
    pub(crate) shares: Shares,
}

/// One schema whose level exists.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SchemaPlan {
    /// Its name.
    pub(crate) name: String,
    /// Its uid, for a response header; empty before it is stored.
    pub(crate) uid: String,
    /// Its level.
    pub(crate) level: String,
    /// What tells its flows apart.
    pub(crate) distinguisher: Distinguisher,
    /// What it matches.
    pub(crate) rules: Vec<PolicyRulesWithSubjects>,
}

/// Everything that requests are sorted by.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// By name.
    pub(crate) levels: BTreeMap<String, LevelPlan>,
    /// In the order in which they are asked.
    pub(crate) schemas: Vec<SchemaPlan>,
}

/// Makes the plan. A schema whose level does not exist matches nothing ("dangling").
pub(crate) fn plan(schemas: Vec<FlowSchema>, levels: Vec<PriorityLevelConfiguration>) -> Plan {
    let levels: BTreeMap<_, _> =
        levels.into_iter().filter_map(level).map(|level| (level.name.clone(), level)).collect();
    let mut sorted: Vec<(i32, SchemaPlan)> = schemas.into_iter().filter_map(schema).collect();
    sorted.retain(|(_, schema)| levels.contains_key(&schema.level));
    sorted.sort_by(|(one, a), (other, b)| (one, &a.name).cmp(&(other, &b.name)));
    Plan { levels, schemas: sorted.into_iter().map(|(_, schema)| schema).collect() }
}

fn level(object: PriorityLevelConfiguration) -> Option<LevelPlan> {
    let spec = object.spec;
    Some(LevelPlan {
        name: object.metadata.name?,
        uid: object.metadata.uid.unwrap_or_default(),
        mode: mode(&spec),
        shares: shares(&spec),
    })
}

fn mode(spec: &PriorityLevelConfigurationSpec) -> Mode {
    if spec.type_ == "Exempt" {
        return Mode::Exempt;
    }
    let response = spec.limited.as_ref().map(|limited| &limited.limit_response);
    let Some(response) = response.filter(|response| response.type_ == "Queue") else { return Mode::Reject };
    let queuing = response.queuing.as_ref();
    let number = |value: Option<i32>, default: usize| {
        value.and_then(|value| usize::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
    };
    // The defaults are those of `apis/flowcontrol/v1/defaults.go`.
    Mode::Queue(Queuing {
        queues: number(queuing.and_then(|queuing| queuing.queues), 64).min(QUEUES_MAX),
        hand_size: number(queuing.and_then(|queuing| queuing.hand_size), 8).min(HAND_MAX),
        length_max: number(queuing.and_then(|queuing| queuing.queue_length_limit), 50),
    })
}

fn shares(spec: &PriorityLevelConfigurationSpec) -> Shares {
    let number =
        |value: Option<i32>, default: u32| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default);
    match (&spec.limited, &spec.exempt) {
        (Some(limited), _) => Shares {
            nominal: number(limited.nominal_concurrency_shares, 30),
            lendable_percent: number(limited.lendable_percent, 0).min(100),
            borrowing_percent: limited.borrowing_limit_percent.and_then(|limit| u32::try_from(limit).ok()),
        },
        (None, Some(exempt)) => Shares {
            nominal: number(exempt.nominal_concurrency_shares, 0),
            lendable_percent: number(exempt.lendable_percent, 0).min(100),
            borrowing_percent: None,
        },
        (None, None) => Shares { nominal: 0, lendable_percent: 0, borrowing_percent: None },
    }
}

fn schema(object: FlowSchema) -> Option<(i32, SchemaPlan)> {
    let spec = object.spec;
    let distinguisher = Distinguisher::of(&spec);
    let plan = SchemaPlan {
        name: object.metadata.name?,
        uid: object.metadata.uid.unwrap_or_default(),
        level: spec.priority_level_configuration.name,
        distinguisher,
        rules: spec.rules.unwrap_or_default(),
    };
    Some((spec.matching_precedence.unwrap_or(1000), plan))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
