//! Nonsense: whatever is thrown at the engine, it answers.

use super::run;

/// A generator of numbers that always starts over the same way.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}

const WORDS: [&str; 61] = [
    "self",
    ".",
    "name",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "1",
    "-",
    "+",
    "*",
    "/",
    "%",
    "'a'",
    "\"",
    "'",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "!",
    "?",
    ":",
    ",",
    " in ",
    "size",
    "all",
    "map",
    "x",
    ".all(x, x > 0)",
    ".map(x, x)",
    "has(self.name)",
    "self.numbers",
    "0u",
    "1.5",
    "null",
    "true",
    "b'\\xff'",
    ".?none",
    "[?0]",
    "optional.none()",
    "`a`",
    "r'\\'",
    "\\",
    "\n",
    "9223372036854775807",
    "-9223372036854775808",
    "duration('1h')",
    "timestamp('2024-01-01T00:00:00Z')",
    "quantity('1Gi')",
    ".matches('(')",
    ".format([1])",
    "é",
    "{'a': self}",
    "[self]",
    ".substring(1, 0)",
    "ip('::1')",
];

#[test]
fn words_in_any_order_never_panic() {
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let length = 1 + dice.roll(12);
        let source: String = (0..length).map(|_| WORDS[dice.roll(WORDS.len())]).collect();
        let _ = run(&source);
    }
}

#[test]
fn characters_in_any_order_never_panic() {
    let alphabet: Vec<char> = "ab01.'\"`\\()[]{}?:,+-*/%<>=!&| \n\t\u{0}é😀xuXU_e#/".chars().collect();
    let mut dice = Dice(11);
    for _ in 0..20_000 {
        let length = dice.roll(24);
        let source: String = (0..length).map(|_| alphabet[dice.roll(alphabet.len())]).collect();
        let _ = run(&source);
    }
}

/// Makes an expression that is one, of any type.
fn expression(dice: &mut Dice, depth: usize) -> String {
    let leaf = [
        "1",
        "0",
        "-3",
        "2u",
        "1.5",
        "'abc'",
        "''",
        "true",
        "null",
        "[]",
        "{}",
        "self",
        "self.numbers",
        "self.words",
        "self.labels",
        "x",
    ];
    if depth == 0 {
        return leaf[dice.roll(leaf.len())].to_owned();
    }
    let mut inner = || expression(dice, depth - 1);
    let (a, b, c) = (inner(), inner(), inner());
    let shapes = [
        format!("dyn({a}) + dyn({b})"),
        format!("dyn({a}) - dyn({b})"),
        format!("dyn({a}) * dyn({b})"),
        format!("dyn({a}) / dyn({b})"),
        format!("dyn({a}) == dyn({b})"),
        format!("dyn({a}) < dyn({b})"),
        format!("dyn({a}) in dyn({b})"),
        format!("dyn({a}) && dyn({b})"),
        format!("dyn({a}) ? dyn({b}) : dyn({c})"),
        format!("[dyn({a}), {b}]"),
        format!("{{'k': {a}}}"),
        format!("dyn({a})[dyn({b})]"),
        format!("dyn({a}).all(x, dyn({b}))"),
        format!("dyn({a}).map(x, {b})"),
        format!("dyn({a}).size()"),
        format!("string(dyn({a}))"),
        format!("int(dyn({a}))"),
        format!("dyn({a}).indexOf(dyn({b}))"),
        format!("dyn({a}).?f.orValue({b})"),
        format!("dyn({a}).sum()"),
        format!("dyn({a}).substring(dyn({b}))"),
        format!("dyn({a}).split(dyn({b}))"),
        format!("dyn({a}).replace(dyn({b}), dyn({c}))"),
    ];
    shapes[dice.roll(shapes.len())].clone()
}

#[test]
fn expressions_of_any_shape_have_a_value_or_an_error() {
    let mut dice = Dice(13);
    let (mut values, mut errors) = (0, 0);
    for round in 0..5_000 {
        let source = expression(&mut dice, 1 + round % 4);
        match run(&source) {
            Ok(_) => values += 1,
            Err(_) => errors += 1,
        }
    }
    assert!(values > 100 && errors > 100, "{values} values and {errors} errors tell little");
}

#[test]
fn the_same_expression_has_the_same_value() {
    let mut dice = Dice(17);
    for _ in 0..500 {
        let source = expression(&mut dice, 3);
        assert_eq!(run(&source), run(&source), "{source}");
    }
}
