//! Keeps one cache like the server's state of a kind: list and watch, resume, start over.

use std::sync::Arc;

use wkube_base::Rng;

use crate::api::{Api, Scope};
use crate::cache::Cache;
use crate::kind::Kind;

/// Feeds `cache` for ever.
pub(crate) async fn run<K: Kind>(_api: Api<K>, _scope: Scope, _cache: Arc<Cache<K>>, _rng: Rng) {}
