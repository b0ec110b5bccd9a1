//! Macros: calls whose arguments are not values but names and expressions (`cel-go/parser/macro.go`, `ext/comprehensions.go`,
//! `ext/lists.go`, `cel/library.go`).

use super::ast::{Access, Expr, Fold, FoldKind, Literal, Node, OptionalMap};
use super::error::Problem;
use super::functions;
use super::parse::{call, node, struct_name};

/// Makes the call of a function without a receiver.
pub(super) fn function(at: usize, name: &str, mut args: Vec<Node>) -> Result<Node, Problem> {
    if name == "has" && args.len() == 1 {
        let invalid = || Problem::new(at, "invalid argument to has() macro");
        let argument = args.pop().ok_or_else(invalid)?;
        return match argument.expr {
            Expr::Select { of, field, access: Access::Value } => {
                node(at, Expr::Select { of, field, access: Access::Presence })
            }
            _ => Err(invalid()),
        };
    }
    call(at, name, args, false)
}

/// Makes the call of a function on a receiver, or of one whose name has dots.
pub(super) fn method(at: usize, of: Node, name: &str, args: Vec<Node>) -> Result<Node, Problem> {
    let qualified = struct_name(&of).map(|prefix| format!("{prefix}.{name}"));
    if let Some(name) = qualified.filter(|name| functions::is_qualified(name)) {
        return call(at, &name, args, false);
    }
    if let Some((kind, names, filters)) = fold_kind(name, args.len()) {
        return fold(at, of, kind, names, filters, args);
    }
    if matches!((name, args.len()), ("optMap" | "optFlatMap", 2)) {
        let mut args = args.into_iter();
        let (Some(variable), Some(body)) = (args.next(), args.next()) else { return Err(not_a_name(at)) };
        let map = OptionalMap { target: of, name: variable_name(&variable)?, body, flat: name == "optFlatMap" };
        return node(at, Expr::OptionalMap(Box::new(map)));
    }
    let args = std::iter::once(of).chain(args).collect();
    call(at, name, args, true)
}

/// Returns what a macro does, how many variables it has, and whether a filter stands before its body.
fn fold_kind(name: &str, arguments: usize) -> Option<(FoldKind, usize, bool)> {
    Some(match (name, arguments) {
        ("all", 2) => (FoldKind::All, 1, false),
        ("all", 3) => (FoldKind::All, 2, false),
        ("exists", 2) => (FoldKind::Exists, 1, false),
        ("exists", 3) => (FoldKind::Exists, 2, false),
        ("exists_one" | "existsOne", 2) => (FoldKind::ExistsOne, 1, false),
        ("exists_one" | "existsOne", 3) => (FoldKind::ExistsOne, 2, false),
        ("map", 2) => (FoldKind::Map, 1, false),
        ("map", 3) => (FoldKind::Map, 1, true),
        ("filter", 2) => (FoldKind::Filter, 1, false),
        ("sortBy", 2) => (FoldKind::SortBy, 1, false),
        ("transformList", 3) => (FoldKind::Map, 2, false),
        ("transformList", 4) => (FoldKind::Map, 2, true),
        ("transformMap", 3) => (FoldKind::TransformMap, 2, false),
        ("transformMap", 4) => (FoldKind::TransformMap, 2, true),
        ("transformMapEntry", 3) => (FoldKind::TransformMapEntry, 2, false),
        ("transformMapEntry", 4) => (FoldKind::TransformMapEntry, 2, true),
        _ => return None,
    })
}

fn fold(at: usize, range: Node, kind: FoldKind, names: usize, filters: bool, args: Vec<Node>) -> Result<Node, Problem> {
    let mut args = args.into_iter();
    let missing = || not_a_name(at);
    let name = variable_name(&args.next().ok_or_else(missing)?)?;
    let second = match names {
        2 => Some(variable_name(&args.next().ok_or_else(missing)?)?),
        _ => None,
    };
    if second.as_ref() == Some(&name) {
        return Err(Problem::new(at, format!("duplicate variable name: {name}")));
    }
    let filter = if filters { args.next() } else { None };
    let body = args.next().ok_or_else(missing)?;
    node(at, Expr::Fold(Box::new(Fold { kind, range, name, second, filter, body })))
}

fn variable_name(argument: &Node) -> Result<String, Problem> {
    match &argument.expr {
        Expr::Ident(name) => Ok(name.clone()),
        _ => Err(not_a_name(argument.at)),
    }
}

fn not_a_name(at: usize) -> Problem {
    Problem::new(at, "argument must be a simple name")
}

/// Returns a literal as an error shows it.
pub(super) fn literal_text(literal: &Literal) -> String {
    match literal {
        Literal::Null => "null".to_owned(),
        Literal::Bool(value) => value.to_string(),
        Literal::Int(value) => value.to_string(),
        Literal::Uint(value) => format!("{value}u"),
        Literal::Double(value) => value.to_string(),
        Literal::Text(text) => format!("{text:?}"),
        Literal::Bytes(bytes) => format!("b{:?}", String::from_utf8_lossy(bytes)),
    }
}
