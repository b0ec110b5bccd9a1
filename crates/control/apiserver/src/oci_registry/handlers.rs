//! The endpoints: who may, then one function per target and method.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::error::Refusal;
use super::path::{Digest, Reference, Target};
use super::storage::{Manifest, Storage};
use super::{OciRegistry, Scheme};
use crate::auth::authenticate::bearer_token;

/// The specification asks for at least this much.
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Strangers' reading tokens; they may read without one, but docker insists on getting one.
const STRANGER_TOKEN_TTL: Duration = Duration::from_mins(5);
const TAGS_PER_PAGE_MAX: usize = 1000;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

type Answer = Result<Response, Refusal>;

struct Shared {
    registry: Arc<OciRegistry>,
    scheme: Scheme,
}

pub(super) fn router(registry: Arc<OciRegistry>, scheme: Scheme) -> Router {
    let shared = Arc::new(Shared { registry, scheme });
    // Sizes are limited where bodies are read; the specification's are above axum's default.
    Router::new()
        .route("/v2/", axum::routing::any(serve))
        .route("/v2/{*rest}", axum::routing::any(serve))
        .with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut response = shared.answer(request).await.unwrap_or_else(IntoResponse::into_response);
    let version = header::HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert("docker-distribution-api-version", version);
    response
}

impl Shared {
    async fn answer(&self, request: Request) -> Answer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix("/v2/").unwrap_or_default();
        let target = Target::parse(path).ok_or_else(|| Refusal::name_invalid(path))?;
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        match &target {
            Target::Root => return self.root(&parts),
            Target::Token => return self.token(&parts.headers),
            // The state of an upload is its writer's business.
            Target::Upload { .. } => self.check_writer(&parts)?,
            _ if !reads => self.check_writer(&parts)?,
            _ => {}
        }
        match (target, &parts.method) {
            (Target::Catalog, &Method::GET) => self.catalog().await,
            (Target::Tags { name }, &Method::GET) => self.tags(name, &parts).await,
            (Target::Manifest { name, reference }, &Method::GET | &Method::HEAD) => {
                self.manifest(name, reference).await
            }
            (Target::Manifest { name, reference }, &Method::PUT) => {
                self.put_manifest(name, reference, &parts, body).await
            }
            (Target::Manifest { name, reference }, &Method::DELETE) => self.delete_manifest(name, reference).await,
            (Target::Referrers { name, digest }, &Method::GET) => self.referrers(name, digest, &parts).await,
            (Target::Blob { digest, .. }, &Method::GET | &Method::HEAD) => self.blob(&digest, &parts.method).await,
            (Target::Uploads { name }, &Method::POST) => self.start_upload(&name, &parts, body).await,
            (Target::Upload { name, id }, &Method::GET) => self.upload_state(&name, id).await,
            (Target::Upload { name, id }, &Method::PATCH) => self.append(&name, id, &parts, body).await,
            (Target::Upload { name, id }, &Method::PUT) => self.finish(&name, id, &parts, body).await,
            (Target::Upload { name, id }, &Method::DELETE) => {
                self.registry.uploads.find(&name, id).ok_or_else(Refusal::upload_unknown)?;
                self.registry.uploads.forget(id);
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            // Blobs are shared by all repositories, so that none may take one away.
            (_, method) => Err(Refusal::unsupported(&format!("{method} on {path}"))),
        }
    }

    /// Says where tokens come from, unless the client has one. docker and skopeo look here before they push.
    fn root(&self, parts: &Parts) -> Answer {
        if presented_token(&parts.headers).is_some_and(|token| self.registry.tokens.verify(&token).is_some()) {
            return Ok(json_response(StatusCode::OK, &json!({})));
        }
        Err(Refusal::unauthorized(self.challenge(parts), "a token is needed to push; reading needs none"))
    }

    /// Exchanges a password, which is a token, for that token; strangers get one that only reads.
    fn token(&self, headers: &HeaderMap) -> Answer {
        let token = match presented_token(headers) {
            None => self.registry.tokens.mint("", STRANGER_TOKEN_TTL),
            Some(token) if self.registry.tokens.verify(&token).is_some() => token,
            Some(_) => {
                let challenge = "Basic realm=\"wkube\"".to_owned();
                return Err(Refusal::unauthorized(challenge, "the password is no valid token, or it has expired"));
            }
        };
        let lifetime = STRANGER_TOKEN_TTL.as_secs();
        Ok(json_response(StatusCode::OK, &json!({"token": token, "access_token": token, "expires_in": lifetime})))
    }

