//! Create.

use wkube_api::object::format_time;
use wkube_api::{Object, Status};

use super::object_rules::{self, Birth};
use super::update::Origin;
use super::write::{self, WriteError};
use super::{Outcome, Registry, decode};
use crate::admission::{self, Attributes, Operation, Reservation};
use crate::call::Call;
use crate::limits;

/// Answers POST on a collection.
pub(crate) async fn create(registry: &Registry, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let object = decode::body(call, body)?;
    store(registry, call, object, Origin::Client).await
}

/// Stores a decoded, defaulted object.
pub(crate) async fn store(registry: &Registry, call: &Call, object: Object, origin: Origin) -> Result<Outcome, Status> {
    let generates = object.name().is_empty() && !object.str_at(&["metadata", "generateName"]).is_empty();
    for attempt in 1.. {
        let last = attempt == limits::GENERATE_NAME_RETRIES;
        let (new, reservation) = prepare(registry, call, object.clone(), origin).await?;
        match write::put(registry, call, None, &new, &reservation).await {
            Ok(item) => return Ok(Outcome::Object { code: 201, item }),
            Err(WriteError::Raced) if !generates => return Err(Status::already_exists(&call.resource, new.name())),
            Err(WriteError::Raced) if last => return Err(Status::generated_name_taken(&call.resource, new.name())),
            Err(WriteError::Claimed(key)) if last => return Err(admission::claims::taken(call, &new, &key)),
            Err(WriteError::Raced | WriteError::Claimed(_)) => {}
            Err(WriteError::Failed(status)) => return Err(status),
        }
    }
    unreachable!("the last attempt returns")
}

/// Turns what the client sent into what is stored.
async fn prepare(
    registry: &Registry,
    call: &Call,
    mut object: Object,
    origin: Origin,
) -> Result<(Object, Reservation), Status> {
    let resource = &*call.resource;
    let birth = Birth { namespace: &call.namespace, name: &call.name, uid: registry.uid(), now: timestamp(registry) };
    object_rules::prepare_create(&mut object, resource, &birth)?;
    generate_name(registry, &mut object);
    let attributes = Attributes::new(registry, call, Operation::Create, None);
    admission::admit(&attributes, &mut object).await?;
    admission::complete(&attributes, &mut object)?;
    // Admission may have added something that has defaults itself.
    resource.complete(&mut object);
    resource.manners.prepare_create(&mut object);
    let errors = resource.validate(&object, None);
    if !errors.is_empty() {
        return Err(Status::invalid_object(resource, object.name(), errors));
    }
    let reservation = admission::validate(&attributes, &object).await?;
    if origin == Origin::Client {
        decode::manage(registry, call, &mut object, None);
    }
    Ok((object, reservation))
}

fn generate_name(registry: &Registry, object: &mut Object) {
    let prefix = object.str_at(&["metadata", "generateName"]);
    if object.name().is_empty() && !prefix.is_empty() {
        let prefix: String = prefix.chars().take(limits::GENERATE_NAME_PREFIX_MAX).collect();
        object.set(&["metadata", "name"], format!("{prefix}{}", registry.rng.name_suffix(5)));
    }
}

/// Returns the time as metadata has it: to the second, in UTC.
pub(crate) fn timestamp(registry: &Registry) -> String {
    format_time(registry.clock.now())
}
