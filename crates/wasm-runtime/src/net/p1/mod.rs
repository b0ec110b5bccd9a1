//! Sockets of preview 1: listening sockets that the host opened, what they accept, and waiting for both.
//!
//! Preview 1 cannot open sockets. As in wasmtime before it dropped them, and in systemd's socket activation, those of
//! [`GuestSpec::listen`](crate::GuestSpec::listen) are descriptors from 3 on. wasmtime-wasi's descriptors stay as they
//! are; the functions that sockets have a say in are put in front of its own and pass on what is not ours.

mod errno;
mod fds;
mod memory;
mod poll;
mod shorten;
mod transfer;

use std::future::poll_fn;

use wasmtime::{AsContextMut as _, Caller, Linker};
use wasmtime_wasi::p1::{WasiP1Ctx, wasi_snapshot_preview1 as theirs};
use wiggle::GuestMemory;

use self::errno::{Answer, Errno, answered};
pub(crate) use self::fds::Fds;
use self::fds::{Fd, Owner};
use self::memory::{split, write};
use self::shorten::{restore, shorten};
use crate::ctx::Ctx;
use crate::net::code::Code;
use crate::net::tcp::Shutdown;

const MODULE: &str = "wasi_snapshot_preview1";
/// `fdflags`: calls return instead of waiting.
const NONBLOCK: i32 = 1 << 2;

/// Puts a function in front of wasmtime-wasi's of the same name. Sockets are answered here; all other descriptors go on
/// to its own function, which is called as its own linking does it, `for` buffers that it takes.
macro_rules! in_front {
    ($linker:ident, $function:ident($fd:ident $(, $argument:ident: $type:ty)*) $(.$await:ident)? $(for $buffers:expr)?,
        |$caller:ident, $entry:ident| $ours:expr) => {
        $linker.func_wrap_async(
            MODULE,
            stringify!($function),
            |mut $caller: Caller<'_, Ctx>, ($fd $(, $argument)*,): (i32 $(, $type)*,)| {
                Box::new(async move {
                    match $caller.data().fds.owner($fd) {
                        Owner::Theirs => {
                            $(let shortened = shorten(split(&mut $caller)?.0, $buffers);)?
                            let (ctx, mut memory) = their_parts(&mut $caller)?;
                            let answer = theirs::$function(ctx, &mut memory, $fd $(, $argument)*) $(.$await)?;
                            $(restore(split(&mut $caller)?.0, $buffers, shortened);)?
                            answer
                        }
                        Owner::Nobody => Ok(Errno::Badf.code()),
                        Owner::Ours($entry) => answered($ours),
                    }
                })
            },
        )?
    };
}

/// Returns what wasmtime-wasi's functions work on.
fn their_parts<'a>(caller: &'a mut Caller<'_, Ctx>) -> wasmtime::Result<(&'a mut WasiP1Ctx, GuestMemory<'a>)> {
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (memory, ctx) = split(caller)?;
    let ctx = ctx.preview_1();
    theirs::WasiSnapshotPreview1::set_hostcall_fuel(ctx, fuel);
    Ok((ctx, GuestMemory::Unshared(memory)))
}

