//! Properties of server-side apply over many small random worlds.

use serde_json::{Map, Value, json};

use super::super::managed::{Tracking, Writer, update_managers};
use super::{Force, Managers, Object, apply};
use crate::patch::FieldSet;
use crate::patch::typed;
use crate::schema::{Schema, Type};

/// Enough to notice a prune that forgets other owners, and done within a second or two.
const WORLDS: u64 = 100;

/// A small generator of numbers: the same world for the same seed, on every machine.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    pub(super) fn chance(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Some of these, in any order.
    fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        let mut left = of.to_vec();
        let count = self.below(of.len() + 1);
        (0..count).map(|_| left.swap_remove(self.below(left.len()))).collect()
    }

    fn container(&mut self, name: &str) -> Value {
        let mut container = json!({"name": name, "image": format!("i{}", self.below(3))});
        let env: Vec<Value> =
            self.some(&["A", "B", "C"]).iter().map(|name| json!({"name": name, "value": self.text()})).collect();
        if !env.is_empty() {
            container["env"] = env.into();
        }
        if self.chance() {
            container["command"] = json!(["run", self.text()]);
        }
        if self.chance() {
            container["ports"] = json!([{"containerPort": 80 + self.below(2)}]);
        }
        container
    }

    fn text(&mut self) -> String {
        self.below(3).to_string()
    }

    pub(super) fn deployment(&mut self) -> Object {
        let labels: Map<String, Value> =
            self.some(&["x", "y", "z"]).iter().map(|key| ((*key).to_owned(), self.text().into())).collect();
        let containers: Vec<Value> = self.some(&["a", "b", "c", "d"]).iter().map(|name| self.container(name)).collect();
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"selector": {"matchLabels": {"a": self.text()}}}});
        if !labels.is_empty() {
            object["metadata"]["labels"] = labels.into();
        }
        if !containers.is_empty() {
            object["spec"]["template"] = json!({"spec": {"containers": containers}});
        }
        if self.chance() {
            object["spec"]["replicas"] = self.below(4).into();
        }
        if self.chance() {
            object["metadata"]["finalizers"] = json!([format!("x/f{}", self.below(3))]);
        }
        serde_json::from_value(object).unwrap()
    }
}

pub(super) fn deployment() -> Option<&'static Type> {
    Schema::of("io.k8s.api.apps.v1.Deployment")
}

pub(super) fn writer(manager: &str) -> Writer<'_> {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    Writer { manager, api_version: "apps/v1", subresource: "", now, reset: &[], tracking: Tracking::Fields }
}

pub(super) fn without_managers(mut object: Object) -> Object {
    object.remove(&["metadata", "managedFields"]);
    object
}

#[test]
fn a_lone_manager_gets_exactly_what_it_applied_last() {
    for seed in 0..WORLDS {
        let mut dice = Dice(seed);
        let mut live: Option<Object> = None;
        for _ in 0..4 {
            let config = dice.deployment();
            let next = apply(live.as_ref(), &config, deployment(), &writer("me"), Force::No).unwrap();
            assert_eq!(without_managers(next.clone()), config, "seed {seed}");
            let again = apply(Some(&next), &config, deployment(), &writer("me"), Force::No).unwrap();
            assert_eq!(again, next, "seed {seed}: applying twice changes nothing");
            live = Some(next);
        }
    }
}

#[test]
fn a_forced_apply_gets_its_values_and_loses_nothing_of_others() {
    for seed in 0..WORLDS {
        let mut dice = Dice(seed);
        let mut live = apply(None, &dice.deployment(), deployment(), &writer("one"), Force::No).unwrap();
        for _ in 0..4 {
            let manager = ["one", "two", "three"][dice.below(3)];
            let config = dice.deployment();
            let before = Managers::read(&live).unwrap();
            live = apply(Some(&live), &config, deployment(), &writer(manager), Force::Yes).unwrap();
            let document = Value::Object(without_managers(live.clone()).0);
            let merged = typed::merge(&document, &Value::Object(config.0.clone()), deployment());
            assert_eq!(merged, document, "seed {seed}: what was applied is there");
            let present = typed::with_named_fields(&typed::set_of(&document, deployment()), deployment());
            for other in before.list.iter().filter(|other| other.name != manager) {
                let mut lost = other.set();
                lost.subtract(&present);
                assert_eq!(lost, FieldSet::default(), "seed {seed}: {manager} removed fields of {}", other.name);
            }
        }
    }
}

#[test]
fn after_any_updates_every_field_has_exactly_one_updater() {
    for seed in 0..WORLDS {
        let mut dice = Dice(seed);
        let mut live = dice.deployment();
        update_managers(None, &mut live, deployment(), &writer("one"));
        for _ in 0..4 {
            let mut new = dice.deployment();
            let manager = ["one", "two", "three"][dice.below(3)];
            update_managers(Some(&live), &mut new, deployment(), &writer(manager));
            live = new;
            let mut owned = FieldSet::default();
            for manager in &Managers::read(&live).unwrap().list {
                let set = manager.set();
                assert_eq!(set.intersection(&owned).paths(), [""; 0], "seed {seed}: owned twice");
                owned.add(&set);
            }
            let document = Value::Object(without_managers(live.clone()).0);
            let mut orphans = typed::set_of(&document, deployment());
            orphans.subtract(&owned);
            let server = [".apiVersion", ".kind", ".metadata.name", ".metadata.namespace"];
            assert_eq!(orphans.paths(), server, "seed {seed}: owned by nobody");
        }
    }
}
