//! One case per sentence of the `StatefulSet`'s documentation, properties over random worlds, and one printed rollout.

use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetOrdinals,
    StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wkube_base::Rng;

use super::claims::Claims;
use super::identity;
use super::plan::{Action, Observed, Plan, plan};
use crate::common::history::{POD_HASH, Step};
use crate::common::{meta, pods};
use crate::testing::{PodBuilder, app_selector, at, labels, lines, metadata, set_ready, shuffle, template};

fn set(replicas: i32, image: &str) -> StatefulSet {
    let spec = StatefulSetSpec {
        replicas: Some(replicas),
        selector: app_selector("db"),
        service_name: Some("dbs".to_owned()),
        template: template("db", image),
        ..StatefulSetSpec::default()
    };
    StatefulSet { metadata: metadata("db"), spec, status: None }
}

fn parallel(replicas: i32) -> StatefulSet {
    let mut set = set(replicas, "a:1");
    set.spec.pod_management_policy = Some("Parallel".to_owned());
    set
}

fn rolling(mut set: StatefulSet, partition: i32, unavailable: Option<i32>) -> StatefulSet {
    let rolling = RollingUpdateStatefulSetStrategy {
        partition: Some(partition),
        max_unavailable: unavailable.map(IntOrString::Int),
    };
    set.spec.update_strategy =
        Some(StatefulSetUpdateStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) });
    set
}

/// With a claim `data` for each pod, kept or deleted when the set is deleted and when it shrinks.
fn with_claims(mut set: StatefulSet, deleted: &str, scaled: &str) -> StatefulSet {
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.name = Some("data".to_owned());
    set.spec.volume_claim_templates = Some(vec![claim]);
    set.spec.persistent_volume_claim_retention_policy = Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(deleted.to_owned()),
        when_scaled: Some(scaled.to_owned()),
    });
    set
}

fn revision(image: &str, number: i64) -> ControllerRevision {
    let plan = observe(&set(1, image), &[], &[], &Claims::new());
    let [Step::Create(revision)] = plan.history.as_slice() else { panic!("notes it down") };
    let mut revision = revision.as_ref().clone();
    revision.revision = Some(number);
    revision.metadata.uid.clone_from(&revision.metadata.name);
    revision
}

fn name_of(image: &str) -> String {
    meta::name(&revision(image, 1).metadata).to_owned()
}

/// A pod of the set, running and ready from the beginning.
fn own(ordinal: i32, image: &str) -> PodBuilder {
    let mut built = identity::build(&set(1, image), &template("db", image), &name_of(image), ordinal);
    built.metadata.uid = Some(format!("uid-{ordinal}"));
    PodBuilder(built).on("n").ready(0)
}

fn unready(ordinal: i32, image: &str) -> PodBuilder {
    let mut built = own(ordinal, image);
    set_ready(&mut built.0, false, at(0));
    built
}

fn observe(set: &StatefulSet, pods: &[PodBuilder], revisions: &[ControllerRevision], claims: &Claims) -> Plan {
    let pods: Vec<Arc<Pod>> = pods.iter().map(|pod| Arc::new(pod.0.clone())).collect();
    let revisions: Vec<Arc<ControllerRevision>> = revisions.iter().cloned().map(Arc::new).collect();
    plan(&Observed { set, pods: &pods, revisions: &revisions, claims, now: at(100) })
}

/// Looks at a set that goes from the image `a:0` to `a:1`.
fn look(set: &StatefulSet, pods: &[PodBuilder]) -> Plan {
    let mut set = set.clone();
    set.status.get_or_insert_default().current_revision = Some(name_of("a:0"));
    observe(&set, pods, &[revision("a:0", 1), revision("a:1", 2)], &Claims::new())
}

#[track_caller]
fn check(set: &StatefulSet, pods: &[PodBuilder], expected: &str) {
    let plan = look(set, pods);
    assert_eq!(plan.history, []);
    assert_eq!(lines(&plan.actions).trim_end(), expected);
}

