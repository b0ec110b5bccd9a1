//! From text to what shall be done (POSIX shell command language, 2.10, without functions, `case` and here-documents).

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text; what was quoted is neither split nor matched against file names.
    Text { text: String, is_quoted: bool },
    /// `$NAME`, `${NAME}`, `${NAME:-WORD}`.
    Variable { name: String, otherwise: Option<String>, is_quoted: bool },
    /// `$(COMMANDS)`.
    Output { script: String, is_quoted: bool },
}

/// A word before it is expanded.
pub type Word = Vec<Piece>;

/// Where a descriptor leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// `< FILE`.
    From(Word),
    /// `> FILE`, `>> FILE`, `2> FILE`.
    To { is_errors: bool, appends: bool, file: Word },
    /// `2>&1`.
    ErrorsToOutput,
    /// `>&2`.
    OutputToErrors,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
        redirects: Vec<Redirect>,
    },
    Pipeline {
        is_negated: bool,
        parts: Vec<Node>,
    },
    /// Each with what joins it to the one before.
    List(Vec<(Join, Node)>),
    If {
        arms: Vec<(Node, Node)>,
        otherwise: Option<Box<Node>>,
    },
    For {
        name: String,
        words: Vec<Word>,
        body: Box<Node>,
    },
    While {
        is_until: bool,
        condition: Box<Node>,
        body: Box<Node>,
    },
    Group {
        body: Box<Node>,
        is_subshell: bool,
        redirects: Vec<Redirect>,
    },
}

/// What joins a command to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    Always,
    And,
    Or,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(Word),
    Redirect { descriptor: Option<u8>, operator: &'static str },
    Operator(&'static str),
}

/// Why a script cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// More lines could make it whole.
    Incomplete(String),
    /// It is wrong.
    Wrong(String),
}

/// Reads a script.
pub fn parse(script: &str) -> Result<Node, Error> {
    let tokens = tokens(script)?;
    let mut parser = Parser { tokens, at: 0 };
    let list = parser.list(&[])?;
    match parser.peek() {
        None => Ok(list),
        Some(token) => Err(Error::Wrong(format!("syntax error near unexpected token {}", shown(token)))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("`{}'", plain(word).unwrap_or("...")),
        Token::Redirect { operator, .. } | Token::Operator(operator) => format!("`{}'", operator.escape_default()),
    }
}

/// Returns the text of a word that has nothing but unquoted text: only such a word can be a keyword.
fn plain(word: &Word) -> Option<&str> {
    match word.as_slice() {
        [Piece::Text { text, is_quoted: false }] => Some(text),
        _ => None,
    }
}

const OPERATORS: [&str; 8] = ["&&", "||", ";", "|", "(", ")", "\n", "&"];
const REDIRECTS: [&str; 5] = [">>", ">&", "<&", ">", "<"];

fn tokens(script: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut rest = script;
    'next: while let Some(c) = rest.chars().next() {
        if c == ' ' || c == '\t' || c == '\r' {
            rest = &rest[1..];
            continue;
        }
        if let Some(joined) = rest.strip_prefix("\\\n") {
            rest = joined;
            continue;
        }
        if c == '#' {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        let digit = rest.as_bytes()[0];
        let (descriptor, after) = if digit.is_ascii_digit() { (Some(digit - b'0'), &rest[1..]) } else { (None, rest) };
        for operator in REDIRECTS {
            if let Some(left) = after.strip_prefix(operator) {
                if left.starts_with('<') && operator == "<" {
                    return Err(Error::Wrong("here-documents are not supported here".to_owned()));
                }
                tokens.push(Token::Redirect { descriptor, operator });
                rest = left;
                continue 'next;
            }
        }
        for operator in OPERATORS {
            if let Some(left) = rest.strip_prefix(operator) {
                if operator == "&" {
                    return Err(Error::Wrong("commands cannot run in the background here".to_owned()));
                }
                tokens.push(Token::Operator(operator));
                rest = left;
                continue 'next;
            }
        }
        let (word, left) = word(rest)?;
        tokens.push(Token::Word(word));
        rest = left;
    }
    Ok(tokens)
}

fn unfinished(what: &str) -> Error {
    Error::Incomplete(format!("unexpected end of the script while looking for {what}"))
}

/// Reads a word, and returns what is behind it.
fn word(mut rest: &str) -> Result<(Word, &str), Error> {
    let mut word = Word::new();
    while let Some(c) = rest.chars().next() {
        match c {
            ' ' | '\t' | '\r' | '\n' | ';' | '|' | '&' | '(' | ')' | '<' | '>' => break,
            '\'' => {
                let end = rest[1..].find('\'').ok_or_else(|| unfinished("matching `''"))?;
                text(&mut word, &rest[1..=end], true);
                rest = &rest[end + 2..];
            }
            '"' => rest = double_quoted(&mut word, &rest[1..])?,
            '\\' => {
                let escaped = rest[1..].chars().next().ok_or_else(|| unfinished("what `\\' escapes"))?;
                if escaped != '\n' {
                    text(&mut word, escaped.encode_utf8(&mut [0; 4]), true);
                }
                rest = &rest[1 + escaped.len_utf8()..];
            }
            '$' => rest = dollar(&mut word, rest, false)?,
            other => {
                text(&mut word, other.encode_utf8(&mut [0; 4]), false);
                rest = &rest[other.len_utf8()..];
            }
        }
    }
    Ok((word, rest))
}

fn double_quoted<'a>(word: &mut Word, mut rest: &'a str) -> Result<&'a str, Error> {
    text(word, "", true);
    loop {
        match rest.chars().next().ok_or_else(|| unfinished("matching `\"'"))? {
            '"' => return Ok(&rest[1..]),
            '\\' if rest[1..].starts_with(['$', '"', '\\', '`', '\n']) => {
                if !rest[1..].starts_with('\n') {
                    text(word, &rest[1..2], true);
                }
                rest = &rest[2..];
            }
            '$' => rest = dollar(word, rest, true)?,
            other => {
                text(word, other.encode_utf8(&mut [0; 4]), true);
                rest = &rest[other.len_utf8()..];
            }
        }
    }
}

