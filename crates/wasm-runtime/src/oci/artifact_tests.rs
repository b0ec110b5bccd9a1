//! Every media type and platform that a tool is known to write.

use std::collections::BTreeMap;

use super::*;

fn descriptor(media_type: &str, platform: Option<(&str, &str)>) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(media_type.as_bytes()),
        size: 1,
        platform: platform
            .map(|(os, architecture)| Platform { os: os.to_owned(), architecture: architecture.to_owned() }),
        artifact_type: None,
        annotations: BTreeMap::new(),
    }
}

fn titled(media_type: &str, title: &str) -> Descriptor {
    let annotations = BTreeMap::from([(TITLE.to_owned(), title.to_owned())]);
    Descriptor { annotations, ..descriptor(media_type, None) }
}

fn chosen(platforms: &[(&str, &str)]) -> Result<(String, bool), Problem> {
    let manifests: Vec<_> = platforms.iter().map(|platform| descriptor(OCI_MANIFEST, Some(*platform))).collect();
    choose_manifest(&manifests).map(|choice| (choice.manifest.platform_name(), choice.is_for_wasi))
}

/// Says what the plan is: `modules` or `rootfs`, and how many layers.
fn planned_of(config: &str, layers: Vec<Descriptor>) -> Result<(&'static str, usize), Problem> {
    let document = Document { config: Some(descriptor(config, None)), layers, ..Document::default() };
    plan(&document).map(|plan| match plan {
        Plan::Modules(layers) => ("modules", layers.len()),
        Plan::Rootfs(layers) => ("rootfs", layers.len()),
    })
}

fn planned(media_types: &[&str]) -> Result<(&'static str, usize), Problem> {
    planned_of(OCI_CONFIG, media_types.iter().map(|media_type| descriptor(media_type, None)).collect())
}

#[test]
fn every_way_to_write_wasi_is_found_in_an_index() {
    for wasi in [
        ("wasi", "wasm"),
        ("wasi", "wasm32"),
        ("wasip1", "wasm"),
        ("Wasip1", "wasm"),
        ("wasip2", "wasm"),
        ("wasip3", "wasm"),
        ("WASI", "WASM"),
    ] {
        let found = chosen(&[("linux", "amd64"), wasi, ("linux", "arm64")]);
        assert_eq!(found, Ok((format!("{}/{}", wasi.0, wasi.1), true)));
    }
}

#[test]
fn what_only_looks_like_wasi_is_not_chosen_as_such() {
    for other in [("linux", "wasm"), ("wasi", "amd64"), ("js", "wasm"), ("", "")] {
        assert_eq!(chosen(&[other]).map(|(_, is_for_wasi)| is_for_wasi), Ok(false), "{other:?}");
    }
}

#[test]
fn a_sole_image_is_taken_whatever_it_says_and_attestations_do_not_count() {
    assert_eq!(chosen(&[("linux", "arm64"), ("unknown", "unknown")]), Ok(("linux/arm64".to_owned(), false)));
}

#[test]
fn old_images_for_containerd_shims_say_linux_amd64() {
    let found = chosen(&[("linux", "arm64"), ("linux", "amd64"), ("unknown", "unknown")]);
    assert_eq!(found, Ok(("linux/amd64".to_owned(), false)));
}

#[test]
fn an_index_without_wasm_lists_what_it_has() {
    let problem = chosen(&[("linux", "arm64"), ("windows", "amd64")]).unwrap_err();
    assert_eq!(problem.to_string(), "it has no variant for WebAssembly, only for linux/arm64, windows/amd64");
    assert_eq!(chosen(&[]).unwrap_err(), Problem::NoPlatform("nothing".to_owned()));
    assert_eq!(chosen(&[("unknown", "unknown")]).unwrap_err(), Problem::NoPlatform("nothing".to_owned()));
}

#[test]
fn every_name_of_a_wasm_layer_is_known() {
    for media_type in WASM_LAYERS {
        assert_eq!(planned(&["application/vnd.oci.empty.v1+json", media_type]), Ok(("modules", 1)), "{media_type}");
    }
}

