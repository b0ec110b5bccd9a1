//! One case per sentence of the `DaemonSet`'s documentation, properties over random worlds, and one printed rollout.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{Node, NodeSpec, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wkube_base::Rng;

use super::nodes::{self, Fate, fate};
use super::plan::{Action, Observed, Plan, plan};
use super::rolling::Budget;
use crate::common::history::{POD_HASH, Step};
use crate::common::{meta, pods};
use crate::testing::{PodBuilder, app_selector, at, labels, lines, metadata, pod, set_ready, shuffle, template};

fn set(image: &str) -> DaemonSet {
    let rolling = RollingUpdateDaemonSet { max_unavailable: Some(IntOrString::Int(1)), max_surge: None };
    let strategy = DaemonSetUpdateStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) };
    let spec = DaemonSetSpec {
        selector: app_selector("agent"),
        template: template("agent", image),
        update_strategy: Some(strategy),
        ..DaemonSetSpec::default()
    };
    DaemonSet { metadata: metadata("agent"), spec, status: None }
}

fn spec(set: &mut DaemonSet) -> &mut DaemonSetSpec {
    &mut set.spec
}

fn rolling(mut set: DaemonSet, unavailable: i32, surge: i32) -> DaemonSet {
    let strategy = spec(&mut set).update_strategy.get_or_insert_default();
    strategy.rolling_update = Some(RollingUpdateDaemonSet {
        max_unavailable: Some(IntOrString::Int(unavailable)),
        max_surge: Some(IntOrString::Int(surge)),
    });
    set
}

fn node(name: &str) -> Node {
    Node { metadata: metadata(name), ..Node::default() }
}

fn tainted(name: &str, key: &str, effect: &str) -> Node {
    let taint = Taint { key: key.to_owned(), effect: effect.to_owned(), ..Taint::default() };
    Node { spec: Some(NodeSpec { taints: Some(vec![taint]), ..NodeSpec::default() }), ..node(name) }
}

/// The revision of an image, as the set notes it down.
fn revision(image: &str, number: i64) -> ControllerRevision {
    revision_of(&set(image), number)
}

fn revision_of(set: &DaemonSet, number: i64) -> ControllerRevision {
    let plan = look(set, &[], &[], &[]);
    let [Step::Create(revision)] = plan.history.as_slice() else { panic!("notes it down") };
    let mut revision = revision.as_ref().clone();
    revision.revision = Some(number);
    revision.metadata.uid.clone_from(&revision.metadata.name);
    revision
}

fn hash(image: &str) -> String {
    meta::labels(&revision(image, 1).metadata)[POD_HASH].clone()
}

/// A daemon of an image on a node, ready from the beginning.
fn daemon(name: &str, node: &str, image: &str) -> PodBuilder {
    let built = pod(name).owned_by(meta::controller_ref(&set(image))).on(node).ready(0);
    built.labelled(&[("app", "agent"), (POD_HASH, &hash(image))])
}

fn unready(name: &str, node: &str, image: &str) -> PodBuilder {
    let mut built = daemon(name, node, image);
    set_ready(&mut built.0, false, at(0));
    built
}

fn look(set: &DaemonSet, nodes: &[Node], pods: &[PodBuilder], revisions: &[ControllerRevision]) -> Plan {
    let nodes: Vec<Arc<Node>> = nodes.iter().cloned().map(Arc::new).collect();
    let pods: Vec<Arc<Pod>> = pods.iter().map(|pod| Arc::new(pod.0.clone())).collect();
    let revisions: Vec<Arc<ControllerRevision>> = revisions.iter().cloned().map(Arc::new).collect();
    let observed = Observed {
        set,
        pods: &pods,
        revisions: &revisions,
        nodes: &nodes,
        retry_at: &BTreeMap::from([("waits".to_owned(), at(500))]),
        now: at(100),
    };
    plan(&observed)
}

/// Looks at a set of which the revision is known.
#[track_caller]
fn check(set: &DaemonSet, nodes: &[Node], pods: &[PodBuilder], expected: &str) {
    let plan = look(set, nodes, pods, &[revision_of(set, 1)]);
    assert_eq!(plan.history, []);
    assert_eq!(lines(&plan.actions).trim_end(), expected);
}

