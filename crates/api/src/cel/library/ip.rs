//! Addresses (`cel/library/ip.go`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Fixed, Text as PerText};
use crate::cel::functions::Sig::{Bool, Int, Opaque as Named, Text};
use crate::cel::functions::{Cost, Overload, Sig, function, method};
use crate::cel::value::{Opaque, Val};

const ONE: Cost = Fixed(1);
pub(super) const IP: Sig = Named("net.IP");

pub(super) static FUNCTIONS: &[Overload] = &[
    function("ip", &[Text], IP, PerText(1), |_, args| Ok(Val::Opaque(Opaque::Ip(parse(text(args, 0)?)?)))),
    function("isIP", &[Text], Bool, PerText(1), |_, args| Ok(Val::Bool(parse(text(args, 0)?).is_ok()))),
    function("ip.isCanonical", &[Text], Bool, PerText(2), |_, args| {
        let written = text(args, 0)?;
        Ok(Val::Bool(parse(written)?.to_string() == written))
    }),
    method("family", &[IP], Int, ONE, |_, args| Ok(Val::Int(if ip(args)?.is_ipv4() { 4 } else { 6 }))),
    method("isUnspecified", &[IP], Bool, ONE, |_, args| Ok(Val::Bool(ip(args)?.is_unspecified()))),
    method("isLoopback", &[IP], Bool, ONE, |_, args| Ok(Val::Bool(ip(args)?.is_loopback()))),
    method("isLinkLocalMulticast", &[IP], Bool, ONE, |_, args| Ok(Val::Bool(is_link_local_multicast(ip(args)?)))),
    method("isLinkLocalUnicast", &[IP], Bool, ONE, |_, args| Ok(Val::Bool(is_link_local(ip(args)?)))),
    method("isGlobalUnicast", &[IP], Bool, ONE, |_, args| Ok(Val::Bool(is_global(ip(args)?)))),
];

/// Reads an address. One of version 4 that is written in the form of version 6 is none, and neither is one with a zone.
pub(super) fn parse(text: &str) -> Result<IpAddr, EvalError> {
    if text.contains('%') {
        return Err(EvalError::failed(format!("IP address {text:?} with zone value is not allowed")));
    }
    let ip: IpAddr = text
        .parse()
        .map_err(|_| EvalError::failed(format!("IP Address {text:?} parse error during conversion from string")))?;
    match ip {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(EvalError::failed(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        other => Ok(other),
    }
}

fn ip(args: &[Val<'_>]) -> Result<IpAddr, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Ip(ip)) => Ok(*ip),
        _ => Err(EvalError::no_overload()),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
        IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
    }
}

/// Go's meaning: private addresses are global, too.
fn is_global(ip: IpAddr) -> bool {
    ip != IpAddr::V4(Ipv4Addr::BROADCAST)
        && ip != IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && !ip.is_unspecified()
        && !ip.is_loopback()
        && !ip.is_multicast()
        && !is_link_local(ip)
}
