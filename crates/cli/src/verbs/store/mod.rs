//! `wkube store`: look at a store, check it, back it up, restore it, make it smaller, move it.

mod migrate;
mod progress;

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::Request;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use wkube_client::config;
use wkube_store::backup::{self, About};
use wkube_store::etcd::ConnectError;
use wkube_store::redb::{Inspection, Lock, Making, inspect, rewrite_file};
use wkube_store::{Health, OpenError};

use crate::args::{StoreAction, StoreCommand, StoreOutput};
use crate::{data_dir, print, store};

/// Where a running server hands out a backup of its store.
const BACKUP_PATH: &str = "/wkube/store/backup";

/// The command's result when the file itself is refused: damaged, newer, cut off, or somebody else's.
pub(crate) const REFUSED: u8 = 2;
/// The command's result while a server uses the store.
pub(crate) const IN_USE: u8 = 3;

/// Returns what the command's process ends with.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let by_store = error.chain().find_map(|cause| cause.downcast_ref::<OpenError>()).map(|error| match error {
        OpenError::InUse { .. } => IN_USE,
        OpenError::Damaged { .. }
        | OpenError::Foreign { .. }
        | OpenError::Schema { .. }
        | OpenError::Unfinished { .. } => REFUSED,
        OpenError::Exists { .. } | OpenError::Io { .. } => 1,
    });
    let by_backup = error.chain().find_map(|cause| cause.downcast_ref::<backup::Error>()).map(|error| match error {
        backup::Error::Io(_) => 1,
        _ => REFUSED,
    });
    let by_etcd = error.chain().find_map(|cause| cause.downcast_ref::<ConnectError>()).map(|error| match error {
        ConnectError::InUse { .. } => IN_USE,
        ConnectError::Foreign { .. }
        | ConnectError::Schema { .. }
        | ConnectError::Offset { .. }
        | ConnectError::Unfinished { .. } => REFUSED,
        _ => 1,
    });
    by_store.or(by_backup).or(by_etcd).unwrap_or(1)
}

pub(crate) async fn run(command: StoreCommand) -> Result<()> {
    let dir = command.data_dir.map_or_else(|| data_dir::default_for("server"), Ok)?;
    let path = dir.join(store::FILE);
    let (text, value) = match command.action {
        StoreAction::Status => status(&inspect(&path, &Lock::take(&path)?)?),
        StoreAction::Check => {
            let found = inspect(&path, &Lock::take(&path)?)?;
            (format!("{} is as it was written: {}", path.display(), status(&found).0), status(&found).1)
        }
        StoreAction::Backup { file } => back_up(&dir, &path, &file).await?,
        StoreAction::Restore { file } => restore(&dir, &path, &file)?,
        StoreAction::Compact => compact(&path)?,
        StoreAction::Migrate(args) => migrate::migrate(&args).await?,
    };
    print::line(match command.output {
        StoreOutput::Text => text,
        StoreOutput::Json => value.to_string(),
    });
    Ok(())
}

/// What is done, for people and for programs.
type Said = (String, Value);

fn status(found: &Inspection) -> Said {
    let Health { revision, compacted, keys, bytes, live_bytes, .. } = found.health;
    let text = format!(
        "revision {}, kept from {}; {keys} keys with {live_bytes} bytes; {} records, {} of them obsolete, in a file of \
         {bytes} bytes; schema version {}",
        revision.0, compacted.0, found.records, found.obsolete, found.schema
    );
    let value = json!({
        "revision": revision.0, "compacted": compacted.0, "keys": keys, "bytes": bytes, "liveBytes": live_bytes,
        "records": found.records, "obsolete": found.obsolete, "schema": found.schema,
    });
    (text, value)
}

fn compact(path: &Path) -> Result<Said> {
    let lock = Lock::take(path)?;
    let before = inspect(path, &lock)?.health.bytes;
    let after = rewrite_file(path, &lock)?.health.bytes;
    let text = format!("{} has {after} bytes now, {before} before", path.display());
    Ok((text, json!({"before": before, "after": after})))
}

/// Takes a backup: from the file, or from the server that uses it. It goes from there into the file piece by piece.
async fn back_up(dir: &Path, path: &Path, to: &Path) -> Result<Said> {
    let pieces: Pieces = match Lock::take(path) {
        Ok(lock) => {
            let listed = inspect(path, &lock)?.listed;
            stream::iter(backup::pieces(listed, SystemTime::from(Timestamp::now()))).map(Ok).boxed()
        }
        Err(OpenError::InUse { .. }) => from_server(dir).await?,
        Err(error) => return Err(error.into()),
    };
    let (taken, bytes) = write_whole(to, pieces).await?;
    let text = format!("{} has {} keys at revision {}", to.display(), taken.keys, taken.revision.0);
    Ok((text, json!({"keys": taken.keys, "revision": taken.revision.0, "bytes": bytes})))
}

/// The bytes of a backup, as they come.
type Pieces = BoxStream<'static, Result<Bytes>>;

async fn from_server(dir: &Path) -> Result<Pieces> {
    const REFUSED: &str = "the server that uses the store gave no backup of it";
    let kubeconfig = dir.join("kubeconfig");
    let client = config::load(&[kubeconfig], None).await?.client;
    let request = Request::get(BACKUP_PATH).body(Bytes::new()).context("failed to build a request")?;
    let body = client.stream(request).await.context(REFUSED)?;
    Ok(body.into_data_stream().map(|piece| piece.map_err(|error| anyhow!(error).context(REFUSED))).boxed())
}

