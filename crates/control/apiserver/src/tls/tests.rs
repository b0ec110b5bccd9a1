//! Real handshakes over an in-memory pipe, and every way the files can be wrong.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wkube_base::Clock;

use super::*;
use crate::auth::{CREDENTIAL_ID, User};

const YEAR: Duration = Duration::from_hours(365 * 24);

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn authority(directory: &TempDir) -> CertificateAuthority {
    CertificateAuthority::load_or_create(directory.path(), Clock::system()).expect("a CA")
}

fn local() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}

/// Shakes hands and returns the user that the server sees and the protocol that both chose.
async fn handshake(
    ca: &CertificateAuthority,
    client: Option<&Identity>,
    host: &str,
) -> std::io::Result<(Option<User>, Vec<u8>)> {
    let serving = ca.serving(&local()).expect("a certificate");
    let config = server_config(&serving, ca.ca_pem(), Clients::MayIdentify).expect("a configuration");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca.ca_pem())).expect("a CA");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut client_config = match client {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![certificate(&identity.certificate_pem)], key).expect("fits")
        }
    };
    client_config.alpn_protocols = vec![b"h2".to_vec()];
    let (near, far) = tokio::io::duplex(16 << 10);
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let (server, client) = tokio::join!(
        TlsAcceptor::from(config).accept(far),
        TlsConnector::from(Arc::new(client_config)).connect(name, near)
    );
    client?;
    let server = server?;
    let connection = server.get_ref().1;
    Ok((peer_user(connection), connection.alpn_protocol().unwrap_or_default().to_vec()))
}

/// Whether `user` is known by a certificate, under this name and in this group.
fn is(user: Option<&User>, name: &str, group: &str) -> bool {
    let known = User::known(name, [group]);
    user.is_some_and(|user| {
        (&user.name, &user.groups) == (&known.name, &known.groups)
            && user.extra[CREDENTIAL_ID][0].strip_prefix("X509SHA256=").is_some_and(|digest| digest.len() == 64)
    })
}

#[tokio::test]
async fn a_client_certificate_says_who_calls() {
    let directory = directory();
    let ca = authority(&directory);
    let admin = ca.issue_client("kubernetes-admin", &["system:masters"], YEAR).expect("issued");
    let (user, protocol) = handshake(&ca, Some(&admin), "localhost").await.expect("trusted");
    assert!(is(user.as_ref(), "kubernetes-admin", "system:masters"), "{user:?}");
    assert_eq!(protocol, b"h2");
}

#[tokio::test]
async fn a_certificate_is_optional_and_addresses_are_names_too() {
    let directory = directory();
    let ca = authority(&directory);
    for host in ["localhost", "127.0.0.1", "::1"] {
        assert_eq!(handshake(&ca, None, host).await.expect("trusted").0, None);
    }
    assert!(handshake(&ca, None, "elsewhere").await.is_err());
}

#[tokio::test]
async fn a_certificate_of_another_cluster_or_for_another_purpose_or_too_old_is_refused() {
    let (ours, theirs) = (directory(), directory());
    let ca = authority(&ours);
    let foreign = authority(&theirs).issue_client("kubernetes-admin", &["system:masters"], YEAR).expect("issued");
    assert!(handshake(&ca, Some(&foreign), "localhost").await.is_err());
    let serving = ca.issue_server(&local()).expect("issued");
    assert!(handshake(&ca, Some(&serving), "localhost").await.is_err());
    let past = Clock::manual("2020-01-01T00:00:00Z".parse().expect("a time"));
    let same_ca_long_ago = CertificateAuthority::load_or_create(ours.path(), past).expect("loads");
    let expired = same_ca_long_ago.issue_client("jane", &[], YEAR).expect("issued");
    assert!(handshake(&ca, Some(&expired), "localhost").await.is_err());
}

