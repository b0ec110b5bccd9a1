//! From tokens to a tree: precedence climbing over the grammar of CEL (`cel-spec/doc/langdef.md`).

use super::ast::{Access, Element, Entry, Expr, Field, Joint, Literal, Node};
use super::error::Problem;
use super::lex::{self, Placed, Token};
use super::macros;

/// How many characters an expression may have (`cel-go`: `ParserExpressionSizeLimit`).
const SIZE_MAX: usize = 100_000;
/// How deep expressions may stand inside one another. cel-go takes 250; the evaluator must fit on a worker's stack, and
/// the longest rules that people wrote stay below 40.
pub(super) const DEPTH_MAX: usize = 120;

/// The binary operators by how strongly they bind, with the names of their functions.
const BINARY: [(&str, u8, &str); 13] = [
    ("==", 1, "_==_"),
    ("!=", 1, "_!=_"),
    ("<", 1, "_<_"),
    ("<=", 1, "_<=_"),
    (">", 1, "_>_"),
    (">=", 1, "_>=_"),
    ("in", 1, "@in"),
    ("+", 2, "_+_"),
    ("-", 2, "_-_"),
    ("*", 3, "_*_"),
    ("/", 3, "_/_"),
    ("%", 3, "_%_"),
    // Never looked up: conditions are no binary operators.
    ("?", 0, ""),
];

/// Words that no variable may have as its name.
const RESERVED: [&str; 16] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
];