fn made(plan: &Plan) -> &Pod {
    let made = plan.actions.iter().find_map(|action| match action {
        Action::Create(pod) => Some(pod),
        _ => None,
    });
    made.expect("a pod is made")
}

#[test]
fn the_template_is_noted_down_before_the_first_pod_is_made() {
    let plan = observe(&set(3, "a:1"), &[], &[], &Claims::new());
    assert_eq!((lines(&plan.history).as_str(), plan.actions), ("note revision 1\n", vec![]));
}

#[test]
fn pods_are_made_in_order_each_when_the_one_before_is_available() {
    check(&set(3, "a:1"), &[], "create db-0");
    check(&set(3, "a:1"), &[unready(0, "a:1")], "");
    check(&set(3, "a:1"), &[own(0, "a:1")], "create db-1");
    check(&set(3, "a:1"), &[own(1, "a:1"), own(2, "a:1")], "create db-0");
    check(&set(3, "a:1"), &[own(0, "a:1").deleting(), own(1, "a:1")], "");
    let mut slow = set(3, "a:1");
    slow.spec.min_ready_seconds = Some(200);
    check(&slow, &[own(0, "a:1")], "");
    assert_eq!(look(&slow, &[own(0, "a:1")]).revisit_at, Some(at(200)));
}

#[test]
fn in_parallel_nobody_waits() {
    check(&parallel(3), &[], "create db-0\ncreate db-1\ncreate db-2");
    check(&parallel(3), &[unready(1, "a:1")], "create db-0\ncreate db-2");
    let pods = [own(0, "a:1"), unready(1, "a:1"), own(2, "a:1")];
    check(
        &parallel(0),
        &pods,
        "delete db-2: too many replicas\ndelete db-1: too many replicas\ndelete db-0: too many replicas",
    );
}

#[test]
fn numbers_may_start_anywhere() {
    let mut late = set(2, "a:1");
    late.spec.ordinals = Some(StatefulSetOrdinals { start: Some(5) });
    check(&late, &[], "create db-5");
    check(&late, &[own(0, "a:1"), own(5, "a:1"), own(6, "a:1")], "delete db-0: too many replicas");
}

#[test]
fn pods_go_in_reverse_order_each_when_all_others_are_well() {
    let pods = || [own(0, "a:1"), own(1, "a:1"), own(2, "a:1")];
    check(&set(1, "a:1"), &pods(), "delete db-2: too many replicas");
    check(&set(1, "a:1"), &[own(0, "a:1"), own(1, "a:1"), own(2, "a:1").deleting()], "");
    check(&set(1, "a:1"), &[unready(0, "a:1"), own(1, "a:1")], "");
    check(&set(1, "a:1"), &[own(0, "a:1"), unready(1, "a:1"), own(2, "a:1")], "delete db-2: too many replicas");
    check(&set(1, "a:1"), &[own(0, "a:1"), unready(1, "a:1"), unready(2, "a:1")], "");
    check(&set(1, "a:1"), &[own(0, "a:1"), unready(1, "a:1")], "delete db-1: too many replicas");
    let ended = [own(0, "a:1"), own(1, "a:1").phase("Failed"), own(2, "a:1").phase("Failed")];
    check(&set(1, "a:1"), &ended, "delete db-2: too many replicas");
    check(&set(0, "a:1"), &[own(0, "a:1")], "delete db-0: too many replicas");
}

#[test]
fn a_pod_that_has_ended_makes_room_for_another_of_its_name() {
    for phase in ["Failed", "Succeeded"] {
        check(&set(2, "a:1"), &[own(0, "a:1").phase(phase), own(1, "a:1")], "delete db-0: it has ended");
        check(&set(2, "a:1"), &[own(0, "a:1").phase(phase).deleting(), own(1, "a:1")], "");
    }
}

