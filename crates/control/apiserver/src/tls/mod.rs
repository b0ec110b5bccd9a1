//! The cluster's own certificate authority, the server's TLS, and who a client certificate says somebody is.

mod ca;
mod serve;

pub use ca::{CertificateAuthority, Identity, Purpose, Subject, TlsError};
pub use serve::{Clients, peer_user, server_config, user_of_certificate};

#[cfg(test)]
mod tests;