fn text(word: &mut Word, more: &str, quoted: bool) {
    match word.last_mut() {
        Some(Piece::Text { text, is_quoted }) if *is_quoted == quoted => text.push_str(more),
        _ => word.push(Piece::Text { text: more.to_owned(), is_quoted: quoted }),
    }
}

/// Reads what `$` introduces.
fn dollar<'a>(word: &mut Word, rest: &'a str, is_quoted: bool) -> Result<&'a str, Error> {
    let after = &rest[1..];
    if let Some(inside) = after.strip_prefix('(') {
        let end = closing(inside)?;
        word.push(Piece::Output { script: inside[..end].to_owned(), is_quoted });
        return Ok(&inside[end + 1..]);
    }
    if let Some(inside) = after.strip_prefix('{') {
        let end = inside.find('}').ok_or_else(|| unfinished("matching `}'"))?;
        let (name, otherwise) = match inside[..end].split_once(":-").or_else(|| inside[..end].split_once('-')) {
            Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
            None => (&inside[..end], None),
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name && !matches!(name, "?" | "#" | "@" | "*" | "$") {
            return Err(Error::Wrong(format!("${{{}}}: bad substitution", &inside[..end])));
        }
        word.push(Piece::Variable { name: name.to_owned(), otherwise, is_quoted });
        return Ok(&inside[end + 1..]);
    }
    let length = match after.chars().next() {
        Some('?' | '#' | '@' | '*' | '$' | '0'..='9') => 1,
        _ => after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()),
    };
    if length == 0 {
        text(word, "$", is_quoted);
        return Ok(after);
    }
    word.push(Piece::Variable { name: after[..length].to_owned(), otherwise: None, is_quoted });
    Ok(&after[length..])
}