#[test]
fn an_update_goes_from_the_last_pod_to_the_first_one_at_a_time() {
    let old = |ordinal| own(ordinal, "a:0");
    check(&set(3, "a:1"), &[old(0), old(1), old(2)], "delete db-2: of an earlier template");
    check(&set(3, "a:1"), &[old(0), old(1), old(2).deleting()], "");
    check(&set(3, "a:1"), &[old(0), old(1)], "create db-2");
    check(&set(3, "a:1"), &[old(0), old(1), unready(2, "a:1")], "");
    check(&set(3, "a:1"), &[old(0), old(1), own(2, "a:1")], "delete db-1: of an earlier template");
    check(&set(3, "a:1"), &[own(0, "a:1"), own(1, "a:1"), own(2, "a:1")], "");
}

#[test]
fn more_may_be_replaced_at_once_if_the_strategy_says_so() {
    let pods = || [own(0, "a:0"), own(1, "a:0"), own(2, "a:0")];
    let two = "delete db-2: of an earlier template\ndelete db-1: of an earlier template";
    check(&rolling(set(3, "a:1"), 0, Some(2)), &pods(), two);
    let mut one_left = rolling(parallel(3), 0, Some(2));
    one_left.spec.replicas = Some(3);
    let busy = [own(0, "a:0"), own(1, "a:0"), unready(2, "a:1")];
    check(&one_left, &busy, "delete db-1: of an earlier template");
}

#[test]
fn a_partition_keeps_the_pods_below_it_at_the_old_template() {
    let canary = || rolling(set(3, "a:1"), 2, None);
    check(&canary(), &[own(0, "a:0"), own(1, "a:0"), own(2, "a:0")], "delete db-2: of an earlier template");
    check(&canary(), &[own(0, "a:0"), own(1, "a:0"), own(2, "a:1")], "");
    let image = |pods: &[PodBuilder]| {
        let plan = look(&canary(), pods);
        let pod = made(&plan);
        (pods_image(pod), meta::labels(&pod.metadata)[POD_HASH].clone())
    };
    assert_eq!(image(&[]), ("a:0".to_owned(), name_of("a:0")));
    assert_eq!(image(&[own(0, "a:0"), own(1, "a:0")]), ("a:1".to_owned(), name_of("a:1")));
}

fn pods_image(pod: &Pod) -> String {
    let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
    image.unwrap_or_default()
}

#[test]
fn on_delete_waits_for_somebody_to_delete_pods() {
    let mut patient = set(2, "a:1");
    patient.spec.update_strategy =
        Some(StatefulSetUpdateStrategy { type_: Some("OnDelete".to_owned()), rolling_update: None });
    check(&patient, &[own(0, "a:0"), own(1, "a:0")], "");
    assert_eq!(pods_image(made(&look(&patient, &[own(0, "a:0")]))), "a:1");
}

#[test]
fn a_pod_has_a_name_a_host_and_labels_of_its_own() {
    let plan = look(&set(1, "a:1"), &[]);
    let pod = made(&plan);
    let spec = pod.spec.as_ref().expect("a spec");
    assert_eq!((meta::name(&pod.metadata), spec.hostname.as_deref()), ("db-0", Some("db-0")));
    assert_eq!(spec.subdomain.as_deref(), Some("dbs"));
    let expected = labels(&[
        ("app", "db"),
        (POD_HASH, &name_of("a:1")),
        ("statefulset.kubernetes.io/pod-name", "db-0"),
        ("apps.kubernetes.io/pod-index", "0"),
    ]);
    assert_eq!(pod.metadata.labels, Some(expected));
}

#[test]
fn only_names_with_a_number_are_pods_of_the_set() {
    let named = |name: &str| {
        let mut pod = own(0, "a:1").0;
        pod.metadata.name = Some(name.to_owned());
        identity::ordinal_of(&set(1, "a:1"), &pod)
    };
    assert_eq!(named("db-0"), Some(0));
    assert_eq!(named("db-17"), Some(17));
    for stranger in ["db", "db-", "db-x", "db-+1", "other-1", "db-1-2", "db-99999999999"] {
        assert_eq!(named(stranger), None, "{stranger}");
    }
}

