//! Buckets in memory and in files behave alike, and a guest cannot lead the host astray.

use tempfile::TempDir;

use super::*;

fn both(check: impl Fn(&Bucket)) {
    let dir = TempDir::new().unwrap();
    check(&Bucket::memory());
    check(&Bucket::file(&dir.path().join("bucket.redb")).unwrap());
}

fn set(bucket: &Bucket, key: &str, value: &[u8]) -> Result<(), BucketError> {
    bucket.edit(&[key.to_owned()], |_, _| Change::Set(value.to_vec()))
}

fn get(bucket: &Bucket, key: &str) -> Option<Vec<u8>> {
    bucket.get(&[key.to_owned()]).unwrap().remove(0)
}

#[test]
fn values_are_set_replaced_and_deleted() {
    both(|bucket| {
        assert_eq!(get(bucket, "a"), None);
        set(bucket, "a", b"1").unwrap();
        set(bucket, "a", b"2").unwrap();
        assert_eq!(get(bucket, "a").unwrap(), b"2");
        bucket
            .edit(&["a".to_owned()], |_, before| {
                assert_eq!(before, Some(&b"2"[..]));
                Change::Delete
            })
            .unwrap();
        assert_eq!(get(bucket, "a"), None);
    });
}

#[test]
fn all_changes_of_a_batch_happen_or_none() {
    both(|bucket| {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let error = bucket.edit(&["a".to_owned(), long], |_, _| Change::Set(vec![1])).unwrap_err();
        assert!(error.to_string().starts_with("the key has 1025 bytes, more than the 1024"), "{error}");
        assert_eq!(get(bucket, "a"), None);
    });
}

#[test]
fn sizes_are_limited_and_what_is_deleted_makes_room() {
    both(|bucket| {
        let error = set(bucket, "a", &vec![0; VALUE_BYTES_MAX + 1]).unwrap_err();
        assert!(error.to_string().starts_with("the value has 1048577 bytes"), "{error}");
    });
    let bucket = Bucket::memory();
    let megabyte = vec![0; VALUE_BYTES_MAX];
    let fits = (0..100).take_while(|number| set(&bucket, &format!("{number:03}"), &megabyte).is_ok()).count();
    assert_eq!(fits, 7, "eight megabytes, less the keys");
    bucket.edit(&["000".to_owned()], |_, _| Change::Delete).unwrap();
    set(&bucket, "100", &megabyte).unwrap();
}

#[test]
fn keys_come_in_pages() {
    both(|bucket| {
        let keys: Vec<String> = (0..=PAGE).map(|number| format!("{number:05}")).collect();
        bucket.edit(&keys, |_, _| Change::Set(Vec::new())).unwrap();
        let first = bucket.keys(None).unwrap();
        assert_eq!((first.len(), first[0].as_str()), (PAGE, "00000"));
        assert_eq!(bucket.keys(first.last().map(String::as_str)).unwrap(), ["01000"]);
    });
}

#[test]
fn a_file_outlives_those_who_use_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("bucket.redb");
    let buckets = Buckets::default();
    let (first, second) = (buckets.file(&path).unwrap(), buckets.file(&path).unwrap());
    set(&first, "a", b"1").unwrap();
    assert_eq!(get(&second, "a").unwrap(), b"1", "two users share one");
    drop((first, second));
    assert_eq!(get(&buckets.file(&path).unwrap(), "a").unwrap(), b"1");
}

#[test]
fn memory_is_shared_by_its_owner_alone_and_forgotten_with_its_last_user() {
    let buckets = Buckets::default();
    let (first, again, other) = (buckets.memory("pod", "a"), buckets.memory("pod", "a"), buckets.memory("other", "a"));
    set(&first, "k", b"1").unwrap();
    assert_eq!((get(&again, "k"), get(&other, "k")), (Some(b"1".to_vec()), None));
    drop((first, again));
    assert_eq!(get(&buckets.memory("pod", "a"), "k"), None);
}

#[test]
fn a_link_is_never_followed_and_another_file_is_not_overwritten() {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("secret");
    std::fs::write(&target, b"do not touch").unwrap();
    let link = dir.path().join("bucket.redb");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(matches!(Bucket::file(&link), Err(BucketError::Open { .. })));
    assert!(Bucket::file(&target).is_err(), "not a database");
    assert!(Bucket::file(dir.path()).is_err(), "a directory");
    assert_eq!(std::fs::read(&target).unwrap(), b"do not touch");
}
