//! Who gets a certificate, and for what.

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};

use super::plan::{CLIENT, KUBELET_CLIENT, Observed, plan};
use crate::Subject;
use crate::testing::{at, metadata};

fn request(user: &str, groups: &[&str]) -> CertificateSigningRequest {
    let strings = |list: &[&str]| Some(list.iter().map(|&item| item.to_owned()).collect());
    let spec = CertificateSigningRequestSpec {
        signer_name: KUBELET_CLIENT.to_owned(),
        username: Some(user.to_owned()),
        groups: strings(groups),
        usages: strings(&["digital signature", "client auth"]),
        ..CertificateSigningRequestSpec::default()
    };
    CertificateSigningRequest { metadata: metadata("csr"), spec, status: None }
}

fn joining() -> CertificateSigningRequest {
    request("system:bootstrap:abcdef", &["system:bootstrappers", "system:authenticated"])
}

fn node(name: &str) -> Subject {
    Subject {
        common_name: format!("system:node:{name}"),
        organizations: vec!["system:nodes".to_owned()],
        alternative_names: 0,
    }
}

fn marked(mut request: CertificateSigningRequest, condition: &str) -> CertificateSigningRequest {
    let made = CertificateSigningRequestCondition {
        type_: condition.to_owned(),
        status: "True".to_owned(),
        ..CertificateSigningRequestCondition::default()
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(made);
    request
}

#[track_caller]
fn check(request: &CertificateSigningRequest, subject: &Subject, second: i64, expected: &str) {
    let plan = plan(&Observed { request, subject: Ok(subject), now: at(second) });
    assert_eq!(plan.action.map(|action| action.to_string()).unwrap_or_default(), expected);
}

const APPROVED: &str = "approve: a node's client certificate";

#[test]
fn a_token_or_the_node_itself_gets_a_node_certificate() {
    check(&joining(), &node("n1"), 1, APPROVED);
    check(&request("system:node:n1", &["system:nodes"]), &node("n1"), 1, APPROVED);
}

#[test]
fn a_node_cannot_become_another_and_users_wait_for_a_person() {
    check(&request("system:node:n2", &["system:nodes"]), &node("n1"), 1, "");
    check(&request("alice", &["developers"]), &node("n1"), 1, "");
}

#[test]
fn what_is_not_exactly_a_node_client_is_not_approved() {
    let admin = Subject { organizations: vec!["system:masters".to_owned()], ..node("n1") };
    check(&joining(), &admin, 1, "");
    let both = Subject { organizations: vec!["system:nodes".to_owned(), "system:masters".to_owned()], ..node("n1") };
    check(&joining(), &both, 1, "");
    check(&joining(), &Subject { alternative_names: 1, ..node("n1") }, 1, "");
    check(&joining(), &node(""), 1, "");
    let mut server = joining();
    server.spec.usages = Some(vec!["server auth".to_owned(), "client auth".to_owned()]);
    check(&server, &node("n1"), 1, "");
    let mut other = joining();
    other.spec.signer_name = CLIENT.to_owned();
    check(&other, &node("n1"), 1, "");
}

#[test]
fn what_is_approved_is_signed_for_as_long_as_asked_within_limits() {
    let mut approved = marked(joining(), "Approved");
    check(&approved, &node("n1"), 1, "sign for 31536000 s");
    for (asked, given) in [(3600, 3600), (5, 600), (i32::MAX, 31_536_000)] {
        approved.spec.expiration_seconds = Some(asked);
        check(&approved, &node("n1"), 1, &format!("sign for {given} s"));
    }
}

#[test]
fn an_approval_does_not_turn_a_kubelet_certificate_into_an_administrators() {
    let admin = Subject { organizations: vec!["system:masters".to_owned()], ..node("n1") };
    check(&marked(joining(), "Approved"), &admin, 1, "fail: subject organization is not system:nodes");
    let mut client = marked(joining(), "Approved");
    client.spec.signer_name = CLIENT.to_owned();
    check(&client, &admin, 1, "fail: certificates of the group system:masters are not signed");
}

#[test]
fn an_unreadable_request_fails_once_it_is_approved() {
    let look = |request: &CertificateSigningRequest| {
        let subject = Err("no PEM".to_owned());
        plan(&Observed { request, subject, now: at(1) }).action.map(|action| action.to_string())
    };
    assert_eq!(look(&joining()), None);
    assert_eq!(look(&marked(joining(), "Approved")), Some("fail: no PEM".to_owned()));
}

#[test]
fn decided_requests_rest_for_an_hour_and_pending_ones_for_a_day() {
    let mut signed = marked(joining(), "Approved");
    signed.status.get_or_insert_default().certificate = Some(ByteString(b"PEM".to_vec()));
    let gone = "delete: decided or waiting for long enough";
    check(&signed, &node("n1"), 3599, "");
    check(&signed, &node("n1"), 3600, gone);
    check(&marked(joining(), "Denied"), &node("n1"), 3600, gone);
    check(&request("alice", &[]), &node("n1"), 86_399, "");
    check(&request("alice", &[]), &node("n1"), 86_400, gone);
}
