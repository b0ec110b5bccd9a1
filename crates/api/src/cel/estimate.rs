//! How much an expression may cost at most, before it runs (`cel-go/checker/cost.go`, `cel/library/cost.go`). The numbers
//! decide which definitions are refused, so that they follow Kubernetes' to the letter.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Access, Expr, Fold, FoldKind, Literal, Node, OptionalMap};
use super::declare::Decl;
use super::functions::{Cost, LIST_MADE, Overload, compare_all, tenth};
use super::types::Type;

/// Returns the most that a run can cost.
pub(super) fn cost(root: &Node, variables: BTreeMap<&str, &Decl>) -> u64 {
    let variables = variables.into_iter().map(|(name, decl)| (name.to_owned(), Some(Arc::new(decl.clone())))).collect();
    Estimator { variables }.guess(root).cost
}

/// What is known of an expression's value.
#[derive(Debug, Clone, Default)]
struct Guess {
    cost: u64,
    /// How big it is at most, if that was worked out.
    size: Option<u64>,
    /// What declares it, if it is a part of a variable.
    decl: Option<Arc<Decl>>,
    /// How big it is at least; known of constants.
    size_min: u64,
    /// The number, if it is written out.
    number: Option<u64>,
}

impl Guess {
    fn costing(cost: u64) -> Self {
        Self { cost, ..Self::default() }
    }

    fn is_text(&self) -> bool {
        self.decl.as_ref().is_some_and(|decl| matches!(decl.of, Type::String | Type::Bytes))
    }

    fn items_are_texts(&self) -> bool {
        let item = self.decl.as_ref().and_then(|decl| decl.item());
        item.is_some_and(|item| matches!(item.of, Type::String | Type::Bytes))
    }

    /// What nobody knows may be as big as can be.
    fn size(&self) -> u64 {
        self.size.or_else(|| self.decl.as_ref().map(|decl| decl.size_max)).unwrap_or(u64::MAX)
    }
}

struct Estimator {
    variables: Vec<(String, Option<Arc<Decl>>)>,
}

impl Estimator {
    fn guess(&mut self, node: &Node) -> Guess {
        match &node.expr {
            Expr::Literal(literal) => {
                let size = literal_size(literal);
                let number = match literal {
                    Literal::Int(number) => u64::try_from(*number).ok(),
                    _ => None,
                };
                Guess { size: Some(size), size_min: size, number, ..Guess::default() }
            }
            Expr::Ident(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                Guess { decl: found.and_then(|(_, decl)| decl.clone()), ..Guess::costing(1) }
            }
            Expr::Select { of, field, access } => {
                let of = self.guess(of);
                if *access == Access::Presence {
                    return Guess::costing(of.cost);
                }
                let decl = of.decl.as_ref().and_then(|decl| decl.field(field)).cloned();
                Guess { decl, ..Guess::costing(of.cost.saturating_add(1)) }
            }
            Expr::Index { of, index, .. } => {
                let (of, index) = (self.guess(of), self.guess(index));
                let decl = of.decl.as_ref().and_then(|decl| decl.item()).cloned();
                Guess { decl, ..Guess::costing(of.cost.saturating_add(index.cost).saturating_add(1)) }
            }
            Expr::Call { args, overloads, .. } => self.call(args, overloads),
            Expr::Logic { parts, .. } => Guess::costing(self.sum(parts.iter())),
            Expr::Conditional(parts) => {
                let [condition, yes, no] = parts.each_ref().map(|part| self.guess(part));
                let size = yes.size().max(no.size());
                Guess { size: Some(size), ..Guess::costing(condition.cost.saturating_add(yes.cost.max(no.cost))) }
            }
            Expr::List(elements) => {
                let cost = self.sum(elements.iter().map(|element| &element.value)).saturating_add(10);
                Guess { size: Some(elements.len() as u64), ..Guess::costing(cost) }
            }
            Expr::Map(entries) => {
                let parts = entries.iter().flat_map(|entry| [&entry.key, &entry.value]);
                let cost = self.sum(parts).saturating_add(30);
                Guess { size: Some(entries.len() as u64), ..Guess::costing(cost) }
            }
            Expr::Struct { fields, .. } => {
                Guess::costing(self.sum(fields.iter().map(|field| &field.value)).saturating_add(40))
            }
            Expr::Fold(fold) => self.fold(fold),
            Expr::OptionalMap(map) => self.optional_map(map),
        }
    }

