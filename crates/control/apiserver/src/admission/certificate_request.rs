//! Who asks for a certificate is for the server to say, not for the request
//! (`pkg/registry/certificates/certificates/strategy.go`, `PrepareForCreate`).

use serde_json::json;
use wkube_api::Object;

use crate::auth::User;

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
    fn a_request_cannot_claim_to_come_from_somebody_else() {
        let claimed = json!({"spec": {"username": "admin", "uid": "1", "groups": ["system:masters"]}});
        let mut request = Object(claimed.as_object().expect("an object").clone());
        on_create(&User::known("system:bootstrap:abcdef", ["system:bootstrappers"]), &mut request);
        assert_eq!(request.str_at(&["spec", "username"]), "system:bootstrap:abcdef");
        assert_eq!(request.at(&["spec", "groups"]), Some(&json!(["system:bootstrappers", "system:authenticated"])));
        assert_eq!(request.at(&["spec", "uid"]), None);
    }
}
