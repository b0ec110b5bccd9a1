//! Asks the server about every object of a manifest before the first one is written, so that a mistake in the third
//! file does not leave two thirds of an application behind.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use wkube_api::{Object, Resource};
use wkube_client::api::Conflicts;
use wkube_client::{Api, Client, Patch};

use crate::manifest::Document;
use crate::print;
use crate::verbs::apply::{FIELD_MANAGER, placed};

/// Applies everything as a dry run and prints what is refused.
///
/// # Errors
/// If anything is refused, or the server does not answer.
pub(crate) async fn check(
    client: &Client,
    documents: &[Document],
    resources: &[Arc<Resource>],
    namespace: &str,
    conflicts: Conflicts,
) -> Result<()> {
    let mut refusals = Vec::new();
    for (document, resource) in documents.iter().zip(resources) {
        let (key, object) = placed(document, resource, namespace);
        let patch = Patch::Apply { object: Value::Object(object.0), manager: FIELD_MANAGER.into(), conflicts };
        match Api::<Object>::dynamic(client, resource).check_patch(&key, &patch).await {
            Err(error) if error.is_not_found() && makes_namespace(documents, &key.namespace) => {}
            Err(error) if error.status().is_some() => {
                let refused = Err::<(), _>(error).with_context(|| format!("failed to apply {}", document.title()));
                refusals.extend(refused.err());
            }
            other => drop(other?),
        }
    }
    let Some(last) = refusals.pop() else { return Ok(()) };
    if documents.len() == 1 {
        return Err(last);
    }
    let count = refusals.len() + 1;
    refusals.iter().chain([&last]).for_each(print::error);
    bail!("nothing was applied: {count} of {} objects refused; correct them and apply again", documents.len())
}

/// Whether the manifest itself makes a namespace, which a dry run does not.
fn makes_namespace(documents: &[Document], namespace: &str) -> bool {
    documents.iter().any(|document| document.object.kind() == "Namespace" && document.object.name() == namespace)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_of_the_same_manifest_counts_as_there() {
        let Value::Object(map) = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}) else {
            panic!("an object")
        };
        let documents = [Document { object: Object(map), file: PathBuf::from("m.yaml") }];
        assert!(makes_namespace(&documents, "shop"));
        assert!(!makes_namespace(&documents, "default"));
    }
}
