//! `wkube image`: the images on a node's own disk. It works beside a running node, and without one.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use wkube_base::Clock;
use wkube_wasm_runtime::oci::store::{Listed, Removal};
use wkube_wasm_runtime::oci::{Reference, Store, layout};

use crate::args::{ImageAction, ImageCommand};
use crate::{data_dir, print};

/// How much of a digest is shown: enough to name an image by.
const DIGEST_SHOWN: usize = 12;

pub(crate) async fn run(args: ImageCommand) -> Result<()> {
    let dir = images_dir(args.data_dir.as_deref())?;
    let store = Store::open(&dir).with_context(|| format!("cannot use the images in {}", dir.display()))?;
    match args.action {
        ImageAction::Ls => list(&store),
        ImageAction::Rm { images } => images.iter().try_for_each(|image| remove(&store, image)),
        ImageAction::Import { path, name } => import(&store, &path, name.as_deref()).await,
        ImageAction::Export { images, output } => export(&store, &images, &output),
    }
}

/// Finds the node's images: a node of `up` has its own directory inside that of the cluster.
fn images_dir(chosen: Option<&Path>) -> Result<PathBuf> {
    let candidates = match chosen {
        Some(dir) => vec![dir.join("node"), dir.to_owned()],
        None => vec![data_dir::default_for("server")?.join("node"), data_dir::default_for("node")?],
    };
    let found = candidates.iter().find(|dir| dir.join("images").is_dir());
    let found = found.map(|dir| dir.join("images"));
    found.ok_or_else(|| {
        let tried: Vec<String> = candidates.iter().map(|dir| dir.display().to_string()).collect();
        anyhow!("there is no node in {}; name its data directory with --data-dir", tried.join(" or in "))
    })
}

fn list(store: &Store) -> Result<()> {
    let images = store.list().context("cannot list the images")?;
    let now = SystemTime::from(Clock::system().now());
    let mut rows = vec![["IMAGE", "TAG", "DIGEST", "SIZE", "AGE"].map(str::to_owned)];
    rows.extend(images.iter().flat_map(|listed| rows_of(listed, now)));
    rows[1..].sort();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        print::line(cells.collect::<Vec<_>>().join("   ").trim_end());
    }
    Ok(())
}

fn rows_of(listed: &Listed, now: SystemTime) -> Vec<[String; 5]> {
    let digest = listed.image.digest.hex()[..DIGEST_SHOWN].to_owned();
    let age = age(now.duration_since(listed.saved_at).unwrap_or_default());
    let row =
        |name: &str, tag: &str| [name.to_owned(), tag.to_owned(), digest.clone(), size(listed.image.size), age.clone()];
    if listed.names.is_empty() {
        return vec![row("<none>", "<none>")];
    }
    let split = |name: &String| name.rsplit_once(':').map_or_else(|| row(name, ""), |(name, tag)| row(name, tag));
    listed.names.iter().map(split).collect()
}

/// Writes a size as `docker image ls` does.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{:.1}{name}", bytes as f64 / unit as f64))
}

fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn find(store: &Store, text: &str) -> Result<Listed> {
    let images = store.list().context("cannot list the images")?;
    // A name alone means its tag `latest`, as everywhere.
    layout::lookup(&images, text)
        .ok_or_else(|| anyhow!("no image, or more than one, is called {text:?}; see `wkube image ls`"))
}

fn remove(store: &Store, text: &str) -> Result<()> {
    let found = find(store, text)?;
    let is_name =
        text.parse::<Reference>().is_ok_and(|name| name.digest().is_none() && found.names.contains(&full(&name)));
    if is_name && found.names.len() > 1 {
        let name: Reference = text.parse()?;
        store.untag(&name).with_context(|| format!("cannot take the name {text} away"))?;
        print::line(format!("untagged {text}"));
        return Ok(());
    }
    match store.remove(&found.image.digest).with_context(|| format!("cannot remove {text}"))? {
        Removal::Done | Removal::Gone => print::line(format!("removed {}", found.image.digest)),
        Removal::Busy => bail!("an image is being pulled or imported; try again when that is done"),
    }
    Ok(())
}

fn full(name: &Reference) -> String {
    let host = name.host().map(|host| format!("{host}/")).unwrap_or_default();
    format!("{host}{}:{}", name.name(), name.version())
}

async fn import(store: &Store, path: &Path, name: Option<&str>) -> Result<()> {
    let name = name.map(str::parse::<Reference>).transpose().context("--name is not an image name")?;
    let imported = layout::import(store, path, name.as_ref()).await;
    for (name, image) in imported.with_context(|| format!("failed to import {}", path.display()))? {
        print::line(format!("{name} {}", image.digest));
    }
    Ok(())
}

fn export(store: &Store, images: &[String], output: &Path) -> Result<()> {
    let names = images.iter().map(|text| {
        let found = find(store, text)?;
        let named = text.parse::<Reference>().ok().filter(|name| found.names.contains(&full(name)));
        let first = || found.names.first().and_then(|name| name.parse().ok());
        named.or_else(first).ok_or_else(|| anyhow!("image {text} has no name to export it under"))
    });
    let names = names.collect::<Result<Vec<_>>>()?;
    layout::export(store, &names, output).with_context(|| format!("failed to write {}", output.display()))?;
    print::line(output.display().to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!([0, 999, 1_000, 16_300_000, 2_500_000_000].map(size), ["0B", "999B", "1.0kB", "16.3MB", "2.5GB"]);
        assert_eq!([5, 125, 7_300, 200_000].map(|seconds| age(Duration::from_secs(seconds))), ["5s", "2m", "2h", "2d"]);
    }

    #[test]
    fn the_images_are_those_of_the_node_within_a_cluster_or_of_a_node_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let message = images_dir(Some(dir.path())).expect_err("nothing there").to_string();
        assert!(message.contains("there is no node in"), "{message}");
        std::fs::create_dir_all(dir.path().join("images")).expect("made");
        assert_eq!(images_dir(Some(dir.path())).expect("found"), dir.path().join("images"));
        std::fs::create_dir_all(dir.path().join("node/images")).expect("made");
        assert_eq!(images_dir(Some(dir.path())).expect("found"), dir.path().join("node/images"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opened");
        assert!(remove(&store, "app:v1").expect_err("none").to_string().contains("app:v1"));
        assert!(import(&store, Path::new("/does/not/exist"), None).await.is_err());
        assert!(export(&store, &["app:v1".to_owned()], Path::new("/tmp/never")).is_err());
    }
}
