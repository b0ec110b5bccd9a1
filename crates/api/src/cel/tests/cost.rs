//! What runs cost, and what stops them.

use serde_json::{Value as Json, json};

use super::{Bindings, Budget, Decl, Env, EvalError, Program, Root, Type, Val};

fn cost(source: &str, document: &Json) -> u64 {
    const ENOUGH: u64 = 100_000_000;
    let program = Program::compile(source, &Env::default().with("self", Type::Dyn)).expect(source);
    let mut budget = Budget::new(ENOUGH);
    let bindings = Bindings::new().with_json("self", document);
    program.evaluate(&bindings, &mut budget).expect(source);
    ENOUGH - budget.left()
}

/// The numbers are cel-go's (`interpreter/runtimecost_test.go`).
#[test]
fn runs_cost_what_they_cost_in_kubernetes() {
    let document = json!({"s": "x".repeat(100), "list": (0..10).collect::<Vec<i32>>(), "n": 1});
    for (source, expected) in [
        ("true", 0),
        ("self", 1),
        ("self.n", 2),
        ("self.n + 1", 3),
        ("has(self.n)", 1),
        ("[1, 2]", 10),
        ("{'a': 1}", 30),
        ("self.s.startsWith('x')", 2 + 10),
        ("self.s.contains('xxxxxxxxxx')", 2 + 10),
        ("self.s.matches('xxxx')", 2 + 11 + 4),
        ("self.s == 'x'", 2 + 1),
        ("self.s + self.s", 4 + 20),
        ("1 in self.list", 2 + 10),
        ("self.list.all(x, true)", 2 + 10 * 3 + 1),
        ("self.list.exists(x, false)", 2 + 10 * 4 + 1),
        ("self.n == 1 ? self.s : self.s", 3 + 2),
        ("true || self.n == 1", 0),
        ("self.list.sum()", 2 + 10),
        ("self.s.lowerAscii()", 2 + 10),
        ("self.s.split('')", 2 + 20),
    ] {
        assert_eq!(cost(source, &document), expected, "{source}");
    }
}

/// A list that holds another twice, again and again, is small in memory and endless for whoever goes through it.
#[test]
fn what_is_shared_is_paid_for_as_often_as_it_is_seen() {
    let doubled = |leaf: &str| format!("[{leaf}]{}", ".map(x, [x, x])".repeat(60));
    let (numbers, texts) = (doubled("1"), doubled("''"));
    let env = Env::default().with("self", Type::Dyn);
    let set = json!({"s": []});
    for source in [
        format!("{numbers}.indexOf([]) == 0"),
        format!("dyn({texts}).indexOf(dyn([])) == 0"),
        format!("{numbers} == {numbers}"),
        format!("'%s'.format([{texts}]) == ''"),
        format!("'%s'.format([{numbers}]) == ''"),
        format!("dyn({numbers}).flatten(70) == []"),
        "lists.range(9000000).size() == 0".to_owned(),
        "lists.range(2000).distinct().size() == 0".to_owned(),
        "lists.range(2000).sortBy(x, -x).size() == 0".to_owned(),
        "[dyn(1)].map(x, 'a'.matches('b'))".to_owned()
            + &".map(x, [x, x])".repeat(50)
            + ".slice(0, 1).flatten(60) == []",
    ] {
        let program = Program::compile(&source, &env).unwrap_or_else(|error| panic!("{source}: {error}"));
        let ran = program.evaluate(&Bindings::new().with_json("self", &set), &mut Budget::new(100_000_000));
        assert_eq!(ran.map(|_| ()), Err(EvalError::CallLimit), "{source}");
    }
    let whole = Program::compile(&numbers, &env).expect("an expression");
    let value = whole.evaluate(&Bindings::new(), &mut Budget::new(100_000_000)).expect("it is small");
    assert_eq!(value.to_json(), Err(EvalError::Failed("the value is too big for a document".to_owned())));
}

#[test]
fn a_run_that_explodes_is_stopped() {
    let list: Vec<i32> = (0..200).collect();
    let document = json!({"list": list, "text": "x".repeat(100_000)});
    let env = Env::default().with("self", Type::Dyn);
    for source in [
        "self.list.all(a, self.list.all(b, self.list.all(c, a + b + c >= 0)))",
        "self.list.map(a, self.list.map(b, self.list.map(c, [a, b, c]))).size() > 0",
        "self.list.map(a, self.text + self.text).size() > 0",
        "self.list.exists(a, self.text.matches('(a|b|c|d)*x{1,50}y'))",
        "self.list.exists(a, 'a'.matches(self.text.substring(a, a + 20) + '{1,900}' + string(a)))",
        "self.text.replace('x', self.text).size() > 0",
        "self.list.all(a, [self.text] == [self.text])",
        "self.list.map(a, self.list + self.list).map(l, self.list.map(a, l + l)).size() > 0",
        "'%s%s'.format([self.text, self.text]).size() == self.list.filter(a, '%s'.format([self.text]) != '').size()",
    ] {
        let program = Program::compile(source, &env).expect(source);
        let bindings = Bindings::new().with_json("self", &document);
        let found = program.evaluate(&bindings, &mut Budget::new(u64::MAX)).map(|value| value.as_bool());
        assert_eq!(found, Err(EvalError::CallLimit), "{source}");
    }
}

#[test]
fn runs_share_their_budget() {
    let program = Program::compile("[1, 2, 3].all(x, x > 0)", &Env::default()).expect("it is an expression");
    let mut budget = Budget::new(50);
    assert!(program.evaluate(&Bindings::new(), &mut budget).is_ok());
    let second = program.evaluate(&Bindings::new(), &mut budget).map(|value| value.as_bool());
    assert_eq!(second, Err(EvalError::OutOfBudget));
    assert!(budget.is_empty());
}

