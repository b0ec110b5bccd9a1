//! Who asks: the transport's word, a bearer token, or nobody; and as whom (`Impersonate-*`).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Extensions, HeaderMap, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use tracing::debug;
use wkube_api::Status;
use wkube_base::Clock;

use super::static_tokens::StaticTokens;
use super::token::{self, Tokens};
use super::{AUTHENTICATED, Attributes, Authorizer, User};

const BOOTSTRAP_GROUP: &str = "system:bootstrappers";
const BOOTSTRAP_NAMESPACE: &str = "kube-system";
const BOOTSTRAP_TYPE: &str = "bootstrap.kubernetes.io/token";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// Looks up Secrets; the API server reads them from its own cache.
pub trait Secrets: Send + Sync {
    /// Returns one Secret.
    fn secret(&self, namespace: &str, name: &str) -> Option<Secret>;
}

/// A cluster without Secrets.
impl Secrets for () {
    fn secret(&self, _namespace: &str, _name: &str) -> Option<Secret> {
        None
    }
}

/// Finds out who asks.
#[derive(Clone)]
pub struct Authenticator {
    secrets: Arc<dyn Secrets>,
    tokens: Option<Arc<Tokens>>,
    static_tokens: Arc<StaticTokens>,
    clock: Clock,
}

impl Authenticator {
    /// Returns an authenticator that knows bootstrap tokens from `secrets`.
    pub fn new(secrets: Arc<dyn Secrets>, clock: Clock) -> Self {
        Self { secrets, tokens: None, static_tokens: Arc::default(), clock }
    }

    /// Returns the same authenticator, which knows service accounts' tokens, too.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<Tokens>) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Returns the same authenticator, which knows these tokens, too.
    #[must_use]
    pub fn with_static(self, tokens: StaticTokens) -> Self {
        Self { static_tokens: Arc::new(tokens), ..self }
    }

    /// Returns whose token it is, and for which of `audiences` (none: the API server's own) it holds.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn review(&self, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), token::Refusal> {
        let own = [token::ISSUER.to_owned()];
        let audiences = if audiences.is_empty() { &own[..] } else { audiences };
        if let Some((id, secret)) = split_bootstrap_token(token) {
            // These name no audience and are for the API server.
            let user = audiences.contains(&own[0]).then(|| self.by_bootstrap_token(id, secret)).flatten();
            return user.map(|user| (user, own.into())).ok_or(token::Refusal::Unknown);
        }
        if let Some(user) = self.static_tokens.user(token).filter(|_| audiences.contains(&own[0])) {
            return Ok((user.clone(), own.into()));
        }
        self.tokens.as_ref().ok_or(token::Refusal::Unknown)?.judge(token, audiences)
    }

    /// Returns the user that the transport vouches for (a `User` among the extensions), else the bearer token's, else
    /// the anonymous one.
    ///
    /// # Errors
    /// 401 for a token that is wrong or expired.
    pub fn authenticate(&self, extensions: &Extensions, headers: &HeaderMap) -> Result<User, Status> {
        if let Some(user) = extensions.get::<User>() {
            return Ok(user.clone());
        }
        match bearer_token(headers) {
            Some(token) => match self.review(token, &[]) {
                Ok((user, _)) => Ok(user),
                Err(refusal) => {
                    debug!(%refusal, "a bearer token was refused");
                    Err(Status::unauthorized())
                }
            },
            None => Ok(User::anonymous()),
        }
    }

    fn by_bootstrap_token(&self, id: &str, secret: &str) -> Option<User> {
        let stored = self.secrets.secret(BOOTSTRAP_NAMESPACE, &format!("bootstrap-token-{id}"))?;
        bootstrap_user(&stored, id, secret, self.clock.now())
    }
}

/// Returns the token of an `Authorization: Bearer` header.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Splits `abcdef.0123456789abcdef` (`cluster-bootstrap/token/api`).
fn split_bootstrap_token(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// Judges a bootstrap token by its Secret (`plugin/pkg/auth/authenticator/token/bootstrap`).
fn bootstrap_user(stored: &Secret, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    let data = |key: &str| {
        let value = stored.data.as_ref()?.get(key)?;
        std::str::from_utf8(&value.0).ok()
    };
    if stored.metadata.deletion_timestamp.is_some() || stored.type_.as_deref() != Some(BOOTSTRAP_TYPE) {
        return None;
    }
    if !same_secret(data("token-secret")?, secret) || data("token-id")? != id {
        return None;
    }
    // An expiration that cannot be read has passed.
    let expired = |text: &str| text.parse::<Timestamp>().is_ok_and(|end| end > now);
    if !data("expiration").is_none_or(expired) || data("usage-bootstrap-authentication") != Some("true") {
        return None;
    }
    let mut user = User::known(format!("system:bootstrap:{id}"), [BOOTSTRAP_GROUP]);
    let extra = data("auth-extra-groups").unwrap_or_default();
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        user.join(group);
    }
    Some(user)
}