    fn check_writer(&self, parts: &Parts) -> Result<(), Refusal> {
        let user = presented_token(&parts.headers).and_then(|token| self.registry.tokens.verify(&token));
        match user {
            Some(user) if !user.is_empty() => Ok(()),
            _ => {
                Err(Refusal::unauthorized(self.challenge(parts), "writing needs a token; `wkube push` brings its own"))
            }
        }
    }

    fn challenge(&self, parts: &Parts) -> String {
        let scheme = if self.scheme == Scheme::Http { "http" } else { "https" };
        // HTTP/2 has the authority in the URI, HTTP/1.1 in a header.
        let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = parts.uri.authority().map(http::uri::Authority::as_str).or(header).unwrap_or("localhost");
        format!("Bearer realm=\"{scheme}://{host}/v2/token\",service=\"wkube\"")
    }

    /// Runs `work` where waiting for the disk is allowed.
    async fn storage<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Storage) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let storage = self.registry.storage.clone();
        tokio::task::spawn_blocking(move || work(&storage)).await.map_err(std::io::Error::other)?
    }

    async fn catalog(&self) -> Answer {
        let repositories = self.storage(|storage| Ok(storage.repositories()?)).await?;
        Ok(json_response(StatusCode::OK, &json!({"repositories": repositories})))
    }

    async fn tags(&self, name: String, parts: &Parts) -> Answer {
        let limit = query(parts, "n").and_then(|n| n.parse().ok()).unwrap_or(TAGS_PER_PAGE_MAX).min(TAGS_PER_PAGE_MAX);
        let last = query(parts, "last").unwrap_or_default();
        let known = name.clone();
        let mut tags = self
            .storage(move |storage| {
                if !storage.has_repository(&known) {
                    return Err(Refusal::manifest_unknown(&known, "at all"));
                }
                Ok(storage.tags(&known)?)
            })
            .await?;
        tags.retain(|tag| *tag > last);
        let more = tags.len() > limit;
        tags.truncate(limit);
        let mut response = json_response(StatusCode::OK, &json!({"name": name, "tags": tags}));
        if let (true, Some(last)) = (more, tags.last()) {
            set(
                &mut response,
                header::LINK.as_str(),
                &format!("</v2/{name}/tags/list?n={limit}&last={last}>; rel=\"next\""),
            );
        }
        Ok(response)
    }

    async fn manifest(&self, name: String, reference: Reference) -> Answer {
        let unknown = Refusal::manifest_unknown(&name, &reference.to_string());
        let found = self.storage(move |storage| Ok(storage.manifest(&name, &reference)?)).await?.ok_or(unknown)?;
        // The server leaves the body out of an answer to HEAD and keeps its length.
        let mut response = found.content.into_response();
        set(&mut response, header::CONTENT_TYPE.as_str(), &found.media_type);
        set(&mut response, "docker-content-digest", &found.digest.to_string());
        set(&mut response, header::ETAG.as_str(), &format!("\"{}\"", found.digest));
        Ok(response)
    }

    async fn put_manifest(&self, name: String, reference: Reference, parts: &Parts, body: Body) -> Answer {
        let content =
            to_bytes(body, MANIFEST_BYTES_MAX).await.map_err(|_| Refusal::too_large(MANIFEST_BYTES_MAX as u64))?;
        let manifest = Manifest {
            media_type: media_type(&parts.headers, &content)?,
            digest: Digest::of(&content),
            content: content.into(),
        };
        let tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(promised) if promised == manifest.digest => None,
            Reference::Digest(promised) => {
                return Err(Refusal::digest_invalid(format!(
                    "the content has digest {}, not {promised}",
                    manifest.digest
                )));
            }
        };
        let digest = manifest.digest.to_string();
        let location = format!("/v2/{name}/manifests/{digest}");
        let subject = self.storage(move |storage| {
            let subject = check_references(storage, &name, &manifest)?;
            storage.put_manifest(&name, tag.as_deref(), &manifest)?;
            Ok(subject)
        });
        let subject = subject.await?;
        let mut response = created(&location, &digest);
        if let Some(subject) = subject {
            set(&mut response, "oci-subject", &subject);
        }
        Ok(response)
    }

    async fn delete_manifest(&self, name: String, reference: Reference) -> Answer {
        let unknown = Refusal::manifest_unknown(&name, &reference.to_string());
        let was_there = self.storage(move |storage| Ok(storage.delete_manifest(&name, &reference)?)).await?;
        if was_there { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(unknown) }
    }

    async fn referrers(&self, name: String, digest: Digest, parts: &Parts) -> Answer {
        let mut manifests = self.storage(move |storage| Ok(storage.referrers(&name, &digest)?)).await?;
        let filter = query(parts, "artifactType");
        if let Some(wanted) = &filter {
            manifests.retain(|descriptor| descriptor["artifactType"] == **wanted);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let mut response = json_response(StatusCode::OK, &index);
        set(&mut response, header::CONTENT_TYPE.as_str(), INDEX);
        if filter.is_some() {
            set(&mut response, "oci-filters-applied", "artifactType");
        }
        Ok(response)
    }

    async fn blob(&self, digest: &Digest, method: &Method) -> Answer {
        let path = self.registry.storage.blob_path(digest);
        let file = match tokio::fs::File::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Refusal::blob_unknown(&digest.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let size = file.metadata().await?.len();
        let body = if method == Method::HEAD { Body::empty() } else { Body::from_stream(ReaderStream::new(file)) };
        let mut response = body.into_response();
        set(&mut response, header::CONTENT_TYPE.as_str(), "application/octet-stream");
        set(&mut response, header::CONTENT_LENGTH.as_str(), &size.to_string());
        set(&mut response, "docker-content-digest", &digest.to_string());
        Ok(response)
    }

    /// Begins an upload, or finishes it at once: with `digest` the body is all of it, with `mount` there is nothing to
    /// send if any repository has the blob.
    async fn start_upload(&self, name: &str, parts: &Parts, body: Body) -> Answer {
        let blob = |digest: &Digest| created(&format!("/v2/{name}/blobs/{digest}"), &digest.to_string());
        let mounted = query(parts, "mount").and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(digest) = mounted.filter(|digest| self.registry.storage.has_blob(digest)) {
            return Ok(blob(&digest));
        }
        let promised = promised_digest(parts)?;
        let id = self.registry.uploads.start(name)?;
        let Some(digest) = promised else { return Ok(upload_response(StatusCode::ACCEPTED, name, id, 0)) };
        let upload = self.registry.uploads.find(name, id).ok_or_else(Refusal::upload_unknown)?;
        self.registry.uploads.forget(id);
        let mut upload = upload.lock().await;
        upload.append(body).await?;
        upload.finish(&digest, &self.registry.storage).await?;
        Ok(blob(&digest))
    }

    async fn upload_state(&self, name: &str, id: Uuid) -> Answer {
        let upload = self.registry.uploads.find(name, id).ok_or_else(Refusal::upload_unknown)?;
        let size = upload.lock().await.size();
        Ok(upload_response(StatusCode::NO_CONTENT, name, id, size))
    }

    async fn append(&self, name: &str, id: Uuid, parts: &Parts, body: Body) -> Answer {
        let upload = self.registry.uploads.find(name, id).ok_or_else(Refusal::upload_unknown)?;
        let mut upload = upload.lock().await;
        check_order(&parts.headers, upload.size())?;
        upload.append(body).await?;
        Ok(upload_response(StatusCode::ACCEPTED, name, id, upload.size()))
    }

    async fn finish(&self, name: &str, id: Uuid, parts: &Parts, body: Body) -> Answer {
        let digest =
            promised_digest(parts)?.ok_or_else(|| Refusal::digest_invalid("the parameter digest is missing"))?;
        let upload = self.registry.uploads.find(name, id).ok_or_else(Refusal::upload_unknown)?;
        let mut upload = upload.lock().await;
        check_order(&parts.headers, upload.size())?;
        upload.append(body).await?;
        // Right or wrong, an upload ends with its PUT.
        self.registry.uploads.forget(id);
        upload.finish(&digest, &self.registry.storage).await?;
        Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest.to_string()))
    }
}

