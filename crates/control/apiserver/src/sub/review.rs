//! Reviews: "may I", "may he", "who am I". Answered, not kept.

use k8s_openapi::api::authentication::v1::{TokenReviewSpec, TokenReviewStatus};
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
        "selfsubjectaccessreviews" => {
            document(&reviews::self_subject_access(typed(&review)?, &call.user, &authorizer)?)
        }
        "subjectaccessreviews" => document(&reviews::subject_access(typed(&review)?, &authorizer)?),
        "localsubjectaccessreviews" => {
            document(&reviews::local_subject_access(typed(&review)?, &call.namespace, &authorizer)?)
        }
        "selfsubjectrulesreviews" if review.str_at(&["spec", "namespace"]).is_empty() => {
            Err(Status::bad_request("no namespace on request"))
        }
        "selfsubjectrulesreviews" => document(&reviews::self_subject_rules(typed(&review)?, &call.user, &authorizer)),
        "tokenreviews" => token(api, review),
        "selfsubjectreviews" => {
            let mut answered = review;
            answered.set(&["status"], json!(reviews::self_subject(&call.user)));
            Ok(answered)
        }
        _ => return Err(Status::method_not_allowed(&call.resource, call.verb.as_str())),
    };
    Ok(Outcome::Document { code: 201, object: answered? })
}

/// Tells whose token it is, or why it is nobody's (`pkg/registry/authentication/tokenreview`).
fn token(api: &Api, mut review: Object) -> Result<Object, Status> {
    let spec: TokenReviewSpec =
        review.at(&["spec"]).cloned().and_then(|spec| serde_json::from_value(spec).ok()).unwrap_or_default();
    if spec.token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let status = match api.authenticator.review(&spec.token, &spec.audiences.unwrap_or_default()) {
        Ok((user, audiences)) => TokenReviewStatus {
            authenticated: Some(true),
            user: reviews::self_subject(&user).user_info,
            audiences: Some(audiences),
            ..TokenReviewStatus::default()
        },
        Err(refusal) => TokenReviewStatus { error: Some(refusal.to_string()), ..TokenReviewStatus::default() },
    };
    review.set(&["status"], json!(status));
    Ok(review)
}

fn typed<K: DeserializeOwned>(review: &Object) -> Result<K, Status> {
    review.to_typed().map_err(|error| Status::bad_request(error.to_string()))
}

fn document<K: Serialize>(review: &K) -> Result<Object, Status> {
    Object::from_typed(review).map_err(|error| Status::internal(&error))
}