/// Compares in a time that depends only on the lengths.
pub(super) fn same_secret(one: impl AsRef<[u8]>, other: impl AsRef<[u8]>) -> bool {
    let (one, other) = (one.as_ref(), other.as_ref());
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Returns the user that a request acts as: the asker, or whom the `Impersonate-*` headers name and the asker may
/// impersonate (`endpoints/filters/impersonation`).
///
/// # Errors
/// 403 if the asker may not; 500 (as upstream) if groups or extras come without a user.
pub fn impersonate(asker: User, headers: &HeaderMap, authorizer: &Authorizer<'_>) -> Result<User, Status> {
    let requested = Requested::read(headers);
    if requested == Requested::default() {
        return Ok(asker);
    }
    if requested.name.is_empty() {
        return Err(Status::internal("requested groups, uid or extra without impersonating a user"));
    }
    requested.check(&asker, authorizer)?;
    Ok(requested.into_user())
}

/// What the headers ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Requested {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Requested {
    fn read(headers: &HeaderMap) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
                extra.entry(percent_decoded(key)).or_default().push(text(value));
            }
        }
        let groups = headers.get_all("impersonate-group").iter().map(text).collect();
        Self { name: one("impersonate-user"), uid: one("impersonate-uid"), groups, extra }
    }

    /// Returns namespace and name if a service account is asked for.
    fn service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')
    }

    fn check(&self, asker: &User, authorizer: &Authorizer<'_>) -> Result<(), Status> {
        const AUTHENTICATION: &str = "authentication.k8s.io";
        let may = |wanted: Attributes<'_>| authorizer.check(asker, &Attributes { verb: "impersonate", ..wanted });
        match self.service_account() {
            Some((namespace, name)) => {
                may(Attributes { resource: "serviceaccounts", namespace, name, ..Attributes::default() })?;
            }
            None => may(Attributes { resource: "users", name: &self.name, ..Attributes::default() })?,
        }
        for group in &self.groups {
            may(Attributes { resource: "groups", name: group, ..Attributes::default() })?;
        }
        if !self.uid.is_empty() {
            may(Attributes { group: AUTHENTICATION, resource: "uids", name: &self.uid, ..Attributes::default() })?;
        }
        for (key, values) in &self.extra {
            for value in values {
                may(Attributes {
                    group: AUTHENTICATION,
                    resource: "userextras",
                    subresource: key,
                    name: value,
                    ..Attributes::default()
                })?;
            }
        }
        Ok(())
    }

    fn into_user(self) -> User {
        let account_groups = self.service_account().filter(|_| self.groups.is_empty()).map(|(namespace, _)| {
            vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
        });
        let groups = account_groups.unwrap_or(self.groups);
        let mut user = User { name: self.name, uid: self.uid, groups, extra: self.extra };
        let everyone = if user.is_anonymous() { super::UNAUTHENTICATED } else { AUTHENTICATED };
        user.join(everyone);
        user
    }
}

