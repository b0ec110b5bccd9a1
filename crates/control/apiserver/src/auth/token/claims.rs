//! What a service account's token says, and whether it still holds (`pkg/serviceaccount/claims.go`). Pure, given the
//! objects.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use wkube_api::Object;

use super::{ISSUER, Objects};
use crate::auth::User;

/// Clocks of cluster and checker may differ by this much; go-jose's `DefaultLeeway`.
const LEEWAY: SignedDuration = SignedDuration::from_mins(1);
/// What admission asks for and nobody else would (`WarnOnlyBoundTokenExpirationPeriod`).
const ADMISSION_SECONDS: i64 = 3607;
/// Old clients read their token only once, so that admission's live longer (`ExpirationExtensionSeconds`).
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// The claims, named as in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom the token is for.
    pub aud: Vec<String>,
    /// When it ends, in Unix seconds.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Its name.
    pub jti: String,
    /// What Kubernetes adds.
    #[serde(rename = "kubernetes.io")]
    pub cluster: Cluster,
    /// When it starts.
    pub nbf: i64,
    /// The user's name.
    pub sub: String,
}

/// Kubernetes' own claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The account's namespace.
    pub namespace: String,
    /// The node that the token is bound to, or that its pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The Secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// When its use becomes odd, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object and which of its lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid; empty for a node that is not there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Reference {
    /// Returns the reference to an object as it is now.
    pub fn to(object: &Object) -> Self {
        Self { name: object.name().to_owned(), uid: object.uid().to_owned() }
    }
}

/// What a token ends with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Bound {
    /// The account only.
    #[default]
    Account,
    /// A pod, and the node that it runs on.
    Pod(Reference, Option<Reference>),
    /// A Secret.
    Secret(Reference),
    /// A node.
    Node(Reference),
}

/// What a new token shall say.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The account's namespace.
    pub namespace: &'a str,
    /// The account.
    pub account: Reference,
    /// Whom it is for.
    pub audiences: Vec<String>,
    /// How long it shall hold.
    pub seconds: i64,
    /// What it ends with.
    pub bound: Bound,
    /// Its name.
    pub id: String,
    /// The time.
    pub now: Timestamp,
}

/// Why a token does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody here has signed it.
    #[error("invalid bearer token")]
    Unknown,
    /// It is meant for somebody else.
    #[error("token audiences {held:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// Whom it is for.
        held: Vec<String>,
        /// Who asks.
        wanted: Vec<String>,
    },
    /// Its time is over.
    #[error("service account token has expired")]
    Expired,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    Early,
    /// What it is bound to is gone.
    #[error("{what} has been deleted")]
    Deleted {
        /// Such as `service account d/bot`.
        what: String,
    },
    /// What it is bound to is another one of the same name.
    #[error("{what} UID ({now}) does not match claim ({claimed})")]
    Replaced {
        /// Such as `pod d/web-1`.
        what: String,
        /// The uid of the one that is there.
        now: String,
        /// The uid of the one that was.
        claimed: String,
    },
}

impl Claims {
    /// Returns the claims of a new token.
    pub fn new(request: Request<'_>) -> Self {
        let Request { namespace, account, audiences, seconds, bound, id, now } = request;
        let now = now.as_second();
        // Only the API server itself extends: others were promised what they see.
        let extended = seconds == ADMISSION_SECONDS && audiences.iter().all(|audience| audience == ISSUER);
        let mut cluster =
            Cluster { namespace: namespace.to_owned(), serviceaccount: account.clone(), ..Cluster::default() };
        cluster.warnafter = extended.then_some(now + seconds);
        match bound {
            Bound::Account => {}
            Bound::Pod(pod, node) => (cluster.pod, cluster.node) = (Some(pod), node),
            Bound::Secret(secret) => cluster.secret = Some(secret),
            Bound::Node(node) => cluster.node = Some(node),
        }
        Self {
            aud: audiences,
            exp: now + if extended { EXTENDED_SECONDS } else { seconds },
            iat: now,
            iss: ISSUER.to_owned(),
            jti: id,
            sub: format!("system:serviceaccount:{namespace}:{}", account.name),
            nbf: now,
            cluster,
        }
    }

