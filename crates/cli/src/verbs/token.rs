//! `wkube token create`: a bootstrap token with which a node joins (`bootstrap.kubernetes.io/token` Secrets).

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use wkube_api::object::format_time;
use wkube_base::Rng;
use wkube_client::{Api, Client};

use crate::args::Token;
use crate::connect::connect;
use crate::{print, target};

/// Bootstrap tokens have an id of 6 and a secret of 16 characters (`cluster-bootstrap/token/api`).
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

pub(crate) async fn run(command: Token) -> Result<()> {
    let Token::Create { connection, ttl } = command;
    let client = connect(&connection).await?;
    let ca = super::read_text(&client, "/cacerts").await.context("failed to read the cluster's CA certificate")?;
    print::line(create(&client, &ca, ttl).await?);
    Ok(())
}

/// Creates a token and returns `wk1.<hash of the CA>.<id>.<secret>`: a node that holds it knows whom to trust.
pub(crate) async fn create(client: &Client, ca_pem: &str, ttl: Duration) -> Result<String> {
    let rng = Rng::from_entropy();
    let (id, secret) = (rng.name_suffix(ID_LENGTH), rng.name_suffix(SECRET_LENGTH));
    let expires = Timestamp::now() + SignedDuration::try_from(ttl).context("the time to live is too long")?;
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": id,
            "token-secret": secret,
            "expiration": format_time(expires),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "description": "created by wkube token create",
        },
    });
    Api::dynamic(client, &*target::find("secrets")?).create(&serde_json::from_value(object)?).await?;
    wkube_node::join::Token::new(ca_pem, &id, &secret)
        .map(|token| token.to_string())
        .context("the CA is not a certificate")
}
