//! What users see when a body is wrong.

use serde_json::{Value, json as value};

use super::*;
use crate::schema::{Schema, Type};

fn of(name: &str) -> &'static Type {
    Schema::of(name).expect("a built-in type")
}

fn deployment() -> &'static Type {
    of("io.k8s.api.apps.v1.Deployment")
}

#[track_caller]
fn wrong(document: &Value, of: &Type, expected: &str) {
    assert_eq!(check(&mut document.clone(), of, Unknown::Prune), Err(Error::Type(expected.to_owned())));
}

#[track_caller]
fn becomes(document: &Value, of: &Type, expected: &Value) {
    let mut document = document.clone();
    check(&mut document, of, Unknown::Prune).unwrap();
    assert_eq!(document, *expected);
}

fn pod(container: &Value) -> Value {
    value!({"spec": {"template": {"spec": {"containers": [container]}}}})
}

#[test]
fn wrong_types_are_told_as_go_does() {
    wrong(
        &value!({"spec": {"replicas": "3"}}),
        deployment(),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    wrong(
        &value!({"spec": {"replicas": 1.5}}),
        deployment(),
        "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    wrong(
        &value!({"spec": {"replicas": 3_000_000_000_u64}}),
        deployment(),
        "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    wrong(
        &pod(&value!({"name": "c", "env": [{"name": "A", "value": 1}]})),
        deployment(),
        "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
    );
    wrong(
        &value!({"metadata": {"labels": {"a": true}}}),
        deployment(),
        "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
    );
    wrong(
        &value!({"spec": {"template": {"spec": {"containers": {}}}}}),
        deployment(),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
    );
    wrong(&value!([]), deployment(), "json: cannot unmarshal array into Go value of type v1.Deployment");
}

#[test]
fn texts_with_a_form_are_checked() {
    wrong(&value!({"data": {"k": "a$b="}}), of("io.k8s.api.core.v1.Secret"), "illegal base64 data at input byte 1");
    wrong(
        &value!({"metadata": {"creationTimestamp": "yesterday"}}),
        deployment(),
        "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
    );
    wrong(
        &pod(&value!({"resources": {"limits": {"cpu": "much"}}})),
        deployment(),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
}

#[test]
fn unknown_fields_are_reported_with_their_place_and_dropped() {
    let mut document = value!({"spec": {"replicaz": 1, "template": {"spec": {"containers": [{"name": "a"}, {"imagez": "x"}]}}}, "more": 1});
    let problems = check(&mut document, deployment(), Unknown::Prune).unwrap();
    assert_eq!(
        strict_text(&problems),
        "strict decoding error: unknown field \"more\", unknown field \"spec.replicaz\", unknown field \
         \"spec.template.spec.containers[1].imagez\""
    );
    assert_eq!(document, value!({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {}]}}}}));
    let mut document = value!({"more": 1});
    check(&mut document, deployment(), Unknown::Keep).unwrap();
    assert_eq!(document, value!({"more": 1}));
}

#[test]
fn null_is_absence() {
    becomes(
        &value!({"metadata": {"creationTimestamp": null, "labels": {"a": null}}, "spec": {"replicas": null}}),
        deployment(),
        &value!({"metadata": {"labels": {"a": ""}}, "spec": {}}),
    );
    becomes(&pod(&Value::Null), deployment(), &pod(&value!({})));
}