#[test]
fn the_template_is_noted_down_before_the_first_pod_is_made() {
    let plan = look(&set("a:1"), &[node("n1")], &[], &[]);
    assert_eq!((lines(&plan.history).as_str(), plan.actions), ("note revision 1\n", vec![]));
}

#[test]
fn every_node_gets_one() {
    check(&set("a:1"), &[node("n1"), node("n2")], &[], "create on n1\ncreate on n2");
    check(&set("a:1"), &[node("n1"), node("n2")], &[daemon("d", "n1", "a:1")], "create on n2");
}

#[test]
fn a_node_selector_chooses_nodes_and_a_label_that_goes_takes_the_daemon_along() {
    let mut choosy = set("a:1");
    spec(&mut choosy).template.spec.get_or_insert_default().node_selector = Some(labels(&[("color", "blue")]));
    let mut blue = node("blue");
    blue.metadata.labels = Some(labels(&[("color", "blue")]));
    check(&choosy, &[blue.clone(), node("n")], &[], "create on blue");
    let there = [daemon("a", "blue", "a:1"), daemon("b", "n", "a:1")];
    check(&choosy, &[blue, node("n")], &there, "delete b: it is not wanted there");
}

#[test]
fn a_template_that_names_a_node_is_for_that_node() {
    let mut pinned = set("a:1");
    spec(&mut pinned).template.spec.get_or_insert_default().node_name = Some("n2".to_owned());
    check(&pinned, &[node("n1"), node("n2")], &[], "create on n2");
}

#[test]
fn taints_keep_daemons_away_or_drive_them_out() {
    let rows = [
        ("dedicated", "NoSchedule", Fate::Stay),
        ("dedicated", "NoExecute", Fate::Leave),
        ("dedicated", "PreferNoSchedule", Fate::Run),
        ("node.kubernetes.io/not-ready", "NoExecute", Fate::Run),
        ("node.kubernetes.io/unschedulable", "NoSchedule", Fate::Run),
        ("node.kubernetes.io/network-unavailable", "NoSchedule", Fate::Stay),
    ];
    for (key, effect, expected) in rows {
        assert_eq!(fate(&set("a:1"), &tainted("n", key, effect)), expected, "{key}:{effect}");
    }
    let mut tolerant = set("a:1");
    let pod = spec(&mut tolerant).template.spec.get_or_insert_default();
    pod.tolerations = Some(vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }]);
    assert_eq!(fate(&tolerant, &tainted("n", "dedicated", "NoExecute")), Fate::Run);
    let mut networked = set("a:1");
    spec(&mut networked).template.spec.get_or_insert_default().host_network = Some(true);
    assert_eq!(fate(&networked, &tainted("n", "node.kubernetes.io/network-unavailable", "NoSchedule")), Fate::Run);
}

#[test]
fn a_node_that_takes_no_new_pods_keeps_its_daemon() {
    let nodes = [tainted("n", "dedicated", "NoSchedule")];
    check(&set("a:1"), &nodes, &[], "");
    check(&set("a:1"), &nodes, &[daemon("d", "n", "a:1")], "");
}

#[test]
fn a_failed_or_ended_daemon_is_deleted_and_replaced_when_it_is_gone() {
    let nodes = [node("n")];
    check(&set("a:1"), &nodes, &[daemon("d", "n", "a:1").phase("Failed")], "delete d: it failed on n");
    check(&set("a:1"), &nodes, &[daemon("d", "n", "a:1").phase("Succeeded")], "delete d: it ended on n");
    check(&set("a:1"), &nodes, &[daemon("d", "n", "a:1").deleting()], "");
    check(&set("a:1"), &nodes, &[daemon("d", "n", "a:1").phase("Failed").deleting()], "create on n");
}

#[test]
fn a_daemon_that_keeps_failing_waits() {
    let failed = [daemon("d", "waits", "a:1").phase("Failed")];
    let plan = look(&set("a:1"), &[node("waits")], &failed, &[revision("a:1", 1)]);
    assert_eq!((plan.actions, plan.revisit_at), (vec![], Some(at(500))));
}

