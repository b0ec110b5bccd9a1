//! `wkube store`: look at a store, check it, back it up, restore it, make it smaller.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};
use wkube_client::config;
use wkube_store::backup::{self, Backup};
use wkube_store::redb::{Inspection, Lock, create_from, inspect, rewrite_file};
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
    by_store.or(by_backup).unwrap_or(1)
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

/// Takes a backup: from the file, or from the server that uses it.
async fn back_up(dir: &Path, path: &Path, to: &Path) -> Result<Said> {
    let bytes = match Lock::take(path) {
        Ok(lock) => {
            let mut bytes = Vec::new();
            backup::write(&mut bytes, &inspect(path, &lock)?.listed, SystemTime::from(Timestamp::now()))?;
            Bytes::from(bytes)
        }
        Err(OpenError::InUse { .. }) => from_server(dir).await?,
        Err(error) => return Err(error.into()),
    };
    // What could not be restored is not worth keeping.
    let taken = backup::read(&*bytes).context("the backup is not whole")?;
    write_whole(to, &bytes).with_context(|| format!("could not write {}; choose another file", to.display()))?;
    let text = format!("{} has {} keys at revision {}", to.display(), taken.entries.len(), taken.revision.0);
    Ok((text, json!({"keys": taken.entries.len(), "revision": taken.revision.0, "bytes": bytes.len()})))
}

async fn from_server(dir: &Path) -> Result<Bytes> {
    let kubeconfig = dir.join("kubeconfig");
    let client = config::load(&[kubeconfig], None).await?.client;
    let request = Request::get(BACKUP_PATH).body(Bytes::new()).context("failed to build a request")?;
    client.call(request).await.context("the server that uses the store gave no backup of it")
}

/// Writes a new file: it is there as a whole or not at all, and only its owner may read it, for it holds Secrets.
fn write_whole(to: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).and_then(|file| {
            let mut out = BufWriter::new(&file);
            out.write_all(bytes)?;
            out.flush()?;
            file.sync_all()?;
            // Unlike a rename, a link replaces nothing.
            fs::hard_link(&partial, to)?;
            let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()
        });
    let _ = fs::remove_file(&partial);
    written
}

/// Makes a store of a backup, where none is.
fn restore(dir: &Path, path: &Path, from: &Path) -> Result<Said> {
    let file = File::open(from).with_context(|| format!("could not open {}", from.display()))?;
    let Backup { revision, taken, entries } = backup::read(BufReader::new(file))
        .with_context(|| format!("{} cannot be restored, and nothing was changed", from.display()))?;
    if path.exists() {
        bail!("{} is there already; move it away, or choose another data directory", path.display());
    }
    data_dir::prepare(Some(dir), "server")?;
    let now = SystemTime::from(Timestamp::now());
    let (at, keys) = (backup::restored_at(revision, now), entries.len());
    create_from(path, &Lock::take(path)?, at, entries)?;
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