#[test]
fn amounts_and_times_are_brought_into_one_form() {
    becomes(
        &pod(&value!({"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}})),
        deployment(),
        &pod(&value!({"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}})),
    );
    becomes(
        &value!({"metadata": {"creationTimestamp": "2026-01-01T02:00:00.5+01:00"}}),
        deployment(),
        &value!({"metadata": {"creationTimestamp": "2026-01-01T01:00:00Z"}}),
    );
    becomes(
        &value!({"spec": {"renewTime": "2026-01-01T00:00:00.123456Z"}}),
        of("io.k8s.api.coordination.v1.Lease"),
        &value!({"spec": {"renewTime": "2026-01-01T00:00:00.123456Z"}}),
    );
}

#[test]
fn free_json_stays_as_it_is() {
    let revision = value!({"data": {"anything": [1, null, {"x": null}]}, "revision": 1});
    becomes(&revision, of("io.k8s.api.apps.v1.ControllerRevision"), &revision);
}

#[test]
fn ports_may_be_numbers_or_names() {
    let service = value!({"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081}]}});
    becomes(&service, of("io.k8s.api.core.v1.Service"), &service);
    wrong(
        &value!({"spec": {"ports": [{"targetPort": true}]}}),
        of("io.k8s.api.core.v1.Service"),
        "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type intstr.IntOrString",
    );
}

#[test]
fn duplicate_fields_are_found_and_the_last_one_counts() {
    let (document, problems) =
        json(br#"{"spec": {"replicas": 1, "list": [{"a": 1, "a": 2}], "replicas": 2}}"#).unwrap();
    assert_eq!(document, value!({"spec": {"replicas": 2, "list": [{"a": 2}]}}));
    assert_eq!(
        problems,
        [Problem::DuplicateField("spec.list[0].a".into()), Problem::DuplicateField("spec.replicas".into())]
    );
}

#[test]
fn json_keeps_every_kind_of_value() {
    let text = r#"{"a":[null,true,-1,1.5,"x",18446744073709551615],"b":{}}"#;
    assert_eq!(json(text.as_bytes()).unwrap().0.to_string(), text);
}

#[test]
fn a_number_is_the_same_after_any_number_of_readings() {
    // Found by the fuzzer: a reader that rounds in haste makes another number of this one each time.
    let text = r#"{"a":8.888880888888889e+47}"#;
    assert_eq!(json(text.as_bytes()).unwrap().0.to_string(), text);
}

#[test]
fn broken_json_names_the_place() {
    for text in ["", "{", "{\"a\": }", "{} {}", "{\"a\": 1e999}"] {
        let Err(Error::Syntax(message)) = json(text.as_bytes()) else { panic!("{text} is no JSON") };
        assert!(message.contains("line 1 column"), "{text}: {message}");
    }
    assert!(json("[".repeat(1000).as_bytes()).is_err(), "depth has a limit");
}

#[test]
fn yaml_is_read_as_kubernetes_does() {
    let (document, problems) = yaml("a: 0644\nb: '0644'\nc: [1, x]\nd: ~\n80: http\n").unwrap();
    assert_eq!(document, value!({"a": 420, "b": "0644", "c": [1, "x"], "d": null, "80": "http"}));
    assert!(problems.is_empty());
    assert_eq!(yaml(r#"{"a": {"b": 1}}"#).unwrap().0, value!({"a": {"b": 1}}));
}

#[test]
fn aliases_repeat_what_they_name_but_not_without_end() {
    let short = "base: &b {cpu: 1, memory: 2}\nlimits: *b\nrequests: *b\n";
    assert_eq!(yaml(short).expect("aliases").0["requests"], value!({"cpu": 1, "memory": 2}));
    let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(200_000));
    assert!(yaml(&wide).is_err(), "two hundred gigabytes");
    let line = |n: usize| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(10));
    let laughs = (1..9).map(line).collect::<Vec<_>>().concat();
    assert!(yaml(&format!("a0: &a0 [x,x,x,x]\n{laughs}")).is_err());
}

#[test]
fn duplicate_keys_of_yaml_name_their_line() {
    let (document, problems) = yaml("a: 1\nb: 2\na: 3\n").unwrap();
    assert_eq!(document, value!({"a": 3, "b": 2}));
    assert_eq!(problems[0].to_string(), "line 3: key \"a\" already set in map");
}

#[test]
fn broken_yaml_names_line_and_column() {
    let Err(Error::Syntax(message)) = yaml("a: 1\nb: [1, 2\nc: 3\n") else { panic!("no YAML") };
    assert!(message.starts_with("yaml: ") && message.contains("line 3"), "{message}");
    let Err(Error::Syntax(message)) = yaml_documents("a: 1\n---\na: 1\na: 2\n") else { panic!("no YAML") };
    assert_eq!(message, "yaml: line 4: key \"a\" already set in map");
}

#[test]
fn a_manifest_may_hold_many_documents() {
    let documents = yaml_documents("# first\n---\na: 1\n---\n\n---\nb: 2\n").unwrap();
    assert_eq!(documents, [value!({"a": 1}), value!({"b": 2})]);
}

#[test]
fn the_golden_objects_of_kubernetes_have_no_unknown_fields_and_stay_the_same() {
    let folder = "testdata/golden";
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Some(of) = golden_type(&name).filter(|_| path.extension().is_some_and(|extension| extension == "json"))
        else {
            continue;
        };
        let (original, duplicates) = json(&std::fs::read(&path).unwrap()).unwrap();
        let mut document = original.clone();
        let problems = check(&mut document, of, Unknown::Prune).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(problems.is_empty() && duplicates.is_empty(), "{name}: {problems:?}");
        assert_eq!(document, original, "{name}");
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}

fn golden_type(file: &str) -> Option<&'static Type> {
    let (group_version, kind) = file.rsplit_once('.')?;
    let (group, version) = group_version.rsplit_once('.')?;
    let group = group.split('.').next()?;
    Schema::of(&format!("io.k8s.api.{group}.{version}.{kind}"))
}
