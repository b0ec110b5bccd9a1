//! Properties of strategic merge patches over random documents: what the difference of two documents, written as kubectl
//! writes it (`CreateTwoWayMergePatch`), must do when it is applied.

use serde_json::json;

use super::*;
use crate::schema::Schema;

/// Enough to meet every pair of changes, and done within a second or two.
const PAIRS: u64 = 300;

/// A small generator of numbers: the same documents for the same seed, on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }

    fn text(&mut self) -> Value {
        self.below(3).to_string().into()
    }

    /// Some of these, in any order.
    fn some(&mut self, of: &[&'static str]) -> Vec<&'static str> {
        let mut left = of.to_vec();
        let count = self.below(of.len() + 1);
        (0..count).map(|_| left.swap_remove(self.below(left.len()))).collect()
    }

    /// A document, with every sort of field that strategic merge tells apart.
    fn deployment(&mut self) -> Value {
        let mut metadata = json!({"name": "d"});
        self.texts(&mut metadata, "labels", &["x", "y", "z"]);
        let finalizers = self.some(&["a/1", "b/2", "c/3"]);
        maybe(&mut metadata, "finalizers", finalizers.into());
        let mut pod = json!({"restartPolicy": self.text()});
        let containers = self.some(&["a", "b", "c", "d"]).into_iter().map(|name| self.container(name)).collect();
        maybe(&mut pod, "containers", containers);
        let volumes = self.some(&["v", "w"]).into_iter().map(|name| self.volume(name)).collect();
        maybe(&mut pod, "volumes", volumes);
        let tolerations = self.some(&["k", "l"]).into_iter().map(|key| json!({"key": key})).collect();
        maybe(&mut pod, "tolerations", tolerations);
        self.texts(&mut pod, "nodeSelector", &["m", "n"]);
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": pod}}})
    }

    fn container(&mut self, name: &str) -> Value {
        let mut container = json!({"name": name, "image": self.text()});
        let env =
            self.some(&["A", "B", "C"]).into_iter().map(|name| json!({"name": name, "value": self.text()})).collect();
        maybe(&mut container, "env", env);
        let args = (0..self.below(3)).map(|_| self.text()).collect();
        maybe(&mut container, "args", args);
        if self.chance() {
            container["workingDir"] = self.text();
        }
        container
    }

    /// Its kinds exclude each other, which is what `$retainKeys` is for.
    fn volume(&mut self, name: &str) -> Value {
        if self.chance() {
            json!({"name": name, "emptyDir": {"medium": self.text()}})
        } else {
            json!({"name": name, "hostPath": {"path": self.text()}})
        }
    }

    fn texts(&mut self, document: &mut Value, field: &str, keys: &[&'static str]) {
        let texts: Map<String, Value> = self.some(keys).into_iter().map(|key| (key.to_owned(), self.text())).collect();
        if !texts.is_empty() {
            document[field] = texts.into();
        }
    }
}

fn maybe(document: &mut Value, field: &str, items: Value) {
    if items.as_array().is_some_and(|items| !items.is_empty()) {
        document[field] = items;
    }
}

fn deployment() -> Option<&'static Type> {
    Schema::of("io.k8s.api.apps.v1.Deployment")
}

fn apply(document: &Value, patch: &Value) -> Value {
    let object = Object::from_typed(document).unwrap();
    Value::Object(strategic(&object, patch, deployment()).unwrap_or_else(|why| panic!("{why}: {patch}")).0)
}

/// The patch that makes `new` of `old` (`diffMaps`).
fn difference(old: &Map<String, Value>, new: &Map<String, Value>, of: Option<&Type>) -> Map<String, Value> {
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, new) in new {
        let rule = rule(of, key);
        let inner = of.and_then(|of| of.member(key));
        match (old.get(key), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) if !rule.is_some_and(|rule| rule.replace) => {
                let mut change = difference(old, new, inner);
                if rule.is_some_and(|rule| rule.retain_keys) {
                    change.insert(RETAIN_KEYS.into(), new.keys().cloned().collect());
                }
                patch.insert(key.clone(), change.into());
            }
            (Some(Value::Array(old)), Value::Array(new)) if rule.is_some_and(|rule| rule.merge) => {
                let rule = rule.unwrap();
                list_difference(&mut patch, key, (old, new), rule, inner.and_then(Type::items));
            }
            (_, new) => drop(patch.insert(key.clone(), new.clone())),
        }
    }
    patch
}