/// Decodes `%2f` and the like; header names cannot carry every character of an extra key.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |range: &[u8]| u8::from_str_radix(std::str::from_utf8(range).ok()?, 16).ok();
        let escaped = if *first == b'%' { tail.get(..2).and_then(hex) } else { None };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::{MASTERS, Policy};

    struct One(Value);

    impl Secrets for One {
        fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
            let found = (namespace, name) == ("kube-system", "bootstrap-token-abcdef");
            found.then(|| serde_json::from_value(self.0.clone()).expect("well-formed"))
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&'static str, &str)| (name.parse().expect("a name"), value.parse().expect("a value"));
        pairs.iter().map(pair).collect::<Vec<(http::HeaderName, http::HeaderValue)>>().into_iter().collect()
    }

    fn data(pairs: &[(&str, &str)]) -> Value {
        use base64::Engine as _;
        let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let mut data = json!({
            "token-id": encoded("abcdef"),
            "token-secret": encoded("0123456789abcdef"),
            "usage-bootstrap-authentication": encoded("true"),
            "expiration": encoded("2026-11-22T12:00:00Z"),
        });
        for (key, value) in pairs {
            data[key] = json!(encoded(value));
        }
        json!({"type": BOOTSTRAP_TYPE, "data": data})
    }

    fn authenticate(secret: Value, token: &str) -> Result<User, Status> {
        let clock = Clock::manual("2026-11-22T11:00:00Z".parse().expect("a time"));
        let authenticator = Authenticator::new(Arc::new(One(secret)), clock);
        authenticator.authenticate(&Extensions::new(), &headers(&[("authorization", &format!("Bearer {token}"))]))
    }

    const TOKEN: &str = "abcdef.0123456789abcdef";

    #[test]
    fn a_bootstrap_token_makes_a_bootstrap_user() {
        let user = authenticate(data(&[("auth-extra-groups", "system:bootstrappers:edge")]), TOKEN).expect("valid");
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:authenticated", "system:bootstrappers:edge"]);
    }

    #[test]
    fn a_token_that_is_wrong_in_any_way_is_401() {
        let mut other_type = data(&[]);
        other_type["type"] = json!("Opaque");
        let mut deleting = data(&[]);
        deleting["metadata"] = json!({"deletionTimestamp": "2026-11-22T10:00:00Z"});
        for (why, secret, token) in [
            ("wrong secret", data(&[]), "abcdef.0123456789abcdeX"),
            ("wrong secret of the right form", data(&[]), "abcdef.0123456789abcdee"),
            ("unknown id", data(&[]), "ghijkl.0123456789abcdef"),
            ("no token", data(&[]), "garbage"),
            ("expired", data(&[("expiration", "2026-11-22T11:00:00Z")]), TOKEN),
            ("unreadable expiration", data(&[("expiration", "tomorrow")]), TOKEN),
            ("not for authentication", data(&[("usage-bootstrap-authentication", "false")]), TOKEN),
            ("another id inside", data(&[("token-id", "zzzzzz")]), TOKEN),
            ("forbidden group", data(&[("auth-extra-groups", "system:masters")]), TOKEN),
            ("other type", other_type, TOKEN),
            ("being deleted", deleting, TOKEN),
        ] {
            assert_eq!(authenticate(secret, token).map_err(|status| status.code), Err(401), "{why}");
        }
    }

    #[test]
    fn the_transport_knows_better_than_a_header() {
        let authenticator = Authenticator::new(Arc::new(()), Clock::system());
        let mut extensions = Extensions::new();
        extensions.insert(User::known("admin", [MASTERS]));
        let user = authenticator.authenticate(&extensions, &headers(&[("authorization", "Bearer nonsense")]));
        assert_eq!(user.expect("known").name, "admin");
    }

    #[test]
    fn nobody_is_anonymous() {
        let authenticator = Authenticator::new(Arc::new(()), Clock::system());
        for given in [&[][..], &[("authorization", "Basic YTpi")], &[("authorization", "Bearer ")]] {
            let user = authenticator.authenticate(&Extensions::new(), &headers(given)).expect("nobody");
            assert!(user.is_anonymous() && !user.is_in(AUTHENTICATED), "{given:?}");
        }
    }

    fn impersonated(asker: &User, given: &[(&'static str, &str)]) -> Result<User, Status> {
        let policy = Policy::new(
            &[],
            &[],
            &serde_json::from_value::<Vec<_>>(json!([{"metadata": {"name": "r"}, "rules": [
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"]},
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"]},
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
                {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/acme.com/team"]},
            ]}])).expect("well-formed"),
            &serde_json::from_value::<Vec<_>>(json!([{"metadata": {"name": "b"},
                "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "bob"}]}]))
            .expect("well-formed"),
        );
        impersonate(asker.clone(), &headers(given), &Authorizer { policy: &policy, graph: &() })
    }

    #[test]
    fn impersonation_needs_a_right_for_each_thing_it_asks_for() {
        let bob = User::known("bob", [""; 0]);
        assert_eq!(impersonated(&bob, &[]).expect("himself"), bob);
        let jane = impersonated(&bob, &[("impersonate-user", "jane"), ("impersonate-group", "dev")]).expect("allowed");
        assert_eq!((&*jane.name, &jane.groups[..]), ("jane", &["dev".to_owned(), AUTHENTICATED.to_owned()][..]));
        for refused in [
            &[("impersonate-user", "root")][..],
            &[("impersonate-user", "jane"), ("impersonate-group", MASTERS)],
            &[("impersonate-user", "jane"), ("impersonate-uid", "7")],
            &[("impersonate-user", "jane"), ("impersonate-extra-scopes", "all")],
        ] {
            assert_eq!(impersonated(&bob, refused).map_err(|status| status.code), Err(403), "{refused:?}");
        }
        let status = impersonated(&bob, &[("impersonate-user", "root")]).expect_err("not allowed");
        let expected = r#"users "root" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope"#;
        assert_eq!(status.message, expected);
        assert_eq!(impersonated(&bob, &[("impersonate-group", "dev")]).map_err(|status| status.code), Err(500));
    }

    #[test]
    fn an_impersonated_service_account_brings_its_groups() {
        let account = "system:serviceaccount:d:bot";
        let user = impersonated(&User::known("bob", [""; 0]), &[("impersonate-user", account)]).expect("allowed");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:d", AUTHENTICATED]);
    }

    #[test]
    fn extra_keys_are_decoded() {
        let asker = User::known("x", [MASTERS]);
        let given = [("impersonate-user", "jane"), ("impersonate-extra-acme.com%2fteam", "a")];
        let user = impersonated(&asker, &given).expect("masters may");
        assert_eq!(user.extra, BTreeMap::from([("acme.com/team".to_owned(), vec!["a".to_owned()])]));
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("a%zz%41"), "a%zzA");
    }
}