#[test]
fn orphans_are_adopted_and_get_their_labels_and_strays_are_released() {
    let mut orphan = own(0, "a:1").labelled(&[("app", "db"), (POD_HASH, &name_of("a:1"))]);
    orphan.0.metadata.owner_references = None;
    check(&set(1, "a:1"), &[orphan], "adopt db-0: no controller, labels match\nlabel db-0 as number 0");
    let stray = own(0, "a:1").labelled(&[("app", "other")]);
    check(&set(1, "a:1"), &[stray], "release db-0: no longer one of ours\ncreate db-0");
}

#[test]
fn a_set_that_goes_does_nothing() {
    let mut going = set(3, "a:1");
    going.metadata.deletion_timestamp = Some(meta::time(at(1)));
    assert_eq!(look(&going, &[]).actions, []);
}

fn claims(set: &StatefulSet, numbers: &[i32]) -> Claims {
    let made = numbers.iter().flat_map(|number| super::claims::missing(set, &Claims::new(), *number));
    let read = |action| match action {
        Action::Claim(mut claim) => {
            claim.metadata.uid.clone_from(&claim.metadata.name);
            (meta::name(&claim.metadata).to_owned(), Arc::new(*claim))
        }
        other => panic!("a claim, not {other}"),
    };
    made.map(read).collect()
}

#[track_caller]
fn check_claims(set: &StatefulSet, pods: &[PodBuilder], claims: &Claims, expected: &str) {
    let plan = observe(set, pods, &[revision("a:1", 1)], claims);
    assert_eq!(lines(&plan.actions).trim_end(), expected);
}

#[test]
fn a_pod_s_claims_are_made_before_it_and_mounted_in_place_of_volumes() {
    let mut set = with_claims(set(1, "a:1"), "Retain", "Retain");
    check_claims(&set, &[], &Claims::new(), "claim data-db-0\ncreate db-0");
    check_claims(&set, &[], &claims(&set, &[0]), "create db-0");
    check_claims(&set, &[unready(0, "a:1").phase("Pending")], &Claims::new(), "claim data-db-0");
    let volume = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    set.spec.template.spec.get_or_insert_default().volumes = Some(vec![volume("data"), volume("other")]);
    let pod = identity::build(&set, &set.spec.template, "r", 3);
    let volumes = pod.spec.and_then(|spec| spec.volumes).unwrap_or_default();
    assert_eq!(volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>(), ["data", "other"]);
    let claimed = volumes[0].persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str());
    assert_eq!(claimed, Some("data-db-3"));
    let made = claims(&set, &[0]);
    assert_eq!(made["data-db-0"].metadata.labels, Some(labels(&[("app", "db")])), "selected as the pods are");
}

#[test]
fn claims_go_with_whom_the_policy_says() {
    let both = || [own(0, "a:1"), own(1, "a:1")];
    let kept = with_claims(set(1, "a:1"), "Retain", "Retain");
    let of_set = with_claims(set(1, "a:1"), "Delete", "Retain");
    let of_pods = with_claims(set(1, "a:1"), "Retain", "Delete");
    let of_both = with_claims(set(1, "a:1"), "Delete", "Delete");
    let gone = "delete db-1: too many replicas";
    check_claims(&kept, &both(), &claims(&kept, &[0, 1]), gone);
    check_claims(&of_set, &both(), &claims(&of_set, &[0, 1]), gone);
    let with_pod = format!("data-db-1 goes with [Pod db-1]\n{gone}");
    check_claims(&of_pods, &both(), &claims(&of_pods, &[0, 1]), &with_pod);
    check_claims(&of_both, &both(), &claims(&of_both, &[0, 1]), &with_pod);
    let changed = format!("data-db-0 goes with [StatefulSet db]\ndata-db-1 goes with [StatefulSet db]\n{gone}");
    check_claims(&of_set, &both(), &claims(&kept, &[0, 1]), &changed);
    let freed = format!("data-db-0 goes with []\ndata-db-1 goes with []\n{gone}");
    check_claims(&kept, &both(), &claims(&of_set, &[0, 1]), &freed);
}

