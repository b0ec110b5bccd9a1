//! `tar`: as much of it as `kubectl cp` and a person copying a folder use. Writes ustar with GNU's long names; reads
//! those and POSIX's extended headers (`pax(1)`).

use std::ffi::{c_char, c_int, CString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::io_of::{complain, Input};
use crate::small::why;
use crate::Outcome;

const BLOCK: usize = 512;
/// A name in an extended header; more is not a name.
const EXTENDED_MAX: u64 = 64 * 1024;

/// `tar c|x|t [vf] [-C DIR] [PATH...]`, with flags in any of tar's ways of writing them.
pub fn run(args: &[String], out: &mut impl Write) -> Outcome {
    let asked = Asked::parse(args)?;
    match asked.mode {
        'c' => create(&asked, out).map_err(|error| why(&error)),
        'x' => extract(&asked),
        _ => list(&asked, out),
    }
}

struct Asked {
    mode: char,
    dir: PathBuf,
    paths: Vec<String>,
    file: String,
}

impl Asked {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut asked = Self { mode: ' ', dir: PathBuf::new(), paths: Vec::new(), file: "-".to_owned() };
        let (mut args, mut only_paths) = (args.iter().enumerate(), false);
        while let Some((index, arg)) = args.next() {
            let mut value = || args.next().map(|(_, value)| value.clone()).ok_or("option requires an argument");
            match arg.as_str() {
                path if only_paths => asked.paths.push(path.to_owned()),
                "--" => only_paths = true,
                "-C" | "--directory" => asked.dir = value()?.into(),
                // What these switch off does not exist here.
                "--no-same-permissions" | "--no-same-owner" | "--warning=no-unknown-keyword" => {}
                long if long.starts_with("--") => return Err(format!("{long}: not understood here")),
                flags if flags.starts_with('-') && flags.len() > 1 || index == 0 => {
                    for flag in flags.trim_start_matches('-').chars() {
                        match flag {
                            'c' | 'x' | 't' => asked.mode = flag,
                            'f' => asked.file = value()?,
                            'C' => asked.dir = value()?.into(),
                            'm' | 'p' | 'v' | 'o' | 'h' => {}
                            other => return Err(format!("-{other}: not understood here")),
                        }
                    }
                }
                path => asked.paths.push(path.to_owned()),
            }
        }
        if asked.mode == ' ' {
            return Err("you must specify one of 'c', 'x' and 't'".to_owned());
        }
        Ok(asked)
    }

    fn open(&self) -> Result<Box<dyn Read>, String> {
        if self.file == "-" {
            return Ok(Box::new(Input));
        }
        File::open(&self.file)
            .map(|file| Box::new(file) as _)
            .map_err(|error| format!("{}: {}", self.file, why(&error)))
    }
}

fn create(asked: &Asked, out: &mut impl Write) -> io::Result<u8> {
    let mut archive: Box<dyn Write + '_> =
        if asked.file == "-" { Box::new(out) } else { Box::new(File::create(&asked.file)?) };
    let (mut code, mut added) = (0, 0);
    for path in &asked.paths {
        added += 1;
        if let Err(error) = add(&mut archive, &asked.dir.join(path), path.trim_start_matches('/')) {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Err(error);
            }
            complain(format_args!("tar: {path}: {}", why(&error)));
            (code, added) = (2, added - 1);
        }
    }
    // With nothing in it there is no end either: `kubectl cp` takes an archive that ends for success.
    if added > 0 || code == 0 {
        archive.write_all(&[0; 2 * BLOCK])?;
    }
    archive.flush()?;
    Ok(code)
}

fn add(archive: &mut impl Write, path: &Path, name: &str) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let seconds = modified.map_or(0, |since| since.as_secs());
    if metadata.is_dir() {
        header(archive, &format!("{}/", name.trim_end_matches('/')), b'5', 0o755, 0, seconds, "")?;
        let mut children =
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()?;
        children.sort();
        for child in children {
            let child_name = format!("{}/{}", name.trim_end_matches('/'), child.to_string_lossy());
            add(archive, &path.join(&child), child_name.trim_start_matches('/'))?;
        }
        return Ok(());
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path)?;
        return header(archive, name, b'2', 0o777, 0, seconds, &target.to_string_lossy());
    }
    let mut file = File::open(path)?;
    let size = metadata.len();
    header(archive, name, b'0', 0o644, size, seconds, "")?;
    let copied = io::copy(&mut (&mut file).take(size), archive)?;
    // A file that shrinks meanwhile must not shift what follows.
    io::copy(&mut io::repeat(0).take(size - copied + padding(size)), archive)?;
    Ok(())
}

