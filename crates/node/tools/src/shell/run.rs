//! Does what a script says. There are no processes: the parts of a pipeline run one after the other, each with the
//! output of the one before as its input, and the commands are the tools of this module.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::parse::{Join, Node, Piece, Redirect, Word};
use super::pipe::Pipe;
use crate::io_of::{self, Errors};
use crate::small::why;
use crate::Outcome;

/// Scripts that call themselves by `$(…)` end before the stack does.
const DEPTH_MAX: u32 = 64;

/// Why a script goes no further.
pub enum Stop {
    /// `exit`.
    Exit(u8),
    /// `break` and `continue`.
    Break,
    Continue,
    /// It cannot.
    Failed(String),
}

type Ran = Result<u8, Stop>;

/// What a shell knows.
#[derive(Clone, Default)]
pub struct Shell {
    pub variables: BTreeMap<String, String>,
    /// `$0`, `$1` and so on.
    pub arguments: Vec<String>,
    /// `set -e` and `set -x`.
    pub ends_at_failure: bool,
    pub tells: bool,
    code: u8,
    depth: u32,
}

impl Shell {
    /// Returns a shell with these variables.
    pub fn new(variables: BTreeMap<String, String>) -> Self {
        Self { variables, ..Self::default() }
    }

    /// Runs what was read.
    pub fn run(&mut self, node: &Node, out: &mut dyn Write) -> Ran {
        let code = match node {
            Node::List(list) => return self.list(list, out),
            Node::Pipeline { is_negated, parts } => {
                let code = self.pipeline(parts, out)?;
                if *is_negated {
                    u8::from(code == 0)
                } else {
                    code
                }
            }
            Node::Simple { assignments, words, redirects } => self.simple(assignments, words, redirects, out)?,
            Node::If { arms, otherwise } => self.conditional(arms, otherwise.as_deref(), out)?,
            Node::For { name, words, body } => self.each(name, words, body, out)?,
            Node::While { is_until, condition, body } => self.repeat(*is_until, condition, body, out)?,
            Node::Group { body, is_subshell, redirects } => self.group(body, *is_subshell, redirects, out)?,
        };
        self.code = code;
        Ok(code)
    }

    fn list(&mut self, list: &[(Join, Node)], out: &mut dyn Write) -> Ran {
        for (at, (join, node)) in list.iter().enumerate() {
            let is_due = match join {
                Join::Always => true,
                Join::And => self.code == 0,
                Join::Or => self.code != 0,
            };
            if !is_due {
                continue;
            }
            let code = self.run(node, out)?;
            let is_judged = list.get(at + 1).is_some_and(|(join, _)| *join != Join::Always);
            let is_negated = matches!(node, Node::Pipeline { is_negated: true, .. });
            if code != 0 && self.ends_at_failure && !is_judged && !is_negated {
                return Err(Stop::Exit(code));
            }
        }
        Ok(self.code)
    }

    fn pipeline(&mut self, parts: &[Node], out: &mut dyn Write) -> Ran {
        let Some((last, before)) = parts.split_last() else { return Ok(0) };
        if before.is_empty() {
            return self.run(last, out);
        }
        // Each part is a shell of its own, as it would be with processes.
        let mut input: Option<Box<dyn Read>> = None;
        for part in before {
            let mut piped = Pipe::default();
            let mut part_shell = self.clone();
            with_input(input.take(), || ended(part_shell.run(part, &mut piped)))?;
            input = Some(piped.into_reader().map_err(stopped)?);
        }
        let mut part_shell = self.clone();
        with_input(input, || ended(part_shell.run(last, out)))
    }

    fn conditional(&mut self, arms: &[(Node, Node)], otherwise: Option<&Node>, out: &mut dyn Write) -> Ran {
        for (condition, body) in arms {
            if self.condition(condition, out)? {
                return self.run(body, out);
            }
        }
        otherwise.map_or(Ok(0), |otherwise| self.run(otherwise, out))
    }

    /// A condition may fail, also after `set -e`.
    fn condition(&mut self, node: &Node, out: &mut dyn Write) -> Result<bool, Stop> {
        let ends = std::mem::take(&mut self.ends_at_failure);
        let ran = self.run(node, out);
        self.ends_at_failure = ends;
        Ok(ran? == 0)
    }

