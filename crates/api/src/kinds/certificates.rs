//! Requests for certificates, and trust bundles (`certificates.k8s.io`).

mod pod_request;
mod rules;
mod signing_request;

use super::print::{self, Col, Text};
use super::simple::{Parts, Simple};
use crate::resource::Part;
pub(super) use signing_request::CERTIFICATE_REQUEST;

/// The manners of cluster trust bundles.
pub(super) const CLUSTER_TRUST_BUNDLE: Simple = Simple {
    columns: &[print::NAME, Col("SignerName", Text, "signerName indicates the associated signer, if any.")],
    cells: |object, _| {
        vec![object.name().into(), print::or_none(object.str_at(&["spec", "signerName"]).to_owned()).into()]
    },
    field: |object, path| (path == "spec.signerName").then(|| object.str_at(&["spec", "signerName"]).to_owned()),
    ..Simple::PLAIN
};

/// The manners of the requests of pods for certificates.
pub(super) const POD_CERTIFICATE_REQUEST: Simple = Simple {
    columns: print::CREATED_AT_COLUMNS,
    cells: print::created_at_cells,
    parts: Parts::StatusOnly,
    default: pod_request::default,
    validate: pod_request::validate,
    part: |subresource| (subresource == "status").then_some(&pod_request::Issuing as &dyn Part),
    field: |object, path| match path {
        "spec.signerName" => Some(object.str_at(&["spec", "signerName"]).to_owned()),
        "spec.podName" => Some(object.str_at(&["spec", "podName"]).to_owned()),
        "spec.nodeName" => Some(object.str_at(&["spec", "nodeName"]).to_owned()),
        _ => None,
    },
    ..Simple::PLAIN
};

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_bundle_shows_its_signer_and_is_selected_by_it() {
        let bundle = object(json!({"metadata": {"name": "b"}, "spec": {"signerName": "x.io/s"}}));
        assert_eq!(CLUSTER_TRUST_BUNDLE.cells(&bundle, Timestamp::UNIX_EPOCH), [json!("b"), json!("x.io/s")]);
        assert_eq!(CLUSTER_TRUST_BUNDLE.field(&bundle, "spec.signerName").as_deref(), Some("x.io/s"));
        assert_eq!(CLUSTER_TRUST_BUNDLE.cells(&object(json!({})), Timestamp::UNIX_EPOCH)[1], "<none>");
    }

    #[test]
    fn nodes_select_the_requests_of_their_pods() {
        let request = object(json!({"spec": {"nodeName": "n", "podName": "p"}}));
        assert_eq!(POD_CERTIFICATE_REQUEST.field(&request, "spec.nodeName").as_deref(), Some("n"));
        assert_eq!(POD_CERTIFICATE_REQUEST.field(&request, "spec.podUID"), None);
    }
}
