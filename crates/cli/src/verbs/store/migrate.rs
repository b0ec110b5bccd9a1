//! `wkube store migrate`: everything from one place to another, and the keys of the cluster with it.
//!
//! ```text
//!  source: nobody uses it ─> read ──┐                    ┌─> target: nothing is there, marked unfinished
//!    <── nobody has used it since ──┤  entries and keys  ├─> written, read again, compared
//!        never changed              └────────────────────┘─> the mark is removed: servers may start
//! ```
//! The target goes on at a revision that is beyond any that the source has given out, or gives out if it is used once more by
//! mistake: no client takes one history for the other, and all list again.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::json;
use wkube_base::Clock;
use wkube_control::keyring::{Moving, Token};
use wkube_store::backup::{digest, restored_at};
use wkube_store::etcd::transfer::{Leavings, QUIET, Source, Target};
use wkube_store::etcd::{EtcdOptions, is_etcd};
use wkube_store::redb::{Lock, Making, inspect};
use wkube_store::{Entry, Listed, Revision};

use super::Said;
use super::progress::Progress;
use crate::args::Migrate;
use crate::{data_dir, print, store};

/// One end of a migration.
#[derive(Debug)]
enum Place {
    /// A data directory.
    Dir(PathBuf),
    Etcd(Box<EtcdOptions>),
}

impl Place {
    fn read(text: &str, args: &Migrate) -> Result<Self> {
        if is_etcd(text) {
            return Ok(Self::Etcd(Box::new(store::etcd(text, &args.store_flags())?)));
        }
        let dir = text.strip_prefix("redb:").unwrap_or(text);
        ensure!(
            !dir.is_empty() && !dir.contains("://"),
            "{text}: unknown kind of place; write a data directory, or etcd://HOST:2379"
        );
        Ok(Self::Dir(std::path::absolute(dir)?))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir(dir) => write!(f, "{}", dir.join(store::FILE).display()),
            Self::Etcd(options) => write!(f, "{}{}/", options.address, options.prefix),
        }
    }
}

/// A source that nobody uses, as long as this lives.
enum Held {
    File(#[expect(dead_code, reason = "held until dropped")] Lock),
    Etcd(Source),
}

impl Held {
    /// Makes sure that nobody has used it all the same: etcd has no locks.
    async fn unchanged(&self) -> Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Etcd(source) => source.unchanged().await.context("the target is not finished, and of no use"),
        }
    }
}

/// What moves.
struct Load {
    listed: Listed,
    /// `None` if the source has none, as before the first start of a server.
    keys: Option<Moving>,
    token: Option<Token>,
}

pub(super) async fn migrate(args: &Migrate) -> Result<Said> {
    let (from, to) = (Place::read(&args.from, args)?, Place::read(&args.to, args)?);
    let token = store::token(&args.store_flags())?;
    let (keys, at, sum) = match (&from, &to) {
        (Place::Dir(from), Place::Dir(to)) => {
            ensure!(from != to, "--from and --to are the same data directory");
            let (held, load) = from_dir(from, token)?;
            into_dir(&held, load, to, args).await?
        }
        (Place::Dir(from), Place::Etcd(to)) => {
            let (held, load) = from_dir(from, token)?;
            into_etcd(&held, load, from, to, args).await?
        }
        (Place::Etcd(from), Place::Dir(to)) => {
            let (held, load) = from_etcd(from, to, token).await?;
            into_dir(&held, load, to, args).await?
        }
        (Place::Etcd(_), Place::Etcd(_)) => bail!(
            "a store moves from one etcd to another with etcd's own means (`etcdctl snapshot save`, `etcdutl snapshot \
             restore`), or by way of a data directory"
        ),
    };
    let text = format!(
        "{to} has the {keys} keys of {from} (checksum {sum:016x}); it goes on at revision {}, and all clients list again",
        at.0
    );
    Ok((text, json!({"keys": keys, "revision": at.0, "checksum": format!("{sum:016x}")})))
}

fn from_dir(dir: &Path, token: Option<Token>) -> Result<(Held, Load)> {
    let path = dir.join(store::FILE);
    ensure!(path.exists(), "{} is not there; --from names the data directory of a server, or an etcd", path.display());
    let lock = Lock::take(&path)?;
    print::note(format!("reading {}", path.display()));
    let listed = inspect(&path, &lock)?.listed;
    let keys = Moving::from_dir(dir, &Clock::system())?;
    Ok((Held::File(lock), Load { listed, keys, token }))
}

