//! The programs that people expect in a container, in one: `argv[0]` chooses.

use std::io::{self, Write};
use std::process::ExitCode;

mod small;
mod tar;

/// What went wrong, as the tool's one line on standard error.
type Outcome = Result<u8, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let name = args.first().map_or("", |arg| arg.rsplit('/').next().unwrap_or_default());
    let rest = args.get(1..).unwrap_or_default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = match name {
        "cat" => small::cat(rest, &mut out),
        "echo" => small::echo(rest, &mut out),
        "env" | "printenv" => small::env(rest, &mut out),
        "false" => Ok(1),
        "ls" => small::ls(rest, &mut out),
        "tar" => tar::run(rest, &mut out),
        "test" | "[" => small::test(rest),
        "true" => Ok(0),
        _ => Err("no such tool".to_owned()),
    };
    let outcome = outcome.and_then(|code| out.flush().map(|()| code).map_err(|error| error.to_string()));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("{name}: {problem}");
            ExitCode::from(if name == "test" || name == "ls" || name == "tar" { 2 } else { 1 })
        }
    }
}
