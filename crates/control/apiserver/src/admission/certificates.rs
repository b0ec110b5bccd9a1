//! `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`: who may approve and sign for which
//! signer, and what nobody may ask for (`plugin/pkg/admission/certificates`).
//!
//! Who asks is for the server to say, not for the request (`pkg/registry/certificates/certificates/strategy.go`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use wkube_api::status::FieldError;
use wkube_api::{Object, Status};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::{Attributes, Operation};
use crate::access;
use crate::auth::{self, MASTERS, User};

/// The group of certificate requests.
pub(crate) const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const POD_REQUESTS: &str = "podcertificaterequests";
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";

/// Refuses approvals and signatures by those who may not, and requests for everything.
pub(super) fn validate(attributes: &Attributes<'_>, request: &Object) -> Result<(), Status> {
    if attributes.creates(GROUP, REQUESTS) {
        return check_subject(attributes, request);
    }
    let Some(old) = attributes.old.filter(|_| attributes.operation == Operation::Update) else { return Ok(()) };
    // The stored name counts: an update cannot choose another signer.
    let signer = old.str_at(&["spec", "signerName"]);
    if attributes.is_for_part(GROUP, REQUESTS, "approval") && !may(attributes, "approve", signer) {
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        return Err(attributes.forbidden(request, why));
    }
    let changed = |path: &[&str]| request.at(path) != old.at(path);
    // The chain of a pod's certificate may only be written by its signer, too (`podcertificaterequest/strategy.go`).
    if attributes.is_for_part(GROUP, POD_REQUESTS, "status")
        && changed(&["status", "certificateChain"])
        && !may(attributes, "sign", signer)
    {
        let who = &attributes.call.user.name;
        let why = format!("User {who:?} is not permitted to \"sign\" for signer {signer:?}");
        let errors = vec![FieldError::forbidden("spec.signerName", &why)];
        return Err(Status::invalid_object(&attributes.call.resource, request.name(), errors));
    }
    let signs = changed(&["status", "certificate"]) || changed(&["status", "conditions"]);
    if attributes.is_for_part(GROUP, REQUESTS, "status") && signs && !may(attributes, "sign", signer) {
        let why = format!("user not permitted to sign requests with signerName {signer:?}");
        return Err(attributes.forbidden(request, why));
    }
    Ok(())
}

/// Asks for the verb on the signer, or on all signers of its domain (`IsAuthorizedForSignerName`).
fn may(attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let call = attributes.call;
    let Some(policy) = call.policy.as_deref().filter(|_| !call.user.is_in(MASTERS)) else { return true };
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
        let wanted = auth::Attributes { verb, group: GROUP, resource: "signers", name, ..auth::Attributes::default() };
        access::authorizer(attributes.registry, policy).decide(&call.user, &wanted).is_allowed()
    })
}

/// Nobody becomes a cluster administrator through a request.
fn check_subject(attributes: &Attributes<'_>, request: &Object) -> Result<(), Status> {
    if request.str_at(&["spec", "signerName"]) != CLIENTS {
        return Ok(());
    }
    let organizations = organizations(request.str_at(&["spec", "request"]));
    if organizations.is_some_and(|all| all.iter().any(|one| one == MASTERS)) {
        let why = format!("use of {CLIENTS} signer with {MASTERS} group is not allowed");
        return Err(attributes.forbidden(request, why));
    }
    Ok(())
}

/// Returns the groups that a PEM request in base64 is about; `None` if it is no request, which validation refuses.
fn organizations(request: &str) -> Option<Vec<String>> {
    let pem = STANDARD.decode(request).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &parsed.certification_request_info.subject;
    let names = subject.iter_organization().filter_map(|name| name.as_str().ok().map(str::to_owned));
    Some(names.collect())
}

/// Writes the requester into a new `CertificateSigningRequest`, over whatever it claims.
pub(super) fn on_create(user: &User, request: &mut Object) {
    request.set(&["spec", "username"], user.name.as_str());
    request.set(&["spec", "groups"], json!(user.groups));
    for field in ["uid", "extra"] {
        request.remove(&["spec", field]);
    }
    if !user.uid.is_empty() {
        request.set(&["spec", "uid"], user.uid.as_str());
    }
    if !user.extra.is_empty() {
        request.set(&["spec", "extra"], json!(user.extra));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_request_are_its_organizations() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, MASTERS);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.serialize_request(&key).expect("a request").pem().expect("text");
        assert_eq!(organizations(&STANDARD.encode(pem)), Some(vec![MASTERS.to_owned()]));
        assert_eq!(organizations("bm9uc2Vuc2U="), None);
    }

    #[test]
    fn a_request_cannot_claim_to_come_from_somebody_else() {
        let claimed = json!({"spec": {"username": "admin", "uid": "1", "groups": ["system:masters"]}});
        let mut request = Object(claimed.as_object().expect("an object").clone());
        on_create(&User::known("system:bootstrap:abcdef", ["system:bootstrappers"]), &mut request);
        assert_eq!(request.str_at(&["spec", "username"]), "system:bootstrap:abcdef");
        assert_eq!(request.at(&["spec", "groups"]), Some(&json!(["system:bootstrappers", "system:authenticated"])));
        assert_eq!(request.at(&["spec", "uid"]), None);
    }
}
