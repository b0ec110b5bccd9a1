//! From text to tokens.

use std::iter::Peekable;
use std::sync::Arc;

use super::ast::Literal;
use super::error::Problem;

#[derive(Debug, Clone)]
pub(super) enum Token {
    Literal(Literal),
    Ident(String),
    /// A name in backticks, which may only be a field's.
    Quoted(String),
    /// An operator or a bracket.
    Mark(&'static str),
    End,
}

/// A token and its place, in characters.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) at: usize,
    pub(super) token: Token,
}

/// The longer ones first.
const MARKS: [&str; 30] = [
    "&&", "||", "==", "!=", "<=", ">=", "[?", "{?", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "+", "-", "*",
    "/", "%", "<", ">", "!", "=", "&", "|", ";",
];

/// Cuts an expression into tokens; the last one is [`Token::End`].
pub(super) fn lex(source: &str) -> Result<Vec<Placed>, Problem> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = matches!(token, Token::End);
        tokens.push(Placed { at, token });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek(0) {
            if c.is_ascii_whitespace() {
                self.at += 1;
            } else if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn token(&mut self) -> Result<Token, Problem> {
        let Some(c) = self.peek(0) else { return Ok(Token::End) };
        if c == '"' || c == '\'' {
            return self.text(Prefix::default());
        }
        if let Some((prefix, length)) = self.prefix() {
            self.at += length;
            return self.text(prefix);
        }
        if c == '`' {
            return self.quoted();
        }
        if c.is_ascii_alphabetic() || c == '_' {
            let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(match name.as_str() {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::Mark("in"),
                _ => Token::Ident(name),
            });
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) {
            return self.number();
        }
        let rest = &self.chars[self.at..];
        let mark = MARKS.iter().find(|mark| mark.chars().eq(rest.iter().copied().take(mark.len())));
        match mark {
            // What grammar and language have no use for.
            Some(&("=" | "&" | "|" | ";")) | None => {
                Err(Problem::new(self.at, format!("Syntax error: token recognition error at: '{c}'")))
            }
            Some(mark) => {
                self.at += mark.len();
                Ok(Token::Mark(mark))
            }
        }
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn quoted(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        self.at += 1;
        let name = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '));
        if name.is_empty() || self.peek(0) != Some('`') {
            return Err(Problem::new(start, "Syntax error: token recognition error at: '`'"));
        }
        self.at += 1;
        Ok(Token::Quoted(name))
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let wrong = |what: &str| Problem::new(start, format!("invalid {what} literal"));
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            if self.is_unsigned() {
                let number = u64::from_str_radix(&digits, 16).map_err(|_| wrong("uint"))?;
                return Ok(Token::Literal(Literal::Uint(number)));
            }
            let number = u64::from_str_radix(&digits, 16).map_err(|_| wrong("int"))?;
            return int(number).ok_or_else(|| wrong("int"));
        }
        let mut text = self.take(|c| c.is_ascii_digit());
        let mut is_double = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            is_double = true;
            self.at += 1;
            text = format!("{text}.{}", self.take(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + signed).is_some_and(|c| c.is_ascii_digit()) {
                is_double = true;
                let sign: String = self.chars[self.at + 1..=self.at + signed].iter().collect();
                self.at += 1 + signed;
                text = format!("{text}e{sign}{}", self.take(|c| c.is_ascii_digit()));
            }
        }
        if is_double {
            let number: f64 = text.parse().map_err(|_| wrong("double"))?;
            return Ok(Token::Literal(Literal::Double(number)));
        }
        if self.is_unsigned() {
            return Ok(Token::Literal(Literal::Uint(text.parse().map_err(|_| wrong("uint"))?)));
        }
        int(text.parse().map_err(|_| wrong("int"))?).ok_or_else(|| wrong("int"))
    }

    fn is_unsigned(&mut self) -> bool {
        let is = matches!(self.peek(0), Some('u' | 'U'));
        self.at += usize::from(is);
        is
    }

    /// Returns what stands before the quotes of a text, and its length.
    fn prefix(&self) -> Option<(Prefix, usize)> {
        let mut prefix = Prefix::default();
        for length in 0..3 {
            match self.peek(length)? {
                '"' | '\'' => return (length > 0).then_some((prefix, length)),
                'r' | 'R' if !prefix.raw => prefix.raw = true,
                'b' | 'B' if !prefix.bytes => prefix.bytes = true,
                _ => return None,
            }
        }
        None
    }

    fn text(&mut self, prefix: Prefix) -> Result<Token, Problem> {
        let start = self.at;
        let open = || Problem::new(start, "Syntax error: token recognition error at: unterminated string");
        let quote = self.peek(0).ok_or_else(open)?;
        let is_triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if is_triple { 3 } else { 1 };
        self.at += width;
        let inner_start = self.at;
        loop {
            let c = self.peek(0).ok_or_else(open)?;
            if c == quote && (0..width).all(|ahead| self.peek(ahead) == Some(quote)) {
                break;
            }
            if !is_triple && matches!(c, '\n' | '\r') {
                return Err(open());
            }
            self.at += if c == '\\' && !prefix.raw { 2 } else { 1 };
        }
        let inner = &self.chars[inner_start..self.at];
        self.at += width;
        let units = unescape(inner, prefix).map_err(|why| Problem::new(start, format!("Syntax error: {why}")))?;
        Ok(Token::Literal(if prefix.bytes {
            Literal::Bytes(units.into())
        } else {
            // Escapes of texts name characters, so that this is what they make.
            Literal::Text(Arc::from(String::from_utf8_lossy(&units)))
        }))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Prefix {
    raw: bool,
    bytes: bool,
}

/// `-9223372036854775808` is written with a positive number that is one too big; the parser joins them.
fn int(number: u64) -> Option<Token> {
    const SMALLEST: u64 = 1 << 63;
    if number == SMALLEST {
        return Some(Token::Literal(Literal::Int(i64::MIN)));
    }
    i64::try_from(number).ok().map(|number| Token::Literal(Literal::Int(number)))
}

fn unescape(inner: &[char], prefix: Prefix) -> Result<Vec<u8>, String> {
    let mut units = Vec::new();
    let mut chars = inner.iter().copied().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' || prefix.raw {
            units.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let kind = chars.next().ok_or("found '\\' at the end of a text")?;
        let plain = match kind {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => kind,
            'x' | 'X' | 'u' | 'U' | '0'..='3' => {
                numbered(kind, &mut chars, prefix, &mut units)?;
                continue;
            }
            other => return Err(format!("unable to unescape: unknown escape '\\{other}'")),
        };
        units.extend(plain.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(units)
}

fn numbered(
    kind: char,
    chars: &mut Peekable<impl Iterator<Item = char>>,
    prefix: Prefix,
    units: &mut Vec<u8>,
) -> Result<(), String> {
    let (radix, length) = match kind {
        'x' | 'X' => (16, 2),
        'u' => (16, 4),
        'U' => (16, 8),
        _ => (8, 2),
    };
    let mut code = if radix == 8 { kind.to_digit(8).unwrap_or_default() } else { 0 };
    for _ in 0..length {
        let digit = chars.next().and_then(|c| c.to_digit(radix)).ok_or("unable to unescape: not enough digits")?;
        code = code.wrapping_mul(radix) + digit;
    }
    if prefix.bytes && length == 2 {
        units.push(u8::try_from(code).map_err(|_| "unable to unescape: more than a byte")?);
        return Ok(());
    }
    let c = char::from_u32(code).ok_or("unable to unescape: no such character")?;
    units.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}
