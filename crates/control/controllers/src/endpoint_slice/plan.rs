//! Decides which `EndpointSlices` and which Endpoints one Service needs (`staging/src/k8s.io/endpointslice`). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::endpoints;
use super::members::{self, Member};
use crate::common::{ObjectRef, meta};

/// The most endpoints of one slice (`--max-endpoints-per-slice`).
pub(super) const SLICE_ENDPOINTS_MAX: usize = 100;

/// The label that names the Service of a slice.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that says who keeps a slice up to date.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value for this controller.
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// The label that a headless Service gives to its slices.
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) service: &'a Service,
    /// The pods of the namespace that the Service's selector matches.
    pub(super) pods: &'a [Arc<Pod>],
    /// The slices that carry the Service's name, ours or not.
    pub(super) slices: &'a [Arc<EndpointSlice>],
    /// The Endpoints of the Service's name.
    pub(super) endpoints: Option<&'a Endpoints>,
    /// The zone of each node that has one.
    pub(super) zones: &'a BTreeMap<String, String>,
}

/// What to do, in order: additions come before removals, so that no endpoint is missing in between.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Creates a slice; the server completes its name.
    Create(Box<EndpointSlice>),
    /// Replaces a slice's contents.
    Update(Box<EndpointSlice>),
    /// Deletes a slice that is not needed any more.
    Delete(ObjectRef),
    /// Creates the Endpoints.
    CreateEndpoints(Box<Endpoints>),
    /// Replaces the Endpoints' contents.
    UpdateEndpoints(Box<Endpoints>),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(slice) => write!(f, "create slice: {}", summary(slice)),
            Self::Update(slice) => write!(f, "update {}: {}", meta::name(&slice.metadata), summary(slice)),
            Self::Delete(slice) => write!(f, "delete {slice}: not needed"),
            Self::CreateEndpoints(endpoints) => write!(f, "create endpoints: {}", endpoints::summary(endpoints)),
            Self::UpdateEndpoints(endpoints) => write!(f, "update endpoints: {}", endpoints::summary(endpoints)),
        }
    }
}

/// Decides. A Service without a selector, or one that is an alias, has nothing of ours: its endpoints are the user's.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let Some(spec) = &observed.service.spec else { return Plan::default() };
    let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
    if !selects || spec.type_.as_deref() == Some("ExternalName") || meta::is_deleting(&observed.service.metadata) {
        return Plan::default();
    }
    let members = members::of(observed.service, observed.pods, observed.zones);

    let mut actions = Vec::new();
    let mut ours: Vec<&EndpointSlice> =
        observed.slices.iter().map(Arc::as_ref).filter(|slice| is_ours(slice, observed.service)).collect();
    ours.sort_by_key(|slice| meta::name(&slice.metadata));
    for family in members::families(observed.service) {
        let wanted: Vec<&Member> = members.iter().filter(|member| member.family == family).collect();
        let (kept, others) = ours.into_iter().partition(|slice| slice.address_type == family);
        ours = others;
        actions.extend(slices(observed.service, family, &wanted, kept));
    }
    // Slices of a family that the Service no longer has.
    actions.extend(ours.into_iter().map(|slice| Action::Delete(ObjectRef::of(&slice.metadata))));
    actions.sort_by_key(|action| match action {
        Action::Create(_) => 0,
        Action::Update(_) => 1,
        Action::Delete(_) => 2,
        Action::CreateEndpoints(_) | Action::UpdateEndpoints(_) => 3,
    });
    actions.extend(endpoints::plan(observed.service, &members, observed.endpoints));
    Plan { actions }
}

fn is_ours(slice: &EndpointSlice, service: &Service) -> bool {
    let labels = meta::labels(&slice.metadata);
    labels.get(MANAGED_BY).map(String::as_str) == Some(MANAGER)
        && labels.get(SERVICE_NAME).map(String::as_str) == Some(meta::name(&service.metadata))
        && !meta::is_deleting(&slice.metadata)
}

