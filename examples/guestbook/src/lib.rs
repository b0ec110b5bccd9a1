//! One half of a conversation: two services run this component, and each knows the other by name (`PEER`).
//!
//! `/` asks the peer's `/said`, which asks our `/name` before it answers: two services that call each other.

wit_bindgen::generate!({
    path: "../../wit",
    world: "wkube:guest/http-service",
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use wasi::http::outgoing_handler;
use wasi::http::types::{
    Fields, IncomingRequest, IncomingResponse, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
    Scheme,
};
use wasi::io::streams::StreamError;

/// As much of an answer as we read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

struct Guestbook;

impl Guest for Guestbook {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_else(|| "/".into());
        println!("GET {path}");
        let me = std::env::var("POD_NAME").unwrap_or_else(|_| "somebody".into());
        let answer = match path.as_str() {
            "/name" => Ok(me),
            "/said" => ask("/name").map(|peer| format!("\"Hello {peer}, this is {me}.\"")),
            _ => ask("/said").map(|said| format!("{me} asked its peer, which said: {said}\n")),
        };
        match answer {
            Ok(text) => respond(out, 200, &text),
            Err(problem) => respond(out, 502, &format!("{problem}\n")),
        }
    }
}

/// Asks the peer for a path.
fn ask(path: &str) -> Result<String, String> {
    let peer = std::env::var("PEER").map_err(|_| "PEER is not set: the name of the other service".to_string())?;
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "bad scheme")?;
    request.set_authority(Some(&peer)).map_err(|()| format!("{peer:?} is not a host name"))?;
    request.set_path_with_query(Some(path)).map_err(|()| format!("{path:?} is not a path"))?;
    let future = outgoing_handler::handle(request, None).map_err(|error| format!("cannot ask {peer}: {error}"))?;
    future.subscribe().block();
    let answer = future.get().ok_or("not ready")?.map_err(|()| "taken twice")?;
    let response = answer.map_err(|error| format!("{peer} did not answer: {error}"))?;
    let text = read(&response)?;
    if response.status() == 200 { Ok(text) } else { Err(format!("{peer} answered {}: {text}", response.status())) }
}

fn read(response: &IncomingResponse) -> Result<String, String> {
    let body = response.consume().map_err(|()| "the body is taken once")?;
    let stream = body.stream().map_err(|()| "the stream is taken once")?;
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        match stream.blocking_read(8192) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sends a plain-text answer. If the client has gone, there is nobody to tell.
fn respond(out: ResponseOutparam, status: u16, text: &str) {
    let headers = Fields::new();
    let _ = headers.set("content-type", &[b"text/plain; charset=utf-8".to_vec()]);
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    let _ = stream.blocking_write_and_flush(text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

export!(Guestbook);