/// Writes a new file: it is there as a whole or not at all, and only its owner may read it, for it holds Secrets. Returns what
/// it says of itself, and its size.
async fn write_whole(to: &Path, pieces: Pieces) -> Result<(About, u64)> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_checked(to, &partial, pieces).await;
    let _ = fs::remove_file(&partial);
    written
}

async fn write_checked(to: &Path, partial: &Path, mut pieces: Pieces) -> Result<(About, u64)> {
    let unwritable = || format!("could not write {}; choose another file", to.display());
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(partial).with_context(unwritable)?;
    let (mut out, mut bytes) = (BufWriter::new(&file), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        out.write_all(&piece).with_context(unwritable)?;
    }
    out.flush().and_then(|()| file.sync_all()).with_context(unwritable)?;
    // What could not be restored is not worth keeping.
    let again = File::open(partial).with_context(unwritable)?;
    let about = backup::verify(BufReader::new(again)).context("the backup is not whole")?;
    // Unlike a rename, a link replaces nothing.
    fs::hard_link(partial, to).with_context(unwritable)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(unwritable)?;
    Ok((about, bytes))
}

/// Makes a store of a backup, where none is. The backup is read twice, and never in memory as a whole.
fn restore(dir: &Path, path: &Path, from: &Path) -> Result<Said> {
    let file = || File::open(from).with_context(|| format!("could not open {}", from.display())).map(BufReader::new);
    let refused = || format!("{} cannot be restored, and nothing was changed", from.display());
    let About { revision, taken, keys } = backup::verify(file()?).with_context(refused)?;
    if path.exists() {
        bail!("{} is there already; move it away, or choose another data directory", path.display());
    }
    data_dir::prepare(Some(dir), "server")?;
    let at = backup::restored_at(revision, SystemTime::from(Timestamp::now()));
    let making = Making::begin(path, false)?;
    let mut failed = None;
    let entries = backup::Entries::open(file()?).with_context(refused)?;
    let filled = making.fill(at, entries.map_while(|entry| entry.map_err(|error| failed = Some(error)).ok()));
    if let Some(error) = failed.map(anyhow::Error::new).or(filled.err().map(anyhow::Error::new)) {
        making.abandon()?;
        return Err(error.context(refused()));
    }
    making.finish()?;
    let taken = Timestamp::try_from(taken).context("the backup's time is out of range")?;
    let text = format!(
        "{} has {keys} keys as of {taken}; it goes on at revision {}, and all clients list again",
        path.display(),
        at.0
    );
    Ok((text, json!({"keys": keys, "revision": at.0, "backupRevision": revision.0, "taken": taken.to_string()})))
}

#[cfg(test)]
mod tests {
    use wkube_store::{RedbStore, Store as _, Txn};

    use super::*;

    fn command(dir: &Path, action: StoreAction) -> StoreCommand {
        StoreCommand { data_dir: Some(dir.to_owned()), output: StoreOutput::Json, action }
    }

    #[tokio::test]
    async fn a_backup_is_restored_elsewhere_and_never_over_anything() {
        let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let store = RedbStore::open(&from.path().join(store::FILE)).expect("new");
        store.commit(Txn::put("a".into(), "1")).await.expect("writable");
        drop(store);
        let file = from.path().join("backup");
        run(command(from.path(), StoreAction::Backup { file: file.clone() })).await.expect("taken");
        let again = run(command(from.path(), StoreAction::Backup { file: file.clone() })).await;
        assert!(format!("{:#}", again.expect_err("it is there")).contains("choose another file"));
        run(command(to.path(), StoreAction::Restore { file: file.clone() })).await.expect("restored");
        let again = run(command(to.path(), StoreAction::Restore { file })).await.expect_err("there is a store");
        assert!(again.to_string().contains("move it away"), "{again}");
        let store = RedbStore::open(&to.path().join(store::FILE)).expect("restored");
        assert_eq!(store.get("a").expect("readable").expect("exists").value, "1");
    }

    #[tokio::test]
    async fn what_is_no_backup_is_refused_by_name_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("notes.txt");
        fs::write(&file, "hello, this is not a backup of anything").expect("writable");
        let error = run(command(dir.path(), StoreAction::Restore { file })).await.expect_err("refused");
        assert!(
            format!("{error:#}").contains("notes.txt") && format!("{error:#}").contains("not a backup"),
            "{error:#}"
        );
        assert_eq!(exit_code(&error), REFUSED);
        assert!(!dir.path().join(store::FILE).exists());
    }

    #[tokio::test]
    async fn the_exit_code_says_the_result() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(store::FILE);
        let store = RedbStore::open(&path).expect("new");
        let check = || run(command(dir.path(), StoreAction::Check));
        assert_eq!(exit_code(&check().await.expect_err("in use")), IN_USE);
        drop(store);
        check().await.expect("whole");
        fs::write(&path, "somebody else's").expect("writable");
        let error = check().await.expect_err("foreign");
        assert_eq!(exit_code(&error), REFUSED);
        assert!(error.to_string().contains("store.redb"), "{error}");
        assert_eq!(exit_code(&anyhow::anyhow!("anything else")), 1);
    }
}
