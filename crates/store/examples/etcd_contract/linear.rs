//! One story for all clients and watchers, whatever happens to etcd's members meanwhile: `e2e/etcd` kills them.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wkube_base::Rng;
use wkube_store::linear::{Script, Session};
use wkube_store::{EtcdOptions, EtcdStore, Store};

const SCRIPT: Script = Script { clients: 8, watchers: 3, keys: 5 };
/// How many calls each client makes before it is replaced by another one.
const STEPS: usize = 20;
/// How long the next ones wait: a story is to be as long as what happens to the members, and no longer than can be judged.
const PAUSE: Duration = Duration::from_millis(250);
/// Then a new story begins, with new keys: the time to judge one grows faster than its length.
const CALLS_MAX: usize = 2_000;

/// Lets clients call and watchers look on until standard input ends, and judges what they were told.
pub(crate) async fn run(place: EtcdOptions) -> ExitCode {
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    std::thread::spawn(move || {
        // However it ends.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::SeqCst);
    });
    let (rng, mut calls) = (Rng::from_entropy(), 0);
    for number in 0.. {
        let seed = rng.next_u64();
        let prefix = format!("{}/{number}", place.prefix);
        match story(EtcdOptions { prefix, ..place.clone() }, seed, &mut calls, &ended).await {
            Err(problem) => {
                println!("seed {seed}: {problem}");
                return ExitCode::FAILURE;
            }
            Ok(()) if ended.load(Ordering::SeqCst) => break,
            Ok(()) => {}
        }
    }
    println!("one story");
    ExitCode::SUCCESS
}

/// Tells a story and judges it.
async fn story(place: EtcdOptions, seed: u64, calls: &mut usize, ended: &AtomicBool) -> Result<(), String> {
    let store = connected(&place).await;
    let (mut session, before) = (Session::new(SCRIPT, store.revision(), seed), *calls);
    while !ended.load(Ordering::SeqCst) && session.recorder.calls() < CALLS_MAX {
        tokio::task::block_in_place(|| session.run(&store, STEPS));
        *calls = before + session.recorder.calls();
        println!("{calls} calls");
        tokio::time::sleep(PAUSE).await;
    }
    session.recorder.check()
}

/// Connects as soon as there are enough members for it.
async fn connected(place: &EtcdOptions) -> EtcdStore {
    loop {
        match EtcdStore::connect(place).await {
            Ok(store) => return store,
            Err(error) => println!("not yet: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
