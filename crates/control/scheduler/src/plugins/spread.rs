//! `PodTopologySpread`: keeps the pods of a group spread over nodes and zones, as a must or a wish. Pods that state no
//! constraint are spread softly (kube-scheduler's system defaults), where those with the same owner are the group.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use wkube_api::selector::LabelSelector;
use wkube_client::Kind as _;

use crate::framework::{Check, ClusterEvent, Filter, Rate, Reason, SCORE_MAX, Score, Verdict};
use crate::plugins::affinity;
use crate::plugins::taints;
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

const REASON: &str = "node(s) didn't match pod topology spread constraints";
const REASON_NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// How the pods of one owner are spread if they do not say (`plugin.go`, `systemDefaultConstraints`).
const DEFAULTS: [(&str, i64); 2] = [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)];

/// The raw score of a node without one of the labels; it becomes the worst.
const UNRATED: i64 = -1;

/// The rule and the preference.
#[derive(Debug)]
pub struct Spread;

/// One constraint of the pod in hand.
struct Constraint<'c> {
    key: &'c str,
    skew_max: i64,
    domains_min: i64,
    group: Group<'c>,
    honors_affinity: bool,
    honors_taints: bool,
}

/// Which pods are spread together.
enum Group<'c> {
    /// Those that match, and share these labels' values with the pod.
    Labels(LabelSelector, Vec<(&'c str, &'c str)>),
    /// Those with this controlling owner.
    Owner(&'c str),
}

impl Group<'_> {
    fn contains(&self, pod: &Pod) -> bool {
        match self {
            Self::Labels(selector, same) => {
                selector.matches_owned(pod.labels())
                    && same.iter().all(|(key, value)| pod.labels().get(*key).is_some_and(|own| own == value))
            }
            Self::Owner(uid) => pod.controller_owner().is_some_and(|owner| owner.uid == **uid),
        }
    }
}