async fn from_etcd(options: &EtcdOptions, to: &Path, token: Option<Token>) -> Result<(Held, Load)> {
    let source = Source::open(options).await?;
    print::note(format!("watching for {} s if a server writes to the source", QUIET.as_secs()));
    source.quiet(QUIET).await?;
    let mut progress = Progress::begin("reading", source.keys());
    let listed = source.read(|done| progress.at(done)).await?;
    let sealed = listed.entries.iter().find(|entry| *entry.key == *Moving::KEY);
    let keys = sealed.map(|sealed| Moving::from_store(&sealed.value, to, token.clone())).transpose()?;
    Ok((Held::Etcd(source), Load { listed, keys, token }))
}

/// What has moved: how many keys, the revision at which they go on, and a sum of them.
type Moved = (usize, Revision, u64);

async fn into_dir(held: &Held, load: Load, dir: &Path, args: &Migrate) -> Result<Moved> {
    let path = dir.join(store::FILE);
    data_dir::prepare(Some(dir), "server")?;
    let making = Making::begin(&path, args.restart)?;
    if let Some(keys) = &load.keys {
        keys.fits(dir)?;
    }
    let Listed { entries, revision, .. } = load.listed;
    let (at, sum) = (after(revision), digest(&entries));
    Progress::begin("writing", entries.len() as u64);
    making.fill(at, entries.iter().cloned())?;
    load.keys.map_or(Ok(()), |keys| keys.into_dir(dir))?;
    Progress::begin("comparing", entries.len() as u64);
    compare(&entries, &making.read()?.listed.entries)?;
    held.unchanged().await?;
    making.finish()?;
    Ok((entries.len(), at, sum))
}

async fn into_etcd(held: &Held, load: Load, from: &Path, to: &EtcdOptions, args: &Migrate) -> Result<Moved> {
    let leavings = if args.restart { Leavings::Deleted } else { Leavings::Refused };
    let Listed { mut entries, revision, .. } = load.listed;
    let target = Target::begin(to, leavings, after(revision)).await?;
    if let Some(keys) = load.keys {
        let (key, value) = keys.into_store(from, load.token)?;
        let sealed = Entry { key, value: value.into(), created: revision, modified: revision, version: 1 };
        match entries.binary_search_by(|entry| entry.key.cmp(&sealed.key)) {
            // From an earlier stay in an etcd: since then, the files are what counts.
            Ok(place) => entries[place] = sealed,
            Err(place) => entries.insert(place, sealed),
        }
    }
    let mut progress = Progress::begin("writing", entries.len() as u64);
    target.write(&entries, |done| progress.at(done)).await?;
    let mut progress = Progress::begin("comparing", entries.len() as u64);
    compare(&entries, &target.read(|done| progress.at(done)).await?.entries)?;
    held.unchanged().await?;
    let at = target.finish().await?;
    Ok((entries.len(), at, digest(&entries)))
}

/// Returns the revision that nothing in the source, and nothing told of it, is beyond.
fn after(revision: Revision) -> Revision {
    restored_at(revision, SystemTime::from(Timestamp::now()))
}

