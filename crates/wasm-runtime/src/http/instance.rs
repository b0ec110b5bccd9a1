//! One instance that answers many requests, several at once by WASI 0.3, one after the other by 0.2.
//!
//! ```text
//!          +--------------- takes a request, unless its guest computes ----------------+
//!          v                                                                           |
//!  start --> at work --> at rest --> idle for a while, the guest is to stop --> gone   |
//!              |           |  '---------------------------------------------------------
//!              |           +--> worn out (requests, memory), and the last was answered --> gone
//!              |           '--> somebody went away unanswered, and nobody else waits ----> gone
//!              '--> trap ----> gone, and every request in it fails with the reason
//! ```
//!
//! What a request still wants is watched from outside the guest's event loop, which stands still while a guest computes
//! (wasmtime #11869).

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::coop;
use tokio::time::{Instant, Sleep};
use wasmtime::component::Accessor;

use super::HandleError;
use super::answer::{Answer, Answers};
use super::clients::{Client, Departures};
use super::handler::{AFTER_ANSWER_MAX, Call, Given, Head, Service, accept};
use super::onward::{LONG_TURN, Onward};
use super::pool::{Member, Rest};
use crate::ctx::{Abi, Ctx, Guest};
use crate::engine::Engine;
use crate::exit;
use crate::guest::{Exit, Reuse};

/// An instance that has grown by this part of its guest's memory limit is not given further requests: what it leaks
/// would be missing to others.
const GROWTH_SHARE: u64 = 8;

/// What an instance is made of.
pub(super) struct Plan<'a> {
    pub(super) engine: &'a Engine,
    pub(super) guest: &'a Guest,
    pub(super) handler: &'a super::Handler,
}

/// Runs an instance that is started for `first` until it has served its time. `start` is called with each request that
/// needs another instance. Returns how the guest failed, if it did.
pub(super) async fn run(
    plan: Plan<'_>,
    mut first: Call,
    mut member: Member<'_, Call>,
    take: impl Fn() -> Option<Call> + Sync,
    start: impl Fn(Call) + Sync,
) -> Option<Exit> {
    let mut store = match plan.guest.store(plan.engine.wasm(), Abi::Component) {
        Ok(store) => store,
        Err(error) => return Some(first.fail(Exit::host_failure(error.to_string()))),
    };
    let instantiated = {
        let mut instantiate = pin!(plan.handler.instantiate(&mut store));
        poll_fn(|context| match first.client.poll_gone(context) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => instantiate.as_mut().poll(context).map(Some),
        })
        .await?
    };
    let service = match instantiated {
        Ok(service) => service,
        Err(error) => return Some(first.fail(exit::classify(Err(error), store.data().memory.refused()))),
    };
    let limits = &plan.guest.spec.limits;
    let allowed = store.data().memory.held().saturating_add(limits.memory_bytes / GROWTH_SHARE);
    let concurrency = plan.handler.reuse(&limits.reuse).unwrap_or(1);
    let reuse = Reuse { concurrency, ..limits.reuse };
    let desk = Mutex::new(Desk::new(first, reuse, allowed));
    let result = {
        let inside = pin!(store.run_concurrent(async |accessor| serve(accessor, &service, &desk, &take).await));
        // What tokio grants a task is too little for what the requests of a whole turn send and receive.
        let inside = pin!(Onward::new(coop::unconstrained(inside)));
        let stopping = pin!(plan.guest.stop.cancelled());
        let mut outside = Outside {
            inside,
            desk: &desk,
            member: &mut member,
            stopping,
            clock: Box::pin(tokio::time::sleep(reuse.idle)),
        };
        poll_fn(|context| outside.poll(context, &start)).await
    };
    let error = result?;
    let exit = exit::classify(Err(error), store.data().memory.refused());
    desk.into_inner().fail(&exit);
    Some(exit)
}

