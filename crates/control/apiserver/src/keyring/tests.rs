//! Servers that share keys: what ends up where, and what is refused.

use tempfile::TempDir;
use wkube_store::MemoryStore;

use super::*;

/// A data directory.
fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn with(token: &Token) -> Sharing {
    Sharing { token: Some(token.clone()), new_token: None }
}

async fn starts(store: &MemoryStore, dir: &TempDir, sharing: &Sharing) -> Result<(), Error> {
    share(store, dir.path(), &Clock::system(), sharing).await
}

fn keys(dir: &TempDir) -> Ring {
    let read = |path: &str| Some((path.to_owned(), fs::read(dir.path().join(path)).ok()?));
    FILES.iter().filter_map(|path| read(path)).collect()
}

#[tokio::test]
async fn another_server_needs_the_store_and_the_token() {
    let (store, first, second) = (MemoryStore::new(), dir(), dir());
    // Nobody has chosen a token: there is one now, where people find it.
    starts(&store, &first, &Sharing::default()).await.expect("the first server makes the keys");
    let token = token::read(first.path()).expect("readable").expect("made");
    starts(&store, &second, &with(&token)).await.expect("the second server finds them");
    assert_eq!(keys(&first).len(), FILES.len());
    assert_eq!(keys(&first), keys(&second));
    // Both know the token from now on, and nothing but keys is left behind.
    for dir in [&first, &second] {
        starts(&store, dir, &Sharing::default()).await.expect("the same keys again");
        assert!(!dir.path().join(WORKSHOP).exists());
    }
}

#[tokio::test]
async fn nothing_in_the_store_shows_a_key() {
    let (store, first) = (MemoryStore::new(), dir());
    starts(&store, &first, &Sharing::default()).await.expect("the first server makes the keys");
    let stored = store.get(KEY).expect("readable").expect("sealed");
    let stored = String::from_utf8(stored.value.to_vec()).expect("JSON");
    for (path, bytes) in keys(&first) {
        assert!(!stored.contains(&STANDARD.encode(&bytes)), "{path}");
        assert!(!stored.contains(&*String::from_utf8_lossy(&bytes)), "{path}");
    }
}

#[tokio::test]
async fn without_the_token_or_with_another_nothing_is_touched() {
    let (store, first, second) = (MemoryStore::new(), dir(), dir());
    starts(&store, &first, &Sharing::default()).await.expect("the first server makes the keys");
    let revision = store.revision();
    let none = starts(&store, &second, &Sharing::default()).await.expect_err("no token");
    assert!(matches!(none, Error::NoToken) && none.to_string().contains("--token-file"), "{none}");
    let wrong = starts(&store, &second, &with(&Token::generate())).await.expect_err("another token");
    assert!(matches!(wrong, Error::WrongToken) && wrong.to_string().contains("file `token`"), "{wrong}");
    assert_eq!((fs::read_dir(second.path()).expect("readable").count(), store.revision()), (0, revision));
}

#[tokio::test]
async fn the_keys_of_an_old_data_directory_become_the_clusters() {
    let (store, old, second) = (MemoryStore::new(), dir(), dir());
    CertificateAuthority::load_or_create(old.path(), Clock::system()).expect("a CA from before");
    let before = keys(&old);
    let token = Token::generate();
    starts(&store, &old, &with(&token)).await.expect("it brings its keys");
    starts(&store, &second, &with(&token)).await.expect("they are in the store");
    assert_eq!(before.len(), 2);
    assert!(before.iter().all(|(path, bytes)| keys(&second).get(path) == Some(bytes)));
}

#[tokio::test]
async fn another_clusters_data_directory_is_refused() {
    let (store, first, stranger) = (MemoryStore::new(), dir(), dir());
    let token = Token::generate();
    starts(&store, &first, &with(&token)).await.expect("the first server makes the keys");
    CertificateAuthority::load_or_create(stranger.path(), Clock::system()).expect("another CA");
    let before = keys(&stranger);
    let refused = starts(&store, &stranger, &with(&token)).await.expect_err("two clusters").to_string();
    assert!(refused.contains("pki/ca.key") && refused.contains("--data-dir"), "{refused}");
    assert_eq!(keys(&stranger), before);
}

#[tokio::test]
async fn a_token_is_changed_with_the_old_one() {
    let (store, first, second) = (MemoryStore::new(), dir(), dir());
    let (old, new) = (Token::generate(), Token::generate());
    starts(&store, &first, &with(&old)).await.expect("the first server makes the keys");
    let change = Sharing { token: None, new_token: Some(new.clone()) };
    starts(&store, &first, &change).await.expect("it knows the old one");
    let refused = starts(&store, &second, &with(&old)).await.expect_err("not any more");
    assert!(matches!(refused, Error::WrongToken), "{refused}");
    starts(&store, &second, &with(&new)).await.expect("the new one");
    starts(&store, &first, &Sharing::default()).await.expect("it keeps the new one");
    assert_eq!(keys(&first), keys(&second));
}

#[tokio::test]
async fn something_else_in_the_store_is_not_overwritten() {
    let (store, first) = (MemoryStore::new(), dir());
    store.commit(Txn::create(KEY.into(), "theirs")).await.expect("absent");
    let refused = starts(&store, &first, &with(&Token::generate())).await.expect_err("unknown").to_string();
    assert!(refused.contains(KEY), "{refused}");
    assert_eq!(store.get(KEY).expect("readable").expect("still there").value, "theirs");
}
