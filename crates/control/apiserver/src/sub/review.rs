//! Reviews: "may I", "may he", "who am I". Answered, not kept.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use wkube_api::{Object, Status};

use crate::Api;
use crate::access::{self, Fresh};
use crate::auth::reviews;
use crate::call::Call;
use crate::registry::{Outcome, decode};

/// Answers POST of a review.
pub(super) async fn answer(api: &Api, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let review = decode::body(call, body)?;
    let policy = api.access.policy(&api.registry, Fresh::Yes).await;
    let authorizer = access::authorizer(&api.registry, &policy);
    let answered = match &*call.resource.plural {
        "selfsubjectaccessreviews" => document(&reviews::self_subject_access(typed(&review)?, &call.user, &authorizer)?),
        "subjectaccessreviews" => document(&reviews::subject_access(typed(&review)?, &authorizer)?),
        "localsubjectaccessreviews" => {
            document(&reviews::local_subject_access(typed(&review)?, &call.namespace, &authorizer)?)
        }
        "selfsubjectrulesreviews" => document(&reviews::self_subject_rules(typed(&review)?, &call.user, &authorizer)),
        "selfsubjectreviews" => {
            let mut answered = review;
            answered.set(&["status"], json!(reviews::self_subject(&call.user)));
            Ok(answered)
        }
        _ => return Err(Status::method_not_allowed(&call.resource, call.verb.as_str())),
    };
    Ok(Outcome::Document { code: 201, object: answered? })
}

fn typed<K: DeserializeOwned>(review: &Object) -> Result<K, Status> {
    review.to_typed().map_err(|error| Status::bad_request(error.to_string()))
}

fn document<K: Serialize>(review: &K) -> Result<Object, Status> {
    Object::from_typed(review).map_err(|error| Status::internal(&error))
}
