//! Ranges of addresses (`cel/library/cidr.go`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ip::{self, IP};
use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Address, Fixed, Text as PerText};
use crate::cel::functions::Sig::{Bool, Int, Opaque as Named, Text};
use crate::cel::functions::{Cost, Overload, Sig, function, method};
use crate::cel::value::{Opaque, Val};

/// A range, by an address in it and how many of its first bits all of them share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

const ONE: Cost = Fixed(1);
const CIDR: Sig = Named("net.CIDR");

pub(super) static FUNCTIONS: &[Overload] = &[
    function("cidr", &[Text], CIDR, PerText(1), |_, args| Ok(made(parse(text(args, 0)?)?))),
    function("isCIDR", &[Text], Bool, PerText(1), |_, args| Ok(Val::Bool(parse(text(args, 0)?).is_ok()))),
    method("containsIP", &[CIDR, IP], Bool, Address, |_, args| contains_ip(args)),
    method("containsIP", &[CIDR, Text], Bool, Address, |_, args| contains_ip(args)),
    method("containsCIDR", &[CIDR, CIDR], Bool, Address, |_, args| contains_cidr(args)),
    method("containsCIDR", &[CIDR, Text], Bool, Address, |_, args| contains_cidr(args)),
    method("ip", &[CIDR], IP, ONE, |_, args| Ok(Val::Opaque(Opaque::Ip(cidr(args)?.ip)))),
    method("masked", &[CIDR], CIDR, ONE, |_, args| Ok(made(cidr(args)?.masked()))),
    method("prefixLength", &[CIDR], Int, ONE, |_, args| Ok(Val::Int(cidr(args)?.bits.into()))),
];

impl Cidr {
    /// Returns how many octets its addresses have.
    pub(in crate::cel) fn octets(&self) -> usize {
        if self.ip.is_ipv4() { 4 } else { 16 }
    }

    fn masked(self) -> Self {
        Self { ip: mask(self.ip, self.bits), ..self }
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4() && mask(self.ip, self.bits) == mask(ip, self.bits)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

fn mask(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(four.to_bits() & mask).into()
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(six.to_bits() & mask).into()
        }
    }
}

fn made<'a>(cidr: Cidr) -> Val<'a> {
    Val::Opaque(Opaque::Cidr(cidr))
}

fn parse(text: &str) -> Result<Cidr, EvalError> {
    let wrong = || EvalError::failed(format!("network address parse error during conversion from string: {text:?}"));
    let (ip, bits) = text.split_once('/').ok_or_else(wrong)?;
    let ip = ip::parse(ip)?;
    let digits_fit = bits.chars().all(|c| c.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let bits: u8 = bits.parse().ok().filter(|_| digits_fit).ok_or_else(wrong)?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    if bits > most { Err(wrong()) } else { Ok(Cidr { ip, bits }) }
}

fn cidr(args: &[Val<'_>]) -> Result<Cidr, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Cidr(cidr)) => Ok(*cidr),
        _ => Err(EvalError::no_overload()),
    }
}

fn contains_ip<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let ip = match &args[1] {
        Val::Opaque(Opaque::Ip(ip)) => *ip,
        _ => ip::parse(text(args, 1)?)?,
    };
    Ok(Val::Bool(cidr(args)?.contains(ip)))
}

fn contains_cidr<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (outer, inner) = (
        cidr(args)?,
        match &args[1] {
            Val::Opaque(Opaque::Cidr(inner)) => *inner,
            _ => parse(text(args, 1)?)?,
        },
    );
    Ok(Val::Bool(outer.bits <= inner.bits && outer.contains(inner.ip)))
}
