//! Convincing a registry: each of our credentials in turn, by password or by a token that they buy.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use reqwest::{Response, Url};
use serde_json::Value;

use super::challenge::{self, Challenge};
use super::guard;
use super::{Call, Remote, answer, document, failure, limited};
use crate::oci::login::Credentials;
use crate::oci::registry::RegistryError;

/// Tokens have a few kilobytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// What a request needs the right to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access(String);

impl Access {
    pub(super) fn pull(name: &str) -> Self {
        Self(format!("repository:{name}:pull"))
    }

    pub(super) fn push(name: &str) -> Self {
        Self(format!("repository:{name}:pull,push"))
    }
}

/// What we can say about ourselves, and what convinced the registry last.
pub(super) struct Authority {
    credentials: Vec<Credentials>,
    convinced: Mutex<Option<(Access, HeaderValue)>>,
}

impl Authority {
    pub(super) fn new(mut credentials: Vec<Credentials>) -> Self {
        if credentials.is_empty() {
            // Public registries give tokens to anybody.
            credentials.push(Credentials::Anonymous);
        }
        Self { credentials, convinced: Mutex::default() }
    }

    /// Returns the header that was good for the same access before.
    pub(super) fn known(&self, access: &Access) -> Option<HeaderValue> {
        self.convinced.lock().as_ref().filter(|(known, _)| known == access).map(|(_, header)| header.clone())
    }
}

impl Remote {
    /// Answers a registry that does not let us in, with each of our credentials until one is good.
    pub(super) async fn convince(&self, call: &Call, refusal: Response) -> Result<Response, RegistryError> {
        let Some(challenge) = challenge_of(&refusal) else { return Err(RegistryError::Unauthorized) };
        let mut refused = RegistryError::Unauthorized;
        for credentials in &self.authority.credentials {
            let header = match self.header(credentials, &challenge, &call.access).await {
                Ok(Some(header)) => header,
                Ok(None) => continue,
                Err(error @ (RegistryError::Unauthorized | RegistryError::Refused { .. })) => {
                    refused = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let response = self.follow(call, Some(header.clone())).await?;
            if !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                *self.authority.convinced.lock() = Some((call.access.clone(), header));
                return Ok(response);
            }
            refused = refusal_of(credentials);
        }
        Err(refused)
    }

    /// Returns the header that answers a challenge; `None` if these credentials cannot.
    async fn header(
        &self,
        credentials: &Credentials,
        challenge: &Challenge,
        access: &Access,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let text = match (credentials, challenge) {
            (Credentials::Bearer(token), _) => format!("Bearer {token}"),
            (Credentials::Basic { user, password }, Challenge::Basic) => basic(user, password),
            (Credentials::Anonymous | Credentials::Identity(_), Challenge::Basic) => return Ok(None),
            (_, Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.as_deref().unwrap_or(&access.0);
                format!("Bearer {}", self.token(credentials, realm, service.as_deref(), scope).await?)
            }
        };
        Ok(secret(&text))
    }

    /// Buys a token (distribution, `spec/auth/token.md` and `oauth.md`).
    async fn token(
        &self,
        credentials: &Credentials,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<String, RegistryError> {
        let mut url =
            self.base.join(realm).map_err(|_| RegistryError::Said("a realm that is no address".to_owned()))?;
        let reach = guard::judge(&self.base, &url).map_err(RegistryError::Stray)?;
        let client = self.client_for(reach)?;
        let mut fields = vec![("scope", scope)];
        fields.extend(service.map(|service| ("service", service)));
        let request = if let Credentials::Identity(token) = credentials {
            fields.extend([("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "wkube")]);
            let form = form(&fields);
            client.post(url).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
        } else {
            url.query_pairs_mut().extend_pairs(fields);
            let request = client.request(Method::GET, url);
            match credentials {
                Credentials::Basic { user, password } => {
                    let header = secret(&basic(user, password)).ok_or(RegistryError::Unauthorized)?;
                    request.header(header::AUTHORIZATION, header)
                }
                _ => request,
            }
        };
        let response = answer(request).await?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                return Err(refusal_of(credentials));
            }
            status => return Err(failure(status, format!("the token server says HTTP {status}"))),
        }
        let body = document(limited(response, TOKEN_BYTES_MAX)).await?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = body["token"].as_str().or(body["access_token"].as_str());
        token.map(str::to_owned).ok_or_else(|| RegistryError::Said("an answer without token".to_owned()))
    }
}

fn challenge_of(response: &Response) -> Option<Challenge> {
    let headers: &HeaderMap = response.headers();
    let mut all = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let joined = all.by_ref().collect::<Vec<_>>().join(", ");
    challenge::parse(&joined)
}

fn refusal_of(credentials: &Credentials) -> RegistryError {
    match credentials {
        Credentials::Anonymous => RegistryError::Unauthorized,
        Credentials::Basic { user, .. } => RegistryError::Refused { user: user.clone() },
        Credentials::Bearer(_) | Credentials::Identity(_) => RegistryError::Refused { user: "<token>".to_owned() },
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A header that is not written to logs; `None` if the text fits into none.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").expect("is an address");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}
