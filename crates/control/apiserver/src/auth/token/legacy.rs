//! Tokens that are kept in Secrets, as they were before there were `TokenRequest`s (`pkg/serviceaccount/legacy.go`).
//! They hold as long as their Secret and their account. Pure, given the objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wkube_api::Object;

use super::{Objects, Refusal};
use crate::auth::User;
use crate::auth::authenticate;

/// Who signs them.
pub const ISSUER: &str = "kubernetes/serviceaccount";
/// The type of their Secrets.
pub const TYPE: &str = "kubernetes.io/service-account-token";
/// Names the account on the Secret; whoever wants a token writes it.
pub const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// Tells which account of the name it is; written with the token.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// The claims, named as in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// The account's namespace, and the Secret's.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    /// The Secret that holds the token.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    /// The account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    /// Which of its lives.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub account_uid: String,
    /// The user's name.
    pub sub: String,
}

impl Claims {
    /// Returns the claims of the token that `secret` shall hold.
    pub fn new(secret: &Object, account: &Object) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            namespace: secret.namespace().to_owned(),
            secret: secret.name().to_owned(),
            account: account.name().to_owned(),
            account_uid: account.uid().to_owned(),
            sub: format!("system:serviceaccount:{}:{}", secret.namespace(), account.name()),
        }
    }

    /// Returns the user of `token`, which says this, if its Secret and its account are still there.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn user(&self, token: &str, objects: &dyn Objects, now: Timestamp) -> Result<User, Refusal> {
        let deleted = |what: &str, name: &str| Refusal::Deleted { what: format!("{what} {}/{name}", self.namespace) };
        let is_sound = self.iss == ISSUER
            && !self.secret.is_empty()
            && self.sub == format!("system:serviceaccount:{}:{}", self.namespace, self.account);
        if !is_sound {
            return Err(Refusal::Unknown);
        }
        let secret = objects.object("secrets", &self.namespace, &self.secret);
        let secret = secret.filter(|secret| !is_gone(secret, now)).ok_or_else(|| deleted("secret", &self.secret))?;
        // Somebody has put another token there, and means it.
        if !authenticate::same_secret(data(&secret, "token").unwrap_or_default(), token) {
            return Err(Refusal::Unknown);
        }
        let account = objects.object("serviceaccounts", &self.namespace, &self.account);
        let account = account.filter(|account| !is_gone(account, now));
        let account = account.ok_or_else(|| deleted("service account", &self.account))?;
        if account.uid() != self.account_uid {
            let what = format!("service account {}/{}", self.namespace, self.account);
            return Err(Refusal::Replaced { what, now: account.uid().to_owned(), claimed: self.account_uid.clone() });
        }
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{}", self.namespace)];
        Ok(User { uid: self.account_uid.clone(), ..User::known(&self.sub, groups) })
    }
}

/// What goes has gone after its grace (`jwt.go`: deletion plus a minute is what bound tokens have, these have none).
fn is_gone(object: &Object, now: Timestamp) -> bool {
    let end = object.str_at(&["metadata", "deletionTimestamp"]);
    !end.is_empty() && end.parse::<Timestamp>().is_ok_and(|end| end <= now)
}

/// Returns a value of a Secret.
fn data(secret: &Object, key: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.str_at(&["data", key])).ok()
}

/// What has to happen to a Secret of this type (`pkg/controller/serviceaccount/tokens_controller.go`).
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Leave,
    /// Its account is gone, or is another one.
    Delete,
    /// It gets its token, and what a pod needs beside it.
    Fill(Object),
}

