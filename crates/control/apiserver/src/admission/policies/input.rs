//! What expressions see of a request.

use std::sync::Arc;

use serde_json::Value;
use wkube_api::cel::admission::{namespace_type, request_type};
use wkube_api::cel::authorizer::{Authorize, Decision, Question, Stage};
use wkube_api::cel::{Bindings, Val};
use wkube_api::{Object, Resource, Status};

use crate::access::Fresh;
use crate::admission::{Attributes, rules, webhooks};
use crate::auth::{self, Policy, User};
use crate::registry::Registry;

/// The documents of a request, in the version that a rule names.
pub(in crate::admission) struct Input {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
    asked: Question,
    /// The roles and bindings.
    roles: Arc<Policy>,
}

impl Input {
    /// Collects them. A delete has no object, a create no old one.
    pub(in crate::admission) async fn of(
        attributes: &Attributes<'_>,
        object: Option<&Object>,
        kind: &Resource,
    ) -> Result<Self, Status> {
        let (registry, call) = (attributes.registry, attributes.call);
        let document = |object: Option<Object>| object.map_or(Value::Null, |object| Value::Object(object.0));
        let new = document(webhooks::show(attributes, object, &call.resource, kind).await?);
        let old = document(webhooks::show(attributes, attributes.old, &call.resource, kind).await?);
        // A namespace is not in itself.
        let in_namespace = !call.namespace.is_empty() && !call.is_for("", "namespaces");
        let namespace =
            if in_namespace { Value::Object(rules::namespace(registry, &call.namespace)?.0) } else { Value::Null };
        let request = webhooks::described(attributes, kind, object.or(attributes.old));
        let asked = Question {
            stage: Stage::Resource,
            group: call.resource.group.to_string(),
            resource: call.resource.plural.to_string(),
            subresource: call.subresource.clone(),
            namespace: call.namespace.clone(),
            name: request["name"].as_str().unwrap_or_default().to_owned(),
            ..Question::default()
        };
        let roles = registry.policies.access.policy(registry, Fresh::Yes).await;
        Ok(Self { object: new, old, request, namespace, asked, roles })
    }

    /// Returns whoever answers the questions of expressions.
    pub(in crate::admission) fn asker<'a>(&'a self, attributes: &'a Attributes<'_>) -> Asker<'a> {
        Asker { registry: attributes.registry, roles: &self.roles, user: attributes.user() }
    }

    /// Returns the variables of expressions.
    ///
    /// # Errors
    /// If the namespace is not as namespaces are.
    pub(in crate::admission) fn bindings<'a>(&'a self, asker: &'a Asker<'a>) -> Result<Bindings<'a>, String> {
        let typed = |value: &'a Value, of| Val::of(value, &of).map_err(|error| error.to_string());
        Ok(Bindings::new()
            .with_json("object", &self.object)
            .with_json("oldObject", &self.old)
            .with("request", typed(&self.request, request_type())?)
            .with("namespaceObject", typed(&self.namespace, namespace_type())?)
            .with_authorizer(asker, self.asked.clone()))
    }
}

/// Decides about the user of the request, or about a service account.
pub(in crate::admission) struct Asker<'a> {
    registry: &'a Registry,
    roles: &'a Policy,
    user: &'a User,
}

impl Authorize for Asker<'_> {
    fn decide(&self, question: &Question) -> Decision {
        let account = question.service_account.as_ref().map(|(namespace, name)| {
            let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            User::known(format!("system:serviceaccount:{namespace}:{name}"), groups)
        });
        let attributes = auth::Attributes {
            verb: &question.verb,
            group: &question.group,
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            field_selector: &question.field_selector,
            path: &question.path,
        };
        let user = account.as_ref().unwrap_or(self.user);
        match crate::access::authorizer(self.registry, self.roles).decide(user, &attributes) {
            auth::Decision::Allowed(reason) => Decision { allowed: true, reason, error: None },
            auth::Decision::Refused => Decision::default(),
        }
    }
}