impl<'c> Constraint<'c> {
    fn read(stated: &'c TopologySpreadConstraint, pod: &'c PodInfo) -> Self {
        let selector =
            LabelSelector::from_typed(stated.label_selector.as_ref()).unwrap_or_else(|_| LabelSelector::nothing());
        let keys = stated.match_label_keys.iter().flatten();
        let same = keys.filter_map(|key| Some((key.as_str(), pod.pod.labels().get(key)?.as_str()))).collect();
        Self {
            key: &stated.topology_key,
            skew_max: i64::from(stated.max_skew),
            domains_min: i64::from(stated.min_domains.unwrap_or(1)),
            group: Group::Labels(selector, same),
            honors_affinity: stated.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: stated.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Whether a node counts as a place where the pod's group could be.
    fn counts(&self, node: &NodeInfo, pod: &PodInfo) -> bool {
        (!self.honors_affinity || affinity::allows(pod, node)) && (!self.honors_taints || taints::admits(pod, node))
    }

    /// Returns how many of the group are in each domain, for the domains that count.
    fn population(&self, pod: &PodInfo, cluster: &'c Snapshot) -> BTreeMap<&'c str, i64> {
        let mut population = BTreeMap::new();
        for node in cluster.nodes().filter(|node| self.counts(node, pod)) {
            let Some(domain) = node.labels().get(self.key) else { continue };
            *population.entry(domain.as_str()).or_default() += self.on(node, pod);
        }
        population
    }

    /// Returns how many of the group are on a node.
    fn on(&self, node: &NodeInfo, pod: &PodInfo) -> i64 {
        let beside = |other: &&Pod| other.namespace() == pod.pod.namespace() && !other.is_deleting();
        let group = node.pods.values().map(|other| other.pod.as_ref()).filter(beside);
        i64::try_from(group.filter(|other| self.group.contains(other)).count()).unwrap_or(i64::MAX)
    }
}

fn stated<'c>(pod: &'c PodInfo, action: &'static str) -> Vec<Constraint<'c>> {
    let all = pod.spec().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default();
    all.iter()
        .filter(|stated| stated.when_unsatisfiable == action)
        .map(|stated| Constraint::read(stated, pod))
        .collect()
}

impl Filter for Spread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, cluster: &'c Snapshot) -> Check<'c> {
        let constraints = stated(pod, "DoNotSchedule");
        if constraints.is_empty() {
            return Check::NotApplicable;
        }
        let prepared: Vec<_> = constraints
            .into_iter()
            .map(|constraint| {
                let population = constraint.population(pod, cluster);
                let own = i64::from(constraint.group.contains(&pod.pod));
                let domains = i64::try_from(population.len()).unwrap_or(i64::MAX);
                // With too few domains, the ones to come count as empty ones.
                let least =
                    if domains < constraint.domains_min { 0 } else { population.values().copied().min().unwrap_or(0) };
                (constraint, population, own - least)
            })
            .collect();
        Check::per_node(move |node| {
            for (constraint, population, more) in &prepared {
                let Some(domain) = node.labels().get(constraint.key) else {
                    return Verdict::Unfit(Reason::Borrowed(REASON_NO_LABEL));
                };
                if population.get(domain.as_str()).copied().unwrap_or(0) + more > constraint.skew_max {
                    return Verdict::Full(vec![Reason::Borrowed(REASON)]);
                }
            }
            Verdict::Fits
        })
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        !matches!(event, ClusterEvent::NodeAllocatableChanged)
    }
}

impl Score for Spread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, cluster: &'c Snapshot) -> Option<Rate<'c>> {
        let says =
            pod.spec().and_then(|spec| spec.topology_spread_constraints.as_ref()).is_some_and(|all| !all.is_empty());
        let constraints = if says { stated(pod, "ScheduleAnyway") } else { defaults(pod, cluster)? };
        if constraints.is_empty() {
            return None;
        }
        let prepared: Vec<_> = constraints
            .into_iter()
            .map(|constraint| {
                let population = constraint.population(pod, cluster);
                (constraint, population)
            })
            .collect();
        Some(Box::new(move |node| {
            let parts = prepared.iter().map(|(constraint, population)| {
                let domain = node.labels().get(constraint.key)?;
                Some(crowding(
                    population.get(domain.as_str()).copied().unwrap_or(0),
                    population.len(),
                    constraint.skew_max,
                ))
            });
            parts.sum::<Option<i64>>().unwrap_or(UNRATED)
        }))
    }

    fn normalize(&self, scores: &mut [i64]) {
        let rated = || scores.iter().copied().filter(|score| *score != UNRATED);
        let (least, most) = (rated().min().unwrap_or(0), rated().max().unwrap_or(0));
        for score in scores.iter_mut() {
            *score = match (*score, most) {
                (UNRATED, _) => 0,
                (_, 0) => SCORE_MAX,
                (crowding, most) => SCORE_MAX * (most + least - crowding) / most,
            };
        }
    }
}

/// Returns the soft constraints of a pod that states none. Zones that no node has are left out.
fn defaults<'c>(pod: &'c PodInfo, cluster: &Snapshot) -> Option<Vec<Constraint<'c>>> {
    let owner = pod.pod.controller_owner()?;
    let known = |key: &str| cluster.nodes().any(|node| node.labels().contains_key(key));
    let constraints = DEFAULTS.into_iter().filter(|(key, _)| known(key)).map(|(key, skew_max)| Constraint {
        key,
        skew_max,
        domains_min: 1,
        group: Group::Owner(&owner.uid),
        honors_affinity: true,
        honors_taints: false,
    });
    Some(constraints.collect())
}

