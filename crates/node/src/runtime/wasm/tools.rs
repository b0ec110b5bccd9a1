//! Programs that the node brings along, so that `kubectl cp` and a look around work in images that hold one program and
//! nothing else. They run where the container's own commands run: in its sandbox, within its limits.

use bytes::Bytes;
use wkube_wasm_runtime::oci::Digest;
use wkube_wasm_runtime::{Artifact, BoxError, Engine, Error};

/// All of them in one module, which looks at `argv[0]`; its source is beside it.
const MODULE: &[u8] = include_bytes!("../../../tools/tools.wasm");

/// What the module knows.
pub(super) const NAMES: [&str; 23] = [
    "cat", "cp", "echo", "env", "false", "grep", "head", "ls", "mkdir", "mv", "printenv", "printf", "pwd", "rm", "sh",
    "sleep", "tail", "tar", "test", "[", "touch", "true", "wc",
];

/// Whether `program` names a tool. `./ls` is a way to say the image's own program with that name.
pub(super) fn is_tool(program: &str) -> bool {
    let name = ["/bin/", "/usr/bin/"].iter().find_map(|dir| program.strip_prefix(dir)).unwrap_or(program);
    NAMES.contains(&name)
}

/// Returns the digest of the module, by which its compiled code is kept.
pub(super) fn digest() -> String {
    Digest::of(MODULE).to_string()
}

/// Returns the tools, compiled at the first use.
pub(super) async fn load(engine: &Engine) -> Result<Artifact, Error> {
    let digest = Digest::of(MODULE);
    engine.load(digest.as_str(), || async { Ok::<_, BoxError>(Bytes::from_static(MODULE)) }).await
}

/// Compiles the tools, if that has not been done.
pub(super) async fn compile(engine: &Engine) -> Result<(), Error> {
    if !engine.has_cached(Digest::of(MODULE).as_str()) {
        load(engine).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_named_alone_or_where_programs_are() {
        for (program, expected) in [
            ("ls", true),
            ("/bin/ls", true),
            ("/usr/bin/tar", true),
            ("./ls", false),
            ("/app/ls", false),
            ("sh", true),
            ("bash", false),
        ] {
            assert_eq!(is_tool(program), expected, "{program}");
        }
    }
}