/// Finds the parenthesis that closes a substitution.
fn closing(inside: &str) -> Result<usize, Error> {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => return Ok(at),
            (None, ')') => depth -= 1,
            _ => {}
        }
    }
    Err(unfinished("matching `)'"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn keyword(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => plain(word),
            _ => None,
        }
    }

    fn operator(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Operator(operator)) => Some(operator),
            _ => None,
        }
    }

    fn take_keyword(&mut self, wanted: &str) -> Result<(), Error> {
        if self.keyword() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        match self.peek() {
            None => Err(unfinished(&format!("`{wanted}'"))),
            Some(token) => Err(Error::Wrong(format!("syntax error near unexpected token {}", shown(token)))),
        }
    }

    fn skip_lines(&mut self) {
        while self.operator() == Some("\n") {
            self.at += 1;
        }
    }

    /// Reads commands up to one of these keywords, a closing parenthesis, or the end.
    fn list(&mut self, ends: &[&str]) -> Result<Node, Error> {
        let mut list = Vec::new();
        let mut join = Join::Always;
        loop {
            if join == Join::Always {
                while matches!(self.operator(), Some("\n" | ";")) {
                    self.at += 1;
                }
            } else {
                self.skip_lines();
            }
            let is_end = self.peek().is_none()
                || self.operator() == Some(")")
                || self.keyword().is_some_and(|word| ends.contains(&word));
            if is_end {
                if join != Join::Always {
                    return Err(unfinished("a command"));
                }
                return Ok(Node::List(list));
            }
            let pipeline = self.pipeline()?;
            list.push((join, pipeline));
            join = match self.operator() {
                Some("&&") => Join::And,
                Some("||") => Join::Or,
                Some(";" | "\n") => Join::Always,
                _ => return Ok(Node::List(list)),
            };
            self.at += 1;
        }
    }

    fn pipeline(&mut self) -> Result<Node, Error> {
        let is_negated = self.keyword() == Some("!");
        if is_negated {
            self.at += 1;
        }
        let mut parts = vec![self.command()?];
        while self.operator() == Some("|") {
            self.at += 1;
            self.skip_lines();
            parts.push(self.command()?);
        }
        Ok(Node::Pipeline { is_negated, parts })
    }

    fn command(&mut self) -> Result<Node, Error> {
        if self.operator() == Some("(") {
            self.at += 1;
            let body = Box::new(self.list(&[])?);
            if self.operator() != Some(")") {
                return Err(unfinished("`)'"));
            }
            self.at += 1;
            return Ok(Node::Group { body, is_subshell: true, redirects: self.redirects()? });
        }
        match self.keyword() {
            Some("{") => {
                self.at += 1;
                let body = Box::new(self.list(&["}"])?);
                self.take_keyword("}")?;
                Ok(Node::Group { body, is_subshell: false, redirects: self.redirects()? })
            }
            Some("if") => {
                self.at += 1;
                self.conditional()
            }
            Some("for") => {
                self.at += 1;
                self.each()
            }
            Some(word @ ("while" | "until")) => {
                let is_until = word == "until";
                self.at += 1;
                let condition = Box::new(self.list(&["do"])?);
                Ok(Node::While { is_until, condition, body: self.body()? })
            }
            Some(word @ ("case" | "function")) => Err(Error::Wrong(format!("`{word}' is not supported here"))),
            _ => self.simple(),
        }
    }

    fn conditional(&mut self) -> Result<Node, Error> {
        let (mut arms, mut otherwise) = (Vec::new(), None);
        loop {
            let condition = self.list(&["then"])?;
            self.take_keyword("then")?;
            arms.push((condition, self.list(&["elif", "else", "fi"])?));
            match self.keyword() {
                Some("elif") => self.at += 1,
                Some("else") => {
                    self.at += 1;
                    otherwise = Some(Box::new(self.list(&["fi"])?));
                    break;
                }
                _ => break,
            }
        }
        self.take_keyword("fi")?;
        Ok(Node::If { arms, otherwise })
    }

    fn each(&mut self) -> Result<Node, Error> {
        let name = self.keyword().ok_or_else(|| unfinished("the name behind `for'"))?.to_owned();
        self.at += 1;
        self.take_keyword("in")?;
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.peek() {
            words.push(word.clone());
            self.at += 1;
        }
        while matches!(self.operator(), Some(";" | "\n")) {
            self.at += 1;
        }
        Ok(Node::For { name, words, body: self.body()? })
    }

    fn body(&mut self) -> Result<Box<Node>, Error> {
        self.take_keyword("do")?;
        let body = Box::new(self.list(&["done"])?);
        self.take_keyword("done")?;
        Ok(body)
    }

    fn simple(&mut self) -> Result<Node, Error> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match self.peek() {
                Some(Token::Word(word)) => {
                    let word = word.clone();
                    self.at += 1;
                    match assignment(&word).filter(|_| words.is_empty()) {
                        Some(assigned) => assignments.push(assigned),
                        None => words.push(word),
                    }
                }
                Some(Token::Redirect { .. }) => redirects.push(self.redirect()?),
                token => {
                    if words.is_empty() && assignments.is_empty() && redirects.is_empty() {
                        return Err(match token {
                            None => unfinished("a command"),
                            Some(token) => Error::Wrong(format!("syntax error near unexpected token {}", shown(token))),
                        });
                    }
                    return Ok(Node::Simple { assignments, words, redirects });
                }
            }
        }
    }

    fn redirects(&mut self) -> Result<Vec<Redirect>, Error> {
        let mut redirects = Vec::new();
        while let Some(Token::Redirect { .. }) = self.peek() {
            redirects.push(self.redirect()?);
        }
        Ok(redirects)
    }

    fn redirect(&mut self) -> Result<Redirect, Error> {
        let Some(Token::Redirect { descriptor, operator }) = self.peek().cloned() else {
            return Err(unfinished("a redirection"));
        };
        self.at += 1;
        let Some(Token::Word(file)) = self.peek().cloned() else { return Err(unfinished("a file's name")) };
        self.at += 1;
        let unknown = || Error::Wrong(format!("{}{operator}: not supported here", descriptor.unwrap_or_default()));
        match (operator, descriptor.unwrap_or(u8::from(operator != "<"))) {
            ("<", 0) => Ok(Redirect::From(file)),
            (">" | ">>", descriptor @ 1..=2) => {
                Ok(Redirect::To { is_errors: descriptor == 2, appends: operator == ">>", file })
            }
            (">&", 2) if plain(&file) == Some("1") => Ok(Redirect::ErrorsToOutput),
            (">&", 1) if plain(&file) == Some("2") => Ok(Redirect::OutputToErrors),
            _ => Err(unknown()),
        }
    }
}

/// Reads `NAME=WORD`.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Piece::Text { text, is_quoted: false }) = word.first() else { return None };
    let (name, value) = text.split_once('=')?;
    let is_name =
        name.chars().enumerate().all(|(at, c)| c == '_' || c.is_ascii_alphabetic() || at > 0 && c.is_ascii_digit());
    if name.is_empty() || !is_name {
        return None;
    }
    let mut pieces = vec![Piece::Text { text: value.to_owned(), is_quoted: false }];
    pieces.extend(word[1..].iter().cloned());
    Some((name.to_owned(), pieces))
}