    /// Returns the user, if the token holds now and everything that it is bound to is still there.
    ///
    /// # Errors
    /// The first reason why it does not hold.
    pub fn user(&self, objects: &dyn Objects, now: Timestamp) -> Result<User, Refusal> {
        let leeway = LEEWAY.as_secs();
        if self.iss != ISSUER {
            return Err(Refusal::Unknown);
        }
        if self.exp + leeway <= now.as_second() {
            return Err(Refusal::Expired);
        }
        if self.nbf - leeway > now.as_second() {
            return Err(Refusal::Early);
        }
        let Cluster { namespace, node, pod, secret, serviceaccount, .. } = &self.cluster;
        let holds = |plural: &str, kind: &str, namespace: &str, reference: &Reference| {
            check(objects.object(plural, namespace, &reference.name), kind, namespace, reference, now)
        };
        holds("serviceaccounts", "service account", namespace, serviceaccount)?;
        if let Some(secret) = secret {
            holds("secrets", "secret", namespace, secret)?;
        }
        match (pod, node) {
            (Some(pod), _) => holds("pods", "pod", namespace, pod)?,
            (None, Some(node)) => holds("nodes", "node", "", node)?,
            (None, None) => {}
        }
        Ok(self.vouched())
    }

    /// Returns the user, without any doubt.
    fn vouched(&self) -> User {
        let Cluster { namespace, node, pod, serviceaccount, .. } = &self.cluster;
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let mut user = User::known(format!("system:serviceaccount:{namespace}:{}", serviceaccount.name), groups);
        user.uid.clone_from(&serviceaccount.uid);
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
            }
        };
        add("credential-id", &format!("JTI={}", self.jti));
        if let Some(pod) = pod {
            add("pod-name", &pod.name);
            add("pod-uid", &pod.uid);
        }
        if let Some(node) = node {
            add("node-name", &node.name);
            add("node-uid", &node.uid);
        }
        user
    }
}

