//! What is kept survives; what is damaged is dropped alone; nobody else reads it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn open(dir: &tempfile::TempDir) -> Checkpoints {
    Checkpoints::open(&dir.path().join("state")).unwrap()
}

fn file(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    dir.path().join("state").join(name)
}

fn words(checkpoints: &Checkpoints, kind: Kind) -> Vec<String> {
    checkpoints.recall_all::<String>(kind).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[tokio::test]
async fn what_is_kept_survives_and_what_is_forgotten_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(&dir);
    for key in ["a", "b", "c"] {
        kept.keep(Kind::Pods, key, &"old");
    }
    assert!(kept.settle().await);
    kept.keep(Kind::Pods, "b", &"new");
    kept.forget(Kind::Pods, "c");
    kept.keep(Kind::Secrets, "a", &"secret");
    assert_eq!(words(&kept, Kind::Pods), ["a=old", "b=new"], "also before it is on disk");
    assert!(kept.settle().await);
    let again = open(&dir);
    assert_eq!(words(&again, Kind::Pods), ["a=old", "b=new"]);
    assert_eq!(words(&again, Kind::Secrets), ["a=secret"]);
}

#[tokio::test]
async fn nobody_else_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(&dir);
    kept.keep(Kind::Secrets, "n_s", &"hunter2");
    assert!(kept.settle().await);
    let mode = |path: &str| fs::metadata(file(&dir, path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("secrets"), mode("secrets/n_s.json")), (0o700, 0o700, 0o600));
}

#[tokio::test]
async fn a_damaged_file_is_dropped_and_its_neighbours_stay() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(&dir);
    for key in ["cut", "good", "spoiled", "strange"] {
        kept.keep(Kind::Pods, key, &key);
    }
    assert!(kept.settle().await);
    let cut = fs::read(file(&dir, "pods/cut.json")).unwrap();
    fs::write(file(&dir, "pods/cut.json"), &cut[..cut.len() - 2]).unwrap();
    fs::write(file(&dir, "pods/spoiled.json"), b"nonsense").unwrap();
    fs::write(file(&dir, "pods/strange.json"), record::encode(&7).unwrap()).unwrap();
    fs::write(file(&dir, "pods/late.json.part"), b"half").unwrap();
    let again = open(&dir);
    assert_eq!(words(&again, Kind::Pods), ["good=good"]);
    assert!(again.settle().await);
    let left: Vec<_> = fs::read_dir(file(&dir, "pods")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["good.json"]);
}

#[tokio::test]
async fn what_did_not_change_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(&dir);
    kept.keep(Kind::Pods, "a", &"same");
    assert!(kept.settle().await);
    fs::remove_file(file(&dir, "pods/a.json")).unwrap();
    kept.keep(Kind::Pods, "a", &"same");
    assert!(kept.settle().await);
    assert!(!file(&dir, "pods/a.json").exists());
}

#[tokio::test]
async fn too_much_is_refused_and_what_was_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(&dir);
    kept.keep(Kind::Pods, "a", &"small");
    kept.keep(Kind::Pods, "a", &"x".repeat(RECORD_BYTES_MAX));
    assert_eq!(words(&kept, Kind::Pods), ["a=small"]);
}

#[tokio::test]
async fn a_disk_that_refuses_is_tried_again_with_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let kept = open(&dir);
    fs::remove_dir_all(file(&dir, "pods")).unwrap();
    kept.keep(Kind::Pods, "a", &"old");
    assert!(!kept.settle().await);
    kept.keep(Kind::Pods, "a", &"new");
    fs::create_dir(file(&dir, "pods")).unwrap();
    assert!(kept.settle().await);
    assert_eq!(words(&open(&dir), Kind::Pods), ["a=new"]);
}

#[tokio::test(start_paused = true)]
async fn the_writer_writes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, tasks) = (open(&dir), Tasks::new());
    kept.start(&tasks);
    kept.keep(Kind::Node, "self", &"me");
    while !file(&dir, "node/self.json").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(words(&open(&dir), Kind::Node), ["self=me"]);
    tasks.cancel();
}
