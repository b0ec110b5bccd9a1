//! The server's side of fences: who may use them, and the keys that stand for terms. Pure.
//!
//! ```text
//! a candidate claims the Lease ──one commit──> the Lease and its fence, both at revision R
//! the leader's writes name R ──────> committed only while the fence was last written at R
//! the leader renews ───────────────> only the Lease; its fence stays
//! the next one claims it, or it is deleted ──> the fence is written, or deleted: nothing from before passes any more
//! ```

use http::HeaderMap;
use serde_json::Value;
use wkube_api::{Fence, Object, Resource, Status, fence};
use wkube_store::{Key, Op, Precondition, Txn};

use crate::auth::User;
use crate::pipeline::Origin;
use crate::service::header;

const FENCES: &str = "/registry/fences/";
/// Where the Leases are that a control plane's components compete for. Nodes' are elsewhere: nobody competes for them.
const NAMESPACE: &str = "kube-system";
/// What begins with a term, and stays as long as it lasts.
const TERM: [&str; 3] = ["holderIdentity", "acquireTime", "leaseTransitions"];
/// Who leads.
const LEADERS: [&str; 2] = ["system:kube-controller-manager", "system:kube-scheduler"];

/// Returns the fence that a request names.
///
/// # Errors
/// If it is none, or from anybody but the control plane in this process: it is no part of the API.
pub(crate) fn read(headers: &HeaderMap, origin: Origin, user: &User) -> Result<Option<Fence>, Status> {
    if !headers.contains_key(fence::HEADER) {
        return Ok(None);
    }
    if origin != Origin::Process || !LEADERS.contains(&user.name.as_str()) {
        let message = format!("the header {} is for the control plane of this server", fence::HEADER);
        return Err(Status::new(403, "Forbidden", message));
    }
    let fence = header(headers, fence::HEADER).parse();
    fence.map(Some).map_err(|error: fence::Malformed| Status::bad_request(error.to_string()))
}

/// Returns what must hold when a write of this term is committed.
pub(crate) fn condition(fence: &Fence) -> Precondition {
    Precondition::Modified(key(&fence.lease.namespace, &fence.lease.name), wkube_store::Revision(fence.revision))
}

/// Adds to the write of a Lease that of its fence, if with it a term begins or all terms end.
pub(crate) fn raise(txn: &mut Txn, resource: &Resource, old: Option<&Object>, new: Option<&Object>) {
    if resource.group != "coordination.k8s.io" || resource.plural != "leases" {
        return;
    }
    let Some(lease) = new.or(old).filter(|lease| lease.namespace() == NAMESPACE) else { return };
    let key = key(lease.namespace(), lease.name());
    match (old, new) {
        (_, None) => txn.ops.push(Op::Delete(key)),
        (Some(old), Some(new)) if term(old) == term(new) => {}
        // The value is for people: what counts is when it was written.
        (_, Some(new)) => txn.ops.push(Op::Put(key, new.str_at(&["spec", "holderIdentity"]).to_owned().into())),
    }
}

fn key(namespace: &str, name: &str) -> Key {
    format!("{FENCES}{namespace}/{name}").into()
}

fn term(lease: &Object) -> [Option<&Value>; 3] {
    TERM.map(|field| lease.at(&["spec", field]))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;
    use wkube_api::{ObjectKey, kinds};

    use super::*;

    fn lease(namespace: &str, spec: Value) -> Object {
        let lease = json!({"metadata": {"namespace": namespace, "name": "x"}, "spec": spec});
        serde_json::from_value(lease).expect("an object")
    }

    fn ops(old: Option<&Object>, new: Option<&Object>) -> Vec<Op> {
        let leases = kinds::find("coordination.k8s.io", "v1", "leases").expect("a built-in kind");
        let mut txn = Txn::default();
        raise(&mut txn, leases, old, new);
        txn.ops
    }

    fn put(holder: &'static str) -> Vec<Op> {
        vec![Op::Put("/registry/fences/kube-system/x".into(), holder.into())]
    }

    #[test]
    fn a_claim_raises_the_fence_and_a_renewal_does_not() {
        let spec = |holder: &str, acquired: &str, renewed: &str| {
            lease(NAMESPACE, json!({"holderIdentity": holder, "acquireTime": acquired, "renewTime": renewed}))
        };
        let held = spec("a", "1", "1");
        assert_eq!(ops(None, Some(&held)), put("a"));
        assert_eq!(ops(Some(&held), Some(&spec("a", "1", "2"))), []);
        assert_eq!(ops(Some(&held), Some(&spec("b", "1", "2"))), put("b"));
        // The same holder after a gap: it does not know what it did before.
        assert_eq!(ops(Some(&held), Some(&spec("a", "2", "2"))), put("a"));
        // Given up, or taken away by hand.
        assert_eq!(ops(Some(&held), Some(&spec("", "1", "2"))), put(""));
    }

    #[test]
    fn without_a_lease_there_is_no_fence() {
        let held = lease(NAMESPACE, json!({"holderIdentity": "a"}));
        assert_eq!(ops(Some(&held), None), [Op::Delete("/registry/fences/kube-system/x".into())]);
    }

    #[test]
    fn nodes_and_strangers_have_none() {
        for namespace in ["kube-node-lease", "default"] {
            assert_eq!(ops(None, Some(&lease(namespace, json!({"holderIdentity": "a"})))), []);
        }
        let mut txn = Txn::default();
        let pods = kinds::find("", "v1", "pods").expect("a built-in kind");
        raise(&mut txn, pods, None, Some(&lease(NAMESPACE, json!({}))));
        assert_eq!(txn.ops, []);
    }

    fn asked(value: &'static str, origin: Origin, user: &str) -> Result<Option<Fence>, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(fence::HEADER, HeaderValue::from_static(value));
        read(&headers, origin, &User::known(user, ["system:masters"])).map_err(|status| status.code)
    }

    #[test]
    fn only_the_control_plane_of_this_process_may_name_a_fence() {
        let fence = Fence { lease: ObjectKey::new(NAMESPACE, "x"), revision: 7 };
        for leader in LEADERS {
            assert_eq!(asked("kube-system/x=7", Origin::Process, leader), Ok(Some(fence.clone())));
            assert_eq!(asked("kube-system/x=7", Origin::Network(None), leader), Err(403));
        }
        assert_eq!(asked("kube-system/x=7", Origin::Process, "system:node:n"), Err(403));
        assert_eq!(asked("kube-system/x", Origin::Process, LEADERS[0]), Err(400));
        assert_eq!(read(&HeaderMap::new(), Origin::Network(None), &User::known("jane", [""; 0])), Ok(None));
    }
}
