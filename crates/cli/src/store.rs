//! Which store the control plane has: a file of its own, or an etcd that several servers share.

use std::env;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use wkube_control::keyring::{Sharing, Token};
use wkube_store::etcd::{Credentials, EtcdOptions, EtcdStore, is_etcd};
use wkube_store::{RedbStore, Store};

use crate::args::StoreFlags;

/// The store's file in the data directory.
pub(crate) const FILE: &str = "store.redb";
/// How far this server has seen etcd, in the data directory.
const MARK: &str = "etcd.seen";
/// In the environment, where other users of the machine do not see them.
const USER: &str = "WKUBE_ETCD_USER";
const PASSWORD: &str = "WKUBE_ETCD_PASSWORD";

/// Opens the store that the flags name.
///
/// # Errors
/// If it cannot be used; the message says why, and what to do.
pub(crate) async fn open(flags: &StoreFlags, dir: &Path) -> Result<Arc<dyn Store>> {
    let Some(address) = &flags.store else { return Ok(Arc::new(RedbStore::open(&dir.join(FILE))?)) };
    if !is_etcd(address) {
        bail!("--store {address}: unknown kind of store; write etcd://HOST:2379, or leave the flag out for a file");
    }
    let mut options = etcd(address, flags)?;
    options.mark_file = Some(dir.join(MARK));
    Ok(Arc::new(EtcdStore::connect(&options).await?))
}

/// Returns how one gets into the etcd at `address`.
///
/// # Errors
/// If there is half a user in the environment.
pub(crate) fn etcd(address: &str, flags: &StoreFlags) -> Result<EtcdOptions> {
    Ok(EtcdOptions {
        address: address.to_owned(),
        prefix: flags.etcd_prefix.clone(),
        ca_file: flags.etcd_cafile.clone(),
        certificate_file: flags.etcd_certfile.clone(),
        key_file: flags.etcd_keyfile.clone(),
        credentials: credentials(env::var(USER).ok(), env::var(PASSWORD).ok())?,
        mark_file: None,
    })
}

/// Returns how the server gets at the keys that it shares with others; `None` if the store is its own.
///
/// # Errors
/// If there is no token in the file that should have one.
pub(crate) fn sharing(flags: &StoreFlags) -> Result<Option<Sharing>> {
    if flags.store.is_none() {
        return Ok(None);
    }
    let new_token = flags.new_token_file.as_deref().map(Token::from_file).transpose()?;
    Ok(Some(Sharing { token: token(flags)?, new_token }))
}

/// Returns the token that the flags name.
///
/// # Errors
/// If there is none in the file that should have one.
pub(crate) fn token(flags: &StoreFlags) -> Result<Option<Token>> {
    match &flags.token {
        Some(token) => Ok(Some(token.clone())),
        None => Ok(flags.token_file.as_deref().map(Token::from_file).transpose()?),
    }
}

fn credentials(user: Option<String>, password: Option<String>) -> Result<Option<Credentials>> {
    match (user, password) {
        (Some(user), Some(password)) => Ok(Some(Credentials { user, password })),
        (None, None) => Ok(None),
        _ => bail!("set both {USER} and {PASSWORD}, or neither"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_needs_a_password() {
        assert!(credentials(None, None).expect("neither").is_none());
        assert_eq!(
            credentials(Some("a".into()), Some("b".into())).expect("both").map(|both| both.user).as_deref(),
            Some("a")
        );
        let error = credentials(Some("a".into()), None).expect_err("half").to_string();
        assert!(error.contains("WKUBE_ETCD_PASSWORD"), "{error}");
    }

    #[tokio::test]
    async fn an_unknown_kind_of_store_is_refused() {
        let flags = StoreFlags { store: Some("postgres://x".to_owned()), ..StoreFlags::default() };
        let error = open(&flags, Path::new("/nowhere")).await.err().expect("refused").to_string();
        assert!(error.contains("postgres://x") && error.contains("etcd://"), "{error}");
    }
}