/// The part of a patch that is about one merged list (`diffLists`).
fn list_difference(
    patch: &mut Map<String, Value>,
    field: &str,
    (old, new): (&[Value], &[Value]),
    rule: &PatchRule,
    of: Option<&Type>,
) {
    let Some(key) = rule.keys.first() else {
        let gone: Vec<Value> = old.iter().filter(|item| !new.contains(item)).cloned().collect();
        maybe_insert(patch, format!("{DELETE_FROM}{field}"), gone);
        maybe_insert(patch, field.to_owned(), new.iter().filter(|item| !old.contains(item)).cloned().collect());
        patch.insert(format!("{ORDER}{field}"), new.into());
        return;
    };
    let find = |list: &[Value], item: &Value| list.iter().find(|other| other[key] == item[key]).cloned();
    let mut changes = Vec::new();
    for item in new {
        match find(old, item) {
            None => changes.push(item.clone()),
            Some(known) if known == *item => {}
            Some(known) => {
                let (known, item) = (known.as_object().unwrap(), item.as_object().unwrap());
                let mut change = difference(known, item, of);
                change.insert(key.clone(), item[key].clone());
                if rule.retain_keys {
                    change.insert(RETAIN_KEYS.into(), item.keys().cloned().collect());
                }
                changes.push(change.into());
            }
        }
    }
    for item in old.iter().filter(|item| find(new, item).is_none()) {
        changes.push(json!({PATCH: "delete", key: item[key]}));
    }
    maybe_insert(patch, field.to_owned(), changes);
    patch.insert(format!("{ORDER}{field}"), new.iter().map(|item| json!({key: item[key]})).collect());
}

fn maybe_insert(patch: &mut Map<String, Value>, field: String, items: Vec<Value>) {
    if !items.is_empty() {
        patch.insert(field, items.into());
    }
}

fn patch_between(old: &Value, new: &Value) -> Value {
    difference(old.as_object().unwrap(), new.as_object().unwrap(), deployment()).into()
}

#[test]
fn the_difference_of_two_documents_makes_the_second_of_the_first_however_often() {
    for seed in 0..PAIRS {
        let mut dice = Dice(seed);
        let (old, new) = (dice.deployment(), dice.deployment());
        let patch = patch_between(&old, &new);
        assert_eq!(apply(&old, &patch), new, "seed {seed}: {patch}\nof {old}");
        assert_eq!(apply(&new, &patch), new, "seed {seed}: again {patch}");
    }
}

#[test]
fn an_empty_patch_changes_nothing_and_a_document_is_a_patch_to_itself() {
    for seed in 0..PAIRS {
        let document = Dice(seed).deployment();
        assert_eq!(apply(&document, &json!({})), document, "seed {seed}");
        assert_eq!(apply(&document, &document), document, "seed {seed}");
    }
}

#[test]
fn any_document_merged_into_any_other_stays_merged() {
    for seed in 0..PAIRS {
        let mut dice = Dice(seed);
        let (old, patch) = (dice.deployment(), dice.deployment());
        let once = apply(&old, &patch);
        assert_eq!(apply(&once, &patch), once, "seed {seed}: {patch}\ninto {old}");
    }
}

#[test]
fn what_others_added_meanwhile_survives_a_patch_that_does_not_know_it() {
    for seed in 0..PAIRS {
        let mut dice = Dice(seed);
        let (old, new) = (dice.deployment(), dice.deployment());
        let mut live = old.clone();
        live["metadata"]["labels"]["theirs"] = "1".into();
        let added = apply(&live, &json!({"spec": {"template": {"spec": {"containers": [{"name": "theirs"}]}}}}));
        let result = apply(&added, &patch_between(&old, &new));
        let has_them = |field: &str| new.pointer(field).is_some();
        if has_them("/metadata/labels") {
            assert_eq!(result["metadata"]["labels"]["theirs"], "1", "seed {seed}");
        }
        if has_them("/spec/template/spec/containers") {
            let containers = result["spec"]["template"]["spec"]["containers"].as_array().unwrap();
            let names: Vec<&Value> = containers.iter().map(|container| &container["name"]).collect();
            assert!(names.contains(&&json!("theirs")), "seed {seed}: {names:?}");
            let ours: Vec<&&Value> = names.iter().filter(|name| **name != "theirs").collect();
            let wanted: Vec<&Value> = list(&new).iter().map(|container| &container["name"]).collect();
            assert!(ours.into_iter().copied().eq(wanted), "seed {seed}: {names:?} is not in the order of {new}");
        }
    }
}

fn list(document: &Value) -> &[Value] {
    document["spec"]["template"]["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default()
}