fn header(
    archive: &mut impl Write,
    name: &str,
    kind: u8,
    mode: u32,
    size: u64,
    time: u64,
    link: &str,
) -> io::Result<()> {
    for (text, long) in [(link, b'K'), (name, b'L')] {
        if text.len() > 100 {
            write_header(archive, "././@LongLink", long, 0, text.len() as u64 + 1, 0, "")?;
            archive.write_all(text.as_bytes())?;
            archive.write_all(&vec![0; 1 + usize::try_from(padding(text.len() as u64 + 1)).unwrap_or(0)])?;
        }
    }
    write_header(archive, name, kind, mode, size, time, link)
}

fn write_header(
    archive: &mut impl Write,
    name: &str,
    kind: u8,
    mode: u32,
    size: u64,
    time: u64,
    link: &str,
) -> io::Result<()> {
    let mut block = [0; BLOCK];
    put(&mut block[0..100], name.as_bytes());
    put(&mut block[100..108], format!("{mode:07o}").as_bytes());
    put(&mut block[108..116], b"0000000");
    put(&mut block[116..124], b"0000000");
    put(&mut block[124..136], format!("{size:011o}").as_bytes());
    put(&mut block[136..148], format!("{time:011o}").as_bytes());
    block[156] = kind;
    put(&mut block[157..257], link.as_bytes());
    put(&mut block[257..265], b"ustar  ");
    let sum = checksum(&block);
    put(&mut block[148..156], format!("{sum:06o}\0 ").as_bytes());
    archive.write_all(&block)
}

