//! Runs the contract against every engine.

use wkube_store::{MemoryStore, RedbStore, store_contract};

store_contract!(memory, (MemoryStore::new(), ()));

store_contract!(redb, {
    let directory = tempfile::tempdir().expect("a temporary directory");
    (RedbStore::open(&directory.path().join("store")).expect("a new store opens"), directory)
});
