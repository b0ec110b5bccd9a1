//! Properties of managed fields over random histories of applies and updates by several managers. What a field is, and
//! whether it changed, is told by a small walk of its own, not by the code under test.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::managed::update_managers;
use super::worlds::{Dice, deployment, without_managers, writer};
use super::{ApplyError, Force, Managers, Object, Operation, apply};

const HISTORIES: u64 = 200;
const WRITES: usize = 8;
const MANAGERS: [&str; 3] = ["one", "two", "three"];

/// The values of a document by their paths, as `fieldsV1` names them.
type Leaves = BTreeMap<String, Value>;

fn leaves(object: &Object) -> Leaves {
    let mut leaves = Leaves::new();
    let mut document = without_managers(object.clone());
    for path in [&["apiVersion"][..], &["kind"], &["metadata", "name"], &["metadata", "namespace"]] {
        document.remove(path);
    }
    collect(&Value::Object(document.0), "", &mut leaves);
    leaves
}

fn collect(value: &Value, path: &str, leaves: &mut Leaves) {
    match value {
        // A label selector is one value.
        Value::Object(map) if path != ".spec.selector" => {
            for (key, inner) in map {
                collect(inner, &format!("{path}.{key}"), leaves);
            }
        }
        Value::Array(items) if path.ends_with(".finalizers") => {
            leaves.extend(items.iter().map(|item| (format!("{path}[={item}]"), item.clone())));
        }
        Value::Array(items) if !path.ends_with(".command") => {
            for item in items {
                let key = match item.get("containerPort") {
                    Some(port) => format!("containerPort={port},protocol=\"TCP\""),
                    None => format!("name={}", item["name"]),
                };
                collect(item, &format!("{path}[{key}]"), leaves);
            }
        }
        leaf => drop(leaves.insert(path.to_owned(), leaf.clone())),
    }
}

/// Who owns what: the paths by manager and operation.
type Owners = BTreeMap<(String, Operation), BTreeSet<String>>;

fn owners(object: &Object) -> Owners {
    let managers = Managers::read(object).unwrap().list.into_iter();
    managers
        .map(|manager| ((manager.name.clone(), manager.operation), manager.set().paths().into_iter().collect()))
        .collect()
}

fn owned_by_others(owners: &Owners, writer: &(String, Operation), path: &str) -> bool {
    owners.iter().any(|(owner, paths)| owner != writer && paths.contains(path))
}

/// One object, and what each manager said about it last.
struct World {
    live: Object,
    applied: BTreeMap<&'static str, Leaves>,
}

impl World {
    fn born(dice: &mut Dice) -> Self {
        let config = dice.deployment();
        let live = apply(None, &config, deployment(), &writer("one"), Force::No).unwrap();
        Self { live, applied: BTreeMap::from([("one", leaves(&config))]) }
    }

    fn update(&mut self, dice: &mut Dice, name: &'static str) {
        let mut new = if dice.chance() { dice.deployment() } else { self.retouched(dice) };
        let (before, had) = (owners(&self.live), leaves(&self.live));
        update_managers(Some(&self.live), &mut new, deployment(), &writer(name));
        let (after, has) = (owners(&new), leaves(&new));
        let me = (name.to_owned(), Operation::Update);
        for (path, value) in &has {
            if had.get(path) == Some(value) {
                let of = |owners: &Owners| -> Vec<_> {
                    owners.iter().filter(|(_, paths)| paths.contains(path)).map(|(owner, _)| owner.clone()).collect()
                };
                assert_eq!(of(&after), of(&before), "{path} did not change, but its owners did");
            } else {
                assert!(after.get(&me).is_some_and(|paths| paths.contains(path)), "{name} set {path}");
                assert!(!owned_by_others(&after, &me, path), "{path} was taken by {name}");
            }
        }
        self.live = new;
    }

    /// The live object with one field changed.
    fn retouched(&self, dice: &mut Dice) -> Object {
        let mut new = without_managers(self.live.clone());
        match dice.below(3) {
            0 => new.set(&["spec", "replicas"], dice.below(4)),
            1 => new.set(&["metadata", "labels"], json!({"x": "updated"})),
            _ => drop(new.remove(&["spec", "template"])),
        }
        new
    }

    fn apply(&mut self, dice: &mut Dice, name: &'static str, force: Force) {
        let config = dice.deployment();
        let wanted = leaves(&config);
        let (before, had) = (owners(&self.live), leaves(&self.live));
        let me = (name.to_owned(), Operation::Apply);
        let disputed: BTreeSet<&String> = wanted
            .iter()
            .filter(|(path, value)| {
                had.get(*path).is_some_and(|old| old != *value) && owned_by_others(&before, &me, path)
            })
            .map(|(path, _)| path)
            .collect();
        let new = match apply(Some(&self.live), &config, deployment(), &writer(name), force) {
            Ok(new) => new,
            Err(ApplyError::Conflicts(conflicts)) => {
                assert!(force == Force::No, "{conflicts}");
                let told: BTreeSet<&String> = conflicts.0.iter().map(|conflict| &conflict.path).collect();
                assert_eq!(told, disputed);
                return;
            }
            Err(other) => panic!("{other}"),
        };
        assert!(force == Force::Yes || disputed.is_empty(), "{name} took {disputed:?} without force");
        let has = leaves(&new);
        for (path, value) in &wanted {
            assert_eq!(has.get(path), Some(value), "{name} applied {path}");
        }
        let mine = before.get(&me).into_iter().flatten();
        for path in mine.filter(|path| had.contains_key(*path) && !wanted.contains_key(*path) && !is_key(path)) {
            let shared = owned_by_others(&before, &me, path);
            assert_eq!(has.contains_key(path), shared, "{name} no longer applies {path}; shared: {shared}");
        }
        self.applied.insert(name, wanted);
        self.live = new;
    }

    /// Nobody owns what is not there, and whoever applies a field and owns it still has his value.
    fn check(&self) {
        let has = leaves(&self.live);
        let is_there = |path: &str| has.keys().any(|leaf| leaf.starts_with(path));
        for ((name, operation), paths) in owners(&self.live) {
            for path in &paths {
                // An emptied list or map leaves its own name, without anything below it.
                assert!(is_there(path) || is_container(path), "{name} owns {path}, which is not there");
            }
            if operation == Operation::Apply {
                let applied = &self.applied[name.as_str()];
                for (path, value) in applied.iter().filter(|(path, _)| paths.contains(*path)) {
                    assert_eq!(has.get(path), Some(value), "{name} owns {path} by applying");
                }
            }
        }
    }
}

/// Whether a leaf tells an item of a list apart, and stays as long as anything of the item does.
fn is_key(path: &str) -> bool {
    path.ends_with("].name") || path.ends_with("].containerPort")
}

fn is_container(path: &str) -> bool {
    [".labels", ".finalizers", ".env", ".ports", ".containers", ".spec", ".template"]
        .iter()
        .any(|end| path.ends_with(end))
}

#[test]
fn owners_have_their_values_and_only_force_takes_them() {
    for seed in 0..HISTORIES {
        let mut dice = Dice(seed);
        let mut world = World::born(&mut dice);
        for _ in 0..WRITES {
            let name = MANAGERS[dice.below(MANAGERS.len())];
            match dice.below(3) {
                0 => world.update(&mut dice, name),
                1 => world.apply(&mut dice, name, Force::No),
                _ => world.apply(&mut dice, name, Force::Yes),
            }
            world.check();
        }
    }
}