    fn sum<'n>(&mut self, parts: impl Iterator<Item = &'n Node>) -> u64 {
        parts.map(|part| self.guess(part).cost).fold(0, u64::saturating_add)
    }

    fn call(&mut self, args: &[Node], overloads: &[&'static Overload]) -> Guess {
        let args: Vec<Guess> = args.iter().map(|arg| self.guess(arg)).collect();
        let of_args = args.iter().map(|arg| arg.cost).fold(0, u64::saturating_add);
        let own = overloads.iter().map(|overload| estimate(overload.cost, &args)).max().unwrap_or(0);
        let size = overloads.first().and_then(|overload| result_size(overload.name, overload.cost, &args));
        Guess { size, ..Guess::costing(of_args.saturating_add(own)) }
    }

    fn fold(&mut self, fold: &Fold) -> Guess {
        let range = self.guess(&fold.range);
        let item = range.decl.as_ref().and_then(|decl| decl.item()).cloned();
        let is_map = range.decl.as_ref().is_some_and(|decl| matches!(decl.of, Type::Map(..)));
        let outer = self.variables.len();
        match &fold.second {
            Some(second) => {
                self.variables.push((fold.name.clone(), None));
                self.variables.push((second.clone(), item));
            }
            // The keys of a map are texts of which nothing more is known.
            None => self.variables.push((fold.name.clone(), item.filter(|_| !is_map))),
        }
        let filter = fold.filter.as_ref().map_or(0, |filter| self.guess(filter).cost);
        let body = self.guess(&fold.body);
        self.variables.truncate(outer);
        let step = body.cost.saturating_add(filter).saturating_add(fold.kind.step_cost());
        let rounds = range.size();
        let size = match fold.kind {
            FoldKind::Map | FoldKind::Filter | FoldKind::TransformMap | FoldKind::TransformMapEntry => Some(rounds),
            FoldKind::SortBy => Some(rounds.saturating_mul(rounds)),
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => None,
        };
        // Naming the result; one more to compare it with one.
        let last = match fold.kind {
            FoldKind::ExistsOne => 2,
            FoldKind::SortBy => compare_all(rounds, body.is_text()).saturating_add(1),
            _ => 1,
        };
        let cost = range.cost.saturating_add(rounds.saturating_mul(step)).saturating_add(last);
        Guess { size, ..Guess::costing(cost) }
    }

    fn optional_map(&mut self, map: &OptionalMap) -> Guess {
        let target = self.guess(&map.target);
        self.variables.push((map.name.clone(), target.decl));
        let body = self.guess(&map.body);
        self.variables.pop();
        // Asking whether there is a value, and wrapping the new one.
        Guess { size: body.size, ..Guess::costing(target.cost.saturating_add(body.cost).saturating_add(3)) }
    }
}

fn literal_size(literal: &Literal) -> u64 {
    match literal {
        Literal::Text(text) => text.chars().count() as u64,
        Literal::Bytes(bytes) => bytes.len() as u64,
        _ => 1,
    }
}

/// Returns the most that a call costs besides its arguments.
fn estimate(cost: Cost, args: &[Guess]) -> u64 {
    let size = |place: usize| args.get(place).map_or(0, Guess::size);
    match cost {
        Cost::Fixed(cost) => cost,
        Cost::Text(times) => tenth(size(0).saturating_mul(times)),
        Cost::Compare => tenth(size(0).min(size(1))),
        Cost::Concat => tenth(size(0).saturating_add(size(1))),
        Cost::ConcatList => 1,
        Cost::Contains => tenth(size(0)).saturating_mul(tenth(size(1))),
        Cost::In => size(1),
        Cost::Regex => tenth(size(0).saturating_add(1)).saturating_mul(size(1).div_ceil(4)),
        Cost::Walk => {
            let list = args.first().filter(|list| list.items_are_texts());
            let item = list.and_then(|list| list.decl.as_ref()).and_then(|decl| decl.item());
            let each = item.map_or(1, |item| tenth(item.size_max).saturating_add(1));
            size(0).saturating_mul(each)
        }
        Cost::Copy | Cost::Slice | Cost::Range => made_size(cost, args).saturating_add(LIST_MADE),
        Cost::Flatten => {
            let depth = args.get(1).map_or(1, |depth| depth.number.unwrap_or(u64::MAX));
            made_size(cost, args).saturating_mul(depth).saturating_add(LIST_MADE)
        }
        Cost::SelfCompare => compare_all(size(0), args.first().is_some_and(Guess::items_are_texts)),
        Cost::Join => tenth(joined_size(args)),
        Cost::Pairs => size(0).saturating_mul(size(1)),
        Cost::Address => 4_u64.saturating_add(args.get(1).and_then(|arg| arg.size).map_or(0, tenth)),
    }
}

/// Returns how long a list can be that a function makes of another, or of nothing.
fn made_size(cost: Cost, args: &[Guess]) -> u64 {
    let size = args.first().map_or(0, Guess::size);
    let number = |place: usize, otherwise: u64| args.get(place).and_then(|arg| arg.number).unwrap_or(otherwise);
    match cost {
        Cost::Slice => number(2, size).saturating_sub(number(1, 0)),
        Cost::Range => number(0, u64::MAX),
        Cost::SelfCompare => size.saturating_mul(size),
        _ => size,
    }
}

fn joined_size(args: &[Guess]) -> u64 {
    let Some(list) = args.first() else { return 0 };
    let each = list.decl.as_ref().and_then(|decl| decl.item()).map_or(u64::MAX, |item| item.size_max);
    let separators = args.get(1).map_or(0, |text| text.size().saturating_mul(list.size().saturating_sub(1)));
    list.size().saturating_mul(each).saturating_add(separators)
}

/// Returns how big a result can be, if that is known.
fn result_size(name: &str, cost: Cost, args: &[Guess]) -> Option<u64> {
    let size = |place: usize| args.get(place).map_or(0, Guess::size);
    match (name, cost) {
        (_, Cost::Concat | Cost::ConcatList) => Some(size(0).saturating_add(size(1))),
        ("lowerAscii" | "upperAscii" | "substring" | "trim" | "split" | "find" | "findAll" | "string" | "bytes", _) => {
            Some(size(0))
        }
        ("replace", _) => {
            let (old_min, new) = (args.get(1).map_or(0, |old| old.size_min), size(2));
            Some(match old_min {
                0 => size(0).saturating_add(1).saturating_mul(new).saturating_add(size(0)),
                old_min if new <= old_min => size(0),
                old_min => size(0).div_ceil(old_min).saturating_mul(new),
            })
        }
        (_, Cost::Join) => Some(joined_size(args)),
        (_, Cost::Copy | Cost::Slice | Cost::Range | Cost::Flatten | Cost::SelfCompare) => Some(made_size(cost, args)),
        // Numbers and truths have no size to speak of; texts may have any.
        _ => None,
    }
}