fn put(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// The sum of all bytes, those of its own field counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    sum - own + 8 * u32::from(b' ')
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// One entry of an archive.
struct Entry {
    name: String,
    kind: u8,
    size: u64,
    /// Where a link leads.
    link: String,
}

fn next(archive: &mut impl Read) -> io::Result<Option<Entry>> {
    let (mut long_name, mut long_link) = (None, None);
    loop {
        let mut block = [0; BLOCK];
        match archive.read_exact(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        if block.iter().all(|byte| *byte == 0) {
            // What follows the end is read, so that whoever writes is not cut off.
            io::copy(archive, &mut io::sink())?;
            return Ok(None);
        }
        if octal(&block[148..156])? != u64::from(checksum(&block)) {
            return Err(io::Error::other("this does not look like a tar archive"));
        }
        let (kind, size) = (block[156], octal(&block[124..136])?);
        if !matches!(kind, b'L' | b'K' | b'x' | b'g') {
            let name = long_name.unwrap_or_else(|| joined(&block));
            let link = long_link.unwrap_or_else(|| text(&block[157..257]));
            return Ok(Some(Entry { name, kind, size, link }));
        }
        if size > EXTENDED_MAX {
            return Err(io::Error::other("an extended header is too long"));
        }
        let mut data = Vec::new();
        archive.take(size).read_to_end(&mut data)?;
        io::copy(&mut archive.take(padding(size)), &mut io::sink())?;
        match kind {
            b'L' => long_name = Some(text(&data)),
            b'K' => long_link = Some(text(&data)),
            b'x' => {
                long_name = extended(&data, b"path=").or(long_name);
                long_link = extended(&data, b"linkpath=").or(long_link);
            }
            _ => {}
        }
    }
}

fn joined(block: &[u8; BLOCK]) -> String {
    let (name, prefix) = (text(&block[0..100]), text(&block[345..500]));
    // GNU's own headers have other things in the place of the prefix.
    let is_posix = &block[257..263] == b"ustar\0";
    if is_posix && !prefix.is_empty() {
        format!("{prefix}/{name}")
    } else {
        name
    }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn octal(field: &[u8]) -> io::Result<u64> {
    let digits = text(field);
    let bad = |_| io::Error::other("a number in the archive is damaged");
    match digits.trim() {
        "" => Ok(0),
        digits => u64::from_str_radix(digits, 8).map_err(bad),
    }
}

/// Finds what begins with `key` among the records `LENGTH KEY=VALUE\n`.
fn extended(mut data: &[u8], key: &[u8]) -> Option<String> {
    while let Some(space) = data.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let record = data.get(space + 1..length.checked_sub(1)?)?;
        if let Some(value) = record.strip_prefix(key) {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        data = data.get(length..)?;
    }
    None
}

fn list(asked: &Asked, out: &mut impl Write) -> Outcome {
    let mut archive = asked.open()?;
    while let Some(entry) = next(&mut archive).map_err(|error| error.to_string())? {
        writeln!(out, "{}", entry.name).map_err(|error| error.to_string())?;
        skip(&mut archive, entry.size).map_err(|error| error.to_string())?;
    }
    Ok(0)
}

fn skip(archive: &mut impl Read, size: u64) -> io::Result<()> {
    io::copy(&mut archive.take(size + padding(size)), &mut io::sink()).map(drop)
}

fn extract(asked: &Asked) -> Outcome {
    if !asked.dir.as_os_str().is_empty() {
        let found = fs::metadata(&asked.dir).map_err(|error| format!("{}: {}", asked.dir.display(), why(&error)))?;
        if !found.is_dir() {
            return Err(format!("{}: Not a directory", asked.dir.display()));
        }
    }
    let mut archive = asked.open()?;
    let mut code = 0;
    while let Some(entry) = next(&mut archive).map_err(|error| error.to_string())? {
        let mut body = (&mut archive).take(entry.size);
        if let Err(error) = unpack(asked, &entry, &mut body) {
            complain(format_args!("tar: {}: {}", entry.name, why(&error)));
            code = 2;
        }
        io::copy(&mut body, &mut io::sink()).map_err(|error| error.to_string())?;
        io::copy(&mut (&mut archive).take(padding(entry.size)), &mut io::sink()).map_err(|error| error.to_string())?;
    }
    Ok(code)
}

fn unpack(asked: &Asked, entry: &Entry, body: &mut impl Read) -> io::Result<()> {
    let path = asked.dir.join(within(&entry.name)?);
    match entry.kind {
        b'5' => make_dirs(&path),
        b'0' | 0 | b'7' => {
            make_place(&path)?;
            io::copy(body, &mut File::create(&path)?).map(drop)
        }
        b'1' => {
            let target = asked.dir.join(within(&entry.link)?);
            // A link to itself must not remove what it leads to.
            if target != path {
                make_place(&path)?;
                let _ = fs::remove_file(&path);
                make_link(link, &target, &path)?;
            }
            Ok(())
        }
        b'2' => {
            make_place(&path)?;
            make_link(symlink, Path::new(&entry.link), &path)
        }
        _ => Err(io::Error::other("only files, folders and links are extracted here")),
    }
}

/// Returns the place that a name of the archive means, which is never outside of where it is extracted.
fn within(name: &str) -> io::Result<&Path> {
    let name = Path::new(name.trim_start_matches('/'));
    if name.components().any(|part| part == Component::ParentDir) {
        return Err(io::Error::other("Member name contains '..'"));
    }
    Ok(name)
}

// The standard library's for symbolic links are not stable, and its hard links do not look among the volumes.
extern "C" {
    fn link(target: *const c_char, path: *const c_char) -> c_int;
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
}

type MakeLink = unsafe extern "C" fn(*const c_char, *const c_char) -> c_int;

fn make_link(make: MakeLink, target: &Path, path: &Path) -> io::Result<()> {
    let c_string = |path: &Path| CString::new(path.to_string_lossy().as_bytes());
    let (target, path) = (c_string(target)?, c_string(path)?);
    // SAFETY: both are strings of C that live longer than the call, which keeps neither.
    match unsafe { make(target.as_ptr(), path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the folders above `path`, and takes away a link there: nothing goes into what a link leads to.
fn make_place(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_dirs(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// The first parts of a path may be outside every volume; what is there already needs no making.
fn make_dirs(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    fs::create_dir_all(path)
}