#[test]
fn of_two_on_a_node_the_bound_and_older_one_stays() {
    let older = || daemon("z", "n", "a:1").created(1);
    check(&set("a:1"), &[node("n")], &[daemon("a", "n", "a:1").created(9), older()], "delete a: another does its work");
    let mut waiting = nodes::build(&set("a:1"), "n", &hash("a:1"));
    waiting.metadata = metadata("waiting");
    waiting.metadata.owner_references = older().0.metadata.owner_references;
    waiting.metadata.labels = older().0.metadata.labels;
    check(&set("a:1"), &[node("n")], &[PodBuilder(waiting), older()], "delete waiting: another does its work");
}

#[test]
fn a_daemon_that_waits_for_a_node_that_is_gone_is_deleted_and_a_bound_one_left_to_others() {
    let mut waiting = PodBuilder(nodes::build(&set("a:1"), "gone", &hash("a:1")));
    waiting.0.metadata.name = Some("w".to_owned());
    check(&set("a:1"), &[], &[waiting], "delete w: it is not wanted there");
    check(&set("a:1"), &[], &[daemon("d", "gone", "a:1")], "");
}

#[test]
fn orphans_are_adopted_and_strays_released() {
    let orphan = || pod("o").labelled(&[("app", "agent"), (POD_HASH, &hash("a:1"))]).on("n").ready(0);
    check(&set("a:1"), &[node("n")], &[orphan()], "adopt o: no controller, labels match");
    let stray = daemon("s", "n", "a:1").labelled(&[("app", "other")]);
    check(&set("a:1"), &[node("n")], &[stray], "release s: labels no longer match\ncreate on n");
}

#[test]
fn a_set_that_goes_or_selects_everything_does_nothing() {
    let mut going = set("a:1");
    going.metadata.deletion_timestamp = Some(meta::time(at(1)));
    assert_eq!(look(&going, &[node("n")], &[], &[]), Plan::default());
    let mut everything = set("a:1");
    spec(&mut everything).selector.match_labels = None;
    assert_eq!(look(&everything, &[node("n")], &[], &[]), Plan::default());
}

#[test]
fn the_pod_of_a_node_may_go_nowhere_else_and_tolerates_what_daemons_do() {
    let mut own = set("a:1");
    let mut affinity = k8s_openapi::api::core::v1::Affinity::default();
    affinity.node_affinity.get_or_insert_default().required_during_scheduling_ignored_during_execution =
        Some(k8s_openapi::api::core::v1::NodeSelector::default());
    spec(&mut own).template.spec.get_or_insert_default().affinity = Some(affinity);
    let built = nodes::build(&own, "n7", "abc");
    assert_eq!(nodes::target(&built), Some("n7"));
    assert_eq!(meta::labels(&built.metadata)[POD_HASH], "abc");
    assert_eq!(built.metadata.generate_name.as_deref(), Some("agent-"));
    let tolerations = built.spec.unwrap_or_default().tolerations.unwrap_or_default();
    assert_eq!(tolerations.len(), 6);
    assert!(tolerations.iter().all(|toleration| toleration.operator.as_deref() == Some("Exists")));
}

fn revisions() -> [ControllerRevision; 2] {
    [revision("a:0", 1), revision("a:1", 2)]
}

#[track_caller]
fn check_rollout(set: &DaemonSet, pods: &[PodBuilder], expected: &str) {
    let nodes = [node("n1"), node("n2"), node("n3")];
    assert_eq!(lines(&look(set, &nodes, pods, &revisions()).actions).trim_end(), expected);
}

#[test]
fn a_rolling_update_takes_away_no_more_than_it_may() {
    let old = |name: &str, node: &str| daemon(name, node, "a:0");
    let delete = |name: &str| format!("delete {name}: of an earlier template");
    let all = || [old("d1", "n1"), old("d2", "n2"), old("d3", "n3")];
    check_rollout(&set("a:1"), &all(), &delete("d1"));
    check_rollout(&rolling(set("a:1"), 2, 0), &all(), &format!("{}\n{}", delete("d1"), delete("d2")));
    check_rollout(&set("a:1"), &[old("d1", "n1").deleting(), old("d2", "n2"), old("d3", "n3")], "");
    check_rollout(&set("a:1"), &[unready("e1", "n1", "a:1"), old("d2", "n2"), old("d3", "n3")], "");
    check_rollout(&set("a:1"), &[daemon("e1", "n1", "a:1"), old("d2", "n2"), old("d3", "n3")], &delete("d2"));
}

