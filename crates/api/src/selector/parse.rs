//! The grammar of label queries, with the error texts of `apimachinery/pkg/labels/selector.go`.

use std::collections::BTreeSet;

use super::{Operator, Requirement};
use crate::meta;

/// What is wrong with a selector, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Identifier,
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Not,
    Open,
    Close,
    Comma,
    Greater,
    Less,
    End,
}

/// Reads a query into its requirements.
pub(super) fn requirements(query: &str) -> Result<Vec<Requirement>, Error> {
    let mut parser = Parser { tokens: tokens(query), position: 0 };
    let mut list = Vec::new();
    loop {
        match parser.peek_value() {
            (Token::Identifier | Token::Not, _) => {
                let requirement = parser.requirement();
                list.push(requirement.map_err(|error| Error::new(format!("unable to parse requirement: {error}")))?);
                match parser.next_value() {
                    (Token::End, _) => return Ok(list),
                    (Token::Comma, _) => parser.expect_identifier_after_comma()?,
                    (_, text) => {
                        return Err(Error::new(format!("found '{text}', expected: ',' or 'end of string'")));
                    }
                }
            }
            (Token::End, _) => return Ok(list),
            (_, text) => {
                return Err(Error::new(format!("found '{text}', expected: !, identifier, or 'end of string'")));
            }
        }
    }
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    position: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token, &'a str) {
        self.tokens.get(self.position).copied().unwrap_or((Token::End, ""))
    }

    fn next(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.position += 1;
        token
    }

    /// Where a key or a value may stand, `in` and `notin` are ordinary words.
    fn peek_value(&self) -> (Token, &'a str) {
        match self.peek() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn next_value(&mut self) -> (Token, &'a str) {
        let token = self.peek_value();
        self.position += 1;
        token
    }

    fn expect_identifier_after_comma(&self) -> Result<(), Error> {
        match self.peek_value() {
            (Token::Identifier | Token::Not, _) => Ok(()),
            (_, text) => Err(Error::new(format!("found '{text}', expected: identifier after ','"))),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, Error> {
        let negated = self.peek_value().0 == Token::Not;
        if negated {
            self.position += 1;
        }
        let (token, key) = self.next_value();
        if token != Token::Identifier {
            return Err(Error::new(format!("found '{key}', expected: identifier")));
        }
        if let Some(problem) = meta::qualified_name(key).first() {
            return Err(Error::new(format!("key: Invalid value: {key:?}: {problem}")));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, BTreeSet::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?.to_owned()]),
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, Error> {
        Ok(match self.next() {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals | Token::DoubleEquals, _) => Operator::Equals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::Greater, _) => Operator::GreaterThan,
            (Token::Less, _) => Operator::LessThan,
            (_, text) => return Err(Error::new(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"))),
        })
    }

    fn exact_value(&mut self) -> Result<&'a str, Error> {
        match self.peek_value() {
            (Token::End | Token::Comma, _) => Ok(""),
            (Token::Identifier, text) => {
                self.position += 1;
                Ok(text)
            }
            (_, text) => Err(Error::new(format!("found '{text}', expected: identifier"))),
        }
    }

    /// Reads `(a,b)`. As in Kubernetes, `()` and stray commas stand for the empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, Error> {
        let (token, text) = self.next_value();
        if token != Token::Open {
            return Err(Error::new(format!("found '{text}' expected: '('")));
        }
        let mut values = BTreeSet::new();
        loop {
            let value = match self.peek_value() {
                (Token::Identifier, text) => {
                    self.position += 1;
                    text
                }
                (Token::Comma | Token::Close, _) => "",
                (_, text) => return Err(Error::new(format!("found '{text}', expected: ',', ')' or identifier"))),
            };
            values.insert(value.to_owned());
            match self.next_value() {
                (Token::Close, _) => return Ok(values),
                (Token::Comma, _) => {}
                (_, text) => return Err(Error::new(format!("found '{text}', expected: ',' or ')'"))),
            }
        }
    }
}

fn tokens(query: &str) -> Vec<(Token, &str)> {
    let mut list = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_symbol = |c: char| "=!(),<>".contains(c);
        let length = if is_symbol(first) {
            if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { 1 }
        } else {
            rest.find(|c: char| c.is_whitespace() || is_symbol(c)).unwrap_or(rest.len())
        };
        let (text, tail) = rest.split_at(length);
        list.push((classify(text), text));
        rest = tail.trim_start();
    }
    list
}

fn classify(text: &str) -> Token {
    match text {
        "in" => Token::In,
        "notin" => Token::NotIn,
        "=" => Token::Equals,
        "==" => Token::DoubleEquals,
        "!=" => Token::NotEquals,
        "!" => Token::Not,
        "(" => Token::Open,
        ")" => Token::Close,
        "," => Token::Comma,
        ">" => Token::Greater,
        "<" => Token::Less,
        _ => Token::Identifier,
    }
}

#[cfg(test)]
mod tests {
    use crate::selector::LabelSelector;

    #[track_caller]
    fn reads_as(query: &str, expected: &str) {
        assert_eq!(LabelSelector::parse(query).unwrap().to_string(), expected, "{query}");
    }

    #[track_caller]
    fn fails_with(query: &str, expected: &str) {
        assert_eq!(LabelSelector::parse(query).unwrap_err().to_string(), expected, "{query}");
    }

    #[test]
    fn queries_are_read_in_every_spelling() {
        reads_as("a=b", "a=b");
        reads_as(" a == b ", "a=b");
        reads_as("x in (b,a),y notin(c),!z,w", "w,x in (a,b),y notin (c),!z");
        reads_as("a!=b", "a!=b");
        reads_as("a=,b!=", "a=,b!=");
        reads_as("x in ()", "x in ()");
        reads_as("x in (,a)", "x in (,a)");
        reads_as("x>1,y<2", "x>1,y<2");
        reads_as("in in (in),notin=notin", "in in (in),notin=notin");
        reads_as("app.kubernetes.io/name=x", "app.kubernetes.io/name=x");
    }

    #[test]
    fn errors_are_worded_as_in_kubernetes() {
        fails_with("a=b,", "found '', expected: identifier after ','");
        fails_with("a,,b", "found ',', expected: identifier after ','");
        fails_with("(a)", "found '(', expected: !, identifier, or 'end of string'");
        fails_with("a in b", "unable to parse requirement: found 'b' expected: '('");
        fails_with("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        fails_with("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
        fails_with("a=b c", "found 'c', expected: ',' or 'end of string'");
        fails_with("!", "unable to parse requirement: found '', expected: identifier");
        fails_with("a==(b", "unable to parse requirement: found '(', expected: identifier");
    }

    #[test]
    fn impossible_labels_are_refused() {
        let error = LabelSelector::parse("a=b$").unwrap_err().to_string();
        assert!(error.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"b$\": a valid label"));
        let error = LabelSelector::parse("-a=b").unwrap_err().to_string();
        assert!(error.starts_with("unable to parse requirement: key: Invalid value: \"-a\": name part must consist"));
        let error = LabelSelector::parse("a>x").unwrap_err().to_string();
        assert!(error.contains("the value must be an integer"), "{error}");
    }
}
