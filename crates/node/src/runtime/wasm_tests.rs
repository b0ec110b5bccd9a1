//! The adapter against the real engine, with a scripted registry behind the client.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::sync::mpsc;
use wkube_base::Clock;
use wkube_client::client::RequestBody;
use wkube_proxy::LocalPods;
use wkube_proxy::remote::ThroughApi;
use wkube_wasm_runtime::oci::Digest;
use wkube_wasm_runtime::{EngineOptions, wat_to_wasm};

use super::*;
use crate::grants::Grants;
use crate::logs::{Logs, Query, path_of, reader::Reader};
use crate::runtime::{Exec, Exit, Mount, PodRef, Share};
use crate::stdio::queue;

/// Prints its first argument's bytes and exits with 3.
const PRINTS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "done\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 5))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 3))))"#;

/// Runs for ever.
const LOOPS: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// The name of an image, and its modules with their titles.
type Pushed<'a> = (&'a str, &'a [(&'a str, &'a [u8])]);

/// A registry that has these images, each as `NAME:v1`.
fn registry(images: &[Pushed<'_>]) -> Client {
    let digest = |bytes: &[u8]| Digest::of(bytes).as_str().to_owned();
    let mut documents = BTreeMap::new();
    for (name, modules) in images {
        let mut layers = Vec::new();
        for (title, wat) in *modules {
            let wasm = Bytes::from(wat_to_wasm(wat).unwrap().into_owned());
            layers.push(json!({
                "mediaType": "application/wasm", "digest": digest(&wasm), "size": wasm.len(),
                "annotations": { "org.opencontainers.image.title": title },
            }));
            documents.insert(format!("/v2/{name}/blobs/{}", digest(&wasm)), wasm);
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2 },
            "layers": layers,
        });
        documents.insert(format!("/v2/{name}/manifests/v1"), Bytes::from(manifest.to_string()));
    }
    Client::new(tower::service_fn(move |request: Request<RequestBody>| {
        let body = documents.get(request.uri().path()).cloned();
        let status = if body.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response = Response::new(Full::from(body.unwrap_or_default()));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, std::io::Error>(response))
    }))
}

struct World {
    dir: tempfile::TempDir,
    logs: Logs,
    runtime: WasmRuntime,
}

impl World {
    /// Returns one whose only image is `job:v1`.
    fn new(wat: impl AsRef<[u8]>) -> Self {
        Self::with(&[("job", &[("job.wasm", wat.as_ref())])])
    }

