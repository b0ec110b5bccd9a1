//! The programs that people expect in a container, in one: `argv[0]` chooses.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

mod files;
mod io_of;
mod shell;
mod small;
mod tar;
mod text;

/// What went wrong, as the tool's one line on standard error.
type Outcome = Result<u8, String>;

fn main() -> ExitCode {
    // Where the container begins: preview 1 has no other way to say it.
    if let Some(dir) = std::env::var_os("PWD") {
        let _ = std::env::set_current_dir(dir);
    }
    let args: Vec<String> = std::env::args().collect();
    let name = base_name(args.first().map_or("", String::as_str));
    let rest = args.get(1..).unwrap_or_default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = match name {
        "sh" => shell::run(rest, &mut out),
        _ => tool(name, rest, &mut out).unwrap_or_else(|| Err("no such tool".to_owned())),
    };
    let outcome = outcome.and_then(|code| out.flush().map(|()| code).map_err(|error| error.to_string()));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            io_of::complain(format_args!("{name}: {problem}"));
            ExitCode::from(code_of_failure(name))
        }
    }
}

/// Runs the tool of this name; `None` if there is none.
fn tool(name: &str, args: &[String], mut out: &mut dyn Write) -> Option<Outcome> {
    Some(match name {
        "cat" => small::cat(args, &mut out),
        "cp" => files::cp(args),
        "echo" => small::echo(args, &mut out),
        "env" | "printenv" => small::env(args, &mut out),
        "false" => Ok(1),
        "grep" => text::grep(args, out),
        "head" => text::head(args, out),
        "ls" => small::ls(args, &mut out),
        "mkdir" => files::mkdir(args),
        "mv" => files::mv(args),
        "printf" => text::printf(args, out),
        "pwd" => small::pwd(out),
        "rm" => files::rm(args),
        "sleep" => text::sleep(args),
        "tail" => text::tail(args, out),
        "tar" => tar::run(args, &mut out),
        "test" | "[" => small::test(args),
        "touch" => files::touch(args),
        "true" => Ok(0),
        "wc" => text::wc(args, out),
        _ => return None,
    })
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// What a tool that could not do its work ends with.
fn code_of_failure(name: &str) -> u8 {
    if matches!(name, "grep" | "ls" | "sh" | "tar" | "test" | "[") {
        2
    } else {
        1
    }
}

/// Returns a path from the root, without `.` and `..`.
fn absolute(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let mut absolute = PathBuf::from("/");
    for part in here.join(path).components() {
        match part {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => drop(absolute.pop()),
            _ => {}
        }
    }
    absolute
}
