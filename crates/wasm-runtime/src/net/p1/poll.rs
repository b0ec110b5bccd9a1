//! `poll_oneoff` with sockets among what is waited for.
//!
//! Clocks, standard streams and files stay wasmtime-wasi's: they are put into a memory of their own, waited for at the
//! same time, and both kinds of events are put together.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as theirs;
use wiggle::GuestMemory;

use super::errno::{Answer, Errno, Failure, answered};
use super::fds::{Fd, Owner};
use super::memory::{bytes, split, u32_of, write};
use super::{MODULE, their_parts};
use crate::ctx::Ctx;

/// The size of a `subscription`.
const SUBSCRIPTION: usize = 48;
/// The size of an `event`.
const EVENT: usize = 32;
/// More than sockets and files that an instance can have, each waited for in both directions.
const SUBSCRIPTIONS_MAX: usize = 32 << 10;
/// `eventrwflags`: the other side has ended the connection.
const HANGUP: u8 = 1;

/// `eventtype`, where it is about a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    Read = 1,
    Write = 2,
}

/// A socket that the guest waits for; `None` is one that it has closed.
struct Waiting {
    userdata: [u8; 8],
    interest: Interest,
    socket: Option<Fd>,
}

/// What is waited for: sockets here, the rest as the guest wrote it.
struct Set {
    ours: Vec<Waiting>,
    theirs: Vec<u8>,
}

/// Puts our `poll_oneoff` in front of wasmtime-wasi's.
pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |mut caller: Caller<'_, Ctx>, (subscriptions, events, count, size): (i32, i32, i32, i32)| {
            Box::new(async move {
                let (memory, ctx) = split(&mut caller)?;
                match Set::read(memory, ctx, subscriptions, count) {
                    Ok(Some(set)) => answered(wait(&mut caller, set, events, size).await),
                    Ok(None) => {
                        let (ctx, mut memory) = their_parts(&mut caller)?;
                        theirs::poll_oneoff(ctx, &mut memory, subscriptions, events, count, size).await
                    }
                    Err(errno) => Ok(errno.code()),
                }
            })
        },
    )?;
    Ok(())
}

impl Set {
    /// Reads what the guest waits for; `None` if no socket is among it.
    fn read(memory: &[u8], ctx: &Ctx, at: i32, count: i32) -> Result<Option<Self>, Errno> {
        let count = count.cast_unsigned() as usize;
        if count > SUBSCRIPTIONS_MAX {
            return Err(Errno::Inval);
        }
        let mut set = Self { ours: Vec::new(), theirs: Vec::new() };
        for subscription in bytes(memory, at, count * SUBSCRIPTION)?.chunks_exact(SUBSCRIPTION) {
            match descriptor(subscription).map(|(fd, interest)| (ctx.fds.owner(fd), interest)) {
                Some((Owner::Ours(socket), interest)) => set.add(subscription, interest, Some(socket)),
                Some((Owner::Nobody, interest)) => set.add(subscription, interest, None),
                Some((Owner::Theirs, _)) | None => set.theirs.extend_from_slice(subscription),
            }
        }
        Ok(if set.ours.is_empty() { None } else { Some(set) })
    }

    fn add(&mut self, subscription: &[u8], interest: Interest, socket: Option<Fd>) {
        let mut userdata = [0; 8];
        userdata.copy_from_slice(&subscription[..8]);
        self.ours.push(Waiting { userdata, interest, socket });
    }
}

/// Returns the descriptor of a subscription that is about one.
fn descriptor(subscription: &[u8]) -> Option<(i32, Interest)> {
    let interest = match subscription[8] {
        1 => Interest::Read,
        2 => Interest::Write,
        _ => return None,
    };
    Some((u32_of(&subscription[16..]).cast_signed(), interest))
}

