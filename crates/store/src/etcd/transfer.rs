//! A whole store in etcd, read or made while no server uses it.
//!
//! ```text
//!  Source::open ─> quiet: nobody writes ─> read, at one revision ─> unchanged: still nobody has written
//!  Target::begin: claimed, marked unfinished ─> write ─> read again, to be compared ─> finish: a store
//! ```
//! A source is never written to. Of a target, servers want to know nothing before it is finished; whoever is cut off leaves it
//! like that, and whoever begins again takes it over: each write has the condition that nobody has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::{Entry, Listed, Revision, TXN_MAX};

use super::client::Client;
use super::connect::{self, ConnectError, absent, owned, refused};
use super::failure::{Failure, Kind};
use super::layout::{Layout, SCHEMA_WITH_OFFSET, UNFINISHED};
use super::options::EtcdOptions;
use super::proto::{
    Compare, CompareTarget, DeleteRangeRequest, Expected, PutRequest, RangeRequest, RangeResponse, Request, RequestOp,
    TxnRequest, WatchCreateRequest,
};
use super::transaction::step;

/// After this, somebody would have written: the leader renews its Lease every two seconds, and if it is gone, another server
/// takes over after fifteen and at most two tries of 4.4 s.
pub const QUIET: Duration = Duration::from_secs(24);
/// A page of what is read.
const PAGE: i64 = 500;
/// The bytes of values in one transaction: etcd takes 1.5 MiB in one request (`--max-request-bytes`).
const BYTES_MAX: usize = 1 << 20;

/// A store in etcd that is read as a whole.
#[derive(Debug)]
pub struct Source {
    client: Arc<Client>,
    layout: Layout,
    at: Revision,
    keys: i64,
}

impl Source {
    /// Connects to etcd; what [`Source::read`] returns is what is there now.
    ///
    /// # Errors
    /// If etcd cannot be used, or holds no store below the prefix.
    pub async fn open(options: &EtcdOptions) -> Result<Self, ConnectError> {
        let (client, layout, _) = connect::dial(options).await?;
        let nothing = || ConnectError::Nothing { prefix: layout.prefix().to_owned() };
        let layout = owned(&client, &layout).await?.ok_or_else(nothing)?;
        let mut source = Self { client, layout, at: Revision::default(), keys: 0 };
        let now = source.since(0).await?;
        (source.at, source.keys) = (source.layout.revision_in(now.header.as_ref()), now.count);
        Ok(source)
    }

    /// Returns how many keys there are, bookkeeping excluded.
    pub fn keys(&self) -> u64 {
        self.keys.unsigned_abs()
    }

    /// Completes after `patience`, if nobody writes that long: a server would.
    ///
    /// # Errors
    /// `InUse` as soon as somebody does.
    pub async fn quiet(&self, patience: Duration) -> Result<(), ConnectError> {
        let (key, range_end) = self.layout.everything();
        let create = WatchCreateRequest { key, range_end, start_revision: self.layout.wire(Revision(self.at.0 + 1)) };
        let watching = async {
            let mut watching = self.client.watch(create).await?;
            loop {
                if !watching.next().await?.events.is_empty() {
                    return Ok(());
                }
            }
        };
        match timeout(patience, watching).await {
            Err(_) => self.unchanged().await,
            Ok(Ok(())) => Err(self.in_use()),
            Ok(Err(failure)) => Err(refused(&self.layout, &failure)),
        }
    }

    /// Returns everything as of when the source was opened.
    ///
    /// # Errors
    /// If etcd cannot be read.
    pub async fn read(&self, progress: impl FnMut(usize)) -> Result<Listed, ConnectError> {
        let read = read(&self.client, &self.layout, self.layout.wire(self.at), progress).await;
        let entries = read.map_err(|failure| refused(&self.layout, &failure))?;
        Ok(Listed { entries, revision: self.at, remaining: 0 })
    }

    /// Makes sure that nobody has written since the source was opened.
    ///
    /// # Errors
    /// `InUse` if somebody has.
    pub async fn unchanged(&self) -> Result<(), ConnectError> {
        let now = self.since(self.layout.wire(Revision(self.at.0 + 1))).await?;
        if now.count == self.keys && now.kvs.is_empty() { Ok(()) } else { Err(self.in_use()) }
    }

