//! Reading from connections and writing to them, from and into the buffers of a preview 1 guest.

use std::future::poll_fn;

use wasmtime::Caller;

use super::errno::{Answer, Errno};
use super::fds::Fd;
use super::memory::{Buffers, split, write};
use crate::ctx::Ctx;
use crate::net::NetError;
use crate::net::code::Code;
use crate::net::sockets::once;
use crate::net::stream::{SharedReceiver, WRITE_BYTES_MAX};

/// `riflags`: look at the bytes without taking them.
const PEEK: i32 = 1;
/// `riflags`: wait until the buffers are full.
const WAIT_ALL: i32 = 1 << 1;
/// The most that one call sends; like any writer to a socket, the guest may find that less was taken.
const SEND_BYTES_MAX: usize = 4 * WRITE_BYTES_MAX;

/// `sock_recv`: as [`receive`], with flags in both directions.
pub(super) async fn receive_flagged(
    caller: &mut Caller<'_, Ctx>,
    entry: &Fd,
    buffers: (i32, i32),
    (size, out_flags): (i32, i32),
    flags: i32,
) -> Answer {
    if flags & !(PEEK | WAIT_ALL) != 0 {
        return Err(Errno::Inval.into());
    }
    // Nothing is ever cut off: these are streams.
    write(split(caller)?.0, out_flags, &0_u16.to_le_bytes())?;
    receive(caller, entry, buffers, size, flags).await
}

/// Fills buffers with what has come in, and waits for it unless the socket does not block. Nothing is the end.
pub(super) async fn receive(
    caller: &mut Caller<'_, Ctx>,
    entry: &Fd,
    buffers: (i32, i32),
    size: i32,
    flags: i32,
) -> Answer {
    let receiver = entry.socket().lock().receiver().map_err(Errno::of_connection)?;
    let buffers = Buffers::read(split(caller)?.0, buffers)?;
    let mut filled = 0;
    while filled < buffers.len() {
        let is_ready = wait(&receiver, entry.is_nonblocking()).await;
        if !is_ready && filled == 0 {
            return Err(Errno::Again.into());
        }
        let end = receiver.lock().end();
        match end {
            Some(Err(error)) if filled == 0 => return Err(Errno::from(Code::Net(error)).into()),
            Some(_) => break,
            None => {}
        }
        let bytes = {
            let mut receiver = receiver.lock();
            let wanted = buffers.len() - filled;
            if flags & PEEK != 0 {
                receiver.peek().slice(..wanted.min(receiver.peek().len()))
            } else {
                receiver.take(wanted)
            }
        };
        buffers.scatter(split(caller)?.0, filled, &bytes)?;
        filled += bytes.len();
        if flags & WAIT_ALL == 0 || flags & PEEK != 0 || !is_ready {
            break;
        }
    }
    write_size(caller, size, filled)
}

/// Reports whether there is something to take, after waiting for it if that is allowed.
async fn wait(receiver: &SharedReceiver, is_nonblocking: bool) -> bool {
    if is_nonblocking {
        receiver.lock().poll_ready(&mut once()).is_ready()
    } else {
        poll_fn(|context| receiver.lock().poll_ready(context)).await;
        true
    }
}

/// Sends from buffers as much as is taken now, and waits until that is something unless the socket does not block.
pub(super) async fn send(caller: &mut Caller<'_, Ctx>, entry: &Fd, buffers: (i32, i32), size: i32) -> Answer {
    let sender = entry.socket().lock().sender().map_err(Errno::of_connection)?;
    if !entry.is_nonblocking() {
        poll_fn(|context| sender.lock().poll_ready(context)).await;
    }
    let memory = split(caller)?.0;
    let bytes = Buffers::read(memory, buffers)?.gather(memory, SEND_BYTES_MAX)?;
    let sent = sender.lock().offer(&bytes).map_err(broken)?;
    if sent == 0 && !bytes.is_empty() {
        return Err(Errno::Again.into());
    }
    write_size(caller, size, sent)
}

/// As on Linux: after our own shutdown or once the other has gone, there is a broken pipe.
fn broken(error: Option<NetError>) -> Errno {
    error.map_or(Errno::Pipe, |error| if error == NetError::Reset { Errno::Pipe } else { Code::Net(error).into() })
}

fn write_size(caller: &mut Caller<'_, Ctx>, at: i32, size: usize) -> Answer {
    // No call moves more than the guest's memory has, which is less than 4 GiB.
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    write(split(caller)?.0, at, &size.to_le_bytes())
}
