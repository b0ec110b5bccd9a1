use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{Request, Response};
use parking_lot::RwLock;

use super::*;
use crate::Body;
use crate::net::NetError;
use crate::remote::RemoteError;
use crate::table::Endpoint;

/// Notes each stream that is opened, and how many datagrams it carried when it ended.
#[derive(Default)]
struct Notes {
    opened: RwLock<Vec<IpAddr>>,
    ended: RwLock<Vec<usize>>,
    is_away: RwLock<bool>,
}

struct Noting(Arc<Notes>);

impl Remote for Noting {
    fn send(&self, _: &Endpoint, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, RemoteError>> {
        async { Err(RemoteError::Failed("no HTTP here".into())) }.boxed()
    }

    fn carry(&self, to: IpAddr, datagrams: BoxStream<'static, Bytes>) -> BoxFuture<'static, Result<(), NetError>> {
        let notes = Arc::clone(&self.0);
        async move {
            notes.opened.write().push(to);
            if *notes.is_away.read() {
                return Err(NetError::Unreachable);
            }
            let count = datagrams.count().await;
            notes.ended.write().push(count);
            Ok(())
        }
        .boxed()
    }
}

struct World {
    links: Links,
    remote: Arc<dyn Remote>,
    notes: Arc<Notes>,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let notes = Arc::new(Notes::default());
        Self { links: Links::default(), remote: Arc::new(Noting(Arc::clone(&notes))), notes, tasks: Tasks::new() }
    }

    fn send(&self, to: [u8; 4], size: usize) {
        let (from, bytes) = ("10.42.0.2:9".parse().unwrap(), Bytes::from(vec![0; size]));
        self.links.send(&self.remote, &self.tasks, from, (to, 53).into(), &bytes);
    }

    /// Lets the tasks do whatever does not need time, and then lets time pass.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

const POD: [u8; 4] = [10, 42, 1, 2];
const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_stream_is_opened_by_the_first_datagram_and_closed_when_no_more_come() {
    let world = World::new();
    for _ in 0..3 {
        world.send(POD, 10);
        world.pass(IDLE / 2).await;
    }
    assert_eq!(*world.notes.opened.read(), [IpAddr::from(POD)]);
    world.pass(IDLE).await;
    assert_eq!(*world.notes.ended.read(), [3]);
    world.send(POD, 10);
    world.pass(MOMENT).await;
    assert_eq!(world.notes.opened.read().len(), 2, "the next one opens another");
    world.pass(2 * IDLE).await;
    assert_eq!((world.links.0.room.taken(), world.links.0.open.lock().len()), (0, 0), "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_reached_is_not_asked_for_each_datagram() {
    let world = World::new();
    *world.notes.is_away.write() = true;
    for _ in 0..100 {
        world.send(POD, 10);
        world.pass(MOMENT).await;
    }
    assert_eq!(world.notes.opened.read().len(), 1);
    world.pass(RETRY).await;
    *world.notes.is_away.write() = false;
    world.send(POD, 10);
    world.pass(2 * IDLE).await;
    assert_eq!((world.notes.opened.read().len(), &world.notes.ended.read()[..]), (2, &[1][..]));
    assert_eq!(world.links.0.room.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_for_each_pod_and_for_all() {
    let world = World::new();
    for _ in 0..2 * QUEUE_MAX {
        world.send(POD, 1_000);
    }
    world.pass(2 * IDLE).await;
    assert_eq!(*world.notes.ended.read(), [QUEUE_MAX]);
    let pods = || (0..=u8::MAX).flat_map(|third| [[10, 42, third, 2], [10, 42, third, 3]]);
    for pod in pods() {
        world.send(pod, 60_000);
    }
    let waiting = world.links.0.room.taken();
    assert!((BYTES_MAX / 2..=BYTES_MAX).contains(&waiting), "{waiting}");
    world.pass(2 * IDLE).await;
    pods().for_each(|pod| world.send(pod, 10));
    world.pass(MOMENT).await;
    assert_eq!(world.links.0.open.lock().len(), LINKS_MAX, "as many streams as there may be");
}