/// Links what sockets have a say in, after wasmtime-wasi's own functions.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    add_transfer(linker)?;
    add_sockets(linker)?;
    add_descriptors(linker)?;
    poll::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn add_transfer(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    in_front!(linker, fd_read(fd, buffers: i32, count: i32, size: i32).await for (buffers, count), |caller, entry| {
        transfer::receive(&mut caller, &entry, (buffers, count), size, 0).await
    });
    in_front!(linker, fd_write(fd, buffers: i32, count: i32, size: i32).await for (buffers, count), |caller, entry| {
        transfer::send(&mut caller, &entry, (buffers, count), size).await
    });
    in_front!(
        linker,
        fd_pread(fd, buffers: i32, count: i32, _offset: i64, _size: i32).await for (buffers, count),
        |caller, _entry| Err(Errno::Spipe.into())
    );
    in_front!(
        linker,
        fd_pwrite(fd, buffers: i32, count: i32, _offset: i64, _size: i32).await for (buffers, count),
        |caller, _entry| Err(Errno::Spipe.into())
    );
    in_front!(
        linker,
        sock_recv(fd, buffers: i32, count: i32, flags: i32, size: i32, out_flags: i32),
        |caller, entry| transfer::receive_flagged(&mut caller, &entry, (buffers, count), (size, out_flags), flags).await
    );
    in_front!(linker, sock_send(fd, buffers: i32, count: i32, flags: i32, size: i32), |caller, entry| {
        // No flags are defined.
        if flags == 0 { transfer::send(&mut caller, &entry, (buffers, count), size).await } else { Err(Errno::Inval.into()) }
    });
    Ok(())
}

fn add_sockets(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    in_front!(linker, sock_accept(fd, flags: i32, out: i32), |caller, entry| {
        accept(&mut caller, &entry, flags, out).await
    });
    in_front!(linker, sock_shutdown(fd, how: i32), |caller, entry| shut_down(&entry, how));
    Ok(())
}

fn add_descriptors(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    in_front!(linker, fd_close(fd).await, |caller, _entry| {
        caller.data_mut().fds.close(fd);
        Ok(())
    });
    in_front!(linker, fd_renumber(fd, to: i32).await, |caller, _entry| caller.data_mut().fds.renumber(fd, to));
    in_front!(linker, fd_fdstat_get(fd, out: i32).await, |caller, entry| {
        write(split(&mut caller)?.0, out, &fds::fdstat(entry.is_nonblocking()))
    });
    in_front!(linker, fd_fdstat_set_flags(fd, flags: i32), |caller, entry| {
        entry.set_nonblocking(flags & NONBLOCK != 0);
        // Appending and syncing mean nothing to a socket.
        if flags & !NONBLOCK == 0 { Ok(()) } else { Err(Errno::Inval.into()) }
    });
    in_front!(linker, fd_filestat_get(fd, out: i32).await, |caller, _entry| {
        write(split(&mut caller)?.0, out, &fds::filestat(fd))
    });
    in_front!(linker, fd_prestat_get(fd, out: i32), |caller, _entry| {
        write(split(&mut caller)?.0, out, &fds::PRESTAT_OF_A_SOCKET)
    });
    in_front!(linker, fd_prestat_dir_name(fd, _path: i32, _length: i32), |caller, _entry| Err(Errno::Notdir.into()));
    in_front!(linker, fd_seek(fd, _offset: i64, _whence: i32, _out: i32).await, |caller, _entry| {
        Err(Errno::Spipe.into())
    });
    in_front!(linker, fd_tell(fd, _out: i32), |caller, _entry| Err(Errno::Spipe.into()));
    Ok(())
}

async fn accept(caller: &mut Caller<'_, Ctx>, entry: &Fd, flags: i32, out: i32) -> Answer {
    let accepted = loop {
        let accepted = entry.socket().lock().accept();
        match accepted {
            Err(Code::WouldBlock) if entry.is_nonblocking() => return Err(Errno::Again.into()),
            Err(Code::WouldBlock) => poll_fn(|context| entry.socket().lock().poll_ready(context)).await,
            accepted => break accepted.map_err(Errno::from)?,
        }
    };
    let fd = caller.data_mut().fds.insert(accepted, flags & NONBLOCK != 0);
    write(split(caller)?.0, out, &fd.to_le_bytes())
}

fn shut_down(entry: &Fd, how: i32) -> Answer {
    let how = match how {
        1 => Shutdown::Receive,
        2 => Shutdown::Send,
        3 => Shutdown::Both,
        _ => return Err(Errno::Inval.into()),
    };
    entry.socket().lock().shut_down(how).map_err(|code| Errno::of_connection(code).into())
}