    /// Asks for the keys that were written since etcd's `revision`, and for the number of all.
    async fn since(&self, revision: i64) -> Result<RangeResponse, ConnectError> {
        let (key, range_end) = self.layout.data();
        let limit = 1;
        let request = RangeRequest {
            key,
            range_end,
            limit,
            keys_only: true,
            min_mod_revision: revision,
            ..RangeRequest::default()
        };
        self.client.range(request).await.map_err(|failure| refused(&self.layout, &failure))
    }

    fn in_use(&self) -> ConnectError {
        ConnectError::InUse { prefix: self.layout.prefix().to_owned() }
    }
}

/// What is done about the leavings of an earlier migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leavings {
    /// They are a reason to refuse.
    Refused,
    /// They are deleted.
    Deleted,
}

/// A place in etcd where a store is being made.
#[derive(Debug)]
pub struct Target {
    client: Arc<Client>,
    layout: Layout,
    /// etcd's revision at which this migration claimed the place.
    claimed: i64,
}

impl Target {
    /// Makes sure that nothing is below the prefix. Nothing is written.
    ///
    /// # Errors
    /// If etcd cannot be used; `Occupied`, `Foreign` or `Unfinished` say what holds the place.
    pub async fn survey(options: &EtcdOptions, leavings: Leavings) -> Result<(), ConnectError> {
        Self::look(options, leavings).await.map(drop)
    }

    /// Claims the place for a store whose revisions begin after `after`.
    ///
    /// # Errors
    /// Like `survey`.
    pub async fn begin(options: &EtcdOptions, leavings: Leavings, after: Revision) -> Result<Self, ConnectError> {
        let (client, layout, condition) = Self::look(options, leavings).await?;
        let read = |failure: Failure| refused(&layout, &failure);
        let newest = super::feed::newest(&client, &layout).await.map_err(read)?;
        let offset = after.0.saturating_sub(newest.0);
        let (key, range_end) = layout.data();
        let mut success = vec![step(Request::DeleteRange(DeleteRangeRequest { key, range_end }))];
        for key in [layout.compacted(), layout.fence()] {
            success.push(step(Request::DeleteRange(DeleteRangeRequest { key, range_end: Vec::new() })));
        }
        success.push(put(layout.schema(), Bytes::from_static(UNFINISHED.as_bytes())));
        success.push(put(layout.offset(), offset.to_string().into()));
        let claim = TxnRequest { compare: vec![condition], success, failure: Vec::new() };
        let claimed = client.txn(claim).await.map_err(read)?;
        if !claimed.succeeded {
            return Err(ConnectError::Overtaken { prefix: layout.prefix().to_owned() });
        }
        let claimed = claimed.header.map_or(0, |header| header.revision);
        Ok(Self { client, layout: layout.ahead_by(offset), claimed })
    }

    /// Returns the condition under which the place may be claimed.
    async fn look(options: &EtcdOptions, leavings: Leavings) -> Result<(Arc<Client>, Layout, Compare), ConnectError> {
        let (client, layout, _) = connect::dial(options).await?;
        let condition = match owned(&client, &layout).await {
            Ok(None) => absent(layout.schema()),
            Ok(Some(_)) => return Err(ConnectError::Occupied { prefix: layout.prefix().to_owned() }),
            Err(ConnectError::Unfinished { .. }) if leavings == Leavings::Deleted => {
                let schema = RangeRequest { key: layout.schema(), ..RangeRequest::default() };
                let found = client.range(schema).await.map_err(|failure| refused(&layout, &failure))?;
                written_at(layout.schema(), found.kvs.first().map_or(0, |kv| kv.mod_revision))
            }
            Err(error) => return Err(error),
        };
        Ok((client, layout, condition))
    }

    /// Writes `entries`. They get revisions and versions of this etcd.
    ///
    /// # Errors
    /// If etcd refuses; what was written so far stays, marked unfinished.
    pub async fn write(&self, entries: &[Entry], mut progress: impl FnMut(usize)) -> Result<(), ConnectError> {
        let (mut rest, mut together) = (entries, TXN_MAX);
        while !rest.is_empty() {
            let (part, later) = rest.split_at(fitting(rest).min(together));
            let puts = part.iter().map(|entry| put(self.layout.etcd_key(&entry.key), entry.value.clone())).collect();
            match self.change(puts).await {
                Ok(_) => {
                    rest = later;
                    progress(entries.len() - rest.len());
                }
                // This etcd was told to take less at once.
                Err(Unwritten::Failed(Failure { kind: Kind::Refused, .. })) if part.len() > 1 => {
                    together = part.len() / 2;
                }
                Err(Unwritten::Failed(failure)) => return Err(self.failed(failure, part)),
                Err(Unwritten::Overtaken) => return Err(self.overtaken()),
            }
        }
        Ok(())
    }