/// Returns how crowded a domain is, in thousandths: more of the group weigh more, the more so the more domains there
/// are to choose from; differences below the allowed skew weigh less (`scoring.go`, `scoreForCount`).
fn crowding(count: i64, domains: usize, skew_max: i64) -> i64 {
    let weight = (f64::from(u32::try_from(domains).unwrap_or(u32::MAX)) + 2.0).ln();
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of 2^32 is 22")]
    let weight = (weight * 1_000.0) as i64;
    count.saturating_mul(weight) + (skew_max - 1) * 1_000
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::build::{NodeBuilder, PodBuilder, cluster, node, pod, scores, verdicts};

    /// `a1` and `a2` in zone a, `b1` in zone b, `x` in none.
    fn nodes() -> [NodeBuilder; 4] {
        [node("a1").label("zone", "a"), node("a2").label("zone", "a"), node("b1").label("zone", "b"), node("x")]
    }

    fn constraint(key: &str, skew: i32, action: &str) -> Value {
        json!({
            "maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": action,
            "labelSelector": { "matchLabels": { "app": "web" } }
        })
    }

    fn web(name: &str, constraints: Value) -> PodBuilder {
        pod(name).label("app", "web").spec("topologySpreadConstraints", constraints)
    }

    fn on(node: &str, count: usize) -> Vec<PodBuilder> {
        (0..count).map(|number| pod(&format!("{node}-{number}")).label("app", "web").on(node)).collect()
    }

    fn hard(skew: i32) -> Value {
        json!([constraint("zone", skew, "DoNotSchedule")])
    }

    /// Which nodes do for a web pod with these constraints when there are so many on `a1` and on `b1`.
    fn allowed(constraints: Value, first: usize, second: usize) -> Vec<String> {
        let pods = [on("a1", first), on("b1", second)].concat();
        let verdicts = verdicts(&Spread, &web("new", constraints), &cluster(&nodes(), &pods));
        verdicts.iter().filter_map(|verdict| verdict.strip_suffix(": ok")).map(str::to_owned).collect()
    }

    #[test]
    fn the_emptiest_zone_is_filled_first() {
        assert_eq!(allowed(hard(1), 0, 0), ["a1", "a2", "b1"]);
        assert_eq!(allowed(hard(1), 1, 0), ["b1"]);
        assert_eq!(allowed(hard(1), 1, 1), ["a1", "a2", "b1"]);
        assert_eq!(allowed(hard(2), 1, 0), ["a1", "a2", "b1"], "a skew of two is allowed");
    }

    #[test]
    fn the_reasons_tell_a_full_zone_from_a_missing_label() {
        let verdicts = verdicts(&Spread, &web("new", hard(1)), &cluster(&nodes(), &on("a1", 1)));
        assert_eq!(verdicts[0], "a1: full: node(s) didn't match pod topology spread constraints");
        assert_eq!(
            verdicts[3],
            "x: unfit: node(s) didn't match pod topology spread constraints (missing required label)"
        );
    }

    #[test]
    fn zones_that_the_pod_may_not_go_to_do_not_count_as_empty() {
        let only_a = web("new", hard(1)).spec("nodeSelector", json!({ "zone": "a" }));
        assert_eq!(verdicts(&Spread, &only_a, &cluster(&nodes(), &on("a1", 3)))[0], "a1: ok");
    }

    #[test]
    fn missing_domains_count_as_empty_ones() {
        let mut three = constraint("zone", 1, "DoNotSchedule");
        three["minDomains"] = json!(3);
        assert_eq!(allowed(json!([three]), 1, 1), [""; 0]);
    }

    #[test]
    fn only_pods_with_the_same_values_of_the_given_labels_count() {
        let mut by_revision = constraint("zone", 1, "DoNotSchedule");
        by_revision["matchLabelKeys"] = json!(["revision"]);
        let old = pod("old").label("app", "web").label("revision", "1").on("a1");
        let new = web("new", json!([by_revision])).label("revision", "2");
        assert_eq!(verdicts(&Spread, &new, &cluster(&nodes(), &[old]))[0], "a1: ok");
    }

    #[test]
    fn a_wish_forbids_nothing_but_prefers_emptier_zones() {
        let soft = json!([constraint("zone", 1, "ScheduleAnyway")]);
        assert_eq!(allowed(soft.clone(), 3, 0).len(), 4);
        let pods = [on("a1", 2), on("b1", 1)].concat();
        assert_eq!(scores(&Spread, &web("new", soft), &cluster(&nodes(), &pods)), [50, 50, 100, 0]);
    }

    #[test]
    fn pods_of_one_owner_are_spread_over_nodes_unless_they_say_otherwise() {
        let owners =
            json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true }]);
        let owned = |name: &str| pod(name).meta("ownerReferences", owners.clone());
        let there = cluster(&[node("n1"), node("n2")], &[owned("a").on("n1"), pod("other").on("n2")]);
        let scores_owned = scores(&Spread, &owned("b"), &there);
        assert!(scores_owned[0] < scores_owned[1], "{scores_owned:?}");
        assert_eq!(scores(&Spread, &pod("alone"), &there), [0; 0]);
    }
}
