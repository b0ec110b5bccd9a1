//! The small tools.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::io_of::{complain, Input};
use crate::Outcome;

/// `cat [FILE...]`; `-` is standard input.
pub fn cat(args: &[String], out: &mut impl Write) -> Outcome {
    let files: Vec<&str> = if args.is_empty() { vec!["-"] } else { args.iter().map(String::as_str).collect() };
    let mut code = 0;
    for file in files {
        let copied = match file {
            "-" => copy(&mut Input, out),
            path => File::open(path).and_then(|mut file| copy(&mut file, out)),
        };
        if let Err(error) = copied {
            complain(format_args!("cat: {file}: {}", why(&error)));
            code = 1;
        }
    }
    Ok(code)
}

/// Copies and shows each piece at once, so that one can talk to it.
fn copy(from: &mut impl io::Read, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => out.write_all(&buffer[..count])?,
        }
        out.flush()?;
    }
}

/// `echo [-n] [WORD...]`
pub fn echo(args: &[String], out: &mut impl Write) -> Outcome {
    let (words, end) = match args.split_first() {
        Some((flag, words)) if flag == "-n" => (words, ""),
        _ => (args, "\n"),
    };
    write!(out, "{}{end}", words.join(" ")).map_err(|error| error.to_string())?;
    Ok(0)
}

/// `env`, or `printenv NAME...`
pub fn env(names: &[String], out: &mut impl Write) -> Outcome {
    let mut code = 0;
    if names.is_empty() {
        for (name, value) in std::env::vars() {
            writeln!(out, "{name}={value}").map_err(|error| error.to_string())?;
        }
    }
    for name in names {
        match std::env::var(name) {
            Ok(value) => writeln!(out, "{value}").map_err(|error| error.to_string())?,
            Err(_) => code = 1,
        }
    }
    Ok(code)
}

/// `ls [-1al] [PATH...]`
pub fn ls(args: &[String], out: &mut impl Write) -> Outcome {
    let (flags, paths): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with('-') && *arg != "-");
    let has = |flag: char| flags.iter().any(|flags| flags.contains(flag));
    let here = ".".to_owned();
    let paths = if paths.is_empty() { vec![&here] } else { paths };
    let mut code = 0;
    for path in &paths {
        let names = match names(Path::new(path)) {
            Ok(names) => names,
            Err(error) => {
                complain(format_args!("ls: cannot access '{path}': {}", why(&error)));
                code = 2;
                continue;
            }
        };
        if paths.len() > 1 && Path::new(path).is_dir() {
            writeln!(out, "{path}:").map_err(|error| error.to_string())?;
        }
        for name in names.iter().filter(|name| has('a') || !name.starts_with('.')) {
            // A file is listed by the name that was given.
            let whole = if name == *path { Path::new(path).to_owned() } else { Path::new(path).join(name) };
            let line = if has('l') { long(&whole, name) } else { name.clone() };
            writeln!(out, "{line}").map_err(|error| error.to_string())?;
        }
    }
    Ok(code)
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_string_lossy().into_owned()]);
    }
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// WASI knows neither owners nor modes.
fn long(path: &Path, name: &str) -> String {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => format!("d {:>10} {name}/", ""),
        Ok(metadata) if metadata.is_symlink() => {
            let target = fs::read_link(path).map(|target| target.display().to_string()).unwrap_or_default();
            format!("l {:>10} {name} -> {target}", "")
        }
        Ok(metadata) => format!("- {:>10} {name}", metadata.len()),
        Err(error) => format!("? {:>10} {name}: {}", "", why(&error)),
    }
}

/// `test -d|-e|-f|-s|-n|-z WORD`, `test A = B`, `test A != B`; also as `[ ... ]`.
pub fn test(args: &[String]) -> Outcome {
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "]").collect();
    let metadata = |path: &str| fs::metadata(path);
    let holds = match args.as_slice() {
        [] => false,
        [word] => !word.is_empty(),
        ["!", rest @ ..] => {
            let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
            return test(&rest).map(|code| 1 - code);
        }
        ["-d", path] => metadata(path).is_ok_and(|found| found.is_dir()),
        ["-e", path] => metadata(path).is_ok(),
        ["-f", path] => metadata(path).is_ok_and(|found| found.is_file()),
        ["-s", path] => metadata(path).is_ok_and(|found| found.len() > 0),
        ["-n", word] => !word.is_empty(),
        ["-z", word] => word.is_empty(),
        [a, "=" | "==", b] => a == b,
        [a, "!=", b] => a != b,
        _ => return Err(format!("{}: not understood here", args.join(" "))),
    };
    Ok(u8::from(!holds))
}

/// `pwd`
pub fn pwd(out: &mut dyn Write) -> Outcome {
    writeln!(out, "{}", crate::absolute(Path::new("")).display()).map_err(|error| error.to_string())?;
    Ok(0)
}

/// Says why a file cannot be used, as people know it.
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "No such file or directory".to_owned(),
        // What no volume covers does not exist: the sandbox has no root to look in (`ENOTCAPABLE`, or std's own words).
        _ if error.raw_os_error() == Some(76) || error.to_string().contains("pre-opened") => {
            "No such file or directory".to_owned()
        }
        io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
        _ => error.to_string(),
    }
}