/// Plans the slices of one address family. Pods that resolve a named port differently have slices of their own.
fn slices(service: &Service, family: &str, members: &[&Member], existing: Vec<&EndpointSlice>) -> Vec<Action> {
    let mut groups: Vec<(Vec<EndpointPort>, Vec<&Member>)> = Vec::new();
    for member in members {
        match groups.iter_mut().find(|(ports, _)| *ports == member.ports) {
            Some((_, group)) => group.push(member),
            None => groups.push((member.ports.clone(), vec![member])),
        }
    }

    let (mut actions, mut unused) = (Vec::new(), existing);
    for (ports, group) in groups {
        let has_ports = |slice: &&EndpointSlice| slice.ports.as_deref().unwrap_or_default() == ports;
        let (matching, others) = unused.into_iter().partition(has_ports);
        unused = others;
        let (planned, empty) = fill(service, &ports, family, group, matching);
        actions.extend(planned);
        unused.extend(empty);
    }
    // A Service whose selector matches nothing still has one empty slice: it says so.
    if members.is_empty() {
        if unused.is_empty() {
            return vec![Action::Create(Box::new(slice(service, family, Vec::new(), Vec::new())))];
        }
        let keeper = unused.remove(0);
        actions.extend(update(service, keeper, Vec::new(), Vec::new()));
    }
    actions.extend(unused.into_iter().map(|slice| Action::Delete(ObjectRef::of(&slice.metadata))));
    actions
}

/// Plans the slices of one set of ports: endpoints stay where they are, and new ones fill slices that change anyway
/// before others, so that as few slices as possible are written. Returns the slices that end up empty too.
fn fill<'a>(
    service: &Service,
    ports: &[EndpointPort],
    family: &str,
    members: Vec<&Member>,
    existing: Vec<&'a EndpointSlice>,
) -> (Vec<Action>, Vec<&'a EndpointSlice>) {
    let mut wanted: BTreeMap<String, Endpoint> =
        members.into_iter().map(|member| (member.id(), member.endpoint.clone())).collect();

    let mut filled: Vec<(&EndpointSlice, Vec<Endpoint>, bool)> = Vec::new();
    for slice in existing {
        let before = slice.endpoints.as_deref().unwrap_or_default();
        let kept: Vec<Endpoint> =
            before.iter().filter_map(|endpoint| wanted.remove(&members::id_of(endpoint))).collect();
        let changed = kept != before;
        filled.push((slice, kept, changed));
    }

    let mut new: std::collections::VecDeque<Endpoint> = wanted.into_values().collect();
    filled.sort_by_key(|(slice, _, changed)| (!changed, meta::name(&slice.metadata)));
    for (_, endpoints, changed) in &mut filled {
        // An unchanged slice is only touched if all that is left fits into it; else new slices take it.
        let room = SLICE_ENDPOINTS_MAX.saturating_sub(endpoints.len());
        if *changed || new.len() <= room {
            let taken = room.min(new.len());
            *changed |= taken > 0;
            endpoints.extend(new.drain(..taken));
        }
    }

    let (mut actions, mut empty) = (Vec::new(), Vec::new());
    while !new.is_empty() {
        let taken = SLICE_ENDPOINTS_MAX.min(new.len());
        let endpoints = new.drain(..taken).collect();
        actions.push(Action::Create(Box::new(slice(service, family, ports.to_vec(), endpoints))));
    }
    for (slice, endpoints, _) in filled {
        if endpoints.is_empty() {
            empty.push(slice);
        } else {
            actions.extend(update(service, slice, ports.to_vec(), endpoints));
        }
    }
    (actions, empty)
}

/// Returns the update of a slice, unless it says all that already.
fn update(
    service: &Service,
    known: &EndpointSlice,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> Option<Action> {
    let wanted = slice(service, &known.address_type, ports, endpoints);
    let same = known.endpoints.as_deref().unwrap_or_default() == wanted.endpoints.as_deref().unwrap_or_default()
        && known.ports.as_deref().unwrap_or_default() == wanted.ports.as_deref().unwrap_or_default()
        && known.metadata.labels == wanted.metadata.labels;
    if same {
        return None;
    }
    let metadata = ObjectMeta { labels: wanted.metadata.labels, ..known.metadata.clone() };
    Some(Action::Update(Box::new(EndpointSlice { metadata, ..wanted })))
}

fn slice(service: &Service, family: &str, ports: Vec<EndpointPort>, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = meta::name(&service.metadata);
    let mut labels = meta::labels(&service.metadata).clone();
    labels.insert(SERVICE_NAME.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ports: (!ports.is_empty()).then_some(ports),
        endpoints: Some(endpoints),
    }
}

fn owner(service: &Service) -> OwnerReference {
    meta::controller_ref(service)
}

fn summary(slice: &EndpointSlice) -> String {
    let endpoints = slice.endpoints.as_deref().unwrap_or_default();
    let names: BTreeSet<&str> =
        endpoints.iter().filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref()).collect();
    if names.len() > 4 { format!("{} endpoints", names.len()) } else { format!("{names:?}") }
}
