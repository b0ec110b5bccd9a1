//! `sh`: enough of POSIX's shell to look around in a container and to run what `kubectl exec POD -- sh -c '…'` says.

mod glob;
mod parse;
mod pipe;
mod run;

use std::collections::BTreeMap;
use std::io::Write;

use self::parse::Error;
use self::run::{Shell, Stop};
use crate::io_of;
use crate::small::why;
use crate::Outcome;

/// `sh [-eix] [-c SCRIPT [NAME [ARG...]] | FILE [ARG...]]`; without a script it reads commands from its input.
pub fn run(args: &[String], out: &mut dyn Write) -> Outcome {
    start(args, std::env::vars().collect(), out)
}

fn start(args: &[String], variables: BTreeMap<String, String>, out: &mut dyn Write) -> Outcome {
    let mut shell = Shell::new(variables);
    let (mut rest, mut is_command, mut is_interactive) = (args, false, false);
    while let Some((flags, more)) = rest.split_first().filter(|(flags, _)| flags.starts_with('-') && flags.len() > 1) {
        rest = more;
        for flag in flags.chars().skip(1) {
            match flag {
                'c' => is_command = true,
                'i' => is_interactive = true,
                'e' => shell.ends_at_failure = true,
                'x' => shell.tells = true,
                'l' => {}
                _ => return Err(format!("-{flag}: not understood here")),
            }
        }
    }
    if is_command {
        let (script, rest) = rest.split_first().ok_or("-c: option requires an argument")?;
        shell.arguments = if rest.is_empty() { vec!["sh".to_owned()] } else { rest.to_vec() };
        return ended(shell.script(script, out));
    }
    if let Some(file) = rest.first() {
        shell.arguments = rest.to_vec();
        let script = std::fs::read_to_string(file).map_err(|error| format!("{file}: {}", why(&error)))?;
        return ended(shell.script(&script, out));
    }
    shell.arguments = vec!["sh".to_owned()];
    talk(&mut shell, is_interactive, out)
}

/// Runs commands as they come in.
fn talk(shell: &mut Shell, is_interactive: bool, out: &mut dyn Write) -> Outcome {
    let (mut script, mut code) = (String::new(), 0);
    loop {
        if is_interactive {
            let prompt = if script.is_empty() { "# " } else { "> " };
            write!(out, "{prompt}").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
        }
        let Some(line) = io_of::line() else {
            return if script.trim().is_empty() { Ok(code) } else { ended(shell.script(&script, out)) };
        };
        script.push_str(&line);
        match parse::parse(&script) {
            Err(Error::Incomplete(_)) => continue,
            Err(error) => {
                io_of::complain(format_args!("sh: {}", told(&error)));
                code = 2;
            }
            Ok(node) => match shell.run(&node, out) {
                Ok(ran) => code = ran,
                Err(Stop::Exit(code)) => return Ok(code),
                Err(Stop::Failed(why)) => io_of::complain(format_args!("sh: {why}")),
                Err(Stop::Break | Stop::Continue) => {}
            },
        }
        out.flush().map_err(|error| error.to_string())?;
        script.clear();
    }
}

fn ended(ran: Result<u8, Stop>) -> Outcome {
    match ran {
        Ok(code) | Err(Stop::Exit(code)) => Ok(code),
        Err(Stop::Break | Stop::Continue) => Ok(0),
        Err(Stop::Failed(why)) => Err(why),
    }
}

fn told(error: &Error) -> String {
    match error {
        Error::Incomplete(why) | Error::Wrong(why) => why.clone(),
    }
}
