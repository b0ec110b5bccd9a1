//! The protocol request by request, and a real client over a real socket.

use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::path::Digest;
use super::*;

const HOUR: std::time::Duration = std::time::Duration::from_hours(1);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Case {
    registry: Arc<OciRegistry>,
    token: String,
    directory: TempDir,
}

fn case() -> Case {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let registry = OciRegistry::open(directory.path(), Clock::system()).expect("opens");
    Case { token: registry.tokens().mint("jane", HOUR), registry, directory }
}

impl Case {
    async fn send(&self, request: Request<Body>) -> Response {
        self.registry.router(Scheme::Http).oneshot(request).await.expect("a router never fails")
    }

    /// Sends with the write token and these headers.
    async fn with(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    async fn call(&self, method: &str, uri: &str, body: &str) -> Response {
        self.with(method, uri, &[], body.to_owned()).await
    }

    /// Sends without any token.
    async fn read(&self, method: &str, uri: &str) -> Response {
        self.send(
            Request::builder()
                .method(method)
                .uri(uri)
                .header("host", "127.0.0.1:5050")
                .body(Body::empty())
                .expect("a request"),
        )
        .await
    }

    async fn push_blob(&self, name: &str, content: &str) -> String {
        let digest = Digest::of(content.as_bytes()).to_string();
        let response = self.call("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), content).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        digest
    }

    async fn push_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Response {
        let uri = format!("/v2/{name}/manifests/{reference}");
        self.with("PUT", &uri, &[("content-type", MANIFEST)], manifest.to_string()).await
    }

    /// Pushes a manifest with one layer and returns its digest.
    async fn push_image(&self, name: &str, tag: &str, layer: &str) -> String {
        let manifest = image(&self.push_blob(name, "{}").await, &self.push_blob(name, layer).await);
        let response = self.push_manifest(name, tag, &manifest).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        header_of(&response, "docker-content-digest").to_owned()
    }
}

fn image(config: &str, layer: &str) -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/wasm", "digest": layer, "size": 5}]})
}

fn header_of<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
}

async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    String::from_utf8(bytes.to_vec()).expect("text")
}

