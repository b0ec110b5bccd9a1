//! `wkube delete`: removes objects and waits until they are gone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use wkube_api::{Object, ObjectKey, Resource};
use wkube_client::{Api, Client, DeleteOptions, Propagation, Scope};

use crate::args::Delete;
use crate::connect::connect_in;
use crate::verbs::Missing;
use crate::{manifest, print, target};

/// How often to look whether an object is gone.
const POLL: Duration = Duration::from_millis(100);
/// How long to wait for one object; beyond the longest usual grace period.
const GONE_WITHIN: Duration = Duration::from_mins(2);

pub(crate) async fn run(mut args: Delete) -> Result<()> {
    let client = connect_in(&args.connection, &mut args.namespace).await?;
    let objects = objects(&client, &args).await?;
    if objects.is_empty() {
        print::line("No resources found");
    }
    let mut missing = Missing::new(args.ignore_not_found);
    let mut deleted = Vec::new();
    for (resource, key) in objects {
        let api = Api::dynamic(&client, &resource);
        let options = DeleteOptions {
            grace_seconds: args.grace_period,
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        let Some(object) = missing.or(api.get(&key).await.map_err(anyhow::Error::from))? else { continue };
        let uid = object.uid().to_owned();
        api.delete(&key, &options).await?;
        print::line(deleted_line(&resource, &key));
        deleted.push((api, key, uid));
    }
    if !args.no_wait {
        for (api, key, uid) in &deleted {
            wait_until_gone(api, key, uid).await?;
        }
    }
    missing.report()
}

/// Returns `deployment.apps "web" deleted from default namespace`.
fn deleted_line(resource: &Resource, key: &ObjectKey) -> String {
    let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    let place = if key.namespace.is_empty() { String::new() } else { format!(" from {} namespace", key.namespace) };
    format!("{}{group} \"{}\" deleted{place}", resource.singular, key.name)
}

async fn objects(client: &Client, args: &Delete) -> Result<Vec<(Arc<Resource>, ObjectKey)>> {
    let namespace = &args.namespace.namespace;
    let mut found = Vec::new();
    for document in manifest::read(&args.filenames)? {
        let resource = target::look_up(client, &document.object).await?;
        let own = document.object.namespace();
        let namespace = target::namespace_for(&resource, if own.is_empty() { namespace } else { own });
        let key = ObjectKey::new(namespace, document.object.name());
        found.push((resource, key));
    }
    if args.resources.is_empty() {
        if found.is_empty() {
            bail!("say what to delete: pod/web-1, or -f FILE");
        }
        return Ok(found);
    }
    for target in target::parse(client, &args.resources).await? {
        let namespace = target::namespace_for(&target.resource, namespace);
        if target.names.is_empty() {
            if args.selector.is_empty() && !args.all {
                bail!("say which {} to delete: by name, with -l SELECTOR or --all", target.resource.plural);
            }
            let scope = Scope::namespace(namespace).labels(args.selector.as_str());
            let list = Api::dynamic(client, &target.resource).list(&scope).await?;
            found.extend(list.items.iter().map(|object| (target.resource.clone(), object.key())));
        }
        found.extend(target.names.iter().map(|name| (target.resource.clone(), ObjectKey::new(namespace, name))));
    }
    Ok(found)
}

async fn wait_until_gone(api: &Api<Object>, key: &ObjectKey, uid: &str) -> Result<()> {
    let gone = async {
        loop {
            match api.find(key).await? {
                Some(object) if object.uid() == uid => tokio::time::sleep(POLL).await,
                Some(_) | None => return Ok::<_, wkube_client::Error>(()),
            }
        }
    };
    match tokio::time::timeout(GONE_WITHIN, gone).await {
        Ok(result) => Ok(result?),
        Err(_) => bail!("{key} is still there after {} s; look at its finalizers", GONE_WITHIN.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_named_as_kubectl_does() {
        let line = |kind: &str, namespace: &str| {
            deleted_line(&target::find(kind).expect("a kind"), &ObjectKey::new(namespace, "a"))
        };
        assert_eq!(line("deploy", "x"), "deployment.apps \"a\" deleted from x namespace");
        assert_eq!(line("node", ""), "node \"a\" deleted");
    }
}
