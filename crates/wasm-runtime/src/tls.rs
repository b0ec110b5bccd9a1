//! `wasi:tls`: the client's side of TLS over streams that a guest has, such as those of its sockets.
//!
//! It grants nothing: whatever a guest encrypts goes where its sockets may go. Servers are judged here and not in the
//! guest, by the roots of the machine.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;
use wasmtime::component::Linker;
use wasmtime_wasi_tls::p2::{LinkOptions, add_to_linker};
use wasmtime_wasi_tls::{Error, TlsProvider, TlsTransport, WasiTlsCtx, WasiTlsCtxBuilder};

use crate::ctx::Ctx;
use crate::net::Stream;

/// The servers that guests trust as clients of TLS: by default those whom the machine trusts (`SSL_CERT_FILE` and
/// `SSL_CERT_DIR` count), or Mozilla's list where there is none. Clones share it.
#[derive(Clone)]
pub struct TlsTrust(Arc<ClientConfig>);

impl Default for TlsTrust {
    fn default() -> Self {
        static OF_MACHINE: LazyLock<TlsTrust> = LazyLock::new(|| TlsTrust::of(roots_of_machine()));
        OF_MACHINE.clone()
    }
}

impl TlsTrust {
    /// Trusts only servers that these certificates have signed; those that are none are left out.
    pub fn only(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Self::of(roots)
    }

    /// Trusts only servers that the certificates in this text have signed; what is none is left out.
    pub fn of_pem(pem: &[u8]) -> Self {
        Self::only(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok))
    }

    /// Begins TLS with `server`, as its client.
    ///
    /// # Errors
    /// `InvalidData` if the server is not trusted, or is not the one that it should be; any other kind if the connection
    /// broke or the other side does not speak TLS.
    pub async fn connect<S: Stream + 'static>(&self, server: &str, stream: S) -> io::Result<Box<dyn Stream>> {
        let name = ServerName::try_from(server.to_owned());
        let name = name.map_err(|_| io::Error::other(format!("{server:?} is no server's name")))?;
        match TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) if is_about_certificate(&error) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(io::Error::other(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn of(roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the provider has them").with_root_certificates(roots).with_no_client_auth();
        Self(Arc::new(config))
    }
}

fn is_about_certificate(error: &io::Error) -> bool {
    let source = error.get_ref().and_then(|source| source.downcast_ref());
    matches!(source, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

fn roots_of_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        warn!(problems = ?found.errors, "the machine has no root certificates; guests trust Mozilla's list");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Links `wasi:tls/types@0.2.0-draft`.
pub(crate) fn add_to_components(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut options = LinkOptions::default();
    options.tls(true);
    add_to_linker(linker, &options)
}

/// Returns what an instance needs for it. The roots are read when the first guest begins a handshake.
pub(crate) fn context(trust: Option<TlsTrust>) -> WasiTlsCtx {
    WasiTlsCtxBuilder::new().provider(Box::new(Client(trust))).build()
}

struct Client(Option<TlsTrust>);

type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn wasmtime_wasi_tls::TlsStream>, Error>> + Send>>;

impl TlsProvider for Client {
    fn connect(&self, server_name: String, transport: Box<dyn TlsTransport>) -> Connecting {
        let trust = self.0.clone();
        Box::pin(async move {
            let name = ServerName::try_from(server_name.clone())
                .map_err(|_| Error::msg(format!("{server_name:?} is no server's name")))?;
            let connector = TlsConnector::from(trust.unwrap_or_default().0);
            let stream = connector.connect(name, transport).await.map_err(Error::msg)?;
            Ok(Box::new(Encrypted(stream)) as Box<dyn wasmtime_wasi_tls::TlsStream>)
        })
    }
}

/// A connection after its handshake.
struct Encrypted(TlsStream<Box<dyn TlsTransport>>);

impl wasmtime_wasi_tls::TlsStream for Encrypted {}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