#[test]
fn an_old_pod_that_serves_nobody_is_replaced_at_once() {
    let pods = [unready("d1", "n1", "a:0"), unready("d2", "n2", "a:0"), unready("e3", "n3", "a:1")];
    let expected = "delete d1: of an earlier template\ndelete d2: of an earlier template";
    check_rollout(&set("a:1"), &pods, expected);
}

#[test]
fn a_rollout_waits_until_every_node_has_its_daemon() {
    check_rollout(&set("a:1"), &[daemon("d1", "n1", "a:0"), daemon("d2", "n2", "a:0")], "create on n3");
}

#[test]
fn on_delete_waits_for_somebody_to_delete_pods() {
    let mut patient = set("a:1");
    spec(&mut patient).update_strategy.get_or_insert_default().type_ = Some("OnDelete".to_owned());
    let pods = [daemon("d1", "n1", "a:0"), daemon("d2", "n2", "a:0"), daemon("d3", "n3", "a:0")];
    check_rollout(&patient, &pods, "");
    check_rollout(&patient, &pods[1..], "create on n1");
}

#[test]
fn a_surge_starts_the_new_pod_first() {
    let surging = || rolling(set("a:1"), 0, 1);
    let old = |name: &str, node: &str| daemon(name, node, "a:0");
    let (d2, d3) = (|| old("d2", "n2"), || old("d3", "n3"));
    check_rollout(&surging(), &[old("d1", "n1"), d2(), d3()], "create on n1");
    check_rollout(&surging(), &[old("d1", "n1"), unready("e1", "n1", "a:1"), d2(), d3()], "");
    let replaced = "delete d1: another does its work";
    check_rollout(&surging(), &[old("d1", "n1"), daemon("e1", "n1", "a:1"), d2(), d3()], replaced);
    check_rollout(&surging(), &[unready("d1", "n1", "a:0"), d2(), d3()], "create on n1\ncreate on n2");
    let useless = [unready("d1", "n1", "a:0"), unready("e1", "n1", "a:1"), d2(), d3()];
    check_rollout(&surging(), &useless, "delete d1: another does its work");
}

#[test]
fn limits_in_percent_are_rounded_up_and_never_both_zero() {
    let budget = |unavailable: &str, surge: &str, nodes| {
        let value = |text: &str| text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int);
        let mut set = set("a:1");
        spec(&mut set).update_strategy.get_or_insert_default().rolling_update =
            Some(RollingUpdateDaemonSet { max_unavailable: Some(value(unavailable)), max_surge: Some(value(surge)) });
        let Budget { unavailable, surge } = Budget::of(&set, nodes);
        (unavailable, surge)
    };
    assert_eq!(budget("1", "0", 5), (1, 0));
    assert_eq!(budget("10%", "0", 11), (2, 0));
    assert_eq!(budget("0", "30%", 10), (0, 3));
    assert_eq!(budget("0", "0%", 10), (1, 0));
    assert_eq!(Budget::of(&DaemonSet::default(), 3), Budget { unavailable: 1, surge: 0 });
}

#[test]
fn the_status_counts_nodes() {
    let mut slow = set("a:1");
    spec(&mut slow).min_ready_seconds = Some(30);
    slow.metadata.generation = Some(4);
    let mut fresh = daemon("d2", "n2", "a:1");
    set_ready(&mut fresh.0, true, at(90));
    let pods = [
        daemon("d1", "n1", "a:0"),
        fresh,
        unready("d3", "n3", "a:1"),
        daemon("d5", "n5", "a:1"),
        daemon("gone", "nowhere", "a:1"),
    ];
    let closed = tainted("n5", "k", "NoSchedule");
    let nodes = [node("n1"), node("n2"), node("n3"), node("n4"), closed];
    let plan = look(&slow, &nodes, &pods, &revisions());
    let status = plan.status;
    assert_eq!(
        (status.desired_number_scheduled, status.current_number_scheduled, status.number_misscheduled),
        (4, 3, 1)
    );
    assert_eq!((status.number_ready, status.number_available, status.number_unavailable), (2, Some(1), Some(3)));
    assert_eq!((status.updated_number_scheduled, status.observed_generation), (Some(2), Some(4)));
    assert_eq!(plan.revisit_at, Some(at(120)), "d2 becomes available");
}

