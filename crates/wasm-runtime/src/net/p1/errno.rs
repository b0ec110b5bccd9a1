//! The error numbers of preview 1 that sockets use.

use crate::net::NetError;
use crate::net::code::Code;

/// `errno`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errno {
    Acces = 2,
    Addrinuse = 3,
    Addrnotavail = 4,
    Again = 6,
    Badf = 8,
    Connrefused = 14,
    Connreset = 15,
    Fault = 21,
    Hostunreach = 23,
    Inval = 28,
    Io = 29,
    Mfile = 33,
    Msgsize = 35,
    Nomem = 48,
    Notconn = 53,
    Notdir = 54,
    Notsup = 58,
    Pipe = 64,
    Spipe = 70,
    Timedout = 73,
}

impl Errno {
    /// Returns the number.
    pub(super) fn code(self) -> i32 {
        self as i32
    }

    /// Returns what a call says that needs a connection: in any other state, that there is none.
    pub(super) fn of_connection(code: Code) -> Self {
        if code == Code::InvalidState { Self::Notconn } else { code.into() }
    }
}

impl From<Code> for Errno {
    fn from(code: Code) -> Self {
        match code {
            Code::InvalidState | Code::InvalidArgument | Code::Conflict | Code::NotInProgress => Self::Inval,
            Code::WouldBlock => Self::Again,
            Code::Broken => Self::Pipe,
            Code::OutOfMemory => Self::Nomem,
            Code::Net(error) => match error {
                NetError::Denied => Self::Acces,
                NetError::NotBindable => Self::Addrnotavail,
                NetError::InUse => Self::Addrinuse,
                NetError::Refused => Self::Connrefused,
                NetError::Unreachable => Self::Hostunreach,
                NetError::TimedOut => Self::Timedout,
                NetError::Reset => Self::Connreset,
                NetError::NoName | NetError::NameUnavailable => Self::Io,
                NetError::TooLarge => Self::Msgsize,
                NetError::TooMany => Self::Mfile,
                NetError::Unsupported => Self::Notsup,
            },
        }
    }
}

/// Why a function did not do what it should.
pub(super) enum Failure {
    /// The guest is told.
    Errno(Errno),
    /// The guest is told what wasmtime-wasi said.
    Theirs(i32),
    /// The guest is ended.
    Trap(wasmtime::Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(trap: wasmtime::Error) -> Self {
        Self::Trap(trap)
    }
}

/// What a function answers.
pub(super) type Answer = Result<(), Failure>;

/// Turns an answer into what the guest's call returns.
pub(super) fn answered(answer: Answer) -> wasmtime::Result<i32> {
    match answer {
        Ok(()) => Ok(0),
        Err(Failure::Errno(errno)) => Ok(errno.code()),
        Err(Failure::Theirs(errno)) => Ok(errno),
        Err(Failure::Trap(trap)) => Err(trap),
    }
}