/// Decides about a Secret. `sign` makes a token.
pub fn step(secret: &Object, account: Option<&Object>, ca_pem: &str, sign: impl FnOnce(&Claims) -> String) -> Step {
    if secret.str_at(&["type"]) != TYPE || secret.is_deleting() {
        return Step::Leave;
    }
    let annotation = |key: &str| secret.str_at(&["metadata", "annotations", key]).to_owned();
    let Some(account) = account else { return Step::Delete };
    let uid = annotation(ACCOUNT_UID);
    if !uid.is_empty() && uid != account.uid() {
        return Step::Delete;
    }
    let mut filled = secret.clone();
    filled.set(&["metadata", "annotations", ACCOUNT_UID], account.uid());
    let mut put = |key: &str, value: &[u8]| filled.set(&["data", key], json!(STANDARD.encode(value)));
    put("ca.crt", ca_pem.as_bytes());
    if data(secret, "namespace").is_none_or(|namespace| namespace.is_empty()) {
        put("namespace", secret.namespace().as_bytes());
    }
    if data(secret, "token").is_none_or(|token| token.is_empty()) {
        put("token", sign(&Claims::new(secret, account)).as_bytes());
    }
    if filled == *secret { Step::Leave } else { Step::Fill(filled) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    fn secret(annotations: &Value, data: &Value) -> Object {
        object(json!({
            "kind": "Secret", "metadata": {"name": "bot-token", "namespace": "d", "annotations": annotations},
            "type": TYPE, "data": data,
        }))
    }

    fn account(uid: &str) -> Object {
        object(json!({"metadata": {"name": "bot", "namespace": "d", "uid": uid}}))
    }

    fn filled() -> Object {
        let empty = secret(&json!({(ACCOUNT): "bot"}), &json!({}));
        match step(&empty, Some(&account("u1")), "CA", |claims| format!("signed for {}", claims.sub)) {
            Step::Fill(filled) => filled,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_secret_gets_its_token_once() {
        let secret = filled();
        assert_eq!(data(&secret, "token").expect("a token"), b"signed for system:serviceaccount:d:bot");
        assert_eq!((data(&secret, "ca.crt"), data(&secret, "namespace")), (Some(b"CA".into()), Some(b"d".into())));
        assert_eq!(secret.str_at(&["metadata", "annotations", ACCOUNT_UID]), "u1");
        assert_eq!(step(&secret, Some(&account("u1")), "CA", |_| unreachable!("it has one")), Step::Leave);
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        let sign = |_: &Claims| String::new();
        assert_eq!(step(&filled(), None, "CA", sign), Step::Delete);
        assert_eq!(step(&filled(), Some(&account("u2")), "CA", sign), Step::Delete, "another account of the name");
        let opaque = object(json!({"metadata": {"name": "x"}, "type": "Opaque"}));
        assert_eq!(step(&opaque, None, "CA", sign), Step::Leave);
    }

    struct Here(Option<Object>, Option<Object>);

    impl Objects for Here {
        fn object(&self, plural: &str, _namespace: &str, _name: &str) -> Option<Object> {
            if plural == "secrets" { self.0.clone() } else { self.1.clone() }
        }
    }

    #[test]
    fn a_token_holds_as_long_as_its_secret_and_its_account() {
        let token = "signed for system:serviceaccount:d:bot";
        let claims = Claims::new(&filled(), &account("u1"));
        let judge = |token: &str, secret, account| {
            let judged = claims.user(token, &Here(secret, account), Timestamp::UNIX_EPOCH);
            judged.map_or_else(|refusal| refusal.to_string(), |user| format!("{} {}", user.name, user.uid))
        };
        assert_eq!(judge(token, Some(filled()), Some(account("u1"))), "system:serviceaccount:d:bot u1");
        assert_eq!(judge(token, None, Some(account("u1"))), "secret d/bot-token has been deleted");
        assert_eq!(judge(token, Some(filled()), None), "service account d/bot has been deleted");
        assert_eq!(judge("another", Some(filled()), Some(account("u1"))), "invalid bearer token");
        let replaced = judge(token, Some(filled()), Some(account("u2")));
        assert_eq!(replaced, "service account d/bot UID (u2) does not match claim (u1)");
    }
}
