//! Ranges of addresses (`cel/library/cidr.go`).

use super::ip::{self, IP};
use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Address, Fixed, Text as PerText};
use crate::cel::functions::Sig::{Bool, Int, Opaque as Named, Text};
use crate::cel::functions::{Cost, Overload, Sig, function, method};
use crate::cel::value::{Opaque, Val};
use crate::cidr::Cidr;

const ONE: Cost = Fixed(1);
const CIDR: Sig = Named("net.CIDR");

pub(super) static FUNCTIONS: &[Overload] = &[
    function("cidr", &[Text], CIDR, PerText(1), |_, args| Ok(made(parse(text(args, 0)?)?))),
    function("isCIDR", &[Text], Bool, PerText(1), |_, args| Ok(Val::Bool(parse(text(args, 0)?).is_ok()))),
    method("containsIP", &[CIDR, IP], Bool, Address, |_, args| contains_ip(args)),
    method("containsIP", &[CIDR, Text], Bool, Address, |_, args| contains_ip(args)),
    method("containsCIDR", &[CIDR, CIDR], Bool, Address, |_, args| contains_cidr(args)),
    method("containsCIDR", &[CIDR, Text], Bool, Address, |_, args| contains_cidr(args)),
    method("ip", &[CIDR], IP, ONE, |_, args| Ok(Val::Opaque(Opaque::Ip(cidr(args)?.ip())))),
    method("masked", &[CIDR], CIDR, ONE, |_, args| Ok(made(cidr(args)?.masked()))),
    method("prefixLength", &[CIDR], Int, ONE, |_, args| Ok(Val::Int(cidr(args)?.bits().into()))),
];

fn made<'a>(cidr: Cidr) -> Val<'a> {
    Val::Opaque(Opaque::Cidr(cidr))
}

fn parse(text: &str) -> Result<Cidr, EvalError> {
    let wrong = || EvalError::failed(format!("network address parse error during conversion from string: {text:?}"));
    // An address alone has rules of its own, and errors that name it.
    ip::parse(text.split_once('/').ok_or_else(wrong)?.0)?;
    text.parse().map_err(|_| wrong())
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
    Ok(Val::Bool(outer.bits() <= inner.bits() && outer.contains(inner.ip())))
}
