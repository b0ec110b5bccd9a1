//! Tools that read text.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use crate::io_of::{complain, Input};
use crate::small::why;
use crate::Outcome;

/// What `tail` reads at once when it counts bytes.
const PIECE_BYTES: u64 = 64 * 1024;

/// `head [-n LINES | -LINES | -c BYTES] [FILE...]`
pub fn head(args: &[String], out: &mut dyn Write) -> Outcome {
    let (amount, files) = Amount::parse(args)?;
    each("head", &files, |reader| match amount.unit {
        Unit::Bytes => io::copy(&mut reader.take(amount.number), out).map(drop),
        Unit::Lines => {
            let mut line = Vec::new();
            for _ in 0..amount.number {
                line.clear();
                if reader.read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                out.write_all(&line)?;
            }
            Ok(())
        }
    })
}

/// `tail [-n [+]LINES | -LINES | -c [+]BYTES] [FILE...]`; with a `+`, all from that line or byte on.
pub fn tail(args: &[String], out: &mut dyn Write) -> Outcome {
    let (amount, files) = Amount::parse(args)?;
    // The first has the number 1, and 0 means the same.
    let skipped = amount.number.saturating_sub(1);
    each("tail", &files, |reader| match (amount.is_from_start, amount.unit) {
        (true, Unit::Bytes) => {
            io::copy(&mut reader.take(skipped), &mut io::sink())?;
            io::copy(reader, out).map(drop)
        }
        (true, Unit::Lines) => {
            for _ in 0..skipped {
                reader.skip_until(b'\n')?;
            }
            io::copy(reader, out).map(drop)
        }
        (false, unit) => last(reader, unit, amount.number)?.iter().try_for_each(|piece| out.write_all(piece)),
    })
}

/// Returns the last lines, or pieces that hold the last bytes.
fn last(reader: &mut dyn BufRead, unit: Unit, number: u64) -> io::Result<VecDeque<Vec<u8>>> {
    let (mut pieces, mut held) = (VecDeque::new(), 0);
    loop {
        let mut piece = Vec::new();
        let added = match unit {
            Unit::Lines => u64::from(reader.read_until(b'\n', &mut piece)? > 0),
            Unit::Bytes => reader.take(PIECE_BYTES).read_to_end(&mut piece)? as u64,
        };
        if added == 0 {
            break;
        }
        held += added;
        pieces.push_back(piece);
        let size = |piece: &Vec<u8>| if unit == Unit::Lines { 1 } else { piece.len() as u64 };
        while let Some(first) = pieces.front().map(size).filter(|first| held - first >= number) {
            held -= first;
            pieces.pop_front();
        }
    }
    if let (Unit::Bytes, Some(first)) = (unit, pieces.front_mut()) {
        first.drain(..usize::try_from(held.saturating_sub(number)).unwrap_or(0));
    }
    Ok(pieces)
}

/// `wc [-lwc] [FILE...]`
pub fn wc(args: &[String], out: &mut dyn Write) -> Outcome {
    let (flags, files): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with('-') && *arg != "-");
    let wanted: String = flags.iter().flat_map(|flags| flags.chars().skip(1)).collect();
    let wants = |flag: char| wanted.is_empty() || wanted.contains(flag);
    let names: Vec<String> = files.iter().map(|file| (*file).clone()).collect();
    let mut files = names.iter();
    each("wc", &names, |reader| {
        let (mut lines, mut words, mut bytes, mut is_in_word) = (0, 0, 0, false);
        loop {
            let piece = reader.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            for byte in piece {
                lines += u64::from(*byte == b'\n');
                words += u64::from(!is_in_word && !byte.is_ascii_whitespace());
                is_in_word = !byte.is_ascii_whitespace();
            }
            bytes += piece.len() as u64;
            let length = piece.len();
            reader.consume(length);
        }
        let counts = [('l', lines), ('w', words), ('c', bytes)];
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

/// How much `head` and `tail` show.
struct Amount {
    number: u64,
    unit: Unit,
    is_from_start: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Lines,
    Bytes,
}

impl Amount {
    /// Separates it from the files.
    fn parse(args: &[String]) -> Result<(Self, Vec<String>), String> {
        let (mut amount, mut files) = (Self { number: 10, unit: Unit::Lines, is_from_start: false }, Vec::new());
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                files.push(arg.clone());
                continue;
            };
            if flag == "-" {
                files.extend(args.cloned());
                break;
            }
            let (unit, number) = match (flag.strip_prefix('c'), flag.strip_prefix('n')) {
                (Some(number), _) => (Unit::Bytes, number),
                (None, number) => (Unit::Lines, number.unwrap_or(flag)),
            };
            let number = if number.is_empty() {
                args.next().ok_or(format!("{arg}: option requires an argument"))?
            } else {
                number
            };
            let what = if unit == Unit::Bytes { "bytes" } else { "lines" };
            let parsed =
                number.trim_start_matches('+').parse().map_err(|_| format!("invalid number of {what}: '{number}'"))?;
            amount = Self { number: parsed, unit, is_from_start: number.starts_with('+') };
        }
        Ok((amount, files))
    }
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
