//! Lists in pieces, and watches.

use serde_json::{Value, json};

use super::world::{World, at, object};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    object("v1", "ConfigMap", name, &json!({"metadata": {"labels": {"watch": label}}, "data": {"mutation": "0"}}))
}

async fn mutate(world: &World, name: &str, value: &str) -> String {
    let patch = json!({"data": {"mutation": value}});
    world.patch(&format!("{MAPS}/{name}"), &patch).await.is(200).at("/metadata/resourceVersion")
}

#[tokio::test]
async fn a_list_comes_in_chunks_of_one_version() {
    let world = World::new().await;
    let spec = json!({"containers": [{"name": "main", "image": "pause"}]});
    for number in 0..400 {
        let template =
            object("v1", "PodTemplate", &format!("template-{number:04}"), &json!({"template": {"spec": spec}}));
        world.post(TEMPLATES, &template).await.is(201);
    }
    for limit in [17, 400, 1000] {
        let (mut seen, mut token, mut version) = (Vec::new(), String::new(), String::new());
        loop {
            let page = world.get(&format!("{TEMPLATES}?limit={limit}&continue={token}")).await.is(200);
            if version.is_empty() {
                version = page.at("/metadata/resourceVersion");
            }
            assert_eq!(page.at("/metadata/resourceVersion"), version, "every chunk is of the same version");
            seen.extend(page.names());
            token = page.at("/metadata/continue");
            let remaining = page.at("/metadata/remainingItemCount").parse().unwrap_or(0);
            assert_eq!(400 - seen.len(), remaining);
            if token.is_empty() {
                break;
            }
            assert!(page.names().len() == limit, "only the last chunk is shorter");
        }
        assert_eq!(seen, (0..400).map(|number| format!("template-{number:04}")).collect::<Vec<_>>());
    }
    world.end().await;
}

#[tokio::test]
async fn watches_see_what_is_added_changed_and_deleted_under_their_label() {
    let world = World::new().await;
    let path = |selector: &str| format!("{MAPS}?watch=true&labelSelector=watch{selector}");
    let mut only_a = world.watch(&path("%3Da")).await;
    let mut only_b = world.watch(&path("%3Db")).await;
    let mut both = world.watch(&path("%20in%20(a,b)")).await;
    world.post(MAPS, &map("one", "a")).await.is(201);
    mutate(&world, "one", "1").await;
    mutate(&world, "one", "2").await;
    world.delete(&format!("{MAPS}/one")).await.is(200);
    world.post(MAPS, &map("two", "b")).await.is(201);
    world.delete(&format!("{MAPS}/two")).await.is(200);
    for line in ["ADDED one", "MODIFIED one", "MODIFIED one", "DELETED one"] {
        assert_eq!((only_a.line().await.as_str(), both.line().await.as_str()), (line, line));
    }
    for line in ["ADDED two", "DELETED two"] {
        assert_eq!((only_b.line().await.as_str(), both.line().await.as_str()), (line, line));
    }
    world.end().await;
}

#[tokio::test]
async fn a_watch_goes_on_after_the_last_version_that_was_seen() {
    let world = World::new().await;
    let mut first = world.watch(&format!("{MAPS}?watch=true&labelSelector=watch%3Da")).await;
    world.post(MAPS, &map("one", "a")).await.is(201);
    first.find("ADDED one").await;
    mutate(&world, "one", "1").await;
    let seen = at(&first.find("MODIFIED one").await, "/metadata/resourceVersion");
    drop(first);
    mutate(&world, "one", "2").await;
    world.delete(&format!("{MAPS}/one")).await.is(200);
    let path = format!("{MAPS}?watch=true&labelSelector=watch%3Da&resourceVersion={seen}");
    let mut second = world.watch(&path).await;
    let changed = second.next().await.expect("an event");
    assert_eq!((at(&changed, "/type"), at(&changed, "/object/data/mutation")), ("MODIFIED".into(), "2".into()));
    assert_eq!(second.line().await, "DELETED one");
    world.end().await;
}

#[tokio::test]
async fn a_watch_starts_at_the_version_that_it_names() {
    let world = World::new().await;
    world.post(MAPS, &map("one", "a")).await.is(201);
    let first = mutate(&world, "one", "1").await;
    mutate(&world, "one", "2").await;
    world.delete(&format!("{MAPS}/one")).await.is(200);
    let path = format!("{MAPS}?watch=true&labelSelector=watch%3Da&resourceVersion={first}");
    let mut watch = world.watch(&path).await;
    assert_eq!(watch.line().await, "MODIFIED one");
    assert_eq!(watch.line().await, "DELETED one");
    world.end().await;
}

#[tokio::test]
async fn an_object_that_leaves_the_selector_is_deleted_and_returns_as_added() {
    let world = World::new().await;
    let mut watch = world.watch(&format!("{MAPS}?watch=true&labelSelector=watch%3Da")).await;
    world.post(MAPS, &map("one", "a")).await.is(201);
    mutate(&world, "one", "1").await;
    let label = |value: &str| json!({"metadata": {"labels": {"watch": value}}});
    world.patch(&format!("{MAPS}/one"), &label("elsewhere")).await.is(200);
    mutate(&world, "one", "2").await;
    world.patch(&format!("{MAPS}/one"), &label("a")).await.is(200);
    mutate(&world, "one", "3").await;
    world.delete(&format!("{MAPS}/one")).await.is(200);
    for line in ["ADDED one", "MODIFIED one", "DELETED one", "ADDED one", "MODIFIED one", "DELETED one"] {
        assert_eq!(watch.line().await, line);
    }
    world.end().await;
}

#[tokio::test]
async fn all_watches_see_one_order() {
    let world = World::new().await;
    let start = world.get(MAPS).await.at("/metadata/resourceVersion");
    let mut seen = vec![start.clone()];
    let mut first = world.watch(&format!("{MAPS}?watch=true&resourceVersion={start}")).await;
    for number in 0..50 {
        match number % 3 {
            0 => drop(world.post(MAPS, &map(&format!("m-{number}"), "a")).await.is(201)),
            1 => drop(mutate(&world, &format!("m-{}", number - 1), "x").await),
            _ => drop(world.delete(&format!("{MAPS}/m-{}", number - 2)).await.is(200)),
        }
        let event = first.next().await.expect("an event");
        seen.push(at(&event, "/object/metadata/resourceVersion"));
    }
    assert!(seen.is_sorted_by_key(|version| version.parse::<u64>().expect("a number")));
    // Whoever starts anywhere sees the rest, in the same order.
    for begin in (0..50).step_by(7) {
        let mut watch = world.watch(&format!("{MAPS}?watch=true&resourceVersion={}", seen[begin])).await;
        for version in &seen[begin + 1..] {
            let event = watch.next().await.expect("an event");
            assert_eq!(&at(&event, "/object/metadata/resourceVersion"), version);
        }
    }
    world.end().await;
}
