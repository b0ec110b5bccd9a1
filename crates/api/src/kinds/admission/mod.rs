//! The kinds that extend admission: policies in CEL, webhooks, and what binds policies to objects.

mod policies;
mod policy_rules;
mod type_check;
mod webhooks;

pub(super) use policies::{MUTATING_BINDING, MUTATING_POLICY, VALIDATING_BINDING, VALIDATING_POLICY};
pub(super) use webhooks::{Configuration, check_client_config, check_conversion_reviews};