async fn error_code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&text(response).await).expect("JSON");
    (status, body["errors"][0]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_was_pushed_in_one_piece_is_pulled_without_a_token() {
    let case = case();
    let digest = case.push_image("team/app", "v1", "wasm!").await;
    for reference in ["v1", &digest] {
        let uri = format!("/v2/team/app/manifests/{reference}");
        let response = case.read("GET", &uri).await;
        assert_eq!(header_of(&response, "content-type"), MANIFEST);
        assert_eq!(header_of(&response, "docker-content-digest"), digest);
        assert_eq!(Digest::of(text(response).await.as_bytes()).to_string(), digest);
        assert_eq!(case.read("HEAD", &uri).await.status(), StatusCode::OK);
    }
    let layer = Digest::of(b"wasm!").to_string();
    let head = case.read("HEAD", &format!("/v2/team/app/blobs/{layer}")).await;
    assert_eq!((header_of(&head, "content-length"), header_of(&head, "docker-content-digest")), ("5", &*layer));
    assert_eq!(text(case.read("GET", &format!("/v2/team/app/blobs/{layer}")).await).await, "wasm!");
}

#[tokio::test]
async fn a_blob_arrives_in_chunks_in_order() {
    let case = case();
    let start = case.call("POST", "/v2/a/blobs/uploads/", "").await;
    assert_eq!((start.status(), header_of(&start, "range")), (StatusCode::ACCEPTED, "0-0"));
    let location = header_of(&start, "location").to_owned();
    assert!(location.ends_with(header_of(&start, "docker-upload-uuid")));
    let first = case.with("PATCH", &location, &[("content-range", "0-4")], "hello").await;
    assert_eq!((first.status(), header_of(&first, "range")), (StatusCode::ACCEPTED, "0-4"));
    let gap = case.with("PATCH", &location, &[("content-range", "6-7")], "!!").await;
    assert_eq!(error_code(gap).await, (416, "BLOB_UPLOAD_INVALID".to_owned()));
    let state = case.call("GET", &location, "").await;
    assert_eq!((state.status(), header_of(&state, "range")), (StatusCode::NO_CONTENT, "0-4"));
    let streamed = case.with("PATCH", &location, &[], " wor").await;
    assert_eq!(header_of(&streamed, "range"), "0-8");
    let digest = Digest::of(b"hello world").to_string();
    let end = case.with("PUT", &format!("{location}?digest={digest}"), &[("content-range", "9-10")], "ld").await;
    assert_eq!(end.status(), StatusCode::CREATED);
    assert_eq!(header_of(&end, "location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(text(case.read("GET", &format!("/v2/a/blobs/{digest}")).await).await, "hello world");
    assert_eq!(error_code(case.call("GET", &location, "").await).await, (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn content_that_is_not_what_was_promised_is_refused_and_leaves_nothing() {
    let case = case();
    let digest = Digest::of(b"good").to_string();
    let response = case.call("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), "evil").await;
    assert_eq!(error_code(response).await, (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(case.read("HEAD", &format!("/v2/a/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
    let manifest = image(&case.push_blob("a", "{}").await, &case.push_blob("a", "x").await);
    let response = case.push_manifest("a", &digest, &manifest).await;
    assert_eq!(error_code(response).await, (400, "DIGEST_INVALID".to_owned()));
    let uploads = std::fs::read_dir(case.directory.path().join("registry/uploads")).expect("readable");
    assert_eq!(uploads.count(), 0);
}

#[tokio::test]
async fn a_chunk_that_broke_can_be_sent_again() {
    let case = case();
    let start = case.call("POST", "/v2/a/blobs/uploads/", "").await;
    let location = header_of(&start, "location").to_owned();
    case.call("PATCH", &location, "hello").await;
    let pieces = [Ok("wor"), Err(io::Error::other("the wire was cut"))];
    let broken = case.with("PATCH", &location, &[], Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(error_code(broken).await, (400, "BLOB_UPLOAD_INVALID".to_owned()));
    case.with("PATCH", &location, &[("content-range", "5-9")], "world").await;
    let digest = Digest::of(b"helloworld").to_string();
    assert_eq!(case.call("PUT", &format!("{location}?digest={digest}"), "").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_manifest_needs_what_it_refers_to() {
    let case = case();
    let missing = Digest::of(b"missing").to_string();
    let config = case.push_blob("a", "{}").await;
    let response = case.push_manifest("a", "v1", &image(&config, &missing)).await;
    assert_eq!(error_code(response).await, (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    assert_eq!(case.read("GET", "/v2/a/manifests/v1").await.status(), StatusCode::NOT_FOUND);
    for (content_type, body) in [(MANIFEST, "no JSON"), ("application/json", &*image(&config, &config).to_string())] {
        let response = case.with("PUT", "/v2/a/manifests/v1", &[("content-type", content_type)], body.to_owned()).await;
        assert_eq!(error_code(response).await, (400, "MANIFEST_INVALID".to_owned()), "{body}");
    }
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted_without_sending_it() {
    let case = case();
    let digest = case.push_blob("a", "shared").await;
    let mounted = case.call("POST", &format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), "").await;
    assert_eq!(mounted.status(), StatusCode::CREATED);
    assert_eq!(header_of(&mounted, "location"), format!("/v2/b/blobs/{digest}"));
    let unknown = Digest::of(b"unknown");
    let begun = case.call("POST", &format!("/v2/b/blobs/uploads/?mount={unknown}&from=a"), "").await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn tags_are_listed_in_order_and_pages_and_can_be_moved_and_deleted() {
    let case = case();
    for tag in ["v2", "v1", "latest"] {
        case.push_image("a", tag, tag).await;
    }
    let page = case.read("GET", "/v2/a/tags/list?n=2").await;
    assert_eq!(header_of(&page, "link"), "</v2/a/tags/list?n=2&last=v1>; rel=\"next\"");
    assert_eq!(text(page).await, r#"{"name":"a","tags":["latest","v1"]}"#);
    assert_eq!(text(case.read("GET", "/v2/a/tags/list?n=2&last=v1").await).await, r#"{"name":"a","tags":["v2"]}"#);
    let moved = case.push_image("a", "v1", "newer").await;
    assert_eq!(header_of(&case.read("HEAD", "/v2/a/manifests/v1").await, "docker-content-digest"), moved);
    assert_eq!(case.call("DELETE", &format!("/v2/a/manifests/{moved}"), "").await.status(), StatusCode::ACCEPTED);
    assert_eq!(case.call("DELETE", "/v2/a/manifests/latest", "").await.status(), StatusCode::ACCEPTED);
    assert_eq!(text(case.read("GET", "/v2/a/tags/list").await).await, r#"{"name":"a","tags":["v2"]}"#);
    assert_eq!(error_code(case.read("GET", "/v2/none/tags/list").await).await.0, 404);
    assert_eq!(text(case.read("GET", "/v2/_catalog").await).await, r#"{"repositories":["a"]}"#);
}

#[tokio::test]
async fn referrers_are_found_by_their_subject() {
    let case = case();
    let subject = case.push_image("a", "v1", "wasm!").await;
    let empty = case.read("GET", &format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(header_of(&empty, "content-type"), "application/vnd.oci.image.index.v1+json");
    assert_eq!(serde_json::from_str::<Value>(&text(empty).await).expect("JSON")["manifests"], json!([]));
    let mut signature = image(&case.push_blob("a", "{}").await, &case.push_blob("a", "signed").await);
    signature["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
    signature["artifactType"] = json!("application/vnd.example.signature");
    let pushed = case.push_manifest("a", "signature", &signature).await;
    assert_eq!(header_of(&pushed, "oci-subject"), subject);
    for (filter, count) in [("", 1), ("?artifactType=application/vnd.example.signature", 1), ("?artifactType=other", 0)]
    {
        let found = text(case.read("GET", &format!("/v2/a/referrers/{subject}{filter}")).await).await;
        let found: Value = serde_json::from_str(&found).expect("JSON");
        assert_eq!(found["manifests"].as_array().map(Vec::len), Some(count), "{filter}");
    }
}

#[tokio::test]
async fn writing_needs_a_token_and_the_answer_says_where_from() {
    let case = case();
    for (method, uri) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v1"),
        ("DELETE", "/v2/a/manifests/v1"),
        ("GET", "/v2/"),
    ] {
        let response = case.read(method, uri).await;
        let expected = r#"Bearer realm="http://127.0.0.1:5050/v2/token",service="wkube""#;
        assert_eq!(
            (response.status().as_u16(), header_of(&response, "www-authenticate")),
            (401, expected),
            "{method} {uri}"
        );
        assert_eq!(error_code(response).await.1, "UNAUTHORIZED");
    }
    let stranger: Value = serde_json::from_str(&text(case.read("GET", "/v2/token").await).await).expect("JSON");
    let stranger = Case { token: stranger["token"].as_str().expect("a token").to_owned(), ..case };
    assert_eq!(stranger.call("GET", "/v2/", "").await.status(), StatusCode::OK);
    assert_eq!(stranger.call("POST", "/v2/a/blobs/uploads/", "").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_is_also_taken_as_a_password() {
    let case = case();
    let basic = |password: &str| {
        use base64::Engine as _;
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("wkube:{password}"));
        Request::get("/v2/token")
            .header("authorization", format!("Basic {credentials}"))
            .body(Body::empty())
            .expect("a request")
    };
    let good: Value = serde_json::from_str(&text(case.send(basic(&case.token)).await).await).expect("JSON");
    assert_eq!(good["token"], case.token);
    assert_eq!(case.send(basic("guessed")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_does_not_exist_says_so_in_the_specifications_words() {
    let case = case();
    let digest = Digest::of(b"nothing");
    for (uri, status, code) in [
        ("/v2/a/manifests/v1".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/a/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        ("/v2/../../etc/passwd".to_owned(), 404, "NAME_INVALID"),
        ("/v2/a/b".to_owned(), 404, "NAME_INVALID"),
        ("/v2/a/blobs/uploads/".to_owned(), 405, "UNSUPPORTED"),
    ] {
        assert_eq!(error_code(case.read("GET", &uri).await).await, (status, code.to_owned()), "{uri}");
    }
}

#[tokio::test]
async fn everything_survives_a_restart_except_unfinished_uploads() {
    let case = case();
    let digest = case.push_image("a", "v1", "wasm!").await;
    let location = header_of(&case.call("POST", "/v2/a/blobs/uploads/", "").await, "location").to_owned();
    let registry = OciRegistry::open(case.directory.path(), Clock::system()).expect("opens");
    let again = Case { registry, ..case };
    assert_eq!(header_of(&again.read("HEAD", "/v2/a/manifests/v1").await, "docker-content-digest"), digest);
    assert_eq!(again.call("PATCH", &location, "x").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn oci_client_pushes_and_pulls_over_a_socket() {
    use oci_distribution::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
    use oci_distribution::secrets::RegistryAuth;
    use oci_distribution::{Client, Reference};

    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let case = case();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let router = case.registry.router(Scheme::Http);
    let tasks = wkube_base::Tasks::new();
    tasks.spawn("registry", async move {
        let _ = axum::serve(listener, router).await;
    });
    let client = || Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let image: Reference = format!("{address}/team/app:v1").parse().expect("a reference");
    let layers = [ImageLayer::new(vec![7; 9 << 20], "application/wasm".to_owned(), None)];
    let config = || Config::new(b"{}".to_vec(), "application/vnd.wasm.config.v0+json".to_owned(), None);
    let refused = client().push(&image, &layers, config(), &RegistryAuth::Anonymous, None).await;
    assert!(refused.is_err(), "strangers only read");
    for auth in [RegistryAuth::Bearer(case.token.clone()), RegistryAuth::Basic("wkube".to_owned(), case.token.clone())]
    {
        client().push(&image, &layers, config(), &auth, None).await.expect("pushed");
    }
    let pulled = client().pull(&image, &RegistryAuth::Anonymous, vec!["application/wasm"]).await.expect("pulled");
    assert_eq!(pulled.layers[0].data.len(), 9 << 20);
    assert!(pulled.layers[0].data.iter().all(|byte| *byte == 7));
    tasks.stop(std::time::Duration::from_secs(1)).await;
}