#[test]
fn every_name_of_a_tar_layer_is_known() {
    for tar in TAR_LAYERS {
        for compression in ["", "+gzip", ".gzip", "+zstd", ".zstd"] {
            let media_type = format!("{tar}{compression}");
            assert_eq!(planned(&[&media_type, &media_type]), Ok(("rootfs", 2)), "{media_type}");
        }
    }
}

#[test]
fn layers_that_nobody_here_can_read_are_named() {
    for media_type in ["text/plain", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", ""] {
        assert_eq!(planned(&[media_type]), Err(Problem::NoModule(media_type.to_owned()).or_none()), "{media_type}");
    }
    assert_eq!(planned(&[]), Err(Problem::NoModule("no layer at all".to_owned())));
    let mixed = planned(&["application/vnd.oci.image.layer.v1.tar", "text/plain"]);
    assert!(matches!(mixed, Err(Problem::NoModule(names)) if names.ends_with("text/plain")));
}

impl Problem {
    /// A layer without a type reads as no layer at all.
    fn or_none(self) -> Self {
        if self == Self::NoModule(String::new()) { Self::NoModule("no layer at all".to_owned()) } else { self }
    }
}

#[test]
fn the_standard_artifact_has_one_module() {
    let two = || vec![titled(WASM_LAYER, "a.wasm"), titled(WASM_LAYER, "b.wasm")];
    assert_eq!(planned_of(WASM_CONFIG, two()), Err(Problem::ManyModules(2)));
    assert_eq!(planned_of(WASM_CONFIG, two()[..1].to_vec()), Ok(("modules", 1)));
}

#[test]
fn other_artifacts_may_have_several_modules_if_they_are_named() {
    let empty = "application/vnd.oci.empty.v1+json";
    let two = vec![titled(WASM_LAYER, "a.wasm"), titled(WASM_LAYER, "b.wasm")];
    assert_eq!(planned_of(empty, two), Ok(("modules", 2)));
    assert_eq!(planned(&[WASM_LAYER, WASM_LAYER]), Err(Problem::ManyModules(2)));
}

#[test]
fn a_spin_application_of_one_component_is_a_component() {
    assert_eq!(planned(&[SPIN_APPLICATION, WASM_LAYERS[1]]), Ok(("modules", 1)));
    assert_eq!(planned(&[SPIN_APPLICATION, WASM_LAYERS[1], WASM_LAYERS[1]]), Err(Problem::Spin));
    assert_eq!(planned(&[SPIN_APPLICATION, WASM_LAYERS[1], SPIN_FILES[0]]), Err(Problem::Spin));
    assert_eq!(planned(&[SPIN_APPLICATION]), Err(Problem::Spin));
}

#[test]
fn filters_for_envoy_are_recognised() {
    let layers = vec![titled(WASM_LAYER, "plugin.wasm"), titled("application/json", PROXY_WASM_SETTINGS)];
    assert_eq!(planned_of(OCI_CONFIG, layers), Err(Problem::ProxyWasm));
}

#[test]
fn too_many_layers_are_refused_before_any_is_fetched() {
    let layers = |count| vec![TAR_LAYERS[0]; count];
    assert_eq!(planned(&layers(LAYERS_MAX)), Ok(("rootfs", LAYERS_MAX)));
    assert_eq!(planned(&layers(LAYERS_MAX + 1)), Err(Problem::ManyLayers(LAYERS_MAX + 1)));
}

#[test]
fn only_configs_of_container_images_are_read() {
    let manifest = |config: &str| Document { config: Some(descriptor(config, None)), ..Document::default() };
    assert!(has_config(&manifest(OCI_CONFIG)).is_some() && has_config(&manifest(DOCKER_CONFIG)).is_some());
    for other in [WASM_CONFIG, "application/vnd.wasm.config.v1+json", "application/vnd.oci.empty.v1+json"] {
        assert!(has_config(&manifest(other)).is_none(), "{other}");
    }
}
