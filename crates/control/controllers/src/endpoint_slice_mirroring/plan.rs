//! Decides which `EndpointSlices` mirror the Endpoints that somebody wrote by hand for a Service without a selector
//! (`pkg/controller/endpointslicemirroring`). Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::subsets::{self, ADDRESSES_MAX, Mirrored, Wanted};
use crate::common::{ObjectRef, meta};

/// The label that names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that says who keeps a slice up to date.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value for this controller.
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// The label of Endpoints that are not to be mirrored.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints that were a lock for the election of a leader, before there were Leases.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// What Endpoints say about themselves only.
const OWN_ANNOTATIONS: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) endpoints: Option<&'a Endpoints>,
    /// The Service of the same name.
    pub(super) service: Option<&'a Service>,
    /// The slices that carry the Service's name, ours or not.
    pub(super) slices: &'a [Arc<EndpointSlice>],
}

/// What to do, in order, and what the author of the Endpoints should know.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) warnings: Vec<Warning>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Creates a slice; the server completes its name.
    Create(Box<EndpointSlice>),
    /// Replaces a slice's contents.
    Update(Box<EndpointSlice>),
    /// Deletes a slice that mirrors nothing any more.
    Delete(ObjectRef),
}

/// An event about the Endpoints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, slice) = match self {
            Self::Create(slice) => ("create", slice),
            Self::Update(slice) => ("update", slice),
            Self::Delete(slice) => return write!(f, "delete {slice}"),
        };
        let name = slice.metadata.name.as_ref().or(slice.metadata.generate_name.as_ref());
        let addresses = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
        write!(f, "{verb} {}: {:?}", name.map_or("", String::as_str), addresses.collect::<Vec<_>>())
    }
}

/// Decides. Slices that mirror nothing any more go.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let mut unused: Vec<&EndpointSlice> =
        observed.slices.iter().map(Arc::as_ref).filter(|slice| is_ours(slice)).collect();
    unused.sort_by_key(|slice| meta::name(&slice.metadata));
    let Some(endpoints) = to_mirror(observed) else {
        return Plan { actions: unused.into_iter().map(delete).collect(), warnings: Vec::new() };
    };
    let mirrored = subsets::mirrored(endpoints);
    let warnings = warnings(&mirrored);

    // A slice with the right ports stays theirs; of what is left, any of the family is recycled.
    let mut actions = Vec::new();
    let mut homeless = Vec::new();
    for wanted in mirrored.slices {
        let fits = |slice: &&EndpointSlice| {
            slice.address_type == wanted.family && slice.ports.as_deref().unwrap_or_default() == wanted.ports
        };
        match unused.iter().position(fits) {
            Some(index) => actions.extend(update(endpoints, unused.remove(index), wanted)),
            None => homeless.push(wanted),
        }
    }
    for wanted in homeless {
        match unused.iter().position(|slice| slice.address_type == wanted.family) {
            Some(index) => actions.extend(update(endpoints, unused.remove(index), wanted)),
            None => actions.push(Action::Create(Box::new(slice(endpoints, wanted)))),
        }
    }
    actions.extend(unused.into_iter().map(delete));
    Plan { actions, warnings }
}

/// Returns the Endpoints if they are to be mirrored: those of a Service that selects nothing.
fn to_mirror<'a>(observed: &Observed<'a>) -> Option<&'a Endpoints> {
    let selector = observed.service?.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selects = selector.is_some_and(|selector| !selector.is_empty());
    let endpoints = observed.endpoints.filter(|endpoints| !meta::is_deleting(&endpoints.metadata))?;
    let skips = meta::labels(&endpoints.metadata).get(SKIP_MIRROR).is_some_and(|skip| skip == "true");
    let is_lock = meta::annotation(&endpoints.metadata, LEADER).is_some();
    (!selects && !skips && !is_lock).then_some(endpoints)
}

fn is_ours(slice: &EndpointSlice) -> bool {
    let manager = meta::labels(&slice.metadata).get(MANAGED_BY);
    manager.is_some_and(|manager| manager == MANAGER) && !meta::is_deleting(&slice.metadata)
}

fn warnings(mirrored: &Mirrored) -> Vec<Warning> {
    let Mirrored { invalid, skipped, .. } = mirrored;
    let mut warnings = Vec::new();
    if *invalid > 0 {
        let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        warnings.push(Warning { reason: "InvalidIPAddress", message });
    }
    if skipped > invalid {
        let message = format!(
            "A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"
        );
        warnings.push(Warning { reason: "TooManyAddressesToMirror", message });
    }
    warnings
}

fn delete(slice: &EndpointSlice) -> Action {
    Action::Delete(ObjectRef::of(&slice.metadata))
}

/// Returns the update of a slice, unless it says all that already.
fn update(endpoints: &Endpoints, known: &EndpointSlice, wanted: Wanted) -> Option<Action> {
    let wanted = slice(endpoints, wanted);
    let owners = |slice: &EndpointSlice| slice.metadata.owner_references.clone().unwrap_or_default();
    let annotations = |slice: &EndpointSlice| slice.metadata.annotations.clone().unwrap_or_default();
    let same = known.endpoints == wanted.endpoints
        && known.ports.as_deref().unwrap_or_default() == wanted.ports.as_deref().unwrap_or_default()
        && known.metadata.labels == wanted.metadata.labels
        && annotations(known) == annotations(&wanted)
        && owners(known) == owners(&wanted);
    if same {
        return None;
    }
    let ObjectMeta { labels, annotations, owner_references, .. } = wanted.metadata;
    let metadata = ObjectMeta { labels, annotations, owner_references, ..known.metadata.clone() };
    Some(Action::Update(Box::new(EndpointSlice { metadata, ..wanted })))
}

fn slice(endpoints: &Endpoints, wanted: Wanted) -> EndpointSlice {
    let name = meta::name(&endpoints.metadata);
    let mut labels = meta::labels(&endpoints.metadata).clone();
    labels.insert(SERVICE_NAME.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations: BTreeMap<String, String> = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![meta::controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: wanted.family.to_owned(),
        ports: (!wanted.ports.is_empty()).then_some(wanted.ports),
        endpoints: Some(wanted.endpoints),
    }
}
