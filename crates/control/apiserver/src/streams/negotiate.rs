//! Which framing an upgrade request asks for, and Kubernetes' answer to one that asks for none of ours. Pure.
//!
//! Follows `streaming/pkg/httpstream` (`wsstream/conn.go`, `httpstream.go`, `spdy/upgrade.go`) and Go's
//! `x/net/websocket/hybi.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response};
use wkube_api::Status;

use crate::respond::{self, Body};

/// Names the protocol inside SPDY.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";
/// What RFC 6455 appends to a key before hashing it.
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request wants its connection to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// RFC 6455.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

/// A refused upgrade: a `Status`, and what its response says in headers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    status: Status,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { status, headers: Vec::new() }
    }
}

impl Refused {
    /// Returns the response.
    pub(crate) fn response(self) -> Response<Body> {
        let mut response = respond::failure(&self.status);
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }
}

/// Whether a request asks for a WebSocket (`IsWebSocketRequest`).
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    wants_upgrade(headers) && has_token(headers, &header::UPGRADE, "websocket")
}

/// Returns what a request wants its connection to become.
///
/// # Errors
/// 400 if nothing that is served here.
pub(crate) fn transport(headers: &HeaderMap) -> Result<Transport, Status> {
    if !wants_upgrade(headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    if has_token(headers, &header::UPGRADE, "websocket") {
        return Ok(Transport::WebSocket);
    }
    if has_token(headers, &header::UPGRADE, SPDY) {
        return Ok(Transport::Spdy);
    }
    let asked = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Err(Status::bad_request(format!("unable to upgrade: {asked:?} is neither websocket nor {SPDY}")))
}

/// Picks the protocol inside a WebSocket: the client's first that is served. A client that names none asks for `""`.
///
/// # Errors
/// 405, 400 or 403, as Kubernetes' server.
pub(crate) fn websocket<'a>(
    method: &Method,
    headers: &HeaderMap,
    served: &[&'a str],
) -> Result<(&'a str, Response<Body>), Refused> {
    if method != Method::GET {
        return Err(Status::new(405, "MethodNotAllowed", "a WebSocket is opened with GET").into());
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let status = Status::bad_request("unable to upgrade: missing or bad WebSocket Version");
        return Err(Refused::from(status).with(header::SEC_WEBSOCKET_VERSION, "13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    if STANDARD.decode(key).map(|nonce| nonce.len()) != Ok(16) {
        return Err(Status::bad_request("unable to upgrade: challenge/response error").into());
    }
    let asked = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let chosen = if asked.is_empty() { first(&[""], served) } else { first(&asked, served) };
    let Some(chosen) = chosen else {
        let (asked, served) = (asked.join(" "), served.join(" "));
        let message = format!("requested protocol(s) are not supported: [{asked}]; supports [{served}]");
        return Err(Status::new(403, "Forbidden", message).into());
    };
    let mut response = switching("websocket");
    let digest =
        ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{WEBSOCKET_GUID}").as_bytes());
    let accept = HeaderValue::from_str(&STANDARD.encode(digest)).expect("base64 is a header's value");
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !chosen.is_empty() {
        let chosen = HeaderValue::from_str(chosen).expect("our protocols' names are ASCII");
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    Ok((chosen, response))
}

/// Picks the protocol inside SPDY: the client's first that is served.
///
/// # Errors
/// 400 or 403, as Kubernetes' server.
pub(crate) fn spdy(
    headers: &HeaderMap,
    served: &'static [&'static str],
) -> Result<(&'static str, Response<Body>), Refused> {
    let asked = tokens(headers, &STREAM_PROTOCOL);
    if asked.is_empty() {
        return Err(Status::bad_request("unable to upgrade: X-Stream-Protocol-Version is required").into());
    }
    let Some(chosen) = first(&asked, served) else {
        let (asked, all) = (asked.join(" "), served.join(" "));
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{asked}], server accepts [{all}]"
        );
        let refused = Refused::from(Status::new(403, "Forbidden", message));
        return Err(served.iter().fold(refused, |refused, name| refused.with(ACCEPTED_PROTOCOLS, name)));
    };
    let mut response = switching(SPDY);
    response.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(chosen));
    Ok((chosen, response))
}

fn switching(to: &'static str) -> Response<Body> {
    let mut response = Response::new(respond::full(""));
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(to));
    response
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &header::CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).iter().any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Returns the protocol inside a WebSocket if the client knows exactly one, else `""`.
pub(crate) fn only_protocol(headers: &HeaderMap) -> &str {
    match tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).as_slice() {
        [only] => only,
        _ => "",
    }
}

