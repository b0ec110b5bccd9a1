//! What a namespace gets, keeps, and no longer gets.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, NamespaceStatus, ServiceAccount};

use super::plan::{Action, Observed, plan};
use crate::common::meta;
use crate::testing::{at, labels, lines};

fn namespace() -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("team".to_owned());
    namespace
}

fn root_ca(pem: &str) -> ConfigMap {
    ConfigMap { data: Some(labels(&[("ca.crt", pem)])), ..ConfigMap::default() }
}

fn look(namespace: &Namespace, account: Option<&ServiceAccount>, root_ca: Option<&ConfigMap>) -> Vec<Action> {
    plan(&Observed { namespace, account, root_ca, ca_pem: "PEM" })
}

#[test]
fn a_new_namespace_gets_an_account_and_the_ca() {
    let actions = look(&namespace(), None, None);
    let [Action::CreateAccount(account), Action::CreateRootCa(root_ca)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!((meta::name(&account.metadata), meta::namespace(&account.metadata)), ("default", "team"));
    assert_eq!((meta::name(&root_ca.metadata), meta::namespace(&root_ca.metadata)), ("kube-root-ca.crt", "team"));
    assert_eq!(root_ca.data, Some(labels(&[("ca.crt", "PEM")])));
}

#[test]
fn what_is_there_already_stays_and_what_was_changed_is_restored() {
    let account = ServiceAccount::default();
    assert_eq!(look(&namespace(), Some(&account), Some(&root_ca("PEM"))), []);
    let actions = look(&namespace(), Some(&account), Some(&root_ca("old")));
    assert_eq!(lines(&actions), "restore the CA\n");
    let [Action::UpdateRootCa(updated)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(look(&namespace(), Some(&account), Some(updated)), [], "and then it rests");
}

#[test]
fn a_namespace_that_is_ending_gets_nothing() {
    let mut ending = namespace();
    ending.metadata.deletion_timestamp = Some(meta::time(at(0)));
    assert_eq!(look(&ending, None, None), []);
    let mut ending = namespace();
    ending.status = Some(NamespaceStatus { phase: Some("Terminating".to_owned()), ..NamespaceStatus::default() });
    assert_eq!(look(&ending, None, None), []);
}
