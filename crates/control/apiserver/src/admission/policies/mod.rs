//! `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`: what the cluster's own expressions have against a request,
//! and what they make of its object (`apiserver/pkg/admission/plugin/policy`).
//!
//! ```text
//! policies, bindings ─> Policies, compiled once per change
//! request ─ criteria of the policy, of its bindings ─> parameters ─┬> Policy::judge ──> deny, warn, audit
//!                                                                  └> Mutations::change ─> patch ─> the next mutation
//! ```

mod input;
mod known;
mod mutating;
mod params;
mod validating;

pub(super) use input::Input;
pub(crate) use known::{Policies, is_policy};
pub(super) use mutating::admit;
pub(super) use validating::validate;