/// The comma-separated values of a header, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty()).collect()
}

fn first<'a>(asked: &[&str], served: &[&'a str]) -> Option<&'a str> {
    asked.iter().find_map(|asked| served.iter().find(|served| *served == asked)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn websocket_headers(protocols: &str) -> HeaderMap {
        let mut all = headers(&[("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]);
        if !protocols.is_empty() {
            all.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocols).unwrap());
        }
        all
    }

    fn chosen(protocols: &str, served: &[&'static str]) -> Result<&'static str, (u16, String)> {
        match websocket(&Method::GET, &websocket_headers(protocols), served) {
            Ok((chosen, _)) => Ok(chosen),
            Err(refused) => Err((refused.status.code, refused.status.message)),
        }
    }

    #[test]
    fn the_upgrade_header_names_the_transport() {
        let check = |connection: &str, upgrade: &str| {
            transport(&headers(&[("connection", connection), ("upgrade", upgrade)])).map_err(|status| status.message)
        };
        assert_eq!(check("Upgrade", "SPDY/3.1"), Ok(Transport::Spdy));
        assert_eq!(check("keep-alive, upgrade", "WebSocket"), Ok(Transport::WebSocket));
        assert_eq!(check("close", "websocket"), Err("Upgrade request required".into()));
        assert!(check("upgrade", "h2c").is_err_and(|message| message.contains("h2c")));
        assert!(!is_websocket(&headers(&[("connection", "upgrade"), ("upgrade", "SPDY/3.1")])));
    }

    #[test]
    fn the_clients_first_protocol_that_is_served_is_chosen() {
        let served = ["", "v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];
        assert_eq!(chosen("v5.channel.k8s.io, v4.channel.k8s.io", &served), Ok("v5.channel.k8s.io"));
        assert_eq!(chosen("x, v4.channel.k8s.io", &served), Ok("v4.channel.k8s.io"));
        assert_eq!(chosen("", &served), Ok(""));
        let refused = (403, "requested protocol(s) are not supported: [x y]; supports [a b]".to_owned());
        assert_eq!(chosen("x,y", &["a", "b"]), Err(refused));
        assert!(chosen("", &["a"]).is_err());
    }

    #[test]
    fn a_websockets_key_is_answered_as_the_rfc_says() {
        let (_, response) = websocket(&Method::GET, &websocket_headers("a"), &["a"]).expect("accepted");
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-protocol"], "a");
        let (_, silent) = websocket(&Method::GET, &websocket_headers(""), &[""]).expect("accepted");
        assert!(!silent.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn a_websocket_of_another_version_method_or_key_is_refused() {
        let check = |method: Method, name: &'static str, value: &'static str| {
            let mut all = websocket_headers("");
            all.insert(name, HeaderValue::from_static(value));
            websocket(&method, &all, &[""]).expect_err("refused").response()
        };
        let old = check(Method::GET, "sec-websocket-version", "8");
        assert_eq!((old.status().as_u16(), &old.headers()["sec-websocket-version"]), (400, &"13".parse().unwrap()));
        assert_eq!(check(Method::GET, "sec-websocket-key", "short").status(), 400);
        assert_eq!(check(Method::POST, "sec-websocket-version", "13").status(), 405);
    }

    #[test]
    fn spdy_negotiates_in_its_own_header() {
        const SERVED: &[&str] = &["v4.channel.k8s.io", "channel.k8s.io"];
        let check = |asked: &str| spdy(&headers(&[("x-stream-protocol-version", asked)]), SERVED);
        let (chosen, response) = check("v5.channel.k8s.io, v4.channel.k8s.io").expect("accepted");
        assert_eq!(chosen, "v4.channel.k8s.io");
        assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
        let refused = check("v9.channel.k8s.io").expect_err("refused").response();
        let accepted = refused.headers().get_all("x-accepted-stream-protocol-versions").iter();
        assert_eq!((refused.status().as_u16(), accepted.count()), (403, 2));
        assert_eq!(spdy(&HeaderMap::new(), SERVED).expect_err("refused").response().status(), 400);
    }

    #[test]
    fn protocols_may_stand_on_several_lines() {
        let mut several = websocket_headers("x");
        several.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a"));
        assert_eq!(websocket(&Method::GET, &several, &["a"]).map(|(chosen, _)| chosen).ok(), Some("a"));
    }
}
