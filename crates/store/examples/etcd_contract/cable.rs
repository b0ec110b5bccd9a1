//! A way to etcd that can be cut, and what a server does that is cut off.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wkube_base::Tasks;
use wkube_store::{Error, EtcdOptions, EtcdStore, Range, Revision, Signal, Store, Txn, Watch};

use crate::{connect, key, put};

/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A TCP proxy that can be unplugged.
struct Cable {
    plugged: watch::Sender<bool>,
    _tasks: Tasks,
}

impl Cable {
    /// Lays a cable to the first endpoint of `place`, and returns it with the place at its other end.
    async fn to(place: &EtcdOptions) -> (Self, EtcdOptions) {
        let first = place.address.trim_start_matches("etcd://").split(',').next().unwrap_or_default().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, tasks) = (listener.local_addr().expect("bound"), Tasks::new());
        let (plugged, connections) = (watch::Sender::new(true), tasks.clone());
        let seen = plugged.subscribe();
        tasks.spawn("cable", async move {
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn("connection", carry(near, first.clone(), seen.clone()));
            }
        });
        let far = EtcdOptions { address: format!("etcd://{address}"), ..place.clone() };
        (Self { plugged, _tasks: tasks }, far)
    }

    /// Ends all connections and takes no more; returns when `store` has noticed, with how.
    async fn cut(&self, store: &EtcdStore) -> Error {
        self.plugged.send_replace(false);
        loop {
            if let Err(refused) = store.commit(Txn::put("/lost".into(), "perhaps")).await {
                return refused;
            }
        }
    }

    fn plug(&self) {
        self.plugged.send_replace(true);
    }
}

async fn carry(mut near: TcpStream, to: String, mut plugged: watch::Receiver<bool>) {
    if !*plugged.borrow() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    tokio::select! {
        _ = plugged.wait_for(|plugged| !plugged) => {}
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
    }
}

async fn reaches(store: &EtcdStore, revision: Revision) {
    while store.newest().await < revision {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Returns the next change that a watch tells, or why it ended.
async fn change(watch: &mut Watch) -> Result<Revision, Error> {
    loop {
        match watch.next().await.expect("an error is its last item")? {
            Signal::Event(event) => return Ok(event.revision),
            Signal::Progress(_) => {}
        }
    }
}

/// Cut off, a server reads what it has and says that it cannot write; afterwards its watchers have missed nothing.
pub(crate) async fn a_server_that_was_cut_off_misses_nothing(place: EtcdOptions) {
    let (cable, far) = Cable::to(&place).await;
    let (cut, other) = (connect(&far).await, connect(&place).await);
    let mut before = other.commit(put(0, "before")).await.expect("unconditional");
    reaches(&cut, before).await;
    let mut watch = cut.watch("/k/", before).expect("in the window");
    for _round in 0..3 {
        let refused = cable.cut(&cut).await;
        assert!(matches!(refused, Error::Unavailable(_) | Error::Uncertain(_)), "{refused}");
        let mut written = Vec::new();
        for number in 0..10 {
            written.push(other.commit(put(number, "while it was cut off")).await.expect("unconditional"));
        }
        assert!(cut.get(&key(0)).expect("reads go on").expect("written before").modified <= before);
        cable.plug();
        for revision in written {
            assert_eq!(change(&mut watch).await.expect("it goes on"), revision);
            before = revision;
        }
    }
}

/// What it should have seen next is compacted: it loads everything, and its watchers are told to.
pub(crate) async fn a_server_that_was_cut_off_too_long_begins_anew(place: EtcdOptions) {
    let (cable, far) = Cable::to(&place).await;
    let (cut, other) = (connect(&far).await, connect(&place).await);
    let before = other.commit(put(0, "before")).await.expect("unconditional");
    reaches(&cut, before).await;
    let mut watch = cut.watch("/k/", before).expect("in the window");
    cable.cut(&cut).await;
    let mut end = before;
    for number in 0..20 {
        end = other.commit(put(number, "while it was cut off")).await.expect("unconditional");
    }
    other.compact(end).await.expect("it has happened");
    cable.plug();
    let told = change(&mut watch).await.expect_err("nobody knows what comes next");
    assert!(matches!(told, Error::Compacted { .. }), "{told}");
    reaches(&cut, end).await;
    let everything = Range { prefix: "/k/".to_owned(), ..Range::default() };
    let [left, right] = [&cut, &other].map(|store| store.list(&everything).expect("readable").entries);
    assert_eq!(left, right);
    let next = cut.commit(put(0, "after")).await.expect("it writes again");
    assert!(next > end);
}