    fn each(&mut self, name: &str, words: &[Word], body: &Node, out: &mut dyn Write) -> Ran {
        let mut code = 0;
        for value in self.words(words)? {
            self.variables.insert(name.to_owned(), value);
            match self.run(body, out) {
                Ok(ran) => code = ran,
                Err(Stop::Break) => break,
                Err(Stop::Continue) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(code)
    }

    fn repeat(&mut self, is_until: bool, condition: &Node, body: &Node, out: &mut dyn Write) -> Ran {
        let mut code = 0;
        while self.condition(condition, out)? != is_until {
            match self.run(body, out) {
                Ok(ran) => code = ran,
                Err(Stop::Break) => break,
                Err(Stop::Continue) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(code)
    }

    fn group(&mut self, body: &Node, is_subshell: bool, redirects: &[Redirect], out: &mut dyn Write) -> Ran {
        self.redirected(redirects, out, |shell, out| {
            if !is_subshell {
                return shell.run(body, out);
            }
            let here = std::env::current_dir();
            let code = ended(shell.clone().run(body, out));
            if let Ok(here) = here {
                let _ = std::env::set_current_dir(here);
            }
            code
        })
    }

    fn simple(
        &mut self,
        assignments: &[(String, Word)],
        words: &[Word],
        redirects: &[Redirect],
        out: &mut dyn Write,
    ) -> Ran {
        let words = self.words(words)?;
        let mut assigned = Vec::new();
        for (name, value) in assignments {
            assigned.push((name.clone(), self.joined(value)?));
        }
        if self.tells && !words.is_empty() {
            io_of::complain(format_args!("+ {}", words.join(" ")));
        }
        let Some((name, args)) = words.split_first() else {
            self.variables.extend(assigned);
            return self.redirected(redirects, out, |_, _| Ok(0));
        };
        let before =
            assigned.iter().map(|(name, _)| (name.clone(), self.variables.get(name).cloned())).collect::<Vec<_>>();
        self.variables.extend(assigned);
        let code = self.redirected(redirects, out, |shell, out| shell.command(name, args, out));
        for (name, value) in before {
            match value {
                Some(value) => self.variables.insert(name, value),
                None => self.variables.remove(&name),
            };
        }
        code
    }

    fn command(&mut self, name: &str, args: &[String], out: &mut dyn Write) -> Ran {
        let first = args.first().map(String::as_str);
        match name {
            ":" => Ok(0),
            "exit" => Err(Stop::Exit(first.map_or(self.code, |code| code.parse().unwrap_or(2)))),
            "break" => Err(Stop::Break),
            "continue" => Err(Stop::Continue),
            "cd" => Ok(self.change_dir(first)),
            "export" => {
                for arg in args {
                    let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
                    if arg.contains('=') || !self.variables.contains_key(name) {
                        self.variables.insert(name.to_owned(), value.to_owned());
                    }
                }
                Ok(0)
            }
            "unset" => {
                for name in args {
                    self.variables.remove(name);
                }
                Ok(0)
            }
            "set" => {
                for arg in args {
                    let is_on = arg.starts_with('-');
                    for flag in arg.chars().skip(1) {
                        match flag {
                            'e' => self.ends_at_failure = is_on,
                            'x' => self.tells = is_on,
                            'u' => {}
                            _ => return Ok(failed(format_args!("set: {arg}: not supported here"))),
                        }
                    }
                }
                Ok(0)
            }
            "shift" => {
                if self.arguments.len() > 1 {
                    self.arguments.remove(1);
                }
                Ok(0)
            }
            "read" => Ok(self.read(args)),
            "eval" => self.script(&args.join(" "), out),
            "env" if args.is_empty() => {
                for (name, value) in &self.variables {
                    writeln!(out, "{name}={value}").map_err(stopped)?;
                }
                Ok(0)
            }
            "sh" | "/bin/sh" => {
                let outcome = self.deeper(|shell| super::start(args, shell.variables.clone(), out));
                Ok(tell(name, outcome?))
            }
            _ => match crate::tool(crate::base_name(name), args, &mut *out) {
                Some(outcome) => Ok(tell(name, outcome)),
                None => {
                    io_of::complain(format_args!(
                        "sh: {name}: not found (programs of the image are run by `kubectl exec POD -- {name}`)"
                    ));
                    Ok(127)
                }
            },
        }
    }

    /// Runs a script in this shell.
    pub fn script(&mut self, script: &str, out: &mut dyn Write) -> Ran {
        let node = super::parse::parse(script).map_err(|error| Stop::Failed(super::told(&error)))?;
        self.deeper(|shell| shell.run(&node, out))?
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Result<T, Stop> {
        if self.depth >= DEPTH_MAX {
            return Err(Stop::Failed("it calls itself too often".to_owned()));
        }
        self.depth += 1;
        let done = run(self);
        self.depth -= 1;
        Ok(done)
    }

    fn change_dir(&mut self, to: Option<&str>) -> u8 {
        let home = self.variables.get("HOME").map_or("/", String::as_str);
        let to = to.unwrap_or(home).to_owned();
        match fs::metadata(&to) {
            Ok(found) if !found.is_dir() => failed(format_args!("cd: {to}: Not a directory")),
            Err(error) => failed(format_args!("cd: {to}: {}", why(&error))),
            Ok(_) => {
                let target = crate::absolute(Path::new(&to));
                match std::env::set_current_dir(&target) {
                    Err(error) => failed(format_args!("cd: {to}: {}", why(&error))),
                    Ok(()) => {
                        self.variables.insert("PWD".to_owned(), target.display().to_string());
                        0
                    }
                }
            }
        }
    }

    fn read(&mut self, names: &[String]) -> u8 {
        let names: Vec<&String> = names.iter().filter(|name| !name.starts_with('-')).collect();
        let line = io_of::line();
        let text = line.as_deref().unwrap_or_default().trim_end_matches('\n');
        let mut rest = text.trim();
        for (at, name) in names.iter().enumerate() {
            let end =
                if at + 1 == names.len() { rest.len() } else { rest.find(char::is_whitespace).unwrap_or(rest.len()) };
            self.variables.insert((*name).clone(), rest[..end].to_owned());
            rest = rest[end..].trim_start();
        }
        u8::from(line.is_none())
    }

    /// Runs something with its input and output elsewhere.
    fn redirected(
        &mut self,
        redirects: &[Redirect],
        out: &mut dyn Write,
        run: impl FnOnce(&mut Self, &mut dyn Write) -> Ran,
    ) -> Ran {
        let (mut input, mut output, mut errors): (Option<Box<dyn Read>>, Option<Box<dyn Write>>, _) =
            (None, None, None);
        let mut merges = false;
        for redirect in redirects {
            match redirect {
                Redirect::ErrorsToOutput => merges = true,
                Redirect::OutputToErrors => output = Some(Box::new(io::stderr())),
                Redirect::From(file) => match self.opened(file, |path| File::open(path))? {
                    Ok(file) => input = Some(Box::new(file)),
                    Err(code) => return Ok(code),
                },
                Redirect::To { is_errors, appends, file } => {
                    let open = |path: &str| sink(path, *appends);
                    match self.opened(file, open)? {
                        Ok(file) if *is_errors => errors = Some(Errors::Into(file)),
                        Ok(file) => output = Some(file),
                        Err(code) => return Ok(code),
                    }
                }
            }
        }
        let input = input.map(|input| io_of::replace_input(Some(input)));
        let had = if merges {
            Some(io_of::replace_errors(Errors::Kept(Vec::new())))
        } else {
            errors.map(io_of::replace_errors)
        };
        let mut into = output;
        let ran = match &mut into {
            Some(file) => run(self, &mut **file),
            None => run(self, &mut *out),
        };
        if let Some(had) = had {
            if let Errors::Kept(told) = io_of::replace_errors(had) {
                let target: &mut dyn Write = match &mut into {
                    Some(file) => &mut **file,
                    None => out,
                };
                target.write_all(&told).map_err(stopped)?;
            }
        }
        if let Some(input) = input {
            io_of::replace_input(input);
        }
        if let Some(file) = &mut into {
            file.flush().map_err(stopped)?;
        }
        ran
    }

    fn opened<T>(&mut self, file: &Word, open: impl Fn(&str) -> io::Result<T>) -> Result<Result<T, u8>, Stop> {
        let path = self.joined(file)?;
        Ok(open(&path).map_err(|error| failed(format_args!("sh: {path}: {}", why(&error)))))
    }

    /// Expands words: variables, outputs, splitting, file names.
    fn words(&mut self, words: &[Word]) -> Result<Vec<String>, Stop> {
        let mut expanded = Vec::new();
        for word in words {
            let mut fields = Fields::default();
            for piece in word {
                let (value, is_quoted) = match piece {
                    Piece::Variable { name, is_quoted, .. } if name == "@" => {
                        for (at, argument) in self.arguments.iter().skip(1).enumerate() {
                            if at > 0 {
                                fields.end();
                            }
                            fields.push(argument, *is_quoted);
                        }
                        continue;
                    }
                    Piece::Text { text, is_quoted } => {
                        fields.push(text, *is_quoted);
                        continue;
                    }
                    Piece::Variable { is_quoted, .. } | Piece::Output { is_quoted, .. } => {
                        (self.value(piece)?, *is_quoted)
                    }
                };
                if is_quoted {
                    fields.push(&value, true);
                } else {
                    fields.split(&value);
                }
            }
            expanded.extend(fields.finish());
        }
        Ok(expanded)
    }

    /// Expands a word that stays one.
    fn joined(&mut self, word: &Word) -> Result<String, Stop> {
        word.iter().map(|piece| self.value(piece)).collect()
    }

    fn value(&mut self, piece: &Piece) -> Result<String, Stop> {
        match piece {
            Piece::Text { text, .. } => Ok(text.clone()),
            Piece::Variable { name, otherwise, .. } => {
                let value = self.variable(name);
                match otherwise {
                    Some(otherwise) if value.is_empty() => {
                        let word = super::parse::parse(&format!("echo -n {otherwise}"));
                        word.map_err(|error| Stop::Failed(super::told(&error)))?;
                        self.output(&format!("echo -n {otherwise}"))
                    }
                    _ => Ok(value),
                }
            }
            Piece::Output { script, .. } => self.output(script),
        }
    }

    fn output(&mut self, script: &str) -> Result<String, Stop> {
        let mut piped = Pipe::default();
        let mut inner = self.clone();
        inner.depth += 1;
        self.code = ended(inner.script(script, &mut piped))?;
        let said = piped.into_bytes().ok_or_else(|| Stop::Failed("more than 16 MiB in a $(...)".to_owned()))?;
        Ok(String::from_utf8_lossy(&said).trim_end_matches('\n').to_owned())
    }

    fn variable(&self, name: &str) -> String {
        match name {
            "?" => self.code.to_string(),
            "#" => self.arguments.len().saturating_sub(1).to_string(),
            "@" | "*" => self.arguments.get(1..).unwrap_or_default().join(" "),
            "$" => "1".to_owned(),
            _ => match name.parse::<usize>() {
                Ok(number) => self.arguments.get(number).cloned().unwrap_or_default(),
                Err(_) => self.variables.get(name).cloned().unwrap_or_default(),
            },
        }
    }
}

/// The fields that one word becomes.
#[derive(Default)]
struct Fields {
    done: Vec<String>,
    /// The field so far, and the same as a pattern, where quoted text is escaped.
    text: String,
    pattern: String,
    is_open: bool,
}

impl Fields {
    fn push(&mut self, text: &str, is_quoted: bool) {
        self.is_open |= is_quoted || !text.is_empty();
        self.text.push_str(text);
        for c in text.chars() {
            if is_quoted && matches!(c, '*' | '?' | '[' | '\\') {
                self.pattern.push('\\');
            }
            self.pattern.push(c);
        }
    }

    fn split(&mut self, text: &str) {
        for (at, part) in text.split(char::is_whitespace).enumerate() {
            if at > 0 {
                self.end();
            }
            self.push(part, false);
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            let (text, pattern) = (std::mem::take(&mut self.text), std::mem::take(&mut self.pattern));
            self.done.extend(super::glob::matches(&pattern).unwrap_or_else(|| vec![text]));
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.end();
        self.done
    }
}

fn sink(path: &str, appends: bool) -> io::Result<Box<dyn Write>> {
    if path == "/dev/null" {
        return Ok(Box::new(io::sink()));
    }
    let mut options = File::options();
    options.create(true);
    if appends {
        options.append(true);
    } else {
        options.write(true).truncate(true);
    }
    Ok(Box::new(options.open(path)?))
}

fn with_input<T>(input: Option<Box<dyn Read>>, run: impl FnOnce() -> T) -> T {
    let Some(input) = input else { return run() };
    let before = io_of::replace_input(Some(input));
    let done = run();
    io_of::replace_input(before);
    done
}

/// `exit` ends the shell that it is in, and that may be a part of a pipeline.
fn ended(ran: Ran) -> Ran {
    match ran {
        Err(Stop::Exit(code)) => Ok(code),
        ran => ran,
    }
}

fn tell(name: &str, outcome: Outcome) -> u8 {
    outcome.unwrap_or_else(|problem| {
        io_of::complain(format_args!("{name}: {problem}"));
        crate::code_of_failure(name)
    })
}

fn failed(what: std::fmt::Arguments<'_>) -> u8 {
    io_of::complain(what);
    1
}

fn stopped(error: io::Error) -> Stop {
    Stop::Failed(error.to_string())
}
