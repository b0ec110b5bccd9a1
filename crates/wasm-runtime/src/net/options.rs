//! The options of a socket: kept and answered, within the bounds of Linux. Pure.
//!
//! A connection here is a pipe in memory: there is nothing to keep alive and no hop to count. Guests set these options
//! all the same, and some read them back.

use super::code::Code;

const SECOND: u64 = 1_000_000_000;
/// Linux keeps both times as seconds in 16 bits with a sign.
const KEEP_ALIVE_TIME_MAX: u64 = 32_767 * SECOND;
/// Linux keeps the count in 8 bits with a sign.
const KEEP_ALIVE_COUNT_MAX: u32 = 127;
/// What a guest may ask for; the network bounds its buffers by itself.
const BUFFER_MAX: u64 = 4 << 20;
/// `net.core.somaxconn` of a Linux of today.
const BACKLOG_MAX: usize = 4_096;

/// What a socket is set to. The defaults are Linux'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `SO_KEEPALIVE`.
    pub(crate) keep_alive: bool,
    keep_alive_idle: u64,
    keep_alive_interval: u64,
    keep_alive_count: u32,
    hop_limit: u8,
    receive_buffer: u64,
    send_buffer: u64,
    backlog: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_alive: false,
            keep_alive_idle: 7_200 * SECOND,
            keep_alive_interval: 75 * SECOND,
            keep_alive_count: 9,
            hop_limit: 64,
            receive_buffer: 64 << 10,
            send_buffer: 64 << 10,
            backlog: 128,
        }
    }
}

/// Zero is always a mistake, and anything else is cut to what can be had.
fn within<T: Ord + From<u8>>(value: T, min: T, max: T) -> Result<T, Code> {
    if value == T::from(0) { Err(Code::InvalidArgument) } else { Ok(value.clamp(min, max)) }
}

impl Options {
    /// Returns `TCP_KEEPIDLE` in nanoseconds.
    pub(crate) fn keep_alive_idle(&self) -> u64 {
        self.keep_alive_idle
    }

    /// Sets `TCP_KEEPIDLE`.
    pub(crate) fn set_keep_alive_idle(&mut self, nanoseconds: u64) -> Result<(), Code> {
        self.keep_alive_idle = within(nanoseconds, SECOND, KEEP_ALIVE_TIME_MAX)?;
        Ok(())
    }

    /// Returns `TCP_KEEPINTVL` in nanoseconds.
    pub(crate) fn keep_alive_interval(&self) -> u64 {
        self.keep_alive_interval
    }

    /// Sets `TCP_KEEPINTVL`.
    pub(crate) fn set_keep_alive_interval(&mut self, nanoseconds: u64) -> Result<(), Code> {
        self.keep_alive_interval = within(nanoseconds, SECOND, KEEP_ALIVE_TIME_MAX)?;
        Ok(())
    }

    /// Returns `TCP_KEEPCNT`.
    pub(crate) fn keep_alive_count(&self) -> u32 {
        self.keep_alive_count
    }

    /// Sets `TCP_KEEPCNT`.
    pub(crate) fn set_keep_alive_count(&mut self, count: u32) -> Result<(), Code> {
        self.keep_alive_count = within(count, 1, KEEP_ALIVE_COUNT_MAX)?;
        Ok(())
    }

    /// Returns `IP_TTL`.
    pub(crate) fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// Sets `IP_TTL`.
    pub(crate) fn set_hop_limit(&mut self, hops: u8) -> Result<(), Code> {
        self.hop_limit = within(hops, 1, u8::MAX)?;
        Ok(())
    }

    /// Returns `SO_RCVBUF` in bytes.
    pub(crate) fn receive_buffer(&self) -> u64 {
        self.receive_buffer
    }

    /// Sets `SO_RCVBUF`.
    pub(crate) fn set_receive_buffer(&mut self, bytes: u64) -> Result<(), Code> {
        self.receive_buffer = within(bytes, 1, BUFFER_MAX)?;
        Ok(())
    }

    /// Returns `SO_SNDBUF` in bytes.
    pub(crate) fn send_buffer(&self) -> u64 {
        self.send_buffer
    }

    /// Sets `SO_SNDBUF`.
    pub(crate) fn set_send_buffer(&mut self, bytes: u64) -> Result<(), Code> {
        self.send_buffer = within(bytes, 1, BUFFER_MAX)?;
        Ok(())
    }

    /// Returns how many connections may wait to be accepted.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog
    }

    /// Sets how many connections may wait to be accepted.
    pub(crate) fn set_backlog(&mut self, connections: u64) -> Result<(), Code> {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        if connections == 0 {
            return Err(Code::InvalidArgument);
        }
        self.backlog = connections.min(BACKLOG_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused_and_changes_nothing() {
        let mut options = Options::default();
        let refused = [
            options.set_keep_alive_idle(0),
            options.set_keep_alive_interval(0),
            options.set_keep_alive_count(0),
            options.set_hop_limit(0),
            options.set_receive_buffer(0),
            options.set_send_buffer(0),
            options.set_backlog(0),
        ];
        assert_eq!(refused, [Err(Code::InvalidArgument); 7]);
        assert_eq!(options, Options::default());
    }

    #[test]
    fn too_much_is_cut_to_what_can_be_had() {
        let mut options = Options::default();
        options.set_keep_alive_idle(u64::MAX).unwrap();
        options.set_keep_alive_interval(1).unwrap();
        options.set_keep_alive_count(u32::MAX).unwrap();
        options.set_receive_buffer(u64::MAX).unwrap();
        options.set_send_buffer(u64::MAX).unwrap();
        options.set_backlog(u64::MAX).unwrap();
        assert_eq!(options.keep_alive_idle(), KEEP_ALIVE_TIME_MAX);
        assert_eq!(options.keep_alive_interval(), SECOND, "never rounded to nothing");
        assert_eq!(options.keep_alive_count(), KEEP_ALIVE_COUNT_MAX);
        assert_eq!((options.receive_buffer(), options.send_buffer()), (BUFFER_MAX, BUFFER_MAX));
        assert_eq!(options.backlog(), BACKLOG_MAX);
    }

    #[test]
    fn what_was_set_is_answered() {
        let mut options = Options::default();
        options.set_hop_limit(3).unwrap();
        options.set_keep_alive_count(5).unwrap();
        options.set_send_buffer(4_096).unwrap();
        assert_eq!((options.hop_limit(), options.keep_alive_count(), options.send_buffer()), (3, 5, 4_096));
    }
}
