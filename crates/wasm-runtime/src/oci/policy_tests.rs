//! Which images are asked for a signature, and what is said to those that have none.

use serde_json::json;

use super::super::signature::tests::Signer;
use super::super::test_registry::World;
use super::*;

fn no_files(path: &Path) -> Result<String, String> {
    Err(format!("{}: not there", path.display()))
}

fn policy(glob: &str, signer: &Signer, mode: &str) -> String {
    let key = json!({ "data": signer.pem() });
    json!({
        "apiVersion": "wkube.dev/v1", "kind": "ImagePolicy", "metadata": { "name": "ours" },
        "spec": { "images": [{ "glob": glob }], "authorities": [{ "name": "release", "key": key }], "mode": mode },
    })
    .to_string()
}

fn parse(text: &str) -> Policy {
    Policy::parse(text, &no_files).unwrap()
}

#[test]
fn a_glob_stands_for_names() {
    for (glob, name, expected) in [
        ("**", "r.io/a/b", true),
        ("r.io/*", "r.io/a", true),
        ("r.io/*", "r.io/a/b", false),
        ("r.io/**", "r.io/a/b", true),
        ("r.io/team/app", "r.io/team/app", true),
        ("r.io/team/app", "r.io/team/app2", false),
        ("*/app:v*", "team/app:v1", true),
        ("app", "r.io/app", false),
    ] {
        assert_eq!(matches(glob, name), expected, "{glob} {name}");
    }
}

#[test]
fn only_images_that_a_policy_names_are_asked() {
    let policy = parse(&policy("r.io/team/**", &Signer::new(), "enforce"));
    for (image, expected) in [("r.io/team/app:v1", true), ("r.io/other/app", false), ("team/app", false)] {
        assert_eq!(policy.applies_to(&image.parse().unwrap()), expected, "{image}");
    }
    assert!(!Policy::default().applies_to(&"app".parse().unwrap()));
}

#[test]
fn an_image_is_admitted_by_one_key_of_each_policy() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let both = format!("{}\n---\n{}", policy("**", &ours, "enforce"), policy("app", &theirs, "enforce"));
    let policy = parse(&both);
    let digest = Digest::of(b"image");
    let judge = |signatures: &[Signature]| policy.judge(&"app".parse().unwrap(), &[&digest], signatures);
    assert_eq!(judge(&[theirs.simple(&digest), ours.simple(&digest)]), Verdict::Admitted);
    assert!(matches!(judge(&[ours.simple(&digest)]), Verdict::Rejected(_)));
    assert!(matches!(judge(&[]), Verdict::Rejected(_)));
}

#[test]
fn a_refusal_names_policy_key_and_image() {
    let signer = Signer::new();
    let policy = parse(&policy("**", &signer, "enforce"));
    let digest = Digest::of(b"image");
    let Verdict::Rejected(reason) = policy.judge(&"app".parse().unwrap(), &[&digest], &[]) else { panic!("admitted") };
    let key = &PublicKey::parse(&signer.pem()).unwrap().fingerprint().hex()[..16].to_owned();
    assert_eq!(
        reason,
        format!("ImagePolicy \"ours\" wants a signature of {digest} by release ({key}); it is not signed")
    );
}

#[test]
fn a_policy_that_warns_admits() {
    let policy = parse(&policy("**", &Signer::new(), "warn"));
    let verdict = policy.judge(&"app".parse().unwrap(), &[&Digest::of(b"")], &[Signer::new().simple(&Digest::of(b""))]);
    assert!(matches!(verdict, Verdict::Warned(reason) if reason.contains("by somebody else")));
}

#[test]
fn what_is_not_understood_is_an_error() {
    let good = policy("**", &Signer::new(), "enforce");
    for (text, part) in [
        (String::new(), ""),
        (good.replace("ImagePolicy", "ImagePolice"), "is not an ImagePolicy"),
        (good.replace("wkube.dev/v1", "wkube.dev/v2"), "is not an ImagePolicy"),
        (good.replace("enforce", "enforced"), "enforced"),
        (good.replace("\"mode\"", "\"modus\""), "modus"),
        (good.replace("PUBLIC KEY", "PRIVATE KEY"), "instead of a PUBLIC KEY"),
        (good.replace("-----BEGIN", "-----"), "not in PEM form"),
        (good.replace("\"key\"", "\"keyFile\""), ""),
        (good.replace("[{\"glob\":\"**\"}]", "[]"), "at least one"),
    ] {
        let reason = Policy::parse(&text, &no_files).unwrap_err();
        assert!(reason.contains(part), "{text}: {reason}");
    }
}

#[test]
fn keys_may_be_in_files_beside_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    std::fs::write(dir.path().join("key.pub"), Signer::new().pem()).unwrap();
    let text = "apiVersion: wkube.dev/v1\nkind: ImagePolicy\nspec:\n  images: [{ glob: \"**\" }]\n  authorities: [{ keyFile: key.pub }]\n";
    std::fs::write(&file, text).unwrap();
    assert!(Policy::load(&file).unwrap().applies_to(&"app".parse().unwrap()));
    std::fs::remove_file(dir.path().join("key.pub")).unwrap();
    assert!(Policy::load(&file).unwrap_err().reason.contains("key.pub"));
}

#[tokio::test]
async fn an_unsigned_image_is_refused_before_its_layers_are_fetched_and_a_signed_one_is_good_offline() {
    let signer = Signer::new();
    let mut world = World::new();
    let layer = world.shelf.put_wasm(b"\0asm");
    let digest = world.shelf.put_manifest("v1", &json!({ "layers": [layer] }));
    world.policy = parse(&policy("**", &signer, "enforce"));
    let error = world.pull("app:v1").await.unwrap_err();
    assert!(error.starts_with("pull app:v1: ImagePolicy \"ours\" wants a signature of sha256:"), "{error}");
    assert!(!world.shelf.asked.lock().iter().any(|asked| asked.starts_with("blob")));
    signer.put_in(&mut world, &digest);
    let image = world.pull("app:v1").await.unwrap();
    let (digests, name) = ([&image.digest, &image.manifest], "app:v1".parse().unwrap());
    assert_eq!(world.policy.judge(&name, &digests, &image.signatures), Verdict::Admitted);
    world.shelf.asked.lock().clear();
    world.pull("app:v1").await.unwrap();
    assert_eq!(*world.shelf.asked.lock(), ["manifest v1"], "what is known to be signed is not asked for again");
}
