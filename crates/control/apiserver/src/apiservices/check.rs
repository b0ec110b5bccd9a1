//! Asks a backend what it serves, which also shows whether it is there.

use std::time::Duration;

use bytes::BytesMut;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::timeout;

use super::availability::Available;
use super::backend::{Backend, Seen};
use super::front_proxy;
use crate::auth::{MASTERS, User};
use crate::respond;

/// How long a backend may take to say what it serves (`remote_available_controller.go`).
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any list of resources has.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Asks a backend; what it said before is kept if it does not answer now.
pub(super) async fn check(backend: &Backend) -> (Available, Seen) {
    let path = format!("/apis/{}/{}", backend.group, backend.version);
    let before = backend.seen.load();
    match get(backend, &path).await {
        Err(why) => {
            (Available::failed(&backend.uri(&path), &why), Seen { is_available: false, ..Seen::clone(&before) })
        }
        // What answers is there, even if nobody can read its list; discovery goes on with what it said before.
        Ok(list) => {
            let resources = serde_json::from_slice(&list).ok().or_else(|| before.resources.clone());
            // A backend need not describe itself.
            let index = get(backend, "/openapi/v3").await.unwrap_or_default();
            let index: Value = serde_json::from_slice(&index).unwrap_or_default();
            let place = &index["paths"][format!("apis/{}/{}", backend.group, backend.version)];
            let openapi = place["serverRelativeURL"].as_str().map(str::to_owned);
            (Available::passed(), Seen { is_available: true, resources, openapi })
        }
    }
}

async fn get(backend: &Backend, path: &str) -> Result<BytesMut, String> {
    let asking = async {
        let client =
            backend.client.as_ref().ok_or_else(|| backend.connector.as_ref().err().cloned().unwrap_or_default())?;
        let request = Request::get(backend.uri(path)).header(header::ACCEPT, "application/json");
        let mut request = request.body(respond::full("")).map_err(|error| error.to_string())?;
        front_proxy::speak_for(&User::known("system:kube-aggregator", [MASTERS]), request.headers_mut());
        let response = client.request(request).await.map_err(|error| crate::webhook::words(&error))?;
        if !response.status().is_success() {
            return Err(format!("bad status from {}: {}", backend.uri(path), response.status().as_u16()));
        }
        let (mut body, mut read) = (response.into_body(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
            if read.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
            }
            read.extend_from_slice(&data);
        }
        Ok(read)
    };
    timeout(TIMEOUT, asking).await.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
}
