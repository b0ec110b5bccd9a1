//! The descriptors of a preview 1 guest that are sockets.
//!
//! ```text
//!  0 1 2 | 3 ... 3+n-1           | 3+n ...                     | 2^20 ...
//!  stdio | listening sockets     | directories, then files     | accepted connections, the lowest free number first
//! ```
//!
//! Sockets come first because guests count from 3 (`LISTEN_FDS`, `from_raw_fd(3)`). wasmtime-wasi gives the same numbers
//! to directories, so the host opens as many in its place before the real ones: see `Guest::store`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::errno::{Answer, Errno};
use crate::net::NetError;
use crate::net::address::Family;
use crate::net::code::Code;
use crate::net::sockets::Sockets;
use crate::net::tcp::TcpSocket;

/// The first descriptor after standard input, output and error.
const FIRST_PREOPENED: i32 = 3;
/// Above what files ever get: an instance has far fewer handles.
const FIRST_ACCEPTED: i32 = 1 << 20;
/// `filetype`: a stream socket.
const SOCKET_STREAM: u8 = 6;
/// `rights`: read, write, set flags, get the status, poll, shut down, accept. Anything else, a socket cannot.
const RIGHTS: u64 = 1 << 1 | 1 << 6 | 1 << 3 | 1 << 21 | 1 << 27 | 1 << 28 | 1 << 29;
/// `prestat` of a kind that is no directory. wasi-libc and Go look at descriptors from 3 on until there is none, and skip
/// what they do not know; an error would end the search before the first directory.
pub(super) const PRESTAT_OF_A_SOCKET: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

/// A socket under its number. Clones are the same socket.
#[derive(Clone)]
pub(super) struct Fd {
    socket: Arc<Mutex<TcpSocket>>,
    is_nonblocking: Arc<AtomicBool>,
}

impl Fd {
    fn new(socket: TcpSocket, is_nonblocking: bool) -> Self {
        Self { socket: Arc::new(Mutex::new(socket)), is_nonblocking: Arc::new(AtomicBool::new(is_nonblocking)) }
    }

    pub(super) fn socket(&self) -> &Mutex<TcpSocket> {
        &self.socket
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.is_nonblocking.load(Ordering::Relaxed)
    }

    pub(super) fn set_nonblocking(&self, is_nonblocking: bool) {
        self.is_nonblocking.store(is_nonblocking, Ordering::Relaxed);
    }
}

/// Whose a descriptor is.
pub(super) enum Owner {
    /// A socket.
    Ours(Fd),
    /// A number for sockets that is not in use.
    Nobody,
    /// wasmtime-wasi's, or nobody's there.
    Theirs,
}

/// The sockets of one instance.
#[derive(Default)]
pub(crate) struct Fds {
    sockets: BTreeMap<i32, Fd>,
    preopened: i32,
}

impl Fds {
    /// Opens a listening socket for each port, on all addresses of the guest.
    ///
    /// # Errors
    /// Returns the port that could not be had, and why.
    pub(crate) fn listen(sockets: &Sockets, ports: &[u16]) -> Result<Self, (u16, NetError)> {
        let mut fds = Self::default();
        for port in ports {
            let socket = listening(sockets, *port).map_err(|code| match code {
                Code::Net(error) => (*port, error),
                _ => (*port, NetError::Unsupported),
            })?;
            fds.sockets.insert(FIRST_PREOPENED + fds.preopened, Fd::new(socket, false));
            fds.preopened += 1;
        }
        Ok(fds)
    }

    /// Says whose `fd` is.
    pub(super) fn owner(&self, fd: i32) -> Owner {
        match self.sockets.get(&fd) {
            Some(entry) => Owner::Ours(entry.clone()),
            None if self.is_for_sockets(fd) => Owner::Nobody,
            None => Owner::Theirs,
        }
    }

    /// Gives a connection the lowest number that is free.
    pub(super) fn insert(&mut self, socket: TcpSocket, is_nonblocking: bool) -> i32 {
        let taken = self.sockets.range(FIRST_ACCEPTED..).map(|(fd, _)| *fd);
        let free = (FIRST_ACCEPTED..).zip(taken).find(|(free, taken)| free != taken).map(|(free, _)| free);
        let fd = free
            .unwrap_or_else(|| self.sockets.range(FIRST_ACCEPTED..).last().map_or(FIRST_ACCEPTED, |last| last.0 + 1));
        self.sockets.insert(fd, Fd::new(socket, is_nonblocking));
        fd
    }

    /// Lets go of a socket.
    pub(super) fn close(&mut self, fd: i32) {
        self.sockets.remove(&fd);
    }

    /// Moves a socket in the place of another, which is closed.
    pub(super) fn renumber(&mut self, from: i32, to: i32) -> Answer {
        if !self.is_for_sockets(to) {
            // A socket cannot take the place of a file, whose number is not ours to give.
            return Err(Errno::Notsup.into());
        }
        if !self.sockets.contains_key(&to) {
            return Err(Errno::Badf.into());
        }
        if let Some(socket) = self.sockets.remove(&from) {
            self.sockets.insert(to, socket);
        }
        Ok(())
    }

    fn is_for_sockets(&self, fd: i32) -> bool {
        fd >= FIRST_ACCEPTED || (FIRST_PREOPENED..FIRST_PREOPENED + self.preopened).contains(&fd)
    }
}

fn listening(sockets: &Sockets, port: u16) -> Result<TcpSocket, Code> {
    let mut socket = TcpSocket::new(sockets, Family::V4)?;
    socket.start_bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?;
    socket.finish_bind()?;
    socket.start_listen()?;
    socket.finish_listen()?;
    Ok(socket)
}

/// Returns the `fdstat` of a socket.
pub(super) fn fdstat(is_nonblocking: bool) -> [u8; 24] {
    let mut stat = [0; 24];
    stat[0] = SOCKET_STREAM;
    stat[2] = u8::from(is_nonblocking) << 2;
    stat[8..16].copy_from_slice(&RIGHTS.to_le_bytes());
    // What accepted connections inherit.
    stat[16..24].copy_from_slice(&RIGHTS.to_le_bytes());
    stat
}

/// Returns the `filestat` of a socket: its number instead of an inode, no size, no times.
pub(super) fn filestat(fd: i32) -> [u8; 64] {
    let mut stat = [0; 64];
    stat[8..12].copy_from_slice(&fd.to_le_bytes());
    stat[16] = SOCKET_STREAM;
    stat[24] = 1;
    stat
}
