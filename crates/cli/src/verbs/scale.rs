//! `wkube scale`: sets the replicas of workloads.

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Request;
use serde_json::json;

use crate::args::Scale;
use crate::connect::connect_in;
use crate::{print, target};

pub(crate) async fn run(mut args: Scale) -> Result<()> {
    let client = connect_in(&args.connection, &mut args.namespace).await?;
    for target in target::parse(&client, &args.resources).await? {
        if target.resource.subresource("scale").is_none() {
            bail!("{} cannot be scaled; deployments and replicasets can", target.resource.plural);
        }
        if target.names.is_empty() {
            bail!("say which {} to scale, such as {}/web", target.resource.plural, target.resource.singular);
        }
        for name in &target.names {
            let path = format!("{}/{name}/scale", target::collection_path(&target.resource, &args.namespace.namespace));
            let body = json!({"spec": {"replicas": args.replicas}}).to_string();
            let request = Request::patch(path)
                .header("content-type", "application/merge-patch+json")
                .header("accept", "application/json")
                .body(Bytes::from(body))?;
            client.call(request).await?;
            print::line(format!("{} scaled", target::title(&target.resource, name)));
        }
    }
    Ok(())
}