    fn failed(&self, mut failure: Failure, part: &[Entry]) -> ConnectError {
        match (failure.kind, part) {
            (Kind::Full, _) => failure.message = super::full(&failure.message).to_string(),
            (Kind::Refused, [only]) => failure.message = format!("{}: {}", only.key, failure.message),
            _ => {}
        }
        refused(&self.layout, &failure)
    }

    fn overtaken(&self) -> ConnectError {
        ConnectError::Overtaken { prefix: self.layout.prefix().to_owned() }
    }

    /// Returns everything that was written, as etcd has it.
    ///
    /// # Errors
    /// If etcd cannot be read.
    pub async fn read(&self, progress: impl FnMut(usize)) -> Result<Listed, ConnectError> {
        let fail = |failure: Failure| refused(&self.layout, &failure);
        let revision = super::feed::newest(&self.client, &self.layout).await.map_err(fail)?;
        let entries = read(&self.client, &self.layout, self.layout.wire(revision), progress).await.map_err(fail)?;
        Ok(Listed { entries, revision, remaining: 0 })
    }

    /// Makes it a store that servers use, and returns its revision.
    ///
    /// # Errors
    /// `Overtaken` if another migration claimed the place.
    pub async fn finish(self) -> Result<Revision, ConnectError> {
        let finished =
            self.change(vec![put(self.layout.schema(), Bytes::from_static(SCHEMA_WITH_OFFSET.as_bytes()))]).await;
        finished.map_err(|unwritten| match unwritten {
            Unwritten::Failed(failure) => self.failed(failure, &[]),
            Unwritten::Overtaken => self.overtaken(),
        })
    }

    /// Writes, if the place is still ours.
    async fn change(&self, success: Vec<RequestOp>) -> Result<Revision, Unwritten> {
        let ours = written_at(self.layout.schema(), self.claimed);
        let txn = TxnRequest { compare: vec![ours], success, failure: Vec::new() };
        let done = self.client.txn(txn).await.map_err(Unwritten::Failed)?;
        if done.succeeded { Ok(self.layout.revision_in(done.header.as_ref())) } else { Err(Unwritten::Overtaken) }
    }
}

/// Why nothing was written.
enum Unwritten {
    Failed(Failure),
    /// Another migration has claimed the place.
    Overtaken,
}

fn written_at(key: Vec<u8>, revision: i64) -> Compare {
    Compare { target: CompareTarget::Mod.into(), key, expected: Some(Expected::ModRevision(revision)) }
}

fn put(key: Vec<u8>, value: Bytes) -> RequestOp {
    step(Request::Put(PutRequest { key, value }))
}

/// Returns how many of the first entries fit into one transaction; at least one.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.key.len() + entry.value.len();
        bytes <= BYTES_MAX
    };
    entries.iter().take(TXN_MAX).take_while(fits).count().max(1)
}

/// Reads all data at etcd's revision `at`.
async fn read(
    client: &Client,
    layout: &Layout,
    at: i64,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Entry>, Failure> {
    let (mut from, range_end) = layout.data();
    let mut entries = Vec::new();
    loop {
        let page = RangeRequest {
            key: from,
            range_end: range_end.clone(),
            limit: PAGE,
            revision: at,
            ..RangeRequest::default()
        };
        let page = client.range(page).await?;
        from = page.kvs.last().map(|last| [&last.key[..], &[0]].concat()).unwrap_or_default();
        entries.extend(
            page.kvs
                .into_iter()
                .filter_map(|kv| Some((layout.key(&kv.key)?, kv)))
                .map(|(key, kv)| layout.entry(&key, kv)),
        );
        progress(entries.len());
        if !page.more {
            return Ok(entries);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        let value = vec![0; bytes].into();
        Entry { key: "k".into(), value, created: Revision(2), modified: Revision(2), version: 1 }
    }

    #[test]
    fn a_transaction_is_as_large_as_etcd_takes() {
        assert_eq!(fitting(&vec![entry(10); 1_000]), TXN_MAX);
        assert_eq!(fitting(&vec![entry(300 << 10); 10]), 3);
        assert_eq!(fitting(&[entry(5 << 20), entry(1)]), 1, "etcd may have been told to take more");
    }
}
