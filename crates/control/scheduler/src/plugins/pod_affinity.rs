//! `InterPodAffinity`: pods that must be near, or must not be near, other pods. Near means nodes with the same value of a
//! label (the topology key). Musts hold both ways; wishes are those of the pod in hand.

use std::collections::{BTreeMap, BTreeSet};

use crate::framework::{Check, ClusterEvent, Filter, Rate, Reason, SCORE_MAX, Score, Verdict};
use crate::pod::{PodInfo, Term};
use crate::snapshot::{NodeInfo, Snapshot};

const AFFINITY: &str = "node(s) didn't match pod affinity rules";
const ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
const ANTI_AFFINITY_OF_OTHERS: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// A part of the cluster: a topology key and its value.
type Domain<'c> = (&'c str, &'c str);

/// The rule and the preference.
#[derive(Debug)]
pub struct PodAffinity;

impl Filter for PodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, cluster: &'c Snapshot) -> Check<'c> {
        let guarded = domains_guarded_against(pod, cluster);
        if pod.affinity.is_empty() && pod.anti_affinity.is_empty() && guarded.is_empty() {
            return Check::NotApplicable;
        }
        let near =
            domains_with(cluster, &pod.affinity, |other| pod.affinity.iter().all(|term| term.selects(&other.pod)));
        let far: BTreeSet<Domain<'c>> = pod
            .anti_affinity
            .iter()
            .flat_map(|term| domains_with(cluster, std::slice::from_ref(term), |other| term.selects(&other.pod)))
            .collect();
        // The first of a group that wants to be together has nobody to join.
        let first = near.is_empty() && pod.affinity.iter().all(|term| term.selects(&pod.pod));
        Check::per_node(move |node| judge(pod, node, &Domains { guarded: &guarded, near: &near, far: &far, first }))
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeLabelsChanged
                | ClusterEvent::PodPlaced
                | ClusterEvent::PodChanged
                | ClusterEvent::PodLeft
        )
    }
}

impl Score for PodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, cluster: &'c Snapshot) -> Option<Rate<'c>> {
        let mut wishes: BTreeMap<Domain<'c>, i64> = BTreeMap::new();
        for (weight, term) in &pod.preferences {
            for node in cluster.nodes() {
                let Some(domain) = domain(node, &term.topology_key) else { continue };
                let met = node.pods.values().filter(|other| term.selects(&other.pod)).count();
                *wishes.entry(domain).or_default() += weight * i64::try_from(met).unwrap_or(i64::MAX);
            }
        }
        if wishes.values().all(|wish| *wish == 0) {
            return None;
        }
        Some(Box::new(move |node| {
            let own = |(key, value): &Domain<'_>| node.labels().get(*key).is_some_and(|own| own == value);
            wishes.iter().filter(|(domain, _)| own(domain)).map(|(_, wish)| wish).sum()
        }))
    }

    /// Stretches what is between the worst and the best over the whole scale.
    fn normalize(&self, scores: &mut [i64]) {
        let (least, most) = (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        for score in scores.iter_mut() {
            *score = if most == least { 0 } else { SCORE_MAX * (*score - least) / (most - least) };
        }
    }
}

/// What a decision has worked out about the cluster.
struct Domains<'a, 'c> {
    guarded: &'a BTreeSet<Domain<'c>>,
    near: &'a BTreeSet<Domain<'c>>,
    far: &'a BTreeSet<Domain<'c>>,
    first: bool,
}

fn judge(pod: &PodInfo, node: &NodeInfo, domains: &Domains<'_, '_>) -> Verdict {
    let value = |term: &Term| node.labels().get(&term.topology_key).map(String::as_str);
    let joins = pod.affinity.iter().all(|term| {
        value(term).is_some_and(|value| domains.first || domains.near.contains(&(term.topology_key.as_str(), value)))
    });
    if !joins {
        return Verdict::Unfit(Reason::Borrowed(AFFINITY));
    }
    let meets = pod
        .anti_affinity
        .iter()
        .any(|term| value(term).is_some_and(|value| domains.far.contains(&(term.topology_key.as_str(), value))));
    if meets {
        return Verdict::Full(vec![Reason::Borrowed(ANTI_AFFINITY)]);
    }
    let disturbs = domains.guarded.iter().any(|(key, value)| node.labels().get(*key).is_some_and(|own| own == value));
    if disturbs {
        return Verdict::Full(vec![Reason::Borrowed(ANTI_AFFINITY_OF_OTHERS)]);
    }
    Verdict::Fits
}

/// Returns the domains, by the keys of `terms`, of the nodes with a pod that `accept` takes.
fn domains_with<'c>(
    cluster: &'c Snapshot,
    terms: &'c [Term],
    accept: impl Fn(&PodInfo) -> bool,
) -> BTreeSet<Domain<'c>> {
    if terms.is_empty() {
        return BTreeSet::new();
    }
    let nodes = cluster.nodes().filter(|node| node.pods.values().any(|other| accept(other)));
    nodes.flat_map(|node| terms.iter().filter_map(|term| domain(node, &term.topology_key))).collect()
}