impl Waiting {
    /// Completes with the event.
    fn poll(&self, context: &mut Context<'_>) -> Poll<[u8; EVENT]> {
        let Some(socket) = &self.socket else { return Poll::Ready(self.event(Some(Errno::Badf), 0, 0)) };
        let mut socket = socket.socket().lock();
        if socket.is_listening() {
            return match self.interest {
                Interest::Read => socket.poll_ready(context).map(|()| self.event(None, 1, 0)),
                // Nothing can ever be written there.
                Interest::Write => Poll::Pending,
            };
        }
        match self.interest {
            Interest::Read => {
                let Ok(receiver) = socket.receiver() else {
                    return Poll::Ready(self.event(Some(Errno::Notconn), 0, 0));
                };
                let mut receiver = receiver.lock();
                receiver.poll_ready(context).map(|()| {
                    let flags = if receiver.end().is_some() { HANGUP } else { 0 };
                    self.event(None, receiver.peek().len(), flags)
                })
            }
            Interest::Write => {
                let Ok(sender) = socket.sender() else { return Poll::Ready(self.event(Some(Errno::Notconn), 0, 0)) };
                let mut sender = sender.lock();
                sender.poll_ready(context).map(|()| match sender.room() {
                    Ok(room) => self.event(None, room, 0),
                    Err(_) => self.event(None, 0, HANGUP),
                })
            }
        }
    }

    fn event(&self, errno: Option<Errno>, size: usize, flags: u8) -> [u8; EVENT] {
        let mut event = [0; EVENT];
        event[..8].copy_from_slice(&self.userdata);
        event[8..10].copy_from_slice(&errno.map_or(0, |errno| errno as u16).to_le_bytes());
        event[10] = self.interest as u8;
        event[16..24].copy_from_slice(&(size as u64).to_le_bytes());
        event[24] = flags;
        event
    }
}

/// Waits until something has happened, and tells the guest.
async fn wait(caller: &mut Caller<'_, Ctx>, set: Set, events: i32, size: i32) -> Answer {
    let happened = either(caller, &set).await?;
    let count = u32::try_from(happened.len() / EVENT).unwrap_or(u32::MAX);
    let memory = split(caller)?.0;
    write(memory, events, &happened)?;
    write(memory, size, &count.to_le_bytes())
}

/// Waits for both kinds at once and returns the events.
async fn either(caller: &mut Caller<'_, Ctx>, set: &Set) -> Result<Vec<u8>, Failure> {
    let count = set.theirs.len() / SUBSCRIPTION;
    let (events_at, size_at) = (count * SUBSCRIPTION, count * (SUBSCRIPTION + EVENT));
    let mut scratch = set.theirs.clone();
    scratch.resize(size_at + 4, 0);
    let (ctx, _) = their_parts(caller)?;
    let (errno, mut happened) = {
        let mut memory = GuestMemory::Unshared(&mut scratch);
        let place = |at: usize| i32::try_from(at).map_err(|_| Errno::Inval);
        let (events, number, size) = (place(events_at)?, place(count)?, place(size_at)?);
        let rest = async {
            if count == 0 {
                pending().await
            } else {
                theirs::poll_oneoff(ctx, &mut memory, 0, events, number, size).await
            }
        };
        let mut rest = pin!(rest);
        poll_fn(|context| {
            let theirs = rest.as_mut().poll(context);
            let ours: Vec<u8> = set.ours.iter().filter_map(|waiting| ready(waiting.poll(context))).flatten().collect();
            match theirs {
                Poll::Ready(answer) => Poll::Ready((Some(answer), ours)),
                Poll::Pending if ours.is_empty() => Poll::Pending,
                Poll::Pending => Poll::Ready((None, ours)),
            }
        })
        .await
    };
    match errno.transpose()? {
        Some(0) => {
            let count = u32_of(&scratch[size_at..]) as usize;
            happened.extend_from_slice(&scratch[events_at..events_at + count * EVENT]);
            Ok(happened)
        }
        // What has happened to a socket is told before the mistake.
        Some(_) if !happened.is_empty() => Ok(happened),
        Some(errno) => Err(Failure::Theirs(errno)),
        None => Ok(happened),
    }
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
