//! Tools that change files.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::io_of::complain;
use crate::small::why;
use crate::Outcome;

/// `mkdir [-p] DIR...`
pub fn mkdir(args: &[String]) -> Outcome {
    let (flags, paths) = flags(args, "p")?;
    let make = |path: &str| if flags.contains('p') { fs::create_dir_all(path) } else { fs::create_dir(path) };
    each("mkdir", &paths, |path| make(path))
}

/// `rm [-rf] PATH...`
pub fn rm(args: &[String]) -> Outcome {
    let (flags, paths) = flags(args, "rRf")?;
    let (recursive, forced) = (flags.contains(['r', 'R']), flags.contains('f'));
    if paths.is_empty() && forced {
        return Ok(0);
    }
    each("rm", &paths, |path| match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() && recursive => fs::remove_dir_all(path),
        Ok(found) if found.is_dir() => Err(io::Error::new(io::ErrorKind::Other, "Is a directory")),
        Ok(_) => fs::remove_file(path),
        Err(error) if forced && error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    })
}

/// `touch FILE...`
pub fn touch(args: &[String]) -> Outcome {
    let (_, paths) = flags(args, "")?;
    each("touch", &paths, |path| File::options().create(true).append(true).open(path).map(drop))
}

/// `cp [-r] FROM... TO`
pub fn cp(args: &[String]) -> Outcome {
    let (flags, paths) = flags(args, "rRa")?;
    let is_recursive = !flags.is_empty();
    into(&paths, |from, to| copy(from, to, is_recursive))
}

/// `mv FROM... TO`
pub fn mv(args: &[String]) -> Outcome {
    let (_, paths) = flags(args, "f")?;
    into(&paths, |from, to| match fs::rename(from, to) {
        // Another volume.
        Err(error) if error.raw_os_error() == Some(75) => {
            copy(from, to, true)?;
            if from.is_dir() {
                fs::remove_dir_all(from)
            } else {
                fs::remove_file(from)
            }
        }
        moved => moved,
    })
}

fn copy(from: &Path, to: &Path, is_recursive: bool) -> io::Result<()> {
    if !fs::metadata(from)?.is_dir() {
        return io::copy(&mut File::open(from)?, &mut File::create(to)?).map(drop);
    }
    if !is_recursive {
        return Err(io::Error::new(io::ErrorKind::Other, "Is a directory (-r not specified)"));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy(&from.join(&name), &to.join(&name), true)?;
    }
    Ok(())
}

/// Does something for each path but the last, which is a directory if there are several.
fn into(paths: &[&str], act: impl Fn(&Path, &Path) -> io::Result<()>) -> Outcome {
    let Some((to, from)) = paths.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err("missing operand".to_owned());
    };
    let to = Path::new(to);
    if from.len() > 1 && !to.is_dir() {
        return Err(format!("target '{}' is not a directory", to.display()));
    }
    let mut code = 0;
    for path in from.iter().map(Path::new) {
        let target = match path.file_name().filter(|_| to.is_dir()) {
            Some(name) => to.join(name),
            None => to.to_owned(),
        };
        if let Err(error) = act(path, &target) {
            complain(format_args!("{}: {}", path.display(), why(&error)));
            code = 1;
        }
    }
    Ok(code)
}

fn each(tool: &str, paths: &[&str], act: impl Fn(&str) -> io::Result<()>) -> Outcome {
    if paths.is_empty() {
        return Err("missing operand".to_owned());
    }
    let mut code = 0;
    for path in paths {
        if let Err(error) = act(path) {
            complain(format_args!("{tool}: {path}: {}", why(&error)));
            code = 1;
        }
    }
    Ok(code)
}

/// Separates the flags, which must be known, from the rest.
fn flags<'a>(args: &'a [String], known: &str) -> Result<(String, Vec<&'a str>), String> {
    let (mut flags, mut rest, mut only_paths) = (String::new(), Vec::new(), false);
    for arg in args {
        match arg.strip_prefix('-').filter(|letters| !letters.is_empty() && *letters != "-" && !only_paths) {
            Some(letters) => match letters.chars().find(|letter| !known.contains(*letter)) {
                Some(unknown) => return Err(format!("-{unknown}: not understood here")),
                None => flags.push_str(letters),
            },
            None if arg == "--" && !only_paths => only_paths = true,
            None => rest.push(arg.as_str()),
        }
    }
    Ok((flags, rest))
}
