//! What expressions can call: CEL's own functions, its extensions, and Kubernetes' libraries
//! (`cel/environment/base.go`).

use super::functions::Overload;

mod authz;
pub(super) mod cidr;
mod convert;
pub(super) mod equality;
pub(super) mod format;
mod ip;
mod jsonpatch;
mod lists;
mod lists_ext;
mod operators;
mod optional;
mod printf;
mod quantity;
mod regex;
pub(super) mod semver;
mod sets;
mod strings;
pub(super) mod time;
pub(super) mod url;

/// Every function there is.
pub(super) static ALL: [&[Overload]; 21] = [
    operators::FUNCTIONS,
    &operators::LESS,
    &operators::LESS_OR_EQUAL,
    &operators::GREATER,
    &operators::GREATER_OR_EQUAL,
    convert::FUNCTIONS,
    time::FUNCTIONS,
    strings::FUNCTIONS,
    lists::FUNCTIONS,
    lists_ext::FUNCTIONS,
    sets::FUNCTIONS,
    optional::FUNCTIONS,
    regex::FUNCTIONS,
    url::FUNCTIONS,
    quantity::FUNCTIONS,
    ip::FUNCTIONS,
    cidr::FUNCTIONS,
    semver::FUNCTIONS,
    format::FUNCTIONS,
    authz::FUNCTIONS,
    jsonpatch::FUNCTIONS,
];

pub(super) use lists_ext::sort_by;
pub(super) use regex::compile as compile_regex;