#[test]
fn a_new_pod_waits_until_the_claim_of_the_last_one_is_gone() {
    let set = with_claims(set(1, "a:1"), "Retain", "Delete");
    let mut stale = claims(&set, &[0]);
    let claim = Arc::make_mut(stale.get_mut("data-db-0").expect("there"));
    claim.metadata.owner_references = Some(vec![meta::controller_ref(&own(0, "a:1").0)]);
    check_claims(&set, &[], &stale, "");
}

#[test]
fn the_status_counts_pods_and_ends_an_update() {
    let mut slow = set(3, "a:1");
    slow.spec.min_ready_seconds = Some(30);
    slow.metadata.generation = Some(9);
    let mut fresh = own(2, "a:1");
    set_ready(&mut fresh.0, true, at(90));
    let status = look(&slow, &[own(0, "a:0"), unready(1, "a:0"), fresh]).status;
    assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (3, Some(2), Some(1)));
    assert_eq!((status.current_replicas, status.updated_replicas), (Some(2), Some(1)));
    assert_eq!((status.current_revision, status.update_revision), (Some(name_of("a:0")), Some(name_of("a:1"))));
    assert_eq!(status.observed_generation, Some(9));

    let done = look(&set(2, "a:1"), &[own(0, "a:1"), own(1, "a:1")]).status;
    assert_eq!((done.current_revision, done.current_replicas), (Some(name_of("a:1")), Some(2)));
}

#[test]
fn old_revisions_go_but_not_those_in_use() {
    let mut short = set(1, "a:1");
    short.spec.revision_history_limit = Some(0);
    short.status.get_or_insert_default().current_revision = Some(name_of("a:0"));
    let revisions = [revision("a:8", 1), revision("a:9", 2), revision("a:0", 3), revision("a:1", 4)];
    let plan = observe(&short, &[own(0, "a:9")], &revisions, &Claims::new());
    assert_eq!(lines(&plan.history), format!("forget revision {}\n", name_of("a:8")));
}

/// Pods that live and die by chance, and whoever performs plans.
struct Cluster {
    set: StatefulSet,
    pods: Vec<PodBuilder>,
    revisions: Vec<ControllerRevision>,
    born: usize,
    rng: Rng,
}

impl Cluster {
    fn new(set: StatefulSet, seed: u64) -> Self {
        Self { set, pods: vec![], revisions: vec![], born: 0, rng: Rng::seeded(seed) }
    }

    fn look(&self) -> Plan {
        observe(&self.set, &self.pods, &self.revisions, &Claims::new())
    }

    fn perform(&mut self, plan: Plan, steps: usize) {
        for step in plan.history {
            match step {
                Step::Create(revision) => {
                    let mut revision = *revision;
                    revision.metadata.uid.clone_from(&revision.metadata.name);
                    self.revisions.push(revision);
                }
                Step::Renumber(target, number) => {
                    let known = self.revisions.iter_mut().find(|known| meta::uid(&known.metadata) == target.uid);
                    known.expect("exists").revision = Some(number);
                }
                Step::Forget(target) => self.revisions.retain(|known| meta::uid(&known.metadata) != target.uid),
                Step::Adopt(_) | Step::Release(_) => unreachable!("not in this world"),
            }
        }
        for action in plan.actions.into_iter().take(steps) {
            match action {
                Action::Create(mut pod) => {
                    let name = pod.metadata.name.clone();
                    assert!(self.pods.iter().all(|other| other.0.metadata.name != name), "{name:?} is there");
                    self.born += 1;
                    pod.metadata.uid = Some(format!("uid-{}", self.born));
                    self.pods.push(PodBuilder(*pod));
                }
                Action::Delete(target, _) => {
                    let pod = self.pods.iter_mut().find(|pod| meta::uid(&pod.0.metadata) == target.uid);
                    pod.expect("exists").0.metadata.deletion_timestamp = Some(meta::time(at(1)));
                }
                other => unreachable!("not in this world: {other}"),
            }
        }
        self.set.status = Some(plan.status);
    }