    fn with(images: &[Pushed<'_>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = registry(images);
        let engine = Engine::new(EngineOptions::new(dir.path().join("compiled"))).unwrap();
        let proxy = Proxy::new(LocalPods::on_node("n1"), Arc::new(ThroughApi::new(client.clone())));
        let runtime =
            WasmRuntime::new(engine, &dir.path().join("images"), &client, ImageOptions::default(), proxy, None)
                .unwrap();
        Self { dir, logs: Logs::new(&Clock::system()), runtime }
    }

    async fn pull(&self, image: &str) -> Result<Image, PullError> {
        self.runtime.pull_image(Pull { image: image.into(), ..Pull::default() }).await
    }

    fn spec(&self, image: Image) -> ContainerSpec {
        ContainerSpec {
            image,
            pod: PodRef { name: "p".into(), ..PodRef::default() },
            name: "c".into(),
            args: vec!["c".into()],
            command: None,
            grants: Grants::default(),
            env: Vec::new(),
            mounts: Vec::new(),
            working_dir: None,
            trusts: None,
            process: None,
            network: None,
            ports: Vec::new(),
            memory_bytes: None,
            cpu_millis: None,
            share: Share::default(),
            stdin: None,
            output: Arc::new(self.logs.writer(self.dir.path(), 0)),
        }
    }

    async fn start(&self, image: Image) -> Result<Arc<dyn Guest>, StartError> {
        self.runtime.start(self.spec(image)).await
    }

    async fn log(&self) -> String {
        let mut reader = Reader::open(&self.logs, &path_of(self.dir.path(), 0), Query::default()).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_run_and_its_output_is_in_the_log() {
    let world = World::new(PRINTS);
    assert_eq!(world.runtime.find_image("job:v1").await, None);
    let image = world.pull("job:v1").await.unwrap();
    assert!(image.id.starts_with("job@sha256:"), "{}", image.id);
    assert_eq!(world.runtime.find_image("job:v1").await.as_ref(), Some(&image));
    assert_eq!(world.runtime.find_image(&image.id).await.as_ref(), Some(&image));
    let guest = world.start(image).await.unwrap();
    assert!(guest.backend().is_none());
    assert_eq!(guest.ended().await.code, 3);
    drop(guest);
    assert_eq!(world.log().await, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_nothing_to_drain_stops_at_once_with_143() {
    let world = World::new(LOOPS);
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    let stopping = async {
        guest.stop(Duration::from_secs(30)).await;
        guest.ended().await
    };
    let exit = tokio::time::timeout(Duration::from_secs(10), stopping).await.expect("it does not use up its grace");
    assert_eq!(exit.code, 143);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_the_message_names_the_image_and_the_next_step() {
    let world = World::new(PRINTS);
    let Err(PullError::Failed(message)) = world.pull("missing:v9").await else { panic!("it is not there") };
    assert!(
        message.contains("missing:v9 is not in the built-in registry") && message.contains("wkube push"),
        "{message}"
    );
    assert!(matches!(world.pull("UPPER CASE").await, Err(PullError::InvalidName { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_run_is_told_from_what_may_be_better_next_time() {
    let world = World::new("(module (func (export \"add\")))");
    let image = world.pull("job:v1").await.unwrap();
    let Err(StartError::Unrunnable(message)) = world.start(image).await.map(|_| ()) else { panic!("it has no _start") };
    assert!(message.contains("no entry point of its own") && message.contains("functions: add"), "{message}");
}

/// Without arguments it waits for the end of its input; with one, it prints its first environment variable and its
/// input, and exits with 7.
const ECHOES: &str = r#"(module
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func $print (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $length))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func (export "_start")
        (drop (call $args (i32.const 16) (i32.const 20)))
        (if (i32.eq (i32.load (i32.const 16)) (i32.const 2)) (then
            (drop (call $environ (i32.const 32) (i32.const 64)))
            (call $print (i32.load (i32.const 32)) (i32.const 4))))
        (loop $again
            (i32.store (i32.const 0) (i32.const 1024))
            (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (call $print (i32.const 1024) (i32.load (i32.const 8)))
                (br $again))))
        (if (i32.eq (i32.load (i32.const 16)) (i32.const 2)) (then (call $exit (i32.const 7))))))"#;

/// Runs a command beside a guest to its end and returns its code and its output.
async fn exec(guest: &dyn Guest, args: &[&str], input: &'static str) -> Result<(Exit, String), StartError> {
    let (stdin, pieces) = mpsc::channel(1);
    let (output, mut printed) = queue();
    let args = args.iter().map(ToString::to_string).collect();
    let process = guest.exec(Exec { stdin: Some(pieces), ..Exec::new(args, Arc::new(output)) }).await?;
    // A command that reads nothing may have ended by now.
    let _ = stdin.send(Bytes::from_static(input.as_bytes())).await;
    drop(stdin);
    let mut text = String::new();
    while let Some((_, bytes)) = printed.next().await {
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    Ok((process.ended().await, text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beside_a_guest_is_a_fresh_instance_with_its_environment() {
    let world = World::new(ECHOES);
    let image = world.pull("job:v1").await.unwrap();
    let (_stdin, pieces) = mpsc::channel(1);
    let env = vec![("A".to_owned(), "b\n".to_owned())];
    let spec = ContainerSpec { env, stdin: Some(pieces), ..world.spec(image) };
    let guest = world.runtime.start(spec).await.unwrap();
    let (exit, text) = exec(&*guest, &["c", "x"], "hello").await.unwrap();
    assert_eq!((exit.code, text.as_str()), (7, "A=b\nhello"));
    let (exit, text) = exec(&*guest, &["c"], "").await.unwrap();
    assert_eq!((exit.code, text.as_str()), (0, ""));
    guest.stop(Duration::ZERO).await;
    assert_eq!(world.log().await, "", "what a command prints is not the container's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_dies_with_the_last_hold_on_it() {
    let world = World::new(LOOPS);
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    let (output, mut printed) = queue();
    let process = guest.exec(Exec::new(vec!["c".into()], Arc::new(output))).await.unwrap();
    let ended = process.ended();
    drop(process);
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it is killed").code, 137);
    assert_eq!(printed.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_of_a_command_is_told_with_its_code() {
    let world = World::new(r#"(module (func (export "_start") unreachable))"#);
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    let (exit, _) = exec(&*guest, &["c"], "").await.unwrap();
    assert_eq!(exit.code, 134);
    assert!(exit.message.contains("unreachable"), "{}", exit.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_only_serves_says_so_instead_of_running_a_command() {
    let world = World::new(include_bytes!("../../../wasm-runtime/testdata/http-p2.wasm"));
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    let Err(StartError::Unrunnable(message)) = exec(&*guest, &["serve"], "").await else { panic!("it has no command") };
    let wanted = "container c of pod p serves wasi:http and has no wasi:cli/run to run; its image exports \
                  wasi:http/incoming-handler@0.2.";
    assert!(message.starts_with(wanted), "{message}");
}

/// A command beside a container that looks for its program in `image`, too.
async fn exec_with(world: &World, guest: &dyn Guest, name: &str, image: &'static str) -> Result<i32, StartError> {
    let (output, _printed) = queue();
    let runtime = world.runtime.clone();
    let pulling = async move {
        let pulled = runtime.pull_image(Pull { image: image.into(), ..Pull::default() }).await;
        pulled.map_err(|error| StartError::Failed(error.to_string()))
    };
    let exec = Exec { image: Some(pulling.boxed()), ..Exec::new(vec![name.into()], Arc::new(output)) };
    Ok(guest.exec(exec).await?.ended().await.code)
}

/// Ends with this code.
fn exits(code: u8) -> String {
    let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    format!(
        r#"(module {import} (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_means_is_looked_for_in_the_image_and_then_in_the_one_for_commands() {
    let (own, other, more) = (exits(1), exits(2), exits(3));
    let own: &[_] = &[("app.wasm", own.as_bytes()), ("check.wasm", other.as_bytes())];
    let world = World::with(&[("job", own), ("more", &[("more.wasm", more.as_bytes())])]);
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    let alone = async |word: &str| exec(&*guest, &[word], "").await.unwrap().0.code;
    assert_eq!([alone("app.wasm").await, alone("check.wasm").await, alone("else").await], [1, 2, 1]);
    let beside = async |word: &str| exec_with(&world, &*guest, word, "more:v1").await.unwrap();
    assert_eq!([beside("app.wasm").await, beside("check.wasm").await, beside("else").await], [1, 2, 3]);
    assert_eq!(beside("c").await, 1, "its own program has also the name that it was started by");
    assert_eq!(beside("true").await, 0, "the node's own tools come first");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_for_commands_is_asked_for_only_if_it_is_needed() {
    let world = World::new(exits(1));
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    for (word, code) in [("true", 0), ("job.wasm", 1)] {
        assert_eq!(exec_with(&world, &*guest, word, "gone:v1").await.unwrap(), code);
    }
    let Err(StartError::Failed(message)) = exec_with(&world, &*guest, "else", "gone:v1").await else { panic!() };
    assert!(message.contains("gone:v1"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_only_serves_runs_commands_of_another_image() {
    let more = exits(3);
    let serves: &[u8] = include_bytes!("../../../wasm-runtime/testdata/http-p2.wasm");
    let world = World::with(&[("job", &[("job.wasm", serves)]), ("more", &[("more.wasm", more.as_bytes())])]);
    let guest = world.start(world.pull("job:v1").await.unwrap()).await.unwrap();
    assert_eq!(exec_with(&world, &*guest, "else", "more:v1").await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_tools_see_the_volumes_of_a_container_that_has_no_command() {
    let world = World::new(include_bytes!("../../../wasm-runtime/testdata/http-p2.wasm"));
    let data = world.dir.path().join("data");
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::write(data.join("sub/file"), "content").unwrap();
    let mount = Mount { host: data.clone(), guest: "/data".into(), is_read_only: false };
    let image = world.pull("job:v1").await.unwrap();
    let guest = world.runtime.start(ContainerSpec { mounts: vec![mount], ..world.spec(image) }).await.unwrap();
    let check = async |args: &[&str]| {
        let (exit, text) = exec(&*guest, args, "typed").await.unwrap();
        format!("{} {text}", exit.code)
    };
    assert_eq!(check(&["cat", "/data/sub/file"]).await, "0 content");
    assert_eq!(check(&["/bin/cat", "-"]).await, "0 typed");
    assert_eq!(check(&["ls", "/data"]).await, "0 sub\n");
    assert_eq!(check(&["test", "-d", "/data/sub"]).await, "0 ");
    assert_eq!(check(&["test", "-d", "/data/sub/file"]).await, "1 ");
    assert_eq!(check(&["ls", "/etc"]).await, "2 ls: cannot access '/etc': No such file or directory\n");
    assert_eq!(check(&["tar", "cf", "/data/a.tar", "-C", "/data", "sub"]).await, "0 ");
    assert_eq!(check(&["tar", "tf", "/data/a.tar"]).await, "0 sub/\nsub/file\n");
    assert_eq!(check(&["tar", "xmf", "/data/a.tar", "-C", "/data/sub"]).await, "0 ");
    assert_eq!(std::fs::read(data.join("sub/sub/file")).unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_and_its_commands_begin_in_its_working_directory() {
    let world = World::new(include_bytes!("../../../wasm-runtime/testdata/http-p2.wasm"));
    let root = world.dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let mounts = vec![Mount { host: root.clone(), guest: "/".into(), is_read_only: false }];
    let spec = ContainerSpec {
        mounts,
        working_dir: Some("/srv/app".into()),
        ..world.spec(world.pull("job:v1").await.unwrap())
    };
    let guest = world.runtime.start(spec).await.unwrap();
    let script = "pwd; echo $PWD; echo here >file; cd /; pwd; cat srv/app/file";
    let (_, text) = exec(&*guest, &["sh", "-c", script], "").await.unwrap();
    assert_eq!(text, "/srv/app\n/srv/app\n/\nhere\n");
    let relative = ContainerSpec { working_dir: Some("app".into()), ..world.spec(world.pull("job:v1").await.unwrap()) };
    let Err(error) = world.runtime.start(relative).await else { panic!("it is no place") };
    assert_eq!(error.to_string(), "workingDir \"app\": it is not an absolute path");
}

/// What scripts print, and how they end.
const SCRIPTS: &[(&str, &str)] = &[
    ("echo one && echo two || echo three; false || echo four", "0 one\ntwo\nfour\n"),
    (
        "cd /data/sub; pwd; cat file; cd nowhere; echo $?",
        "0 /data/sub\ncontentcd: nowhere: No such file or directory\n1\n",
    ),
    ("cat /data/*/file /data/sub/f* | wc -c", "0 14\n"),
    ("for name in a 'b c' \"$HOME\"; do echo \"[$name]\"; done", "0 [a]\n[b c]\n[]\n"),
    ("if [ -d /data ] && ! test -e /nope; then echo yes; elif true; then echo no; fi", "0 yes\n"),
    ("x='a  b'; echo $x \"$x\" ${y:-none} $(echo sub | cat)", "0 a b a  b none sub\n"),
    (
        "echo kept >/tmp/x; echo more >>/tmp/x; cat </tmp/x; rm /tmp/x; ls /tmp/x 2>/dev/null; echo $?",
        "0 kept\nmore\n2\n",
    ),
    ("ls /nope 2>&1 | grep -c 'No such'", "0 1\n"),
    (
        "cd /data; ls sub/file sub/file; ls sub /tmp; ls -l sub/file",
        "0 sub/file\nsub/file\nsub:\nfile\n/tmp:\n-          7 sub/file\n",
    ),
    ("set -e; (exit 3) || echo $?; false; echo never", "1 3\n"),
    ("n=; until [ \"$n\" = 111 ]; do n=1$n; [ $n = 11 ] && continue; echo $n; done", "0 1\n111\n"),
    ("read first rest; echo \"$rest\" $first", "0 in here typed\n"),
    ("printf '%s:%s\\n' a b c", "0 a:b\nc:\n"),
    ("echo '*' \\* \"*\"", "0 * * *\n"),
    ("A=1 sh -c 'echo $A $0 $1' name arg; echo [$A]", "0 1 name arg\n[]\n"),
    ("exit 7; echo never", "7 "),
    (
        "printf 'a\\nb\\nc' >/tmp/x; tail -n +2 /tmp/x; echo; tail -c 3 /tmp/x; echo; tail -c+5 /tmp/x; tail -1 /tmp/x; rm /tmp/x",
        "0 b\nc\nb\nc\ncc",
    ),
    ("printf 'a b\\nc' | head -c 2; printf 'a b\\nc' | head -n 1; printf 'a b\\nc' | wc", "0 a a b\n1 3 5\n"),
    ("cd /tmp; echo >-f; ls; rm -- -f; ls; rm -f -- -f", "0 -f\n"),
    ("cat /data/big | tail -c+0 | wc -c; ls -a /tmp", "0 17825792\n"),
    ("x=$(cat /data/big); echo never", "2 sh: more than 16 MiB in a $(...)\n"),
    ("serve --now", "127 sh: serve: not found (programs of the image are run by `kubectl exec POD -- serve`)\n"),
    ("echo 'unfinished", "2 sh: unexpected end of the script while looking for matching `''\n"),
    ("sleep 1 &", "2 sh: commands cannot run in the background here\n"),
    ("case x in x) ;; esac", "2 sh: `case' is not supported here\n"),
    ("f() { :; }", "2 sh: syntax error near unexpected token `('\n"),
    ("x='$(eval \"$x\")'; eval \"$x\"", "2 sh: it calls itself too often\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_does_what_people_type() {
    let world = World::new(include_bytes!("../../../wasm-runtime/testdata/http-p2.wasm"));
    let (data, tmp) = (world.dir.path().join("data"), world.dir.path().join("tmp"));
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::create_dir_all(&tmp).unwrap();
    std::fs::write(data.join("sub/file"), "content").unwrap();
    std::fs::File::create(data.join("big")).unwrap().set_len(17 << 20).unwrap();
    let mount = |host: PathBuf, guest: &str| Mount { host, guest: guest.into(), is_read_only: false };
    let mounts = vec![mount(data, "/data"), mount(tmp, "/tmp")];
    let image = world.pull("job:v1").await.unwrap();
    let guest = world.runtime.start(ContainerSpec { mounts, ..world.spec(image) }).await.unwrap();
    for (script, expected) in SCRIPTS {
        let (exit, text) = exec(&*guest, &["sh", "-c", script], "typed in here\n").await.unwrap();
        assert_eq!(format!("{} {text}", exit.code), *expected, "{script}");
    }
    let typed = "x=1\nif true; then\necho in $x\nfi\nexit 4\n";
    let (exit, text) = exec(&*guest, &["/bin/sh", "-i"], typed).await.unwrap();
    assert_eq!((exit.code, text.as_str()), (4, "# # > > in 1\n# "));
}