#[test]
fn old_revisions_go_but_not_those_of_living_pods() {
    let mut short = set("a:3");
    spec(&mut short).revision_history_limit = Some(0);
    let revisions = [revision("a:0", 1), revision("a:1", 2), revision("a:3", 3)];
    let forgotten = meta::name(&revisions[1].metadata).to_owned();
    let plan = look(&short, &[node("n")], &[daemon("d", "n", "a:0").deleting()], &revisions);
    assert_eq!(lines(&plan.history), format!("forget revision {forgotten}\n"));
}

/// Nodes, daemons that live and die by chance, and whoever performs plans.
struct Cluster {
    set: DaemonSet,
    nodes: Vec<Node>,
    pods: Vec<PodBuilder>,
    revisions: Vec<ControllerRevision>,
    born: usize,
    rng: Rng,
}

impl Cluster {
    fn new(set: DaemonSet, nodes: usize, seed: u64) -> Self {
        let nodes = (1..=nodes).map(|index| node(&format!("n{index}"))).collect();
        Self { set, nodes, pods: vec![], revisions: vec![], born: 0, rng: Rng::seeded(seed) }
    }

    fn look(&self) -> Plan {
        look(&self.set, &self.nodes, &self.pods, &self.revisions)
    }

    /// Performs a plan, but perhaps not to its end.
    fn perform(&mut self, plan: &Plan, steps: usize) {
        for step in plan.history.iter().take(steps) {
            match step {
                Step::Create(revision) => {
                    let mut revision = revision.as_ref().clone();
                    revision.metadata.uid = revision.metadata.name.clone();
                    self.revisions.push(revision);
                }
                Step::Renumber(target, number) => {
                    let known = self.revisions.iter_mut().find(|known| meta::uid(&known.metadata) == target.uid);
                    known.expect("exists").revision = Some(*number);
                }
                Step::Forget(target) => self.revisions.retain(|known| meta::uid(&known.metadata) != target.uid),
                Step::Adopt(_) | Step::Release(_) => unreachable!("not in this world"),
            }
        }
        for action in plan.actions.iter().take(steps) {
            match action {
                Action::Create(node) => {
                    self.born += 1;
                    let mut pod = nodes::build(&self.set, node, &plan.hash);
                    let name = format!("p{}", self.born);
                    pod.metadata.uid = Some(format!("uid-{name}"));
                    pod.metadata.name = Some(name);
                    self.pods.push(PodBuilder(pod));
                }
                Action::Delete(target, _) => {
                    let pod = self.pods.iter_mut().find(|pod| meta::uid(&pod.0.metadata) == target.uid);
                    pod.expect("exists").0.metadata.deletion_timestamp = Some(meta::time(at(1)));
                }
                Action::Adopt(_) | Action::Release(_) => unreachable!("not in this world"),
            }
        }
    }

    /// Pods are bound, become ready and go; while the storm lasts some fail.
    fn live(&mut self, storm: bool) {
        let rng = self.rng.clone();
        self.pods.retain(|pod| !meta::is_deleting(&pod.0.metadata) || rng.below(2) == 0);
        for pod in &mut self.pods {
            if storm && rng.below(12) == 0 {
                pod.0.status.get_or_insert_default().phase = Some("Failed".to_owned());
            } else if pods::is_active(&pod.0) && !pods::is_ready(&pod.0) && rng.below(2) == 0 {
                let node = nodes::target(&pod.0).map(str::to_owned);
                pod.0.spec.get_or_insert_default().node_name = node;
                pod.0.status.get_or_insert_default().phase = Some("Running".to_owned());
                set_ready(&mut pod.0, true, at(50));
            }
        }
        shuffle(&mut self.pods, &rng);
    }