#[test]
fn the_ca_is_made_once_privately_and_found_again() {
    let directory = directory();
    let (first, second) = (authority(&directory), authority(&directory));
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!((first.fingerprint().len(), first.fingerprint()), (64, second.fingerprint()));
    #[cfg(unix)]
    for (name, mode) in [("pki", 0o700), ("pki/ca.key", 0o600), ("pki/ca.crt", 0o600)] {
        use std::os::unix::fs::PermissionsExt as _;
        let found = fs::metadata(directory.path().join(name)).expect("exists").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

fn refusal(directory: &Path, clock: Clock) -> String {
    CertificateAuthority::load_or_create(directory, clock).err().expect("unusable").to_string()
}

#[test]
fn a_broken_ca_is_reported_and_never_replaced() {
    let (one, other) = (directory(), directory());
    let before = authority(&one).ca_pem().to_owned();
    let future = Clock::manual("2099-01-01T00:00:00Z".parse().expect("a time"));
    assert!(refusal(one.path(), future).contains("it expired on 20"));
    authority(&other);
    let key = one.path().join("pki/ca.key");
    fs::copy(other.path().join("pki/ca.key"), &key).expect("copied");
    assert!(refusal(one.path(), Clock::system()).contains("its key is another"));
    fs::write(&key, "garbage").expect("written");
    assert!(refusal(one.path(), Clock::system()).contains("ca.key cannot be used (it is no private key)"));
    fs::remove_file(&key).expect("removed");
    assert!(refusal(one.path(), Clock::system()).contains("it is missing"));
    assert_eq!(fs::read_to_string(one.path().join("pki/ca.crt")).expect("readable"), before);
}

#[test]
fn a_ca_whose_making_was_cut_off_is_made_again() {
    let directory = directory();
    authority(&directory);
    fs::remove_file(directory.path().join("pki/ca.crt")).expect("removed");
    authority(&directory);
    authority(&directory);
}

#[test]
fn the_serving_certificate_is_kept_until_its_names_change_or_its_end_is_near() {
    let directory = directory();
    let ca = authority(&directory);
    let first = ca.serving(&local()).expect("issued").certificate_pem;
    assert_eq!(ca.serving(&local()).expect("kept").certificate_pem, first);
    let mut names = local();
    names.push("edge.example".to_owned());
    let second = ca.serving(&names).expect("issued").certificate_pem;
    assert_ne!(second, first);
    let now = Clock::system().now();
    for (days, kept) in [(330, true), (340, false)] {
        let later = Clock::manual(now.checked_add(Duration::from_hours(days * 24)).expect("in range"));
        let ca = CertificateAuthority::load_or_create(directory.path(), later).expect("loads");
        assert_eq!(ca.serving(&names).expect("issued").certificate_pem == second, kept, "after {days} days");
    }
    fs::write(directory.path().join("pki/server.key"), "garbage").expect("written");
    ca.serving(&names).expect("made anew");
}

fn request(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::new(vec!["node.example".to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, "system:node:n1");
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    params.serialize_request(&key).expect("a request").pem().expect("PEM")
}

#[test]
fn a_request_is_signed_for_its_subject_and_one_purpose_only() {
    let directory = directory();
    let ca = authority(&directory);
    let greedy = request(|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let subject = CertificateAuthority::read_csr(&greedy).expect("well-formed");
    let expected = Subject {
        common_name: "system:node:n1".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        alternative_names: vec!["node.example".to_owned()],
    };
    assert_eq!(subject, expected);
    let signed = certificate(&ca.sign_csr(&greedy, Purpose::Client, YEAR).expect("signed"));
    let user = user_of_certificate(&signed);
    assert!(is(user.as_ref(), "system:node:n1", "system:nodes"), "{user:?}");
    let (_, parsed) = x509_parser::parse_x509_certificate(&signed).expect("well-formed");
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().expect("well-formed").expect("has one").value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(parsed.subject_alternative_name().expect("well-formed").is_none());
    assert!(!parsed.key_usage().expect("well-formed").expect("has one").value.key_cert_sign());
}

#[test]
fn what_is_no_honest_request_is_refused() {
    let directory = directory();
    let ca = authority(&directory);
    let good = request(|_| {});
    let mut der = x509_parser::pem::parse_x509_pem(good.as_bytes()).expect("PEM").1.contents;
    let at = der.windows(7).position(|window| window == b"node:n1").expect("the name");
    der[at + 6] = b'2';
    let forged = {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    };
    for (csr, why) in [(forged.as_str(), "not signed with its key"), ("garbage", "not PEM"), ("", "not PEM")] {
        let error = ca.sign_csr(csr, Purpose::Client, YEAR).expect_err("refused").to_string();
        assert!(error.contains(why), "{error}");
    }
}
