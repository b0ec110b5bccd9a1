//! What is wrong before it runs.

use serde_json::json;

use super::{Bindings, Budget, CompileError, Decl, Env, Program, REQUEST_BUDGET, Root, Type, fail_with};

fn typed() -> Env {
    let schema = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "name": {"type": "string"}, "ratio": {"type": "number"}, "a-b": {"type": "string"},
        "port": {"x-kubernetes-int-or-string": true}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}}, "namespace": {"type": "string"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "when": {"type": "string", "format": "date-time"}, "raw": {"x-kubernetes-preserve-unknown-fields": true},
    }});
    let decl = Decl::of_schema(&schema, Root::Yes).expect("expressions see objects");
    Env::default().with("self", decl.of.clone()).with("oldSelf", decl.of)
}

fn compile(source: &str) -> Result<Type, CompileError> {
    Program::compile(source, &typed()).map(|program| program.result().clone())
}

#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        let error = compile(source).map(|of| of.to_string()).expect_err(source).to_string();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[test]
fn a_mistake_is_shown_in_its_line() {
    let error = compile("self.replicas > 0 &&\n  self.nme == 'a'").expect_err("there is no such field").to_string();
    assert_eq!(error, "ERROR: <input>:2:7: undefined field 'nme'\n |   self.nme == 'a'\n | ......^");
}