/// Returns the token of a bearer header, or the password of a basic one (docker's, oci-client's way of sending it).
fn presented_token(headers: &HeaderMap) -> Option<String> {
    if let Some(token) = bearer_token(headers) {
        return Some(token.to_owned());
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let decoded = STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

fn promised_digest(parts: &Parts) -> Result<Option<Digest>, Refusal> {
    let refuse = |text: &str| Refusal::digest_invalid(format!("{text:?} is no sha256 digest"));
    query(parts, "digest").map(|text| text.parse().map_err(|()| refuse(&text))).transpose()
}

/// Chunks come in order, without gaps; a chunk without `Content-Range` goes at the end.
fn check_order(headers: &HeaderMap, size: u64) -> Result<(), Refusal> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let text = range.to_str().unwrap_or_default();
    let start = text.strip_prefix("bytes ").unwrap_or(text).split('-').next().and_then(|start| start.parse().ok());
    if start == Some(size) { Ok(()) } else { Err(Refusal::out_of_order(size)) }
}

/// Returns the manifest's type: what the client says, which must not contradict the document.
fn media_type(headers: &HeaderMap, content: &[u8]) -> Result<String, Refusal> {
    let document: Value = serde_json::from_slice(content)
        .map_err(|error| Refusal::manifest_invalid(format!("it is no JSON: {error}")))?;
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).filter(|said| !said.is_empty());
    match (said, document["mediaType"].as_str()) {
        (Some(said), Some(inside)) if said != inside => {
            Err(Refusal::manifest_invalid(format!("its mediaType is {inside}, but the Content-Type is {said}")))
        }
        (Some(media_type), _) | (None, Some(media_type)) => Ok(media_type.to_owned()),
        (None, None) => Err(Refusal::manifest_invalid("it has no media type")),
    }
}

