//! Which format a client sends and which it wants back (`apiserver/pkg/endpoints/handlers/negotiation`). Pure.

use wkube_api::Status;

/// What responses can be written as.
pub(crate) const SERVED: [&str; 2] = ["application/json", "application/yaml"];
/// What request bodies can be written as.
pub(crate) const READ: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The text format of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// The native one.
    #[default]
    Json,
    /// For people with `curl`.
    Yaml,
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
    /// The text format.
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

/// Decides the response's format and shape.
///
/// Clients that prefer protobuf decode by the response's `Content-Type`, so JSON answers them too.
pub(crate) fn media(accept: &str, include: &str, pretty: bool) -> Result<Media, Status> {
    let include = match include {
        "None" => Include::None,
        "Object" => Include::Object,
        _ => Include::Metadata,
    };
    let alternatives = alternatives(accept);
    if alternatives.is_empty() {
        return Ok(Media { pretty, ..Media::default() });
    }
    let mut found = alternatives.iter().filter_map(|one| choose(one, include));
    found.next().map(|(format, shape)| Media { format, shape, pretty }).ok_or_else(|| Status::not_acceptable(&SERVED))
}

fn choose(one: &Alternative<'_>, include: Include) -> Option<(Format, Shape)> {
    let format = match one.kind {
        "application/json" | "*/*" | "application/*" | "application/vnd.kubernetes.protobuf" => Format::Json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let meta = matches!(one.param("g"), "" | "meta.k8s.io");
    let shape = match one.param("as") {
        "" => Shape::Plain,
        "Table" if meta && matches!(one.param("v"), "v1" | "v1beta1") => Shape::Table(include),
        "PartialObjectMetadata" | "PartialObjectMetadataList" if meta && one.param("v") == "v1" => Shape::Partial,
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
        "application/vnd.kubernetes.protobuf" => Ok(BodyFormat::Protobuf),
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

    fn check(accept: &str, expected: Option<(Format, Shape)>) {
        let seen = media(accept, "", false).ok().map(|media| (media.format, media.shape));
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
    fn typed_clients_that_prefer_protobuf_get_json() {
        check("application/vnd.kubernetes.protobuf,application/json", Some((Format::Json, Shape::Plain)));
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            Some((Format::Json, Shape::Partial)),
        );
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
