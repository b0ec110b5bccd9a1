//! `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`: asking other people's servers whether an object is
//! welcome, and how they would change it (`apiserver/pkg/admission/plugin/webhook`).
//!
//! ```text
//! configurations ─> Hooks, by name ─ criteria, conditions ─> AdmissionReview ─> the webhook ─> Verdict
//!   mutating:   one after the other; each sees the patches of those before; a second round for those that wish it
//!   validating: all at once; the first refusal in their order counts
//! ```

mod ask;
mod conditions;
mod hook;
mod hooks;
pub(super) mod mutating;
mod reinvocation;
mod review;
pub(super) mod settle;
pub(super) mod validating;

pub(super) use ask::show;
pub(crate) use hooks::{Hooks, is_configuration};
pub(super) use reinvocation::Reinvocation;
pub(super) use review::described;
