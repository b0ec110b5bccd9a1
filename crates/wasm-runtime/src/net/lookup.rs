//! Looking a name up: what counts as a name, and the answer as it is handed out address by address.

use std::net::IpAddr;
use std::task::{Context, Poll, ready};
use std::vec;

use futures::future::BoxFuture;

use super::NetError;
use super::code::Code;
use super::sockets::{Slot, Sockets, once};

/// The longest name that the DNS can carry, as text.
const NAME_MAX: usize = 253;
/// The longest part between two dots.
const LABEL_MAX: usize = 63;
/// Addresses that one answer hands out; a name with more has enough of them.
const ADDRESSES_MAX: usize = 256;

/// A look-up under way, or its answer.
pub(crate) struct Lookup(State);

enum State {
    Asking(BoxFuture<'static, Result<Vec<IpAddr>, NetError>>, #[expect(dead_code, reason = "counts")] Slot),
    Found(vec::IntoIter<IpAddr>),
    Failed(Code),
}

impl Lookup {
    /// Begins to look `name` up.
    pub(crate) fn start(sockets: &Sockets, name: &str) -> Result<Self, Code> {
        let network = sockets.network()?;
        let lookup = match parse(name)? {
            Name::Address(address) => Self(State::Found(vec![address].into_iter())),
            Name::Host(host) => Self(State::Asking(network.resolve(host), sockets.slot()?)),
        };
        Ok(lookup)
    }

    /// Completes when [`Lookup::next`] has an answer.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let State::Asking(answer, _) = &mut self.0 {
            self.0 = match ready!(answer.as_mut().poll(context)) {
                Ok(addresses) if addresses.is_empty() => State::Failed(NetError::NoName.into()),
                Ok(mut addresses) => {
                    addresses.truncate(ADDRESSES_MAX);
                    State::Found(addresses.into_iter())
                }
                Err(error) => State::Failed(error.into()),
            };
        }
        Poll::Ready(())
    }

    /// Returns the next address, `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<IpAddr>, Code> {
        let _ = self.poll_ready(&mut once());
        match &mut self.0 {
            State::Asking(..) => Err(Code::WouldBlock),
            State::Found(addresses) => Ok(addresses.next()),
            State::Failed(code) => Err(*code),
        }
    }
}

/// What a guest may ask for.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Address(IpAddr),
    Host(&'a str),
}

/// Tells addresses in text from names, and refuses what is neither. Names of the cluster are ASCII.
fn parse(name: &str) -> Result<Name<'_>, Code> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(name).parse::<IpAddr>()
        && (bare.is_none() || address.is_ipv6())
    {
        return Ok(Name::Address(address));
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(is_letter);
    if labels.len() <= NAME_MAX && labels.split('.').all(is_label) {
        Ok(Name::Host(name))
    } else {
        Err(Code::InvalidArgument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_text_are_not_asked_for() {
        for (text, address) in [("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[fd00::1]", "fd00::1")] {
            assert_eq!(parse(text), Ok(Name::Address(address.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn names_of_services_and_hosts_are_asked_for() {
        for name in ["db", "web.shop.svc.cluster.local", "example.com.", "_dns._udp.example", "3com.example"] {
            assert_eq!(parse(name), Ok(Name::Host(name)), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long_label = "a".repeat(LABEL_MAX + 1);
        let long_name = ["abcdefg"; 33].join(".");
        let bad = ["", ".", "a..b", "a b", "a/b", "[10.0.0.1]", "bücher.example", "a\0", &long_label, &long_name];
        for name in bad {
            assert_eq!(parse(name), Err(Code::InvalidArgument), "{name:?}");
        }
    }
}