/// Whether the object is still the one that was meant. One that is being deleted counts for a moment more, so that pods
/// can end in good order.
fn check(
    found: Option<Object>,
    kind: &str,
    namespace: &str,
    reference: &Reference,
    now: Timestamp,
) -> Result<(), Refusal> {
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let what = format!("{kind} {place}{}", reference.name);
    let Some(object) = found else { return Err(Refusal::Deleted { what }) };
    if object.uid() != reference.uid {
        let (now, claimed) = (object.uid().to_owned(), reference.uid.clone());
        return Err(Refusal::Replaced { what, now, claimed });
    }
    let deleted = object.str_at(&["metadata", "deletionTimestamp"]).parse::<Timestamp>();
    match deleted {
        Ok(end) if now.duration_since(end) > LEEWAY => Err(Refusal::Deleted { what }),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reference(name: &str) -> Reference {
        Reference { name: name.into(), uid: format!("uid-{name}") }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn request() -> Request<'static> {
        Request {
            namespace: "d",
            account: reference("bot"),
            audiences: vec![ISSUER.to_owned()],
            seconds: 3600,
            bound: Bound::Pod(reference("web-1"), Some(reference("n1"))),
            id: "7".into(),
            now: at("2026-01-01T00:00:00Z"),
        }
    }

    /// Claims of an hour from 2026 on.
    pub(in crate::auth::token) fn claims() -> Claims {
        Claims::new(request())
    }

    /// Objects by `plural/name`; what is not named has the uid that `reference` gives.
    struct Here(Vec<(&'static str, Value)>);

    impl Objects for Here {
        fn object(&self, plural: &str, _namespace: &str, name: &str) -> Option<Object> {
            let metadata = match self.0.iter().find(|(key, _)| *key == format!("{plural}/{name}")) {
                Some((_, Value::Null)) => return None,
                Some((_, metadata)) => metadata.clone(),
                None => json!({"name": name, "uid": format!("uid-{name}")}),
            };
            serde_json::from_value(json!({ "metadata": metadata })).ok()
        }
    }

    #[track_caller]
    fn check(here: Vec<(&'static str, Value)>, time: &str, expected: &str) {
        let judged = claims().user(&Here(here), at(time));
        assert_eq!(judged.map_or_else(|refusal| refusal.to_string(), |user| user.name), expected);
    }

    const BOT: &str = "system:serviceaccount:d:bot";

    #[test]
    fn the_token_says_who_for_whom_how_long_and_where() {
        let expected = json!({
            "aud": [ISSUER], "exp": 1_767_229_200, "iat": 1_767_225_600, "iss": ISSUER, "jti": "7", "nbf": 1_767_225_600,
            "sub": BOT,
            "kubernetes.io": {
                "namespace": "d", "node": {"name": "n1", "uid": "uid-n1"}, "pod": {"name": "web-1", "uid": "uid-web-1"},
                "serviceaccount": {"name": "bot", "uid": "uid-bot"},
            },
        });
        assert_eq!(serde_json::to_value(claims()).expect("JSON"), expected);
    }

    #[test]
    fn admissions_token_lives_a_year_and_warns_after_an_hour() {
        let claims = Claims::new(Request { seconds: ADMISSION_SECONDS, ..request() });
        assert_eq!((claims.exp - claims.iat, claims.cluster.warnafter), (EXTENDED_SECONDS, Some(claims.iat + 3607)));
        let others = Request { seconds: ADMISSION_SECONDS, audiences: vec!["vault".into()], ..request() };
        assert_eq!(Claims::new(others).exp - claims.iat, ADMISSION_SECONDS);
    }

    #[test]
    fn a_token_holds_from_its_start_to_its_end_give_or_take_a_minute() {
        check(vec![], "2026-01-01T00:00:00Z", BOT);
        check(vec![], "2025-12-31T23:59:00Z", BOT);
        check(vec![], "2025-12-31T23:58:59Z", "service account token is not valid yet");
        check(vec![], "2026-01-01T01:00:59Z", BOT);
        check(vec![], "2026-01-01T01:01:00Z", "service account token has expired");
    }

    #[test]
    fn a_token_ends_with_what_it_is_bound_to() {
        let now = "2026-01-01T00:30:00Z";
        check(vec![("serviceaccounts/bot", Value::Null)], now, "service account d/bot has been deleted");
        check(vec![("pods/web-1", Value::Null)], now, "pod d/web-1 has been deleted");
        let other = json!({"name": "web-1", "uid": "other"});
        check(vec![("pods/web-1", other)], now, "pod d/web-1 UID (other) does not match claim (uid-web-1)");
        // The node of a pod's token is only told, not checked.
        check(vec![("nodes/n1", Value::Null)], now, BOT);
    }

    #[test]
    fn a_pod_that_goes_keeps_its_token_for_a_minute() {
        let going =
            |time: &str| vec![("pods/web-1", json!({"name": "web-1", "uid": "uid-web-1", "deletionTimestamp": time}))];
        check(going("2026-01-01T00:29:00Z"), "2026-01-01T00:30:00Z", BOT);
        check(going("2026-01-01T00:28:59Z"), "2026-01-01T00:30:00Z", "pod d/web-1 has been deleted");
    }

    #[test]
    fn a_node_bound_token_ends_with_its_node() {
        let claims = Claims::new(Request { bound: Bound::Node(reference("n1")), ..request() });
        let judged = claims.user(&Here(vec![("nodes/n1", Value::Null)]), at("2026-01-01T00:30:00Z"));
        assert_eq!(judged, Err(Refusal::Deleted { what: "node n1".into() }));
    }

    #[test]
    fn the_user_knows_where_it_comes_from() {
        let user = claims().user(&Here(vec![]), at("2026-01-01T00:30:00Z")).expect("holds");
        assert_eq!(user.uid, "uid-bot");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated"]);
        let extra: Vec<_> = user.extra.iter().map(|(key, values)| format!("{key}={}", values.join(","))).collect();
        assert_eq!(
            extra,
            [
                "authentication.kubernetes.io/credential-id=JTI=7",
                "authentication.kubernetes.io/node-name=n1",
                "authentication.kubernetes.io/node-uid=uid-n1",
                "authentication.kubernetes.io/pod-name=web-1",
                "authentication.kubernetes.io/pod-uid=uid-web-1",
            ]
        );
    }
}