/// Reads an expression.
pub(super) fn parse(source: &str) -> Result<Node, Problem> {
    if source.chars().nth(SIZE_MAX).is_some() {
        let text =
            format!("expression code point size exceeds limit: size: {}, limit {SIZE_MAX}", source.chars().count());
        return Err(Problem::new(0, text));
    }
    let tokens = lex::lex(source)?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let node = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

/// Makes a node, unless the tree gets too deep.
pub(super) fn node(at: usize, expr: Expr) -> Result<Node, Problem> {
    let depth = expr.depth();
    if depth > DEPTH_MAX {
        return Err(too_deep(at));
    }
    Ok(Node { at, depth, expr })
}

/// Makes a call of a function.
pub(super) fn call(at: usize, function: &str, args: Vec<Node>, receiver: bool) -> Result<Node, Problem> {
    node(at, Expr::Call { function: function.to_owned(), args, receiver, overloads: Vec::new() })
}

fn too_deep(at: usize) -> Problem {
    Problem::new(at, format!("expression recursion limit exceeded: {DEPTH_MAX}"))
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn at(&self) -> usize {
        self.tokens[self.next].at
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.next].token.clone();
        // The end stays.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(found) if *found == mark)
    }

    fn eat(&mut self, mark: &str) -> bool {
        let is = self.is(mark);
        if is {
            self.advance();
        }
        is
    }

    fn expect(&mut self, mark: &str) -> Result<(), Problem> {
        if self.eat(mark) { Ok(()) } else { Err(self.unexpected(&format!("'{mark}'"))) }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Ident(name) | Token::Quoted(name) => name.clone(),
            Token::Mark(mark) => (*mark).to_owned(),
            Token::Literal(literal) => macros::literal_text(literal),
        };
        Problem::new(self.at(), format!("Syntax error: mismatched input '{found}' expecting {wanted}"))
    }

    fn expression(&mut self) -> Result<Node, Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_deep(self.at()));
        }
        let condition = self.joined(Joint::Or)?;
        let at = self.at();
        let result = if self.eat("?") {
            let yes = self.joined(Joint::Or)?;
            self.expect(":")?;
            let no = self.expression()?;
            node(at, Expr::Conditional(Box::new([condition, yes, no])))
        } else {
            Ok(condition)
        };
        self.depth -= 1;
        result
    }

    /// `a || b || c`, or `a && b && c`.
    fn joined(&mut self, joint: Joint) -> Result<Node, Problem> {
        let part = |parser: &mut Self| match joint {
            Joint::Or => parser.joined(Joint::And),
            Joint::And => parser.binary(1),
        };
        let mark = if joint == Joint::Or { "||" } else { "&&" };
        let first = part(self)?;
        let at = self.at();
        let mut parts = vec![first];
        while self.eat(mark) {
            parts.push(part(self)?);
        }
        if parts.len() > 1 {
            return node(at, Expr::Logic { joint, parts });
        }
        parts.pop().ok_or_else(|| self.unexpected("an expression"))
    }

    fn binary(&mut self, weakest: u8) -> Result<Node, Problem> {
        let mut left = self.unary()?;
        loop {
            let Token::Mark(mark) = *self.peek() else { return Ok(left) };
            let found = BINARY.iter().find(|(text, strength, _)| *text == mark && *strength >= weakest);
            let Some((_, strength, function)) = found else { return Ok(left) };
            let at = self.at();
            self.advance();
            let right = self.binary(strength + 1)?;
            left = call(at, function, vec![left, right], false)?;
        }
    }

    /// `!x`, `--x`: signs cancel out by twos, as in cel-go.
    fn unary(&mut self) -> Result<Node, Problem> {
        let at = self.at();
        for (mark, function) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            while self.eat(mark) {
                count += 1;
            }
            if count == 0 {
                continue;
            }
            let is_odd = count % 2 == 1;
            if mark == "-" && is_odd && matches!(self.peek(), Token::Literal(Literal::Int(_) | Literal::Double(_))) {
                return self.negative(at);
            }
            let inner = self.member()?;
            return if is_odd { call(at, function, vec![inner], false) } else { Ok(inner) };
        }
        self.member()
    }

    fn negative(&mut self, at: usize) -> Result<Node, Problem> {
        let literal = match self.advance() {
            Token::Literal(Literal::Int(number)) => Literal::Int(number.wrapping_neg()),
            Token::Literal(Literal::Double(number)) => Literal::Double(-number),
            _ => return Err(self.unexpected("a number")),
        };
        let first = node(at, Expr::Literal(literal))?;
        self.rest_of_member(first)
    }

    fn member(&mut self) -> Result<Node, Problem> {
        let first = self.primary()?;
        self.rest_of_member(first)
    }

    fn rest_of_member(&mut self, mut of: Node) -> Result<Node, Problem> {
        loop {
            let at = self.at();
            if self.eat(".") {
                of = self.selection(at, of)?;
            } else if self.is("[") || self.is("[?") {
                let optional = self.is("[?");
                self.advance();
                let index = self.expression()?;
                self.expect("]")?;
                of = node(at, Expr::Index { of: Box::new(of), index: Box::new(index), optional })?;
            } else if self.is("{") && struct_name(&of).is_some() {
                of = self.structure(at, &of)?;
            } else {
                return Ok(of);
            }
        }
    }

    fn selection(&mut self, at: usize, of: Node) -> Result<Node, Problem> {
        let access = if self.eat("?") { Access::Optional } else { Access::Value };
        let field = self.field()?;
        let call_at = self.at();
        if access == Access::Value && self.eat("(") {
            let args = self.list(")")?;
            return macros::method(call_at, of, &field, args);
        }
        node(at, Expr::Select { of: Box::new(of), field, access })
    }

    /// A field's name, which may stand in backticks.
    fn field(&mut self) -> Result<String, Problem> {
        let (Token::Ident(name) | Token::Quoted(name)) = self.peek().clone() else {
            return Err(self.unexpected("IDENTIFIER"));
        };
        self.advance();
        Ok(name)
    }

    fn list(&mut self, end: &str) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.expression()?);
            if !self.eat(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Node, Problem> {
        let at = self.at();
        match self.peek().clone() {
            Token::Literal(Literal::Int(i64::MIN)) => Err(Problem::new(at, "invalid int literal")),
            Token::Literal(literal) => {
                self.advance();
                node(at, Expr::Literal(literal))
            }
            Token::Ident(_) => self.name(at),
            Token::Mark("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Mark(open @ ("[" | "[?")) => {
                self.advance();
                self.elements(at, open == "[?")
            }
            Token::Mark(open @ ("{" | "{?")) => {
                self.advance();
                self.entries(at, open == "{?")
            }
            // Names from the root, as protocol buffers have them.
            Token::Mark(".") => {
                self.advance();
                self.name(at)
            }
            _ => Err(self.unexpected("an expression")),
        }
    }

    fn name(&mut self, at: usize) -> Result<Node, Problem> {
        let Token::Ident(name) = self.peek().clone() else { return Err(self.unexpected("IDENTIFIER")) };
        self.advance();
        let call_at = self.at();
        if self.eat("(") {
            let args = self.list(")")?;
            return macros::function(call_at, &name, args);
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(Problem::new(at, format!("reserved identifier: {name}")));
        }
        node(at, Expr::Ident(name))
    }

    fn elements(&mut self, at: usize, mut optional: bool) -> Result<Node, Problem> {
        let mut elements = Vec::new();
        while optional || !self.eat("]") {
            optional |= self.eat("?");
            elements.push(Element { value: self.expression()?, optional });
            optional = false;
            if !self.eat(",") {
                self.expect("]")?;
                break;
            }
        }
        node(at, Expr::List(elements))
    }

    fn entries(&mut self, at: usize, mut optional: bool) -> Result<Node, Problem> {
        let mut entries = Vec::new();
        while optional || !self.eat("}") {
            optional |= self.eat("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, optional });
            optional = false;
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        node(at, Expr::Map(entries))
    }

    fn structure(&mut self, at: usize, of: &Node) -> Result<Node, Problem> {
        let name = struct_name(of).ok_or_else(|| self.unexpected("<EOF>"))?;
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.eat("}") {
            let optional = self.eat("?");
            let field = self.field()?;
            self.expect(":")?;
            fields.push(Field { name: field, value: self.expression()?, optional });
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        node(at, Expr::Struct { name, fields })
    }
}

/// Returns the dotted name that an expression spells: `Object.spec`.
pub(super) fn struct_name(node: &Node) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select { of, field, access: Access::Value } => Some(format!("{}.{field}", struct_name(of)?)),
        _ => None,
    }
}
