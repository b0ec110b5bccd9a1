//! Finding and reading kubeconfigs.

use std::io::Write as _;

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wkube_base::Tasks;

use super::*;

#[test]
fn the_flag_wins_over_the_environment_and_that_over_the_default() {
    let (flag, env, default) = (Path::new("/f"), OsStr::new("/a:/b"), Path::new("/d"));
    assert_eq!(locate(Some(flag), Some(env), default), [flag]);
    assert_eq!(locate(None, Some(env), default), [Path::new("/a"), Path::new("/b")]);
    assert_eq!(locate(None, None, default), [default]);
}

#[test]
fn an_empty_environment_variable_counts_as_unset() {
    assert_eq!(locate(None, Some(OsStr::new("")), Path::new("/d")), [Path::new("/d")]);
}

fn kubeconfig(cluster: &str, user: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{{name: c, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n\
         contexts: [{{name: here, context: {{cluster: c, user: u, namespace: shop}}}}]\n"
    );
    file.write_all(text.as_bytes()).expect("written");
    file
}

async fn load_one(cluster: &str, user: &str) -> Result<Loaded, Error> {
    load(&[kubeconfig(cluster, user).path().to_owned()], None).await
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_missing_kubeconfig_says_what_to_do() {
    let error = load(&["/nowhere/kubeconfig".into()], None).await.expect_err("missing");
    assert_eq!(
        chain(&error),
        "use the kubeconfig: there is none at /nowhere/kubeconfig; start a cluster with `wkube up` or name one with --kubeconfig"
    );
}

#[tokio::test]
async fn the_contexts_namespace_and_server_are_told() {
    let loaded = load_one("{server: 'http://127.0.0.1:1'}", "{}").await.expect("loads");
    assert_eq!(loaded.namespace, "shop");
    assert_eq!(loaded.server, "http://127.0.0.1:1/");
}

#[tokio::test]
async fn a_server_that_cannot_be_verified_is_refused() {
    let error = load_one("{server: 'https://127.0.0.1:1'}", "{}").await.expect_err("no authority");
    assert!(chain(&error).contains("no certificate-authority-data"), "{}", chain(&error));
    let error =
        load_one("{server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}", "{}").await.expect_err("insecure");
    assert!(chain(&error).contains("insecure-skip-tls-verify is not supported"), "{}", chain(&error));
}

#[tokio::test]
async fn half_an_identity_is_refused() {
    let error =
        load_one("{server: 'http://127.0.0.1:1'}", "{client-certificate-data: QUJD}").await.expect_err("no key");
    assert!(chain(&error).contains("a client certificate without a key"), "{}", chain(&error));
}

#[tokio::test]
async fn an_unknown_context_is_named() {
    let file = kubeconfig("{server: 'http://127.0.0.1:1'}", "{}");
    let error = load(&[file.path().to_owned()], Some("there")).await.expect_err("unknown");
    assert!(chain(&error).contains("there"), "{}", chain(&error));
}

#[tokio::test]
async fn requests_carry_the_base_url_the_token_and_the_components_name() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let tasks = Tasks::new();
    let (seen, request) = tokio::sync::oneshot::channel();
    tasks.spawn("server", async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("answered");
        let _ = seen.send(String::from_utf8_lossy(&bytes[..count]).to_lowercase());
    });
    let loaded = load_one(&format!("{{server: 'http://{address}/base'}}"), "{token: secret}").await.expect("loads");
    let request_sent = http::Request::get("/version?x=1").body(bytes::Bytes::new()).expect("valid");
    let answer = loaded.client.named("kubelet").stream(request_sent).await.expect("an answer");
    assert_eq!(answer.collect().await.expect("a body").to_bytes(), "{}");
    let request = request.await.expect("seen");
    assert!(request.starts_with("get /base/version?x=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: bearer secret\r\n"), "{request}");
    assert!(request.contains("user-agent: kubelet\r\n"), "{request}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_transient_error() {
    let loaded = load_one("{server: 'http://127.0.0.1:1'}", "{}").await.expect("loads");
    let request = http::Request::get("/version").body(bytes::Bytes::new()).expect("valid");
    let error = loaded.client.call(request).await.expect_err("nobody listens");
    assert!(error.is_transient(), "{error:?}");
}