/// Returns an error unless everything that the manifest refers to is there. Its subject may come later.
fn check_references(storage: &Storage, name: &str, manifest: &Manifest) -> Result<Option<String>, Refusal> {
    let document: Value = serde_json::from_slice(&manifest.content).unwrap_or_default();
    let digest = |descriptor: &Value| -> Result<Digest, Refusal> {
        let text = descriptor["digest"].as_str().unwrap_or_default();
        text.parse().map_err(|()| Refusal::manifest_invalid(format!("{text:?} is no sha256 digest")))
    };
    let layers = document["layers"].as_array().into_iter().flatten();
    // A layer with URLs is kept elsewhere.
    for descriptor in document.get("config").into_iter().chain(layers.filter(|layer| layer.get("urls").is_none())) {
        let digest = digest(descriptor)?;
        if !storage.has_blob(&digest) {
            return Err(Refusal::manifest_blob_unknown(&digest.to_string()));
        }
    }
    for descriptor in document["manifests"].as_array().into_iter().flatten() {
        let digest = digest(descriptor)?;
        if storage.manifest(name, &Reference::Digest(digest.clone()))?.is_none() {
            return Err(Refusal::manifest_blob_unknown(&digest.to_string()));
        }
    }
    document.get("subject").map(|subject| digest(subject).map(|digest| digest.to_string())).transpose()
}

fn query(parts: &Parts, wanted: &str) -> Option<String> {
    let query = parts.uri.query()?;
    let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(&format!("/?{query}").parse().ok()?).ok()?.0;
    pairs.into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn created(location: &str, digest: &str) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    set(&mut response, header::LOCATION.as_str(), location);
    set(&mut response, "docker-content-digest", digest);
    response
}

fn upload_response(status: StatusCode, name: &str, id: Uuid, size: u64) -> Response {
    let mut response = status.into_response();
    set(&mut response, header::LOCATION.as_str(), &format!("/v2/{name}/blobs/uploads/{id}"));
    // Inclusive, so that an empty upload cannot be told from one byte; every registry does it like this.
    set(&mut response, header::RANGE.as_str(), &format!("0-{}", size.saturating_sub(1)));
    set(&mut response, "docker-upload-uuid", &id.to_string());
    response
}

/// Sets a header whose value we made ourselves; one that is no header value is left out.
fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}