#[test]
fn variables_run_once_and_only_if_needed() {
    let env = Env::default();
    let dear = Program::compile("[1, 2, 3].map(x, x * 2)", &env).expect("it is an expression");
    let broken = Program::compile("1 / 0", &env).expect("it is an expression");
    let env = env.with("variables.dear", dear.result().clone()).with("variables.broken", broken.result().clone());
    let spent = |source: &str| {
        let program = Program::compile(source, &env).expect(source);
        let bindings = Bindings::new().with_lazy("variables.dear", &dear).with_lazy("variables.broken", &broken);
        let mut budget = Budget::new(1000);
        let value = program.evaluate(&bindings, &mut budget).map(|value| value.as_bool());
        (value, 1000 - budget.left())
    };
    let (once, twice) =
        (spent("variables.dear.size() == 3"), spent("variables.dear.size() == 3 && variables.dear.size() == 3"));
    assert_eq!((once.0, twice.0), (Ok(Some(true)), Ok(Some(true))));
    assert!(twice.1 - once.1 < 5, "{} and {}", once.1, twice.1);
    assert_eq!(spent("true || variables.broken == 1"), (Ok(Some(true)), 0));
    assert_eq!(spent("has(variables.dear)").0, Ok(Some(true)));
    assert_eq!(spent("variables.broken == 1").0, Err(EvalError::Failed("division by zero".to_owned())));
}

fn estimate(source: &str, schema: &Json) -> u64 {
    let decl = Decl::of_schema(schema, Root::No).expect("expressions see it");
    let program = Program::compile(source, &Env::default().with("self", decl.of.clone())).expect(source);
    program.cost_max([("self", &decl)])
}

/// The first rows are Kubernetes' own (`apiextensions-apiserver/pkg/apiserver/schema/cel/compilation_test.go`).
#[test]
fn estimates_follow_the_bounds_of_the_schema() {
    let ints = |most: Json| json!({"type": "array", "items": {"type": "integer"}, "maxItems": most});
    let text = |most: u64| json!({"type": "string", "maxLength": most});
    for (source, schema, expected) in [
        ("self.all(x, true)", ints(json!(10)), 1 + 10 * 3 + 1),
        ("self.all(x, self.all(y, true))", ints(json!(10)), 1 + 10 * (3 + 1 + 10 * 3 + 1) + 1),
        ("self.exists(x, x == 1)", ints(json!(10)), 1 + 10 * (4 + 2) + 1),
        ("self.contains('test')", text(10), 1 + 4),
        ("self.startsWith('test')", text(10), 1 + 4),
        ("self + 'abcde' == 'x'", text(10), 1 + 5 + 1),
        ("self.matches('abcd')", text(10), 1 + 5),
        ("'a' in self", json!({"type": "array", "maxItems": 7, "items": text(3)}), 1 + 7),
        ("self == 'a'", json!({"type": "string"}), 1 + 1),
        ("true", json!({"type": "string"}), 0),
    ] {
        assert_eq!(estimate(source, &schema), expected, "{source}");
    }
    // (3 MiB - 2) / (1 + 1) numbers fit into a request, (3 MiB - 2) / (2 + 1) texts, and so on.
    let free = json!({"type": "array", "items": {"type": "integer"}});
    assert_eq!(estimate("self.all(x, true)", &free), 1 + 1_572_863 * 3 + 1);
    let texts = json!({"type": "array", "items": {"type": "string"}});
    assert_eq!(estimate("self.all(x, true)", &texts), 1 + 1_048_575 * 3 + 1);
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    assert_eq!(estimate("self.all(x, true)", &map), 1 + 449_389 * 3 + 1);
}

#[test]
fn no_run_costs_more_than_its_estimate() {
    let schema = json!({"type": "object", "properties": {
        "s": {"type": "string", "maxLength": 20}, "t": {"type": "array", "maxItems": 4, "items": {"type": "string", "maxLength": 8}},
    }});
    let document = json!({"s": "abcdefghij", "t": ["a", "bb", "ccc", "dddd"]});
    let decl = Decl::of_schema(&schema, Root::No).expect("expressions see it");
    for source in [
        "self.s.replace('a', 'bcd').size() > 1",
        "self.t.join(',').contains('a')",
        "self.t.map(x, x + self.s).exists(x, x == 'a')",
        "self.s.split('').all(c, c in self.t)",
        "self.t.isSorted() && self.t.indexOf('ccc') == 2",
        "self.s.find('[a-z]+') == self.s",
        "self.t.filter(x, x.size() > 1).all(x, x.startsWith('b') || x.endsWith('c') || true)",
        "self.?s.optMap(x, x.size()).orValue(1) > 0",
        "'%s'.format([self.s]) != self.s || self.t.all(i, x, i >= 0)",
        "sets.contains(self.t, self.t)",
        "self.t.max() > self.t.min()",
    ] {
        let program = Program::compile(source, &Env::default().with("self", decl.of.clone())).expect(source);
        let mut budget = Budget::new(1_000_000);
        let bindings = Bindings::new().with("self", Val::of(&document, &decl.of).expect("it fits"));
        program.evaluate(&bindings, &mut budget).expect(source);
        let (spent, most) = (1_000_000 - budget.left(), program.cost_max([("self", &decl)]));
        assert!(spent <= most, "{source} cost {spent}, estimated at {most}");
    }
}