/// Returns the domains that pods already there want this pod to keep out of.
fn domains_guarded_against<'c>(pod: &PodInfo, cluster: &'c Snapshot) -> BTreeSet<Domain<'c>> {
    let pods = cluster.nodes().flat_map(|node| node.pods.values().map(move |other| (node, other)));
    let terms = pods.flat_map(|(node, other)| other.anti_affinity.iter().map(move |term| (node, term)));
    terms
        .filter(|(_, term)| term.selects(&pod.pod))
        .filter_map(|(node, term)| domain(node, &term.topology_key))
        .collect()
}

fn domain<'c>(node: &'c NodeInfo, key: &'c str) -> Option<Domain<'c>> {
    Some((key, node.labels().get(key)?))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "documents are written in place")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::build::{NodeBuilder, PodBuilder, cluster, node, pod, scores, verdicts};

    /// `n1` and `n2` in zone a, `n3` in zone b.
    fn nodes() -> [NodeBuilder; 3] {
        [node("n1").label("zone", "a"), node("n2").label("zone", "a"), node("n3").label("zone", "b")]
    }

    fn term(app: &str, key: &str) -> Value {
        json!({ "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": key })
    }

    fn app(name: &str, app: &str) -> PodBuilder {
        pod(name).label("app", app)
    }

    fn wants(pod: PodBuilder, relation: &str, terms: Value) -> PodBuilder {
        pod.spec("affinity", json!({ relation: { "requiredDuringSchedulingIgnoredDuringExecution": terms } }))
    }

    #[test]
    fn a_pod_goes_where_the_others_are() {
        let there = cluster(&nodes(), &[app("db", "db").on("n1")]);
        let web = wants(app("web", "web"), "podAffinity", json!([term("db", "zone")]));
        let refused = "n3: unfit: node(s) didn't match pod affinity rules";
        assert_eq!(verdicts(&PodAffinity, &web, &there), ["n1: ok", "n2: ok", refused]);
    }

    #[test]
    fn the_first_of_its_group_may_go_anywhere_with_the_label() {
        let empty = cluster(&[node("n1").label("zone", "a"), node("n2")], &[]);
        let first = wants(app("db-0", "db"), "podAffinity", json!([term("db", "zone")]));
        let refused = "n2: unfit: node(s) didn't match pod affinity rules";
        assert_eq!(verdicts(&PodAffinity, &first, &empty), ["n1: ok", refused]);
    }

    #[test]
    fn a_pod_keeps_away_from_those_it_names() {
        let there = cluster(&nodes(), &[app("db-0", "db").on("n1")]);
        let per_zone = wants(app("db-1", "db"), "podAntiAffinity", json!([term("db", "zone")]));
        let refused = |name: &str| format!("{name}: full: node(s) didn't match pod anti-affinity rules");
        assert_eq!(verdicts(&PodAffinity, &per_zone, &there), [refused("n1"), refused("n2"), "n3: ok".into()]);
        let per_node = wants(app("db-1", "db"), "podAntiAffinity", json!([term("db", "kubernetes.io/hostname")]));
        assert_eq!(verdicts(&PodAffinity, &per_node, &there), [refused("n1"), "n2: ok".into(), "n3: ok".into()]);
    }

    #[test]
    fn pods_already_there_can_keep_others_away() {
        let guard = wants(app("db", "db"), "podAntiAffinity", json!([term("web", "zone")])).on("n1");
        let there = cluster(&nodes(), &[guard]);
        let refused = |name: &str| format!("{name}: full: node(s) didn't satisfy existing pods anti-affinity rules");
        assert_eq!(verdicts(&PodAffinity, &app("web", "web"), &there), [refused("n1"), refused("n2"), "n3: ok".into()]);
        assert_eq!(verdicts(&PodAffinity, &app("job", "job"), &there), ["n1: ok", "n2: ok", "n3: ok"]);
    }

    #[test]
    fn only_pods_of_the_same_namespace_count_unless_others_are_named() {
        let elsewhere = app("db", "db").meta("namespace", json!("prod")).on("n1");
        let there = cluster(&nodes(), &[elsewhere]);
        let with = |extra: &str, value: Value| {
            let mut term = term("db", "zone");
            if !extra.is_empty() {
                term[extra] = value;
            }
            verdicts(&PodAffinity, &wants(app("web", "web"), "podAntiAffinity", json!([term])), &there)[0] == "n1: ok"
        };
        assert!(with("", Value::Null));
        assert!(!with("namespaces", json!(["prod"])));
        assert!(!with("namespaceSelector", json!({})), "the empty selector means every namespace");
    }

    #[test]
    fn wishes_draw_a_pod_to_some_and_away_from_others() {
        let wish = |weight: i32, app: &str, key: &str| json!([{ "weight": weight, "podAffinityTerm": term(app, key) }]);
        let pod = app("web", "web").spec("affinity", json!({
            "podAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": wish(10, "cache", "zone") },
            "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": wish(30, "web", "kubernetes.io/hostname") },
        }));
        let there = cluster(&nodes(), &[app("cache", "cache").on("n1"), app("web-0", "web").on("n1")]);
        assert_eq!(scores(&PodAffinity, &pod, &there), [0, 100, 66], "n1: 10 - 30, n2: 10, n3: 0");
        assert_eq!(scores(&PodAffinity, &pod, &cluster(&nodes(), &[])), [0; 0]);
    }
}
