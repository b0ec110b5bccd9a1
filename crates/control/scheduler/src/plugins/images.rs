//! `ImageLocality`: a node that has a pod's images already starts it sooner.

use std::collections::BTreeMap;

use crate::framework::{Rate, SCORE_MAX, Score};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

/// Images up to this size make no difference (`image_locality.go`). Most WebAssembly is below: it is pulled in no time.
const BYTES_MIN: i64 = 23_000_000;

/// Images from this size per container on make all the difference.
const BYTES_MAX_PER_CONTAINER: i64 = 1_000_000_000;

/// The preference.
#[derive(Debug)]
pub struct ImageLocality;

impl Score for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, cluster: &'c Snapshot) -> Option<Rate<'c>> {
        let spec = pod.spec()?;
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let images: Vec<&str> = containers.filter_map(|container| container.image.as_deref()).collect();
        // An image that few nodes have counts less, or one node would draw every pod that uses it.
        let nodes = i64::try_from(cluster.nodes().len()).ok()?;
        let mut spread: BTreeMap<&str, i64> = BTreeMap::new();
        for image in &images {
            let having = cluster.nodes().filter(|node| size_on(node, image).is_some()).count();
            spread.insert(image, i64::try_from(having).ok()?);
        }
        if spread.values().all(|having| *having == 0) {
            return None;
        }
        Some(Box::new(move |node| {
            let sizes = images.iter().filter_map(|image| Some(size_on(node, image)? * spread.get(image)? / nodes));
            let count = i64::try_from(images.len()).unwrap_or(i64::MAX);
            let most = BYTES_MAX_PER_CONTAINER.saturating_mul(count);
            SCORE_MAX * (sizes.sum::<i64>().clamp(BYTES_MIN, most) - BYTES_MIN) / (most - BYTES_MIN)
        }))
    }
}

fn size_on(node: &NodeInfo, image: &str) -> Option<i64> {
    let images = node.node.status.as_ref()?.images.as_ref()?;
    let there = images.iter().find(|there| there.names.iter().flatten().any(|name| name == image))?;
    there.size_bytes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build::{cluster, node, pod, scores};

    #[test]
    fn a_node_with_the_image_is_preferred() {
        let images = json!([{ "names": ["app@sha256:1", "app:1"], "sizeBytes": 1_000_000_000 }]);
        let nodes = cluster(&[node("n1").status("images", images), node("n2")], &[]);
        let web = pod("web").container("image", json!("app:1"));
        assert_eq!(scores(&ImageLocality, &web, &nodes), [48, 0], "half of it, as half of the nodes have it");
    }

    #[test]
    fn an_image_that_no_node_has_makes_no_difference() {
        let web = pod("web").container("image", json!("app:1"));
        assert_eq!(scores(&ImageLocality, &web, &cluster(&[node("n1"), node("n2")], &[])), [0; 0]);
    }
}