    /// Pods become ready and go; while the storm lasts some fail.
    fn live(&mut self, storm: bool) {
        let rng = self.rng.clone();
        self.pods.retain(|pod| !meta::is_deleting(&pod.0.metadata) || rng.below(2) == 0);
        for pod in &mut self.pods {
            if storm && rng.below(12) == 0 {
                pod.0.status.get_or_insert_default().phase = Some("Failed".to_owned());
            } else if pods::is_active(&pod.0) && !pods::is_ready(&pod.0) && rng.below(2) == 0 {
                pod.0.status.get_or_insert_default().phase = Some("Running".to_owned());
                set_ready(&mut pod.0, true, at(50));
            }
        }
        shuffle(&mut self.pods, &rng);
    }

    fn is_settled(&self) -> bool {
        let wanted = self.set.spec.template.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
        let is_done =
            |pod: &PodBuilder| pods::is_ready(&pod.0) && pods::is_active(&pod.0) && Some(pods_image(&pod.0)) == wanted;
        let count = usize::try_from(self.set.spec.replicas.unwrap_or_default()).expect("small");
        self.pods.len() == count && self.pods.iter().all(is_done)
    }
}

#[test]
fn whatever_happens_every_number_ends_up_with_one_new_pod() {
    for seed in 0..40 {
        let rng = Rng::seeded(seed);
        let base = if rng.below(2) == 0 { set(1, "a:1") } else { parallel(1) };
        let mut cluster = Cluster::new(rolling(base, 0, Some(1 + i32::from(rng.below(2) == 0))), seed);
        for round in 0..200 {
            let storm = round < 60;
            if storm && rng.below(15) == 0 {
                cluster.set.spec.replicas = i32::try_from(rng.below(6)).ok();
            }
            if round == 20 {
                cluster.set.spec.template = template("db", "a:2");
            }
            let plan = cluster.look();
            let steps = if storm { rng.below(3) } else { usize::MAX };
            cluster.perform(plan, steps);
            cluster.live(storm);
        }
        assert!(cluster.is_settled(), "seed {seed}: {}", lines(&cluster.look().actions));
        assert_eq!(cluster.look().actions, [], "seed {seed}: rests");
    }
}

#[test]
fn a_rollout_and_a_smaller_set() {
    let mut cluster = Cluster::new(set(2, "a:1"), 3);
    let mut story = String::new();
    for (replicas, image) in [(2, "a:1"), (2, "a:2"), (1, "a:2")] {
        cluster.set.spec.replicas = Some(replicas);
        cluster.set.spec.template = template("db", image);
        writeln!(story, "{replicas} of {image}").expect("written");
        while !cluster.is_settled() || !cluster.look().history.is_empty() {
            let plan = cluster.look();
            for line in lines(&plan.history).lines().chain(lines(&plan.actions).lines()) {
                writeln!(story, "  {line}").expect("written");
            }
            cluster.perform(plan, usize::MAX);
            cluster.live(false);
        }
    }
    let expected = "\
2 of a:1
  note revision 1
  create db-0
  create db-1
2 of a:2
  note revision 2
  delete db-1: of an earlier template
  create db-1
  delete db-0: of an earlier template
  create db-0
1 of a:2
  delete db-1: too many replicas
";
    assert_eq!(story, expected);
}
