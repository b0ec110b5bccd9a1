//! `wkube run`: one pod from an image or a file.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;
use wkube_api::Object;
use wkube_client::Api;

use crate::args::{Restart, Run};
use crate::connect::connect_in;
use crate::{manifest, print, target};

pub(crate) async fn run(mut args: Run) -> Result<()> {
    let client = connect_in(&args.connection, &mut args.namespace).await?;
    let image = if manifest::is_path(&args.image) {
        super::push::Pusher::find(&client).await?.push_file(Path::new(&args.image)).await?
    } else {
        args.image.clone()
    };
    let api = Api::dynamic(&client, &*target::find("pods")?);
    let pod = pod(&args, &image)?;
    api.create(&pod).await?;
    print::line(format!("pod/{} created", args.name));
    Ok(())
}

fn pod(args: &Run, image: &str) -> Result<Object> {
    let mut env = Vec::new();
    for pair in &args.env {
        let Some((name, value)) = pair.split_once('=') else { bail!("--env {pair:?} is not of the form NAME=value") };
        env.push(json!({"name": name, "value": value}));
    }
    let restart = match args.restart {
        Restart::Always => "Always",
        Restart::OnFailure => "OnFailure",
        Restart::Never => "Never",
    };
    let ports: Vec<_> = args.port.iter().map(|port| json!({"containerPort": port})).collect();
    let container = json!({"name": args.name, "image": image, "env": env, "args": args.args, "ports": ports});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": args.name, "namespace": args.namespace.namespace, "labels": {"run": args.name}},
        "spec": {"restartPolicy": restart, "containers": [container]},
    });
    Ok(serde_json::from_value(pod)?)
}