/// Compares what was written with what is there.
fn compare(written: &[Entry], found: &[Entry]) -> Result<()> {
    let is_same = |(written, found): &(&Entry, &Entry)| (&written.key, &written.value) == (&found.key, &found.value);
    if let Some((written, _)) = written.iter().zip(found).find(|pair| !is_same(pair)) {
        bail!(
            "the target does not hold what was written, beginning with {}; it is not finished, and of no use",
            written.key
        );
    }
    let (expected, there) = (written.len(), found.len());
    ensure!(
        expected == there,
        "the target holds {there} keys instead of {expected}; it is not finished, and of no use"
    );
    ensure!(digest(written) == digest(found), "the target's checksum differs; it is not finished, and of no use");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use wkube_store::{RedbStore, Store as _, Txn};

    use super::*;
    use crate::args::{Cli, Command, StoreAction};

    fn arguments(from: &Path, to: &Path, more: &[&str]) -> Migrate {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        let words = ["wkube", "store", "migrate", "--from", &from, "--to", &to].into_iter().chain(more.iter().copied());
        let Command::Store(command) = Cli::parse_from(words).command else { panic!("not store") };
        let StoreAction::Migrate(args) = command.action else { panic!("not migrate") };
        args
    }

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn opened(dir: &Path) -> RedbStore {
        RedbStore::open(&dir.join(store::FILE)).expect("a store")
    }

    #[tokio::test]
    async fn everything_moves_and_no_revision_comes_again() {
        let (from, to) = (dir(), dir());
        let store = opened(from.path());
        for value in ["1", "2"] {
            store.commit(Txn::put("a".into(), value)).await.expect("writable");
        }
        let (was, newest) = (store.get("a").expect("readable"), store.revision());
        drop(store);
        migrate(&arguments(from.path(), to.path(), &[])).await.expect("moved");
        let store = opened(to.path());
        assert_eq!(store.get("a").expect("readable"), was);
        assert!(matches!(store.watch("", newest).map(drop), Err(wkube_store::Error::Compacted { .. })));
        assert!(store.commit(Txn::put("b".into(), "1")).await.expect("writable") > Revision(newest.0 + 1_000_000));
        assert_eq!(opened(from.path()).revision(), newest, "the source is as it was");
    }

    #[tokio::test]
    async fn a_source_or_target_in_use_is_refused_and_so_is_a_target_that_is_taken() {
        let (from, to) = (dir(), dir());
        let source = opened(from.path());
        let refused = async |from: &Path, to: &Path| migrate(&arguments(from, to, &[])).await.expect_err("refused");
        let error = refused(from.path(), to.path()).await;
        assert_eq!(super::super::exit_code(&error), super::super::IN_USE);
        drop(source);
        let target = opened(to.path());
        assert_eq!(super::super::exit_code(&refused(from.path(), to.path()).await), super::super::IN_USE);
        drop(target);
        let error = format!("{:#}", refused(from.path(), to.path()).await);
        assert!(error.contains("is there already") && error.contains(&to.path().display().to_string()), "{error}");
        let error = format!("{:#}", refused(from.path(), from.path()).await);
        assert!(error.contains("the same data directory"), "{error}");
    }

    #[tokio::test]
    async fn a_migration_that_was_cut_off_is_begun_again_when_one_says_so() {
        let (from, to) = (dir(), dir());
        opened(from.path()).commit(Txn::put("a".into(), "1")).await.expect("writable");
        let cut = Making::begin(&to.path().join(store::FILE), false).expect("nothing is there");
        cut.fill(Revision(5), []).expect("writable");
        drop(cut);
        let error = migrate(&arguments(from.path(), to.path(), &[])).await.expect_err("unfinished");
        assert_eq!(super::super::exit_code(&error), super::super::REFUSED);
        assert!(format!("{error:#}").contains("--restart"), "{error:#}");
        migrate(&arguments(from.path(), to.path(), &["--restart"])).await.expect("moved");
        assert!(opened(to.path()).get("a").expect("readable").is_some());
    }

    #[tokio::test]
    async fn places_that_are_none_are_named() {
        let (from, to) = (dir(), dir());
        for place in ["postgres://x", "redb:", ""] {
            let mut args = arguments(from.path(), to.path(), &[]);
            place.clone_into(&mut args.from);
            let error = migrate(&args).await;
            assert!(error.expect_err("refused").to_string().contains("unknown kind of place"), "{place}");
        }
        let error = migrate(&arguments(from.path(), to.path(), &[])).await.expect_err("nothing is there").to_string();
        assert!(error.contains("store.redb is not there"), "{error}");
        assert_eq!(std::fs::read_dir(to.path()).expect("readable").count(), 0);
    }

    #[test]
    fn what_differs_is_named() {
        let entry = |key: &str, value: &'static str| Entry {
            key: key.into(),
            value: value.into(),
            created: Revision(2),
            modified: Revision(2),
            version: 1,
        };
        let written = [entry("a", "1"), entry("b", "1")];
        compare(&written, &written).expect("the same");
        let error = compare(&written, &[entry("a", "1"), entry("b", "2")]).expect_err("different").to_string();
        assert!(error.contains("beginning with b"), "{error}");
        let error = compare(&written, &written[..1]).expect_err("shorter").to_string();
        assert!(error.contains("1 keys instead of 2"), "{error}");
    }
}