#[test]
fn fields_are_known_by_their_schema() {
    refused(&[
        ("self.none", "undefined field 'none'"),
        ("self.replicas.none", "type 'int' does not support field selection"),
        ("self.items.all(i, i.m > 0)", "undefined field 'm'"),
        ("self.free.anything", "undefined field 'anything'"),
        ("self.raw", "undefined field 'raw'"),
        ("self.metadata.labels", "undefined field 'labels'"),
        ("has(self.none)", "undefined field 'none'"),
        ("self.replicas == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.ratio + 1", "found no matching overload for '_+_' applied to '(double, int)'"),
        ("self.name.size() + self.name", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.name.nope()", "undeclared reference to 'nope' (in container '')"),
        ("nobody", "undeclared reference to 'nobody' (in container '')"),
        ("self.name.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("self.name == null", "found no matching overload"),
        ("Object{a: 1}", "undeclared reference to 'Object'"),
    ]);
    for source in [
        "self.metadata.name == 'a'",
        "self.kind == self.apiVersion",
        "self.a__dash__b == ''",
        "self.__namespace__ == ''",
        "self.port == 1 || self.port == 'a'",
        "self.labels.app == self.labels['app']",
        "self.items[0].n > 1",
        "has(self.name)",
        "self.when < timestamp('2030-01-01T00:00:00Z')",
        "self.replicas > 1 && self.ratio > 1",
        "self == oldSelf",
        "self.items == []",
        "self.?name.orValue('') == ''",
    ] {
        assert_eq!(compile(source), Ok(Type::Bool), "{source}");
    }
}

/// `cel-go`'s validators, which Kubernetes turns on.
#[test]
fn literals_hold_values_of_one_type() {
    refused(&[
        ("[1, 'a']", "<input>:1:5: expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': true}", "<input>:1:15: expected type 'int' but found 'bool'"),
        ("{'a': 1, 2: 1}", "expected type 'string' but found 'int'"),
        ("[[1], ['a']]", "expected type 'list(int)' but found 'list(string)'"),
        ("[self.port, 1]", "expected type 'dyn' but found 'int'"),
        ("[null, self]", "expected type 'null' but found 'self'"),
        ("'%s'.format([1, 'a'])", "expected type 'int' but found 'string'"),
        ("'%s'.format([[1].map(x, [dyn(x), 1])])", "expected type 'dyn' but found 'int'"),
        ("duration('a day') > duration('1h')", "<input>:1:10: invalid duration argument"),
        ("timestamp('2024-01-01') < self.when", "<input>:1:11: invalid timestamp argument"),
        ("self.name.matches('(')", "invalid matches argument"),
    ]);
    for source in ["[[], ['a']]", "[dyn(1), dyn('a')]", "'%s'.format([dyn(1), 'a', [dyn(1), true]])", "[{}, {'a': 1}]"]
    {
        assert!(compile(source).is_ok(), "{source}: {:?}", compile(source));
    }
}

#[test]
fn only_mutations_make_objects() {
    use super::Structs;
    let compile = |source: &str| {
        let program = Program::compile(source, &typed().with_structs(Structs::Mutations));
        program.map(|program| program.result().to_string()).map_err(|error| error.to_string())
    };
    for (source, of) in [
        ("Object{spec: Object.spec{replicas: 1}}", "Object"),
        ("self.replicas > 1 ? Object{} : Object{metadata: Object.metadata{labels: {'a': 'b'}}}", "Object"),
        ("Object{a: 1}.a", "dyn"),
        ("[JSONPatch{op: 'add', path: '/' + jsonpatch.escapeKey('a/b'), value: [1]}]", "list(JSONPatch)"),
        ("self.replicas > 1 ? [JSONPatch{op: 'test', path: '/a'}] : []", "list(JSONPatch)"),
        ("[JSONPatch{op: 'add', ?path: self.?name}].map(p, p.path)", "list(string)"),
    ] {
        assert_eq!(compile(source).as_deref(), Ok(of), "{source}");
    }
    for (source, expected) in [
        ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("JSONPatch{nope: 1}", "undefined field 'nope'"),
        ("Pod{}", "undeclared reference to 'Pod' (in container '')"),
        ("[Object{}, JSONPatch{}]", "expected type 'Object' but found 'JSONPatch'"),
    ] {
        let error = compile(source).expect_err(source);
        assert!(error.contains(expected), "{source}: {error}");
    }
    refused(&[("jsonpatch.escapeKey('a')", "undeclared reference to 'jsonpatch.escapeKey'")]);
}

/// What Kubernetes gives to none or only to some of its expressions.
#[test]
fn other_peoples_extensions_are_unknown() {
    refused(&[
        ("cel.bind(x, 1, x)", "undeclared reference to 'cel'"),
        ("math.greatest(1, 2)", "undeclared reference to 'math'"),
        ("base64.encode(b'a')", "undeclared reference to 'base64'"),
    ]);
}

#[test]
fn what_is_no_expression_is_told() {
    fail_with(&[
        ("", "Syntax error: mismatched input '<EOF>'"),
        ("1 +", "<input>:1:4: Syntax error: mismatched input '<EOF>'"),
        ("(1", "mismatched input '<EOF>' expecting ')'"),
        ("1 2", "mismatched input '2' expecting <EOF>"),
        ("a.", "expecting IDENTIFIER"),
        ("[1, 2", "expecting ']'"),
        ("{1: 2", "expecting '}'"),
        ("'abc", "unterminated string"),
        ("'a\nb'", "unterminated string"),
        ("a = b", "token recognition error at: '='"),
        ("#", "token recognition error at: '#'"),
        ("'\\q'", "unknown escape"),
        ("for", "reserved identifier: for"),
        ("0x", "invalid int literal"),
        ("99999999999999999999", "invalid int literal"),
        ("1 ? 2", "expecting ':'"),
        ("f(1", "expecting ')'"),
        ("x.y(", "expecting an expression"),
    ]);
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    let nested = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    for source in [
        nested("(", ")", 10_000),
        nested("[", "]", 10_000),
        nested("{1: ", "}", 10_000),
        nested("[1].map(x, ", ")", 5_000),
        format!("1{}", " + 1".repeat(10_000)),
        format!("x{}", ".x".repeat(10_000)),
        format!("x{}", "[0]".repeat(10_000)),
        format!("1{}", " ? 1 : 1".repeat(10_000)),
        nested("-(", ")", 10_000),
        nested("!(", ")", 10_000),
    ] {
        let error = super::run(&source).expect_err("it is too deep");
        assert!(error.contains("expression recursion limit exceeded: 120"), "{}", &error[..error.len().min(200)]);
    }
    let error = super::run(&format!("'{}'", "a".repeat(100_000))).expect_err("it is too long");
    assert!(error.contains("expression code point size exceeds limit: size: 100002, limit 100000"));
    // Long is fine as long as it is not deep.
    assert_eq!(super::run(&format!("true{}", " && true".repeat(10_000))), Ok(json!(true)));
    assert_eq!(super::run(&format!("{}true", "!".repeat(50_000))), Ok(json!(true)));
}

#[test]
fn the_deepest_expression_fits_on_a_workers_stack() {
    let deep = format!("{}1{}", "[1].map(x, dyn(".repeat(38), "))".repeat(38));
    let run = std::thread::Builder::new().stack_size(1 << 21).spawn(move || super::run(&deep).is_ok());
    assert!(run.expect("threads start").join().expect("the stack is big enough"));
}

/// Values are as deep as the expressions that make them; dropping and writing them takes stack, too.
#[test]
fn variables_that_use_variables_are_bounded_even_if_they_are_known() {
    let env = |count: usize| (0..count).fold(Env::default(), |env, n| env.with(&format!("v{n}"), Type::Dyn));
    let compile = move |source: &str, count| Program::compile(source, &env(count)).expect("an expression");
    let mut programs = vec![compile("[1]", 0)];
    programs.extend((1..40).map(|n| compile(&format!("[[[[[[[[v{}]]]]]]]]", n - 1), n)));
    let run = move || {
        let bindings = programs.iter().enumerate();
        let bindings = bindings.fold(Bindings::new(), |all, (n, program)| all.with_lazy(&format!("v{n}"), program));
        let deep = |n: usize| {
            let source = format!("{}v{n}{}", "[".repeat(100), "]".repeat(100));
            let value = compile(&source, 40).evaluate(&bindings, &mut Budget::new(REQUEST_BUDGET));
            value.and_then(|value| value.to_json().map(drop)).map_err(|error| error.to_string())
        };
        (0..40).map(deep).collect::<Vec<_>>()
    };
    let run = std::thread::Builder::new().stack_size(1 << 21).spawn(run).expect("threads start");
    let made = run.join().expect("the stack is big enough");
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 14);
    assert_eq!(made[39], Err("variables that use variables are nested too deeply".to_owned()));
}
