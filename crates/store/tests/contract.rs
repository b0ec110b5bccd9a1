//! Runs the contract against every engine.

use wkube_store::{MemoryStore, RedbStore, contract, store_contract};

store_contract!(memory, (MemoryStore::new(), ()));

store_contract!(redb, {
    let directory = tempfile::tempdir().expect("a temporary directory");
    (RedbStore::open(&directory.path().join("store")).expect("a new store opens"), directory)
});

#[tokio::test]
async fn engines_of_one_process_leave_no_revision_out() {
    contract::dense_revisions(&MemoryStore::new()).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = RedbStore::open(&directory.path().join("store")).expect("a new store opens");
    contract::dense_revisions(&store).await;
}
