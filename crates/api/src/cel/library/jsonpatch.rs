//! `jsonpatch.escapeKey` (`cel/library/jsonpatch.go`).

use super::strings::text;
use crate::cel::functions::Cost::Text as PerText;
use crate::cel::functions::Sig::Text;
use crate::cel::functions::{Overload, function};
use crate::cel::value::Val;

pub(super) static FUNCTIONS: &[Overload] = &[function("jsonpatch.escapeKey", &[Text], Text, PerText(1), |_, args| {
    Ok(Val::text(text(args, 0)?.replace('~', "~0").replace('/', "~1")))
})];
