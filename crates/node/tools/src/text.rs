//! Tools that read text.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use crate::io_of::{complain, Input};
use crate::small::why;
use crate::Outcome;

/// `head [-n LINES | -LINES] [FILE...]`
pub fn head(args: &[String], out: &mut dyn Write) -> Outcome {
    let (lines, files) = count(args)?;
    each("head", &files, |reader| {
        for line in reader.split(b'\n').take(lines) {
            out.write_all(&line?)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// `tail [-n LINES | -LINES] [FILE...]`
pub fn tail(args: &[String], out: &mut dyn Write) -> Outcome {
    let (lines, files) = count(args)?;
    each("tail", &files, |reader| {
        let mut last = VecDeque::new();
        for line in reader.split(b'\n') {
            last.push_back(line?);
            if last.len() > lines {
                last.pop_front();
            }
        }
        for line in last {
            out.write_all(&line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// `wc [-lwc] [FILE...]`
pub fn wc(args: &[String], out: &mut dyn Write) -> Outcome {
    let (flags, files): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with('-') && *arg != "-");
    let wanted: String = flags.iter().flat_map(|flags| flags.chars().skip(1)).collect();
    let wants = |flag: char| wanted.is_empty() || wanted.contains(flag);
    let names: Vec<String> = files.iter().map(|file| (*file).clone()).collect();
    let mut files = names.iter();
    each("wc", &names, |reader| {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        let counts = [('l', lines), ('w', words), ('c', bytes.len())];
        let shown: Vec<String> =
            counts.iter().filter(|(flag, _)| wants(*flag)).map(|(_, count)| count.to_string()).collect();
        let name = files.next().map(|name| format!(" {name}")).unwrap_or_default();
        writeln!(out, "{}{name}", shown.join(" "))
    })
}

/// `grep [-ivcq] TEXT [FILE...]`; the text is taken as it stands, there are no patterns.
pub fn grep(args: &[String], out: &mut dyn Write) -> Outcome {
    let split = args.iter().position(|arg| !arg.starts_with('-')).ok_or("what to look for is missing")?;
    let flags: String = args[..split].iter().flat_map(|flags| flags.chars().skip(1)).collect();
    if let Some(unknown) = flags.chars().find(|flag| !"ivcqFE".contains(*flag)) {
        return Err(format!("-{unknown}: not understood here"));
    }
    let fold = |text: &str| if flags.contains('i') { text.to_lowercase() } else { text.to_owned() };
    let wanted = fold(&args[split]);
    let (mut found, files) = (0, &args[split + 1..]);
    let read = each("grep", files, |reader| {
        for line in reader.split(b'\n') {
            let line = line?;
            if fold(&String::from_utf8_lossy(&line)).contains(&wanted) == flags.contains('v') {
                continue;
            }
            found += 1;
            if !flags.contains(['c', 'q']) {
                out.write_all(&line)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    })?;
    if flags.contains('c') {
        writeln!(out, "{found}").map_err(|error| error.to_string())?;
    }
    Ok(if read != 0 { 2 } else { u8::from(found == 0) })
}

/// `printf FORMAT [WORD...]` with `%s`, `%d`, `%%` and the usual escapes.
pub fn printf(args: &[String], out: &mut dyn Write) -> Outcome {
    let (format, words) = args.split_first().ok_or("missing operand")?;
    let mut words = words.iter();
    loop {
        let mut chars = format.chars();
        let before = words.len();
        while let Some(c) = chars.next() {
            let piece = match (c, c == '%' || c == '\\') {
                (_, false) => c.to_string(),
                ('%', _) => match chars.next() {
                    Some('s' | 'd') => words.next().cloned().unwrap_or_default(),
                    Some('%') => "%".to_owned(),
                    other => return Err(format!("%{}: not understood here", other.unwrap_or(' '))),
                },
                _ => match chars.next() {
                    Some('n') => "\n".to_owned(),
                    Some('t') => "\t".to_owned(),
                    Some('r') => "\r".to_owned(),
                    Some(other) => other.to_string(),
                    None => "\\".to_owned(),
                },
            };
            out.write_all(piece.as_bytes()).map_err(|error| error.to_string())?;
        }
        // The format is used again for what is left, unless it uses nothing.
        if words.len() == 0 || words.len() == before {
            return Ok(0);
        }
    }
}

/// `sleep SECONDS`
pub fn sleep(args: &[String]) -> Outcome {
    let seconds = args.first().and_then(|arg| arg.trim_end_matches('s').parse::<f64>().ok());
    let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or("invalid time interval")?;
    std::thread::sleep(wait);
    Ok(0)
}

fn count(args: &[String]) -> Result<(usize, Vec<String>), String> {
    let (mut lines, mut files) = (10, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let number = match arg.strip_prefix("-n").or_else(|| arg.strip_prefix('-').filter(|rest| !rest.is_empty())) {
            None => {
                files.push(arg.clone());
                continue;
            }
            Some("") => args.next().ok_or("-n: option requires an argument")?,
            Some(number) => number,
        };
        lines = number.parse().map_err(|_| format!("invalid number of lines: '{number}'"))?;
    }
    Ok((lines, files))
}

fn each(tool: &str, files: &[String], mut act: impl FnMut(&mut dyn BufRead) -> io::Result<()>) -> Outcome {
    let own = ["-".to_owned()];
    let mut code = 0;
    for file in if files.is_empty() { &own[..] } else { files } {
        let opened: io::Result<Box<dyn Read>> =
            if file == "-" { Ok(Box::new(Input)) } else { File::open(file).map(|file| Box::new(file) as _) };
        if let Err(error) = opened.and_then(|reader| act(&mut BufReader::new(reader))) {
            complain(format_args!("{tool}: {file}: {}", why(&error)));
            code = 1;
        }
    }
    Ok(code)
}
