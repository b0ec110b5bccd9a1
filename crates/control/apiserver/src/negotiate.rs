//! Which format a client sends and which it wants back (`apiserver/pkg/endpoints/handlers/negotiation`). Pure.

use wkube_api::Status;

/// Kubernetes' protobuf in its envelope.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What responses can be written as; the last is not for custom resources.
pub(crate) const SERVED: [&str; 3] = ["application/json", "application/yaml", PROTOBUF];
/// What watches can be written as; the last is not for custom resources.
const STREAMED: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// What request bodies can be written as.
pub(crate) const READ: [&str; 3] = SERVED;

/// The format of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// The native one.
    #[default]
    Json,
    /// For people with `curl`.
    Yaml,
    /// For clients made with client-go.
    Protobuf,
}

/// How much of an object a Table row carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// What a response says about objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The objects.
    #[default]
    Plain,
    /// Rows for people.
    Table(Include),
    /// Only metadata, for collectors of garbage.
    Partial,
}

/// What a client wants back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Media {
    /// The format.
    pub(crate) format: Format,
    /// The contents.
    pub(crate) shape: Shape,
    /// Whether to indent.
    pub(crate) pretty: bool,
}

/// One alternative of an `Accept` header.
#[derive(Debug, PartialEq)]
pub(crate) struct Alternative<'a> {
    /// Such as `application/json`.
    pub(crate) kind: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Alternative<'a> {
    /// Returns a parameter, or `""`.
    pub(crate) fn param(&self, name: &str) -> &'a str {
        self.params.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| !kind.is_empty())?;
        let params: Vec<_> =
            parts.filter_map(|part| part.split_once('=')).map(|(key, value)| (key, value.trim_matches('"'))).collect();
        let quality = params.iter().find(|(key, _)| *key == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
        Some(Self { kind, params, quality })
    }
}

/// Returns the alternatives, best first.
pub(crate) fn alternatives(accept: &str) -> Vec<Alternative<'_>> {
    let mut found: Vec<_> = accept.split(',').filter_map(Alternative::parse).filter(|one| one.quality > 0.0).collect();
    found.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    found
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Objects, whose metadata tables and partial objects are made of.
    Objects,
    /// The events of a watch.
    Events,
    /// What was done or found out, which has no metadata.
    Action,
}

/// What a request can be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Whether the kind has a protobuf message; custom ones have none.
    pub(crate) protobuf: bool,
    /// What the answer is about.
    pub(crate) content: Content,
    /// How much of an object a Table's rows carry.
    pub(crate) include: Include,
    /// Whether to indent.
    pub(crate) pretty: bool,
}

