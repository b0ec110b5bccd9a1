//! `ValidatingAdmissionPolicy`: what the cluster's own expressions have against a request
//! (`apiserver/pkg/admission/plugin/policy/validating`).
//!
//! ```text
//! policies, bindings ─> Known, compiled once per change
//! request ─ criteria of the policy, of its bindings ─> parameters ─> Policy::judge ─> deny, warn, audit
//! ```

mod input;
mod known;
mod params;
mod validating;

pub(super) use input::Input;
pub(crate) use known::{Policies, is_policy};
pub(super) use validating::validate;
