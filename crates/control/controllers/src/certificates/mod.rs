//! The certificates controller: approves and signs the client certificates of nodes.

mod plan;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Client, Controller, Error, Lister, Next, Reconcile};

use crate::common::{ObjectRef, meta, perform, request};
use crate::{Context, Signer};
use plan::{Action, Observed};

struct Reconciler {
    requests: Lister<CertificateSigningRequest>,
    signer: Arc<dyn Signer>,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let requests = context.informers.lister::<CertificateSigningRequest>();
    let reconciler =
        Reconciler { requests: requests.clone(), signer: Arc::clone(&context.signer), clock: context.clock.clone() };
    Controller::new(reconciler, &context.rng).for_each(&requests).start(&context.client, &context.clock, tasks);
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "certificatesigningrequest"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(request) = self.requests.get(key) else { return Ok(Next::Done) };
        let pem = String::from_utf8_lossy(&request.spec.request.0);
        let subject = self.signer.subject(&pem);
        let plan = plan::plan(&Observed {
            request: &request,
            subject: subject.as_ref().map_err(ToString::to_string),
            now: self.clock.now(),
        });
        match plan.action {
            None => {}
            Some(Action::Approve) => {
                let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
                let approved = self.with_condition(&request, "Approved", "AutoApproved", message);
                let path = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{}/approval", key.name);
                request::put(client, &path, &json!(approved)).await?;
            }
            Some(Action::Sign(ttl)) => {
                let signed = match self.signer.sign_client(&pem, ttl) {
                    Ok(certificate) => with_certificate(&request, certificate),
                    Err(error) => {
                        self.with_condition(&request, "Failed", "SignerValidationFailure", &error.to_string())
                    }
                };
                Api::<CertificateSigningRequest>::new(client).replace_status(&signed).await?;
            }
            Some(Action::Fail(why)) => {
                let failed = self.with_condition(&request, "Failed", "SignerValidationFailure", &why);
                Api::<CertificateSigningRequest>::new(client).replace_status(&failed).await?;
            }
            Some(Action::Delete) => {
                let reference = ObjectRef::of(&request.metadata);
                perform::delete::<CertificateSigningRequest>(client, "", &reference).await?;
            }
        }
        Ok(plan.revisit_at.into())
    }
}

impl Reconciler {
    fn with_condition(
        &self,
        request: &CertificateSigningRequest,
        kind: &str,
        reason: &str,
        message: &str,
    ) -> CertificateSigningRequest {
        let now = meta::time(self.clock.now());
        let condition = CertificateSigningRequestCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(now.clone()),
            last_transition_time: Some(now),
        };
        let mut changed = request.clone();
        changed.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
        changed
    }
}

fn with_certificate(request: &CertificateSigningRequest, certificate: String) -> CertificateSigningRequest {
    let status = request.status.clone().unwrap_or_default();
    let certificate = Some(ByteString(certificate.into_bytes()));
    CertificateSigningRequest {
        status: Some(CertificateSigningRequestStatus { certificate, ..status }),
        ..request.clone()
    }
}
