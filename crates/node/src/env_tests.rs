//! The sentences of Kubernetes' documentation about environments, one test each.

use serde_json::{Value, json};

use super::*;

fn pod(container: &Value) -> (Pod, Container) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u1", "labels": { "app": "web", "tier": "a\"b" } },
        "spec": { "nodeName": "n1", "serviceAccountName": "sa", "containers": [container] },
    }))
    .unwrap();
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    (pod, container)
}

fn sources() -> Sources {
    let map = json!({ "metadata": { "name": "settings" }, "data": { "color": "red", "bad=name": "x" } });
    let secret = json!({ "metadata": { "name": "login" }, "data": { "password": "aHVudGVyMg==" } });
    Sources {
        config_maps: BTreeMap::from([("settings".into(), serde_json::from_value(map).unwrap())]),
        secrets: BTreeMap::from([("login".into(), serde_json::from_value(secret).unwrap())]),
        pod_ip: Some(IpAddr::from([10, 42, 0, 7])),
        allocatable: BTreeMap::from([("cpu".into(), "2".parse().unwrap()), ("memory".into(), "4Gi".parse().unwrap())]),
        ..Sources::default()
    }
}

fn check(container: Value) -> Result<Vec<String>, String> {
    let mut container = container;
    container["name"] = json!("c");
    let (pod, container) = pod(&container);
    let made = environment(&pod, &container, &sources()).map_err(|error| error.to_string())?;
    Ok(made.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

#[test]
fn references_are_expanded_in_order_and_doubled_dollars_escape() {
    let value_of = |name: &str| (name == "A").then(|| "1".to_owned());
    let cases = [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("a$", "a$"),
        ("$()", "$()"),
        ("$(A)$(A)", "11"),
        ("é$(A)é", "é1é"),
    ];
    for (text, expanded) in cases {
        assert_eq!(expand(text, value_of), expanded, "{text}");
    }
}

#[test]
fn a_variable_uses_only_those_defined_before_it() {
    let env = json!({ "env": [
        { "name": "B", "value": "$(A)" }, { "name": "A", "value": "1" }, { "name": "C", "value": "<$(A)>" },
    ] });
    assert_eq!(check(env).unwrap(), ["A=1", "B=$(A)", "C=<1>"]);
}

#[test]
fn env_wins_over_env_from_and_may_use_it() {
    let env = json!({
        "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "settings" } }, { "secretRef": { "name": "login" } }],
        "env": [{ "name": "password", "value": "x" }, { "name": "C", "value": "$(P_color)" }],
    });
    assert_eq!(check(env).unwrap(), ["C=red", "P_color=red", "password=x"]);
}

#[test]
fn what_is_missing_is_named_unless_it_is_optional() {
    let of = |reference: Value| json!({ "env": [{ "name": "A", "valueFrom": reference }] });
    let cases = [
        (json!({ "configMapKeyRef": { "name": "gone", "key": "k" } }), "configmap \"gone\" not found"),
        (json!({ "secretKeyRef": { "name": "gone", "key": "k" } }), "secret \"gone\" not found"),
        (
            json!({ "configMapKeyRef": { "name": "settings", "key": "k" } }),
            "couldn't find key k in ConfigMap shop/settings",
        ),
        (json!({ "secretKeyRef": { "name": "login", "key": "k" } }), "couldn't find key k in Secret shop/login"),
        (json!({ "fieldRef": { "fieldPath": "spec.color" } }), "fieldPath \"spec.color\" not supported"),
        (
            json!({ "resourceFieldRef": { "resource": "limits.color" } }),
            "unsupported container resource : limits.color",
        ),
    ];
    for (reference, message) in cases {
        assert_eq!(check(of(reference)), Err(message.to_owned()));
    }
    assert_eq!(check(of(json!({ "secretKeyRef": { "name": "login", "key": "k", "optional": true } }))), Ok(vec![]));
    assert_eq!(check(json!({ "envFrom": [{ "secretRef": { "name": "gone", "optional": true } }] })), Ok(vec![]));
    assert!(check(json!({ "envFrom": [{ "secretRef": { "name": "gone" } }] })).is_err());
}

#[test]
fn the_downward_api_offers_fields() {
    let (pod, _) = pod(&json!({ "name": "c" }));
    let field = |path| field(&pod, path, &sources()).unwrap();
    assert_eq!(
        ["metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "status.podIP"].map(field),
        ["web", "shop", "u1", "n1", "10.42.0.7"]
    );
    assert_eq!(field("metadata.labels['app']"), "web");
    assert_eq!(field("metadata.annotations['none']"), "");
    assert_eq!(field("metadata.labels"), "app=\"web\"\ntier=\"a\\\"b\"");
}

#[test]
fn resources_come_in_units_of_the_divisor_rounded_up() {
    let resources = json!({ "limits": { "cpu": "1500m", "memory": "64Mi" }, "requests": { "cpu": "250m" } });
    let (pod, container) = pod(&json!({ "name": "c", "resources": resources }));
    let of = |name: &str, divisor: Option<&str>| {
        let selector = json!({ "resource": name, "divisor": divisor });
        resource(&pod, &container, &serde_json::from_value(selector).unwrap(), &sources()).unwrap()
    };
    assert_eq!(of("limits.cpu", None), "2");
    assert_eq!(of("limits.cpu", Some("1m")), "1500");
    assert_eq!(of("limits.memory", Some("1Mi")), "64");
    assert_eq!(of("requests.cpu", Some("0")), "1");
    assert_eq!(of("requests.memory", None), "0");
}

#[test]
fn a_container_without_a_limit_sees_the_nodes() {
    let (pod, container) = pod(&json!({ "name": "c" }));
    let selector = serde_json::from_value(json!({ "resource": "limits.memory", "divisor": "1Gi" })).unwrap();
    assert_eq!(resource(&pod, &container, &selector, &sources()).unwrap(), "4");
}

#[test]
fn services_of_the_own_namespace_and_the_api_are_announced() {
    let service = |namespace: &str, name: &str, ip: &str| -> Service {
        let ports = json!([{ "name": "http", "port": 80 }, { "port": 53, "protocol": "UDP" }]);
        let spec = json!({ "clusterIP": ip, "ports": ports });
        serde_json::from_value(json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec })).unwrap()
    };
    let services = [
        service("shop", "my-db", "10.43.0.2"),
        service("shop", "headless", "None"),
        service("other", "x", "10.43.0.3"),
        service("default", "kubernetes", "10.43.0.1"),
    ];
    let variables = service_variables(&services, "shop", true);
    let of = |name: &str| variables.get(name).map(String::as_str);
    assert_eq!(of("MY_DB_SERVICE_HOST"), Some("10.43.0.2"));
    assert_eq!(of("MY_DB_SERVICE_PORT"), Some("80"));
    assert_eq!(of("MY_DB_SERVICE_PORT_HTTP"), Some("80"));
    assert_eq!(of("MY_DB_PORT"), Some("tcp://10.43.0.2:80"));
    assert_eq!(of("MY_DB_PORT_53_UDP"), Some("udp://10.43.0.2:53"));
    assert_eq!(of("MY_DB_PORT_53_UDP_ADDR"), Some("10.43.0.2"));
    assert_eq!(of("KUBERNETES_SERVICE_HOST"), Some("10.43.0.1"));
    assert!(!variables.keys().any(|name| name.starts_with("X_") || name.starts_with("HEADLESS")));
    let without = service_variables(&services, "shop", false);
    assert!(without.keys().all(|name| name.starts_with("KUBERNETES_")) && !without.is_empty());
}

#[test]
fn needs_name_every_object_once() {
    let (_, container) = pod(&json!({ "name": "c",
        "envFrom": [{ "configMapRef": { "name": "a" } }, { "secretRef": { "name": "s" } }],
        "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "a", "key": "k" } } }],
    }));
    assert_eq!(needs(&container), Needs { config_maps: ["a".to_owned()].into(), secrets: ["s".to_owned()].into() });
}
