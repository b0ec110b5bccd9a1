//! What is noted down, brought back and forgotten.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::POD_HASH;
use super::plan::{History, Keeper, Step, hash_of, template_of};
use crate::common::meta;
use crate::testing::{app_selector, at, lines, metadata, template};

struct Workload {
    set: DaemonSet,
    selector: LabelSelector,
    template: PodTemplateSpec,
    collisions: Option<i32>,
}

impl Workload {
    fn of(image: &str) -> Self {
        let set = DaemonSet { metadata: metadata("agent"), ..DaemonSet::default() };
        Self { set, selector: app_selector("agent"), template: template("agent", image), collisions: None }
    }

    fn keeper(&self) -> Keeper<'_> {
        Keeper {
            meta: &self.set.metadata,
            owner: meta::controller_ref(&self.set),
            selector: &self.selector,
            template: &self.template,
            collisions: self.collisions,
            hash_label: POD_HASH,
        }
    }

    fn steps(&self, revisions: &[Arc<ControllerRevision>]) -> Vec<Step> {
        History::read(&self.keeper(), revisions).steps(&self.keeper())
    }
}

/// The revision of an image, as it would be noted down.
fn noted(image: &str, number: i64) -> ControllerRevision {
    let workload = Workload::of(image);
    let steps = workload.steps(&[]);
    let [Step::Create(revision)] = steps.as_slice() else { panic!("creates one: {steps:?}") };
    let mut revision = revision.as_ref().clone();
    revision.revision = Some(number);
    revision.metadata.uid = Some(format!("uid-{image}"));
    revision
}

fn arcs(revisions: &[ControllerRevision]) -> Vec<Arc<ControllerRevision>> {
    revisions.iter().cloned().map(Arc::new).collect()
}

#[test]
fn the_first_template_is_noted_down_as_a_patch_that_brings_it_back() {
    let revision = noted("a:1", 1);
    let data = &revision.data.0;
    assert_eq!(data["spec"]["template"]["$patch"], "replace");
    assert_eq!(template_of(&revision), Some(template("agent", "a:1")));
    let hash = hash_of(&revision, POD_HASH).expect("a hash");
    assert_eq!(meta::name(&revision.metadata), format!("agent-{hash}"));
    assert_eq!(meta::labels(&revision.metadata)["app"], "agent", "selected as the pods are");
    assert_eq!(revision.metadata.owner_references, Some(vec![meta::controller_ref(&Workload::of("").set)]));
}

#[test]
fn a_known_template_is_left_as_it_is() {
    assert_eq!(Workload::of("a:1").steps(&arcs(&[noted("a:1", 1)])), []);
    assert_eq!(Workload::of("a:2").steps(&arcs(&[noted("a:1", 1), noted("a:2", 2)])), []);
}

#[test]
fn a_new_template_has_the_next_number() {
    let steps = Workload::of("a:3").steps(&arcs(&[noted("a:2", 7), noted("a:1", 1)]));
    assert_eq!(lines(&steps), "note revision 8\n");
}

#[test]
fn going_back_gives_the_old_revision_the_next_number() {
    let old = noted("a:1", 1);
    let name = meta::name(&old.metadata).to_owned();
    let steps = Workload::of("a:1").steps(&arcs(&[old, noted("a:2", 2)]));
    assert_eq!(lines(&steps), format!("revision {name} becomes number 3\n"));
}

#[test]
fn a_collision_gives_another_name_and_hash() {
    let mut workload = Workload::of("a:1");
    workload.collisions = Some(1);
    let steps = workload.steps(&[]);
    let [Step::Create(revision)] = steps.as_slice() else { panic!("creates one: {steps:?}") };
    assert_ne!(revision.metadata.name, noted("a:1", 1).metadata.name);
}

#[test]
fn orphans_are_adopted_and_count_at_once_and_strays_are_released() {
    let mut orphan = noted("a:1", 1);
    orphan.metadata.owner_references = None;
    let mut stray = noted("a:2", 2);
    stray.metadata.labels = None;
    let mut foreign = noted("a:3", 9);
    for owner in foreign.metadata.owner_references.iter_mut().flatten() {
        owner.uid = "another".to_owned();
    }
    let expected =
        format!("adopt revision {}\nrelease revision {}\n", meta::name(&orphan.metadata), meta::name(&stray.metadata));
    assert_eq!(lines(&Workload::of("a:1").steps(&arcs(&[orphan, stray, foreign]))), expected);
}

#[test]
fn a_workload_that_goes_takes_no_orphans_in() {
    let mut orphan = noted("a:1", 1);
    orphan.metadata.owner_references = None;
    let mut going = Workload::of("a:1");
    going.set.metadata.deletion_timestamp = Some(meta::time(at(1)));
    assert_eq!(lines(&going.steps(&arcs(&[orphan]))), "note revision 1\n");
}

#[test]
fn the_oldest_beyond_the_limit_go_unless_they_are_used() {
    let revisions = arcs(&[noted("a:1", 1), noted("a:2", 2), noted("a:3", 3), noted("a:4", 4)]);
    let workload = Workload::of("a:4");
    let history = History::read(&workload.keeper(), &revisions);
    let named = |image: &str| meta::name(&noted(image, 0).metadata).to_owned();
    let forget = |images: &[&str]| {
        lines(&images.iter().map(|image| format!("forget revision {}", named(image))).collect::<Vec<_>>())
    };
    assert_eq!(lines(&history.surplus(Some(2), |_| false)), forget(&["a:1"]));
    assert_eq!(lines(&history.surplus(Some(0), |_| false)), forget(&["a:1", "a:2", "a:3"]));
    assert_eq!(lines(&history.surplus(Some(0), |revision| revision.revision == Some(2))), forget(&["a:1", "a:3"]));
    assert_eq!(lines(&history.surplus(None, |_| false)), "", "ten by default");
}

#[test]
fn a_copy_of_the_current_revision_is_current_too() {
    let mut copy = noted("a:1", 2);
    copy.metadata.name = Some("agent-copy".to_owned());
    copy.metadata.labels.get_or_insert_default().insert(POD_HASH.to_owned(), "copy".to_owned());
    let revisions = arcs(&[copy, noted("a:1", 1)]);
    let workload = Workload::of("a:1");
    let history = History::read(&workload.keeper(), &revisions);
    assert_eq!(history.steps(&workload.keeper()), []);
    assert_eq!(history.current.last().map(|revision| meta::name(&revision.metadata)), Some("agent-copy"));
    assert_eq!(history.current_hashes(&workload.keeper()).len(), 2);
}
