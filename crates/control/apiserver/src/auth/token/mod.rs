//! Tokens of service accounts: JSON web tokens that this server signs (`jwt`), what they say (`claims`, pure), and
//! whether what they say still holds.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use wkube_api::Object;
use wkube_base::Clock;

use super::User;

mod claims;
mod jwt;
pub mod legacy;

pub use claims::{Bound, Claims, Reference, Refusal, Request};
pub use jwt::{ALGORITHM, Keys};

/// Who signs (`--service-account-issuer`), and whom tokens are for that name no audience (`--api-audiences`).
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Looks up what tokens are bound to; the API server reads it straight from the store.
pub trait Objects: Send + Sync {
    /// Returns a core object of the given plural; the namespace is empty for nodes.
    fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Object>;
}

/// A cluster without objects.
impl Objects for () {
    fn object(&self, _plural: &str, _namespace: &str, _name: &str) -> Option<Object> {
        None
    }
}

/// What a token of either age says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Bound(Box<Claims>),
    Legacy(legacy::Claims),
}

/// Makes tokens and judges them.
pub struct Tokens {
    keys: Keys,
    objects: Arc<dyn Objects>,
    clock: Clock,
}

impl Tokens {
    /// Returns what signs with `keys`.
    pub fn new(keys: Keys, objects: Arc<dyn Objects>, clock: Clock) -> Self {
        Self { keys, objects, clock }
    }

    /// Returns the token that says so.
    pub fn sign(&self, claims: &Claims) -> String {
        self.keys.sign(claims)
    }

    /// Returns the token that a Secret is to hold.
    pub fn sign_legacy(&self, claims: &legacy::Claims) -> String {
        self.keys.sign(claims)
    }

    /// Returns the keys for whoever checks tokens himself.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns whose token it is, and for which of `audiences` it holds (at least one).
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn judge(&self, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), Refusal> {
        let claims = match self.keys.verify(token).ok_or(Refusal::Unknown)? {
            Said::Bound(claims) => claims,
            // These name no audience and are for the API server.
            Said::Legacy(claims) if audiences.iter().any(|audience| audience == ISSUER) => {
                return Ok((claims.user(token, &*self.objects, self.now())?, vec![ISSUER.to_owned()]));
            }
            Said::Legacy(_) => {
                return Err(Refusal::Audience { held: vec![ISSUER.to_owned()], wanted: audiences.to_vec() });
            }
        };
        let common: Vec<String> = audiences.iter().filter(|wanted| claims.aud.contains(wanted)).cloned().collect();
        if common.is_empty() {
            return Err(Refusal::Audience { held: claims.aud, wanted: audiences.to_vec() });
        }
        Ok((claims.user(&*self.objects, self.now())?, common))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