/// The requests in an instance, seen from both sides of its event loop.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all of them may hold at once")]
struct Desk {
    /// What the instance was started for.
    first: Option<Call>,
    calls: BTreeMap<u64, Open>,
    answers: Answers,
    departures: Departures,
    taken: u64,
    reuse: Reuse,
    /// The memory with which an instance is worn out.
    memory_max: u64,
    /// Whether the event loop may take a request now; it takes one at a time, for the guest may compute.
    may_take: bool,
    /// Calls of the guest that have not returned.
    running: usize,
    /// Whether the guest lets calls in, and whether nothing goes on in it; `None` if it had no time to say.
    is_open: Option<bool>,
    is_quiet: bool,
    /// No more requests.
    is_worn: bool,
    /// Somebody went away before the end of the answer, so what the guest does for them may never end.
    is_abandoned: bool,
    idle_since: Instant,
    /// Whoever was about to get an answer when the guest failed.
    cut: Vec<Head>,
}

/// A request that has not been answered to its end.
struct Open {
    head: Option<Head>,
    client: Client,
    /// Woken when the client goes.
    note: Waker,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn poll_gone(&mut self) -> Poll<bool> {
        self.client.poll_gone(&mut Context::from_waker(&self.note))
    }
}

impl Desk {
    fn new(first: Call, reuse: Reuse, memory_max: u64) -> Self {
        Self {
            first: Some(first),
            calls: BTreeMap::new(),
            answers: Answers::default(),
            departures: Departures::default(),
            taken: 0,
            reuse,
            memory_max,
            may_take: true,
            running: 0,
            is_open: None,
            is_quiet: false,
            is_worn: false,
            is_abandoned: false,
            idle_since: Instant::now(),
            cut: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        // By WASI 0.2 an answer is written when the function returns; by 0.3 the guest may go on writing it.
        let had = if self.reuse.concurrency == 1 { self.running } else { self.calls.len().max(self.running) };
        !self.is_worn && had < self.reuse.concurrency
    }

    /// Opens a request: what the guest is to be shown, and where its answer goes.
    fn open(&mut self, call: Call) -> (super::handler::Shown, Answer) {
        // Whether it lets in another shows once it has let go of this one.
        (self.may_take, self.is_open) = (false, None);
        self.taken += 1;
        self.running += 1;
        self.is_worn |= self.taken >= u64::from(self.reuse.requests);
        let (shown, head, client, permit) = call.shown();
        let mut open = Open { head: Some(head), client, note: self.departures.note(self.taken), _permit: permit };
        if open.poll_gone().is_ready() {
            open.note.wake_by_ref();
        }
        self.calls.insert(self.taken, open);
        (shown, self.answers.to(self.taken))
    }

    /// Closes what nobody waits for any more, and adds what the guest has answered to `given`.
    fn settle(&mut self, context: &mut Context<'_>, given: &mut Vec<(Head, Given)>) {
        let had_calls = !self.calls.is_empty();
        let Self { calls, answers, .. } = self;
        answers.each(|request, answer| {
            let Some(head) = calls.get_mut(&request).and_then(|open| open.head.take()) else { return };
            if answer.is_err() {
                calls.remove(&request);
            }
            given.push((head, answer));
        });
        for request in self.departures.take(context.waker()) {
            let Some(open) = self.calls.get_mut(&request) else { continue };
            if let Poll::Ready(has_read) = open.poll_gone() {
                self.calls.remove(&request);
                self.is_abandoned |= !has_read;
            }
        }
        self.is_worn |= self.is_abandoned;
        if had_calls && self.calls.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// Tells everybody who still waits how the guest failed.
    fn fail(self, exit: &Exit) {
        for head in self.cut.into_iter().chain(self.calls.into_values().filter_map(|open| open.head)) {
            let _ = head.send(Err(HandleError::Trapped(exit.clone())));
        }
    }
}

/// Inside the event loop: takes requests and shows them to the guest. Ends only with an error.
async fn serve(
    accessor: &Accessor<Ctx>,
    service: &Service,
    desk: &Mutex<Desk>,
    take: &(impl Fn() -> Option<Call> + Sync),
) -> wasmtime::Result<()> {
    let mut calls = FuturesUnordered::new();
    poll_fn(|context| {
        loop {
            while let Poll::Ready(Some(returned)) = calls.poll_next_unpin(context) {
                if let Err(error) = returned {
                    return Poll::Ready(Err(error));
                }
                desk.lock().running -= 1;
            }
            let is_open = accessor.poll_ready_for_concurrent_call(service.entry(), context).is_ready();
            let is_quiet = accessor.poll_no_interesting_tasks(context).is_ready();
            let (held, is_refused) = accessor.with(|mut store| {
                let memory = &store.get().memory;
                (memory.held(), memory.refused().is_some())
            });
            let mut desk = desk.lock();
            desk.is_open = Some(is_open);
            desk.is_quiet = is_quiet && calls.is_empty();
            desk.is_worn |= is_refused || held > desk.memory_max;
            let next = match desk.first.take() {
                Some(first) => Some(first),
                None if desk.may_take && is_open && desk.has_room() => take(),
                None => None,
            };
            let Some(call) = next else { return Poll::Pending };
            let (shown, answer) = desk.open(call);
            drop(desk);
            calls.push(accept(accessor, service, shown, answer));
        }
    })
    .await
}

/// Outside of the event loop: lets it run, and decides when the instance has served its time.
struct Outside<'a, 'm, F, S> {
    inside: Pin<&'a mut F>,
    desk: &'a Mutex<Desk>,
    member: &'a mut Member<'m, Call>,
    stopping: Pin<&'a mut S>,
    clock: Pin<Box<Sleep>>,
}

impl<F, S> Outside<'_, '_, F, S>
where
    F: Future<Output = wasmtime::Result<wasmtime::Result<()>>>,
    S: Future<Output = ()>,
{
    /// Completes with how the guest failed, or with nothing when it has served its time.
    fn poll(&mut self, context: &mut Context<'_>, start: &impl Fn(Call)) -> Poll<Option<wasmtime::Error>> {
        self.member.work();
        let mut given = Vec::new();
        let polled = self.poll_to_rest(context, start, &mut given);
        // Last, so that whoever asks again at once finds the instance at rest; and a guest that fails in the same turn has
        // not answered.
        let has_failed = matches!(polled, Poll::Ready(Some(_)));
        for (head, answer) in given {
            if has_failed {
                self.desk.lock().cut.push(head);
            } else {
                // A receiver that is gone means that nobody waits any more: not the guest's fault.
                let _ = head.send(answer);
            }
        }
        polled
    }

    fn poll_to_rest(
        &mut self,
        context: &mut Context<'_>,
        start: &impl Fn(Call),
        given: &mut Vec<(Head, Given)>,
    ) -> Poll<Option<wasmtime::Error>> {
        let begun = Instant::now();
        loop {
            {
                let mut desk = self.desk.lock();
                (desk.may_take, desk.is_open) = (true, None);
            }
            if let Poll::Ready(result) = self.inside.as_mut().poll(context) {
                // It has no other end than a failure.
                return Poll::Ready(result.and_then(|served| served).err());
            }
            let room = {
                let mut desk = self.desk.lock();
                desk.settle(context, given);
                // A guest that computes had no time to say whether it lets calls in.
                (desk.is_open == Some(true) && desk.has_room()).then_some(desk.calls.len())
            };
            if self.has_served(context) {
                return Poll::Ready(None);
            }
            match self.member.rest(context.waker(), room) {
                Rest::Take if begun.elapsed() < LONG_TURN => {}
                Rest::Take => {
                    // Others want the thread as well.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Rest::Wait => return Poll::Pending,
                Rest::Start(call) => {
                    start(call);
                    return Poll::Pending;
                }
            }
        }
    }

    fn has_served(&mut self, context: &mut Context<'_>) -> bool {
        let desk = self.desk.lock();
        if !desk.calls.is_empty() || desk.first.is_some() {
            return false;
        }
        if desk.is_abandoned {
            return true;
        }
        let is_stopping = self.stopping.as_mut().poll(context).is_ready();
        let patience = match desk.is_quiet {
            true if is_stopping || desk.is_worn => Duration::ZERO,
            true => desk.reuse.idle,
            false => AFTER_ANSWER_MAX,
        };
        let due = desk.idle_since + patience;
        if due < self.clock.deadline() {
            self.clock.as_mut().reset(due);
        }
        while self.clock.as_mut().poll(context).is_ready() {
            if Instant::now() >= due {
                return true;
            }
            self.clock.as_mut().reset(due);
        }
        false
    }
}