/// Reads `includeObject`.
pub(crate) fn include(text: &str) -> Result<Include, Status> {
    match text {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

/// Whether to indent: as asked, and for people who use these by hand (`isPrettyPrint` in `responsewriters`).
pub(crate) fn pretty(asked: &str, user_agent: &str) -> bool {
    match asked {
        "" => ["curl", "Wget", "Mozilla/5.0"].iter().any(|program| user_agent.starts_with(program)),
        asked => matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

/// Decides the response's format and shape.
pub(crate) fn media(accept: &str, offer: Offer) -> Result<Media, Status> {
    let pretty = offer.pretty;
    let alternatives = alternatives(accept);
    if alternatives.is_empty() {
        return Ok(Media { pretty, ..Media::default() });
    }
    let mut found = alternatives.iter().filter_map(|one| choose(one, offer));
    found.next().map(|(format, shape)| Media { format, shape, pretty }).ok_or_else(|| not_acceptable(offer))
}

fn not_acceptable(offer: Offer) -> Status {
    let all: &[&str] = if offer.content == Content::Events { &STREAMED } else { &SERVED };
    Status::not_acceptable(&all[..all.len() - usize::from(!offer.protobuf)])
}

fn choose(one: &Alternative<'_>, offer: Offer) -> Option<(Format, Shape)> {
    let is_partial = matches!(one.param("as"), "PartialObjectMetadata" | "PartialObjectMetadataList");
    let format = match one.kind {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" if offer.content != Content::Events => Format::Yaml,
        // Metadata is a message of its own, whatever it is about; a Table's cells can be anything, so that it has none.
        PROTOBUF if is_partial || (offer.protobuf && one.param("as").is_empty()) => Format::Protobuf,
        _ => return None,
    };
    if offer.content == Content::Action && !one.param("as").is_empty() {
        return None;
    }
    let meta = matches!(one.param("g"), "" | "meta.k8s.io");
    let shape = match one.param("as") {
        "" => Shape::Plain,
        "Table" if meta && matches!(one.param("v"), "v1" | "v1beta1") => Shape::Table(offer.include),
        _ if is_partial && meta && matches!(one.param("v"), "v1" | "v1beta1") => Shape::Partial,
        _ => return None,
    };
    Some((format, shape))
}

/// How a request's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Protobuf in Kubernetes' envelope.
    Protobuf,
}

/// Decides how to read the body of a create or update.
pub(crate) fn body_format(content_type: &str) -> Result<BodyFormat, Status> {
    match essence(content_type) {
        "" | "application/json" | "text/json" => Ok(BodyFormat::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(BodyFormat::Yaml),
        PROTOBUF => Ok(BodyFormat::Protobuf),
        _ => Err(Status::unsupported_media_type(&READ)),
    }
}

/// The kinds of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, guided by merge keys.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// Decides the kind of a patch.
pub(crate) fn patch_kind(content_type: &str) -> Result<PatchKind, Status> {
    match essence(content_type) {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ => Err(Status::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ])),
    }
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Offer =
        Offer { protobuf: true, content: Content::Objects, include: Include::Metadata, pretty: false };

    fn check(accept: &str, expected: Option<(Format, Shape)>) {
        check_offer(accept, EVERYTHING, expected);
    }

    fn check_offer(accept: &str, offer: Offer, expected: Option<(Format, Shape)>) {
        let seen = media(accept, offer).ok().map(|media| (media.format, media.shape));
        assert_eq!(seen, expected, "{accept}");
    }

    #[test]
    fn nothing_or_anything_means_json() {
        check("", Some((Format::Json, Shape::Plain)));
        check("*/*", Some((Format::Json, Shape::Plain)));
        check("text/html, */*;q=0.1", Some((Format::Json, Shape::Plain)));
    }

    #[test]
    fn kubectl_get_wants_a_table() {
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Format::Json, Shape::Table(Include::Metadata))),
        );
    }

    #[test]
    fn an_unknown_transformation_falls_through_to_the_next_alternative() {
        check("application/json;as=Chart;v=v1;g=meta.k8s.io,application/json", Some((Format::Json, Shape::Plain)));
        check("application/json;as=Chart;v=v1;g=meta.k8s.io", None);
    }

    #[test]
    fn typed_clients_get_the_protobuf_that_they_prefer() {
        check("application/vnd.kubernetes.protobuf,application/json", Some((Format::Protobuf, Shape::Plain)));
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            Some((Format::Protobuf, Shape::Partial)),
        );
        check("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", None);
    }

    #[test]
    fn custom_resources_have_protobuf_for_their_metadata_only() {
        let custom = Offer { protobuf: false, ..EVERYTHING };
        check_offer("application/vnd.kubernetes.protobuf,application/json", custom, Some((Format::Json, Shape::Plain)));
        check_offer("application/vnd.kubernetes.protobuf", custom, None);
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        check_offer(partial, custom, Some((Format::Protobuf, Shape::Partial)));
        let message = media("text/html", custom).unwrap_err().message;
        assert_eq!(message, "only the following media types are accepted: application/json, application/yaml");
    }

    #[test]
    fn a_watch_is_not_written_as_yaml() {
        let stream = Offer { content: Content::Events, ..EVERYTHING };
        let message = media("application/yaml", stream).unwrap_err().message;
        let expected = "only the following media types are accepted: application/json;stream=watch, \
                        application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(message, expected);
    }

    #[test]
    fn a_review_is_no_table() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        check_offer(table, Offer { content: Content::Action, ..EVERYTHING }, None);
    }

    #[test]
    fn people_get_indented_answers() {
        assert!(pretty("", "curl/8.5.0") && pretty("true", "kubectl/v1") && pretty("1", ""));
        assert!(!pretty("", "kubectl/v1.37.0") && !pretty("false", "curl/8") && !pretty("yes", "curl/8"));
    }

    #[test]
    fn rows_carry_metadata_unless_asked_otherwise() {
        assert_eq!((include(""), include("None")), (Ok(Include::Metadata), Ok(Include::None)));
        assert_eq!(include("All").map_err(|status| status.code), Err(400));
    }

    #[test]
    fn quality_orders_alternatives() {
        check("application/json;q=0.5, application/yaml", Some((Format::Yaml, Shape::Plain)));
    }

    #[test]
    fn what_is_not_served_is_not_acceptable() {
        check("text/html", None);
        check("application/cbor", None);
    }

    #[test]
    fn bodies_and_patches_are_told_apart_by_content_type() {
        assert_eq!(body_format("application/json; charset=utf-8"), Ok(BodyFormat::Json));
        assert_eq!(body_format("application/vnd.kubernetes.protobuf"), Ok(BodyFormat::Protobuf));
        assert_eq!(body_format("text/plain").map_err(|status| status.code), Err(415));
        assert_eq!(patch_kind("application/apply-patch+yaml"), Ok(PatchKind::Apply));
        assert_eq!(patch_kind("application/json").map_err(|status| status.code), Err(415));
    }
}
