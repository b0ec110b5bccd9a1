//! Who asks, as a backend is told: headers, and the objects with which it can check them
//! (`apiserver/pkg/authentication/request/headerrequest`, `kube-apiserver`'s `clusterauthenticationtrust`).

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use wkube_base::Clock;

use crate::auth::User;
use crate::router;
use crate::service::HOP_BY_HOP;
use crate::tls::{CertificateAuthority, Identity, TlsError};

/// How long this server's certificate holds; it is made at every start.
const LIFETIME: Duration = Duration::from_hours(24 * 365);
/// The name in this server's certificate, the only one that a backend believes.
const COMMON_NAME: &str = "front-proxy-client";
/// Where backends read whom to believe.
const CONFIG_MAP: &str = "extension-apiserver-authentication";
const READER: &str = "extension-apiserver-authentication-reader";

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// The certificate of this server for backends, and the CA that they find in the cluster.
pub(crate) struct FrontProxy {
    /// What this server shows.
    pub(crate) identity: Identity,
    /// Whom backends believe.
    pub(crate) ca_pem: String,
}

impl FrontProxy {
    /// Loads the CA from below the data directory, or makes it. It is not the cluster's own: whoever has a certificate of
    /// that one must not be able to speak for others.
    pub(crate) fn load_or_create(data_dir: &Path, clock: &Clock) -> Result<Self, TlsError> {
        let authority = CertificateAuthority::in_directory(data_dir.join("pki").join("front-proxy"), clock.clone())?;
        let identity = authority.issue_client(COMMON_NAME, &[], LIFETIME)?;
        Ok(Self { identity, ca_pem: authority.ca_pem().to_owned() })
    }
}

/// Replaces a client's credentials by this server's word about them. Pure.
pub(super) fn speak_for(user: &User, headers: &mut HeaderMap) {
    let own: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("x-remote-") || name.starts_with("impersonate-") || name == "authorization"
        })
        .cloned()
        .collect();
    for name in own.iter().chain(&HOP_BY_HOP).chain([&header::HOST]) {
        headers.remove(name);
    }
    // What is no header's text is left out, so that nothing can be smuggled in.
    let mut add = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        let Ok(name) = HeaderName::try_from(format!("{EXTRA}{}", router::encode(key)).to_lowercase()) else { continue };
        for value in values {
            add(name.clone(), value);
        }
    }
}

/// Returns the `ConfigMap` from which backends learn whom to believe.
pub(crate) fn config_map(client_ca: &str, front_proxy_ca: &str) -> Value {
    let list = |texts: &[&str]| json!(texts).to_string();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP, "namespace": "kube-system"},
        "data": {
            "client-ca-file": client_ca,
            "requestheader-client-ca-file": front_proxy_ca,
            "requestheader-allowed-names": list(&[COMMON_NAME]),
            "requestheader-username-headers": list(&["X-Remote-User"]),
            "requestheader-uid-headers": list(&["X-Remote-Uid"]),
            "requestheader-group-headers": list(&["X-Remote-Group"]),
            "requestheader-extra-headers-prefix": list(&["X-Remote-Extra-"]),
        },
    })
}

/// Returns the right to read it (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy/namespace_policy.go`).
pub(crate) fn rights() -> [Value; 2] {
    let rbac = "rbac.authorization.k8s.io";
    let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    let annotations = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
    let metadata =
        |name: &str| json!({"name": name, "namespace": "kube-system", "labels": labels, "annotations": annotations});
    let user = |name: &str| json!({"apiGroup": rbac, "kind": "User", "name": name});
    [
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": metadata(READER),
            "rules": [{
                "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP],
                "verbs": ["get", "list", "watch"],
            }],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": metadata(&format!("system::{READER}")),
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": READER},
            "subjects": [user("system:kube-controller-manager"), user("system:kube-scheduler")],
        }),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_credentials_are_replaced_by_this_servers_word() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("x-remote-user", "admin"),
            ("x-remote-extra-scopes", "all"),
            ("impersonate-user", "admin"),
            ("connection", "x"),
            ("accept", "application/json"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let extra = BTreeMap::from([("Example.com/Scope".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
        let user = User { name: "jane".into(), uid: "7".into(), groups: vec!["dev".into(), "ops".into()], extra };
        speak_for(&user, &mut headers);
        let mut seen: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "accept: application/json",
                "x-remote-extra-example.com%2fscope: a",
                "x-remote-extra-example.com%2fscope: b",
                "x-remote-group: dev",
                "x-remote-group: ops",
                "x-remote-uid: 7",
                "x-remote-user: jane",
            ]
        );
    }
}