    fn available(&self) -> usize {
        let is_serving = |pod: &&PodBuilder| pods::is_ready(&pod.0) && pods::is_active(&pod.0);
        self.pods.iter().filter(is_serving).count()
    }

    fn is_settled(&self) -> bool {
        let image = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
        let wanted = self.set.spec.template.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
        self.pods.len() == self.nodes.len()
            && self.available() == self.nodes.len()
            && self.pods.iter().all(|pod| image(&pod.0) == wanted)
    }
}

#[test]
fn whatever_happens_every_node_ends_up_with_one_new_daemon() {
    for seed in 0..40 {
        let rng = Rng::seeded(seed);
        let limits = [(1, 0), (2, 0), (0, 1), (0, 2)][rng.below(4)];
        let mut cluster = Cluster::new(rolling(set("a:1"), limits.0, limits.1), 1 + rng.below(5), seed);
        for round in 0..250 {
            let storm = round < 40;
            if round == 10 + rng.below(20) {
                spec(&mut cluster.set).template = template("agent", "a:2");
            }
            let plan = cluster.look();
            let steps = if storm { rng.below(4) } else { usize::MAX };
            cluster.perform(&plan, steps);
            cluster.live(storm);
        }
        assert!(cluster.is_settled(), "seed {seed}: {:#?}", lines(&cluster.look().actions));
        assert_eq!(cluster.look().actions, [], "seed {seed}: rests");
    }
}

#[test]
fn without_failures_a_rollout_never_takes_more_than_it_may() {
    for seed in 0..25 {
        let rng = Rng::seeded(seed);
        let (unavailable, surge) = [(1, 0), (2, 0), (0, 1), (0, 3)][rng.below(4)];
        let mut cluster = Cluster::new(rolling(set("a:1"), unavailable, surge), 5, seed);
        for _ in 0..60 {
            let plan = cluster.look();
            cluster.perform(&plan, usize::MAX);
            cluster.live(false);
        }
        assert!(cluster.is_settled(), "seed {seed}");
        spec(&mut cluster.set).template = template("agent", "a:2");
        for _ in 0..200 {
            let plan = cluster.look();
            cluster.perform(&plan, 1 + rng.below(3));
            let least = 5 - usize::try_from(unavailable).expect("small");
            assert!(cluster.available() >= least, "seed {seed}: {} of 5 serve", cluster.available());
            cluster.live(false);
        }
        assert!(cluster.is_settled(), "seed {seed}: {}", lines(&cluster.look().actions));
    }
}

#[test]
fn a_rollout_and_the_way_back() {
    let mut cluster = Cluster::new(set("a:1"), 2, 7);
    let mut story = String::new();
    for image in ["a:1", "a:2", "a:1"] {
        spec(&mut cluster.set).template = template("agent", image);
        writeln!(story, "{image}").expect("written");
        while !cluster.is_settled() || !cluster.look().history.is_empty() {
            let plan = cluster.look();
            let hashes: Vec<String> = plan
                .history
                .iter()
                .map(|step| match step {
                    Step::Renumber(_, number) => format!("  an old revision becomes number {number}"),
                    other => format!("  {other}"),
                })
                .collect();
            let actions = plan.actions.iter().map(|action| format!("  {action}"));
            for line in hashes.into_iter().chain(actions) {
                writeln!(story, "{line}").expect("written");
            }
            cluster.perform(&plan, usize::MAX);
            cluster.live(false);
        }
    }
    let expected = "\
a:1
  note revision 1
  create on n1
  create on n2
a:2
  note revision 2
  delete p1: of an earlier template
  create on n1
  delete p2: of an earlier template
  create on n2
a:1
  an old revision becomes number 3
  delete p3: of an earlier template
  create on n1
  delete p4: of an earlier template
  create on n2
";
    assert_eq!(story, expected);
}

#[test]
fn a_burst_is_limited() {
    let nodes: Vec<Node> = (0..300).map(|index| node(&format!("n{index}"))).collect();
    assert_eq!(look(&set("a:1"), &nodes, &[], &[revision("a:1", 1)]).actions.len(), 250);
}
