//! What goes with its owner, what before it, what stays; and a whole cluster collected by chance.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use wkube_base::Rng;
use wkube_client::Propagation;

use super::graph::{Graph, Meta, Node};
use super::plan::{Action, FOREGROUND, ORPHAN, Observed, Owner, plan};
use crate::common::served::ServedKind;
use crate::testing::lines;

fn kind() -> Arc<ServedKind> {
    Arc::new(ServedKind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Thing".to_owned(),
        plural: "things".to_owned(),
        is_namespaced: true,
        verbs: vec![],
    })
}

fn thing(name: &str, owners: &[&str]) -> Meta {
    let reference = |owner: &&str| OwnerReference {
        uid: (*owner).to_owned(),
        block_owner_deletion: Some(true),
        ..OwnerReference::default()
    };
    Meta {
        name: name.to_owned(),
        uid: name.to_owned(),
        owner_references: owners.iter().map(reference).collect(),
        ..Meta::default()
    }
}

fn going(mut meta: Meta, finalizer: &str) -> Meta {
    meta.deletion_timestamp = Some("now".to_owned());
    meta.finalizers = vec![finalizer.to_owned()];
    meta
}

fn node(meta: Meta) -> Node {
    Node { kind: kind(), meta }
}

#[track_caller]
fn check(object: Meta, owners: &[Owner], dependents: &[Meta], expected: &[&str]) {
    let named: Vec<(String, Owner)> =
        owners.iter().enumerate().map(|(index, owner)| (format!("owner{index}"), *owner)).collect();
    let dependents: Vec<Arc<Node>> = dependents.iter().cloned().map(node).map(Arc::new).collect();
    let object = node(object);
    let observed = Observed {
        object: &object,
        owners: &named,
        dependents: &dependents,
        waits_in_circle: false,
        is_complete: true,
    };
    let actions = plan(&observed);
    assert_eq!(lines(&actions).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_has_no_owners_is_never_collected() {
    check(thing("a", &[]), &[], &[], &[]);
}

#[test]
fn what_has_lost_all_its_owners_is_deleted_in_the_background() {
    check(thing("a", &[]), &[Owner::Absent], &[], &["delete a (Background)"]);
    check(thing("a", &[]), &[Owner::Absent, Owner::Absent], &[thing("b", &["a"])], &["delete a (Background)"]);
}

#[test]
fn one_owner_is_enough_to_stay_and_the_others_are_forgotten() {
    check(thing("a", &[]), &[Owner::Solid], &[], &[]);
    check(thing("a", &[]), &[Owner::Solid, Owner::Absent, Owner::WaitsForUs], &[], &["a forgets owner1, owner2"]);
}

#[test]
fn a_doubt_about_any_owner_means_doing_nothing() {
    check(thing("a", &[]), &[Owner::Unknown], &[], &[]);
    check(thing("a", &[]), &[Owner::Absent, Owner::Unknown], &[], &[]);
    check(thing("a", &[]), &[Owner::Solid, Owner::Absent, Owner::Unknown], &[], &[]);
}

#[test]
fn an_owner_that_waits_takes_its_dependents_with_theirs_first() {
    check(thing("a", &[]), &[Owner::WaitsForUs], &[], &["delete a (Background)"]);
    check(thing("a", &[]), &[Owner::WaitsForUs], &[thing("b", &["a"])], &["delete a (Foreground)"]);
}

#[test]
fn an_object_that_is_to_leave_orphans_does_so_when_it_is_collected() {
    let mut leaving = thing("a", &[]);
    leaving.finalizers = vec![ORPHAN.to_owned()];
    check(leaving, &[Owner::Absent], &[thing("b", &["a"])], &["delete a (Orphan)"]);
}

#[test]
fn a_foreground_deletion_ends_when_nothing_blocks_it_any_more() {
    check(going(thing("a", &[]), FOREGROUND), &[], &[thing("b", &["a"])], &[]);
    check(going(thing("a", &[]), FOREGROUND), &[], &[], &["a loses foregroundDeletion"]);
    let mut free = thing("b", &["a"]);
    free.owner_references[0].block_owner_deletion = None;
    check(going(thing("a", &[]), FOREGROUND), &[], &[free], &["a loses foregroundDeletion"]);
}

#[test]
fn orphans_forget_their_owner_before_it_goes() {
    check(
        going(thing("a", &[]), ORPHAN),
        &[],
        &[thing("b", &["a"]), thing("c", &["a"])],
        &["b forgets a", "c forgets a", "a loses orphan"],
    );
}

#[test]
fn nobody_is_let_go_before_all_kinds_are_known() {
    for finalizer in [FOREGROUND, ORPHAN] {
        let object = node(going(thing("a", &[]), finalizer));
        let blind =
            Observed { object: &object, owners: &[], dependents: &[], waits_in_circle: false, is_complete: false };
        assert_eq!(plan(&blind), []);
    }
}

#[test]
fn the_graph_names_whom_a_change_concerns() {
    let mut graph = Graph::default();
    assert!(graph.watch(&kind()));
    assert!(!graph.is_complete());
    let uids = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(uids(graph.replace(&kind(), vec![thing("a", &[]), thing("b", &["a"])])), "a b");
    assert!(graph.is_complete());
    assert_eq!(uids(graph.apply(&kind(), thing("b", &["c"]))), "a b c", "the old owner and the new one");
    assert_eq!(uids(graph.apply(&kind(), thing("d", &["b"]))), "b d");
    assert_eq!(uids(graph.apply(&kind(), going(thing("b", &["c"]), FOREGROUND))), "b c d");
    assert_eq!(uids(graph.remove("b")), "c d", "dependents and owners");
    assert_eq!(uids(graph.replace(&kind(), vec![])), "b", "what a list leaves out is gone");
}

#[test]
fn an_owner_that_went_before_its_kind_was_watched_is_missed_later() {
    let custom =
        Arc::new(ServedKind { group: "example.com".to_owned(), kind: "Orchard".to_owned(), ..(*kind()).clone() });
    let mut graph = Graph::default();
    graph.watch(&kind());
    graph.watch(&custom);
    let mut owned = thing("trees", &["orchard"]);
    owned.owner_references[0].api_version = "example.com/v1".to_owned();
    owned.owner_references[0].kind = "Orchard".to_owned();
    graph.replace(&kind(), vec![owned, thing("other", &["stranger"])]);
    assert_eq!(graph.replace(&custom, vec![]), BTreeSet::from(["trees".to_owned()]));
    assert_eq!(graph.replace(&custom, vec![]), BTreeSet::new(), "told once");
}

/// A cluster of things that own each other, in any order.
struct World {
    graph: Graph,
    alive: BTreeSet<String>,
    queue: BTreeSet<String>,
}

impl World {
    fn arbitrary(rng: &Rng) -> Self {
        let things = (0..12)
            .map(|index| {
                let owners: Vec<String> =
                    (0..rng.below(3)).filter(|_| index > 0).map(|_| format!("t{}", rng.below(index.max(1)))).collect();
                thing(&format!("t{index}"), &owners.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        Self::of(things)
    }

    fn of(things: Vec<Meta>) -> Self {
        let mut world = Self { graph: Graph::default(), alive: BTreeSet::new(), queue: BTreeSet::new() };
        world.graph.watch(&kind());
        world.alive = things.iter().map(|thing| thing.uid.clone()).collect();
        world.queue = world.graph.replace(&kind(), things);
        world
    }

    fn look(&self, uid: &str) -> Vec<Action> {
        let Some(object) = self.graph.get(uid) else { return Vec::new() };
        let owner = |uid: &str| match self.graph.get(uid) {
            Some(owner) if owner.waits_for_dependents() => Owner::WaitsForUs,
            Some(_) => Owner::Solid,
            None => Owner::Absent,
        };
        let references = object.meta.owner_references.iter();
        let owners: Vec<_> = references.map(|reference| (reference.uid.clone(), owner(&reference.uid))).collect();
        let dependents = self.graph.dependents(uid);
        let waits_in_circle = self.graph.waits_in_circle(uid);
        plan(&Observed {
            object: &object,
            owners: &owners,
            dependents: &dependents,
            waits_in_circle,
            is_complete: true,
        })
    }

    fn delete(&mut self, uid: &str, propagation: Propagation) {
        let Some(object) = self.graph.get(uid) else { return };
        let affected = match propagation {
            Propagation::Background => self.gone(uid),
            Propagation::Foreground => self.graph.apply(&kind(), going(object.meta.clone(), FOREGROUND)),
            Propagation::Orphan => self.graph.apply(&kind(), going(object.meta.clone(), ORPHAN)),
        };
        self.queue.extend(affected);
    }

    fn gone(&mut self, uid: &str) -> BTreeSet<String> {
        self.alive.remove(uid);
        self.graph.remove(uid)
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Delete(node, propagation) => self.delete(&node.meta.uid.clone(), propagation),
            Action::Forget(node, owners) => {
                let mut meta = self.graph.get(&node.meta.uid).expect("exists").meta.clone();
                meta.owner_references.retain(|owner| !owners.contains(&owner.uid));
                let affected = self.graph.apply(&kind(), meta);
                self.queue.extend(affected);
            }
            Action::RemoveFinalizer(node, _) => {
                let affected = self.gone(&node.meta.uid);
                self.queue.extend(affected);
            }
        }
    }

    /// Looks at what was affected, in any order, and sometimes performs only part of it.
    fn settle(&mut self, rng: &Rng) {
        for _ in 0..2000 {
            let waiting: Vec<String> = self.queue.iter().cloned().collect();
            if waiting.is_empty() {
                return;
            }
            let uid = &waiting[rng.below(waiting.len())];
            let actions = self.look(uid);
            let steps = rng.below(actions.len() + 2);
            if steps >= actions.len() {
                self.queue.remove(uid);
            }
            for action in actions.into_iter().take(steps) {
                self.perform(action);
            }
        }
        panic!("does not rest");
    }

    /// Whom deleting `root` must take along: all that have no owner left outside of the set.
    fn doomed(&self, root: &str) -> BTreeSet<String> {
        let mut doomed = BTreeSet::from([root.to_owned()]);
        loop {
            let more: Vec<String> = self
                .alive
                .iter()
                .filter(|uid| !doomed.contains(*uid))
                .filter(|uid| {
                    let node = self.graph.get(uid).expect("alive");
                    let owners = &node.meta.owner_references;
                    !owners.is_empty() && owners.iter().all(|owner| doomed.contains(&owner.uid))
                })
                .cloned()
                .collect();
            if more.is_empty() {
                return doomed;
            }
            doomed.extend(more);
        }
    }
}

#[test]
fn exactly_those_go_that_no_living_owner_keeps() {
    for seed in 0..400 {
        let rng = Rng::seeded(seed);
        let mut world = World::arbitrary(&rng);
        world.settle(&rng);
        let root = format!("t{}", rng.below(12));
        let (before, doomed) = (world.alive.clone(), world.doomed(&root));
        let propagation = [Propagation::Background, Propagation::Foreground, Propagation::Orphan][rng.below(3)];
        world.delete(&root, propagation);
        world.settle(&rng);
        let expected: BTreeSet<String> = match propagation {
            Propagation::Orphan => before.into_iter().filter(|uid| *uid != root).collect(),
            Propagation::Background | Propagation::Foreground => before.difference(&doomed).cloned().collect(),
        };
        assert_eq!(world.alive, expected, "seed {seed}: {root} with {propagation:?}");
        for uid in &world.alive {
            assert_eq!(world.look(uid), [], "seed {seed}: rests");
        }
    }
}

/// Things of which each owns the next, and the last the first.
fn circle(names: &[&str]) -> Vec<Meta> {
    let owners = names.iter().cycle().skip(names.len() - 1);
    names.iter().zip(owners).map(|(name, owner)| thing(name, &[owner])).collect()
}

#[test]
fn who_waits_in_a_circle_is_found_and_nobody_else() {
    let mut things = circle(&["a", "b", "c"]);
    things.extend([thing("tail", &["c"]), thing("child", &["tail"])]);
    let waiting = |names: &[&str]| {
        let mark = |thing: &Meta| {
            let waits = names.contains(&thing.name.as_str());
            if waits { going(thing.clone(), FOREGROUND) } else { thing.clone() }
        };
        let world = World::of(things.iter().map(mark).collect());
        let found: Vec<&String> = world.alive.iter().filter(|uid| world.graph.waits_in_circle(uid)).collect();
        found.into_iter().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(waiting(&["a", "b"]), "", "c is there and does not wait");
    assert_eq!(waiting(&["a", "b", "c", "tail"]), "a b c");
    assert_eq!(waiting(&["tail", "child"]), "");
    things[0].owner_references[0].block_owner_deletion = None;
    let free = World::of(things.iter().map(|thing| going(thing.clone(), FOREGROUND)).collect());
    assert!(!free.graph.waits_in_circle("a"), "a holds nobody");
}

#[test]
fn what_owns_itself_in_a_circle_goes_whoever_of_it_is_deleted() {
    for seed in 0..300 {
        let rng = Rng::seeded(seed);
        let names = ["a", "b", "c", "d", "e"];
        let mut things = circle(&names[..=rng.below(names.len())]);
        for index in 0..rng.below(4) {
            things.push(thing(&format!("child{index}"), &[names[0]]));
        }
        let count = things.len();
        let mut world = World::of(things);
        world.settle(&rng);
        assert_eq!(world.alive.len(), count, "seed {seed}: a circle keeps itself");
        let several = 1 + rng.below(3);
        for name in names.iter().take(several) {
            world.delete(name, Propagation::Foreground);
        }
        world.settle(&rng);
        assert_eq!(world.alive, BTreeSet::new(), "seed {seed}");
    }
}

#[test]
fn a_circle_still_waits_for_what_hangs_on_it() {
    let mut things = circle(&["a", "b"]);
    things.push(thing("held", &["a"]));
    let mut world = World::of(things);
    world.delete("a", Propagation::Foreground);
    world.delete("b", Propagation::Foreground);
    assert_eq!(world.look("a"), [], "held is there, and does not wait for anybody");
    assert_eq!(lines(&world.look("b")), "b loses foregroundDeletion\n");
}
