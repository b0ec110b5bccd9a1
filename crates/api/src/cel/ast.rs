//! The tree of an expression, as the parser makes it and the checker completes it.

use std::sync::Arc;

use super::functions::Overload;
use super::types::Type;

/// One expression.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where it stands: the place of its operator, in characters from the start.
    pub(super) at: usize,
    /// How many expressions stand inside one another below it, itself included. Bounds every recursion over the tree.
    pub(super) depth: usize,
    pub(super) expr: Expr,
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Literal(Literal),
    Ident(String),
    Select {
        of: Box<Node>,
        field: String,
        access: Access,
    },
    /// `of[index]`, or `of[?index]`.
    Index {
        of: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    Call {
        function: String,
        /// The receiver first, if there is one.
        args: Vec<Node>,
        receiver: bool,
        /// What the checker leaves of the functions of this name.
        overloads: Vec<&'static Overload>,
    },
    /// `&&` or `||` over two expressions or more.
    Logic {
        joint: Joint,
        parts: Vec<Node>,
    },
    Conditional(Box<[Node; 3]>),
    List(Vec<Element>),
    Map(Vec<Entry>),
    /// `Object.spec{replicas: 3}`, in mutations.
    Struct {
        name: String,
        fields: Vec<Field>,
    },
    Fold(Box<Fold>),
    /// `a.optMap(x, body)` and `a.optFlatMap(x, body)`.
    OptionalMap(Box<OptionalMap>),
}

#[derive(Debug, Clone)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
}

impl Literal {
    /// Returns its type.
    pub(super) fn of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::Text(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
        }
    }
}

/// What a selection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The value: `a.b`.
    Value,
    /// Whether there is one: `has(a.b)`.
    Presence,
    /// The value if there is one: `a.?b`.
    Optional,
}

/// How truths are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    And,
    Or,
}

#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) value: Node,
    pub(super) optional: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
    pub(super) optional: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: Node,
    pub(super) optional: bool,
}

/// A macro that goes through a list or map.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    pub(super) kind: FoldKind,
    pub(super) range: Node,
    /// The element of a list, or the key of a map; with a second variable the index or key.
    pub(super) name: String,
    /// The element or value.
    pub(super) second: Option<String>,
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    /// Sorts the list by what the body makes of its elements.
    SortBy,
    TransformMap,
    TransformMapEntry,
}

#[derive(Debug, Clone)]
pub(super) struct OptionalMap {
    pub(super) target: Node,
    pub(super) name: String,
    pub(super) body: Node,
    /// Whether the body is an optional itself (`optFlatMap`).
    pub(super) flat: bool,
}

impl Node {
    /// Calls `visit` for this expression and everything in it.
    pub(super) fn walk(&self, visit: &mut dyn FnMut(&Self)) {
        visit(self);
        self.expr.children(&mut |child| child.walk(visit));
    }
}

impl Expr {
    /// Calls `visit` for every expression directly inside.
    pub(super) fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        match self {
            Self::Literal(_) | Self::Ident(_) => {}
            Self::Select { of, .. } => visit(of),
            Self::Index { of, index, .. } => {
                visit(of);
                visit(index);
            }
            Self::Call { args, .. } => args.iter().for_each(visit),
            Self::Logic { parts, .. } => parts.iter().for_each(visit),
            Self::Conditional(parts) => parts.iter().for_each(visit),
            Self::List(elements) => elements.iter().for_each(|element| visit(&element.value)),
            Self::Map(entries) => entries.iter().for_each(|entry| {
                visit(&entry.key);
                visit(&entry.value);
            }),
            Self::Struct { fields, .. } => fields.iter().for_each(|field| visit(&field.value)),
            Self::Fold(fold) => {
                visit(&fold.range);
                fold.filter.iter().for_each(&mut *visit);
                visit(&fold.body);
            }
            Self::OptionalMap(map) => {
                visit(&map.target);
                visit(&map.body);
            }
        }
    }

    /// Returns the depth of a tree with this at its root.
    pub(super) fn depth(&self) -> usize {
        let mut deepest = 0;
        self.children(&mut |child| deepest = deepest.max(child.depth));
        deepest + 1
    }
}
