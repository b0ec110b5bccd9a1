//! Extensions of CEL and Kubernetes' libraries, with the examples of their documentation.

use serde_json::json;

use super::{all_hold, come_to, fail_with};

#[test]
fn strings() {
    come_to(&[
        ("'hello'.charAt(4)", json!("o")),
        ("'hello'.charAt(5)", json!("")),
        ("'hello mellow'.indexOf('')", json!(0)),
        ("'hello mellow'.indexOf('ello')", json!(1)),
        ("'hello mellow'.indexOf('jello')", json!(-1)),
        ("'hello mellow'.indexOf('ello', 2)", json!(7)),
        ("'hello mellow'.indexOf('ello', 2)", json!(7)),
        ("'hello mellow'.lastIndexOf('')", json!(12)),
        ("'hello mellow'.lastIndexOf('ello')", json!(7)),
        ("'hello mellow'.lastIndexOf('ello', 6)", json!(1)),
        ("'TacoCat'.lowerAscii()", json!("tacocat")),
        ("'TacoCÆt Xii'.lowerAscii()", json!("tacocÆt xii")),
        ("'TacoCÆt Xii'.upperAscii()", json!("TACOCÆT XII")),
        ("'hello hello'.replace('he', 'we')", json!("wello wello")),
        ("'hello hello'.replace('he', 'we', -1)", json!("wello wello")),
        ("'hello hello'.replace('he', 'we', 1)", json!("wello hello")),
        ("'hello hello'.replace('he', 'we', 0)", json!("hello hello")),
        ("'hello hello hello'.split(' ')", json!(["hello", "hello", "hello"])),
        ("'hello hello hello'.split(' ', 0)", json!([])),
        ("'hello hello hello'.split(' ', 1)", json!(["hello hello hello"])),
        ("'hello hello hello'.split(' ', 2)", json!(["hello", "hello hello"])),
        ("'abc'.split('')", json!(["a", "b", "c"])),
        ("'abc'.split('', 2)", json!(["a", "bc"])),
        ("'tacocat'.substring(4)", json!("cat")),
        ("'tacocat'.substring(0, 4)", json!("taco")),
        ("'ta©o©αT'.substring(2, 6)", json!("©o©α")),
        ("'  \\ttrim\\n    '.trim()", json!("trim")),
        ("['hello', 'mellow'].join()", json!("hellomellow")),
        ("['hello', 'mellow'].join(' ')", json!("hello mellow")),
        ("[].join('/')", json!("")),
        ("strings.quote('single-quote with \"double quote\"')", json!("\"single-quote with \\\"double quote\\\"\"")),
    ]);
    all_hold(&[
        "'abc'.contains('b')",
        "'abc'.startsWith('ab')",
        "'abc'.endsWith('bc')",
        "'abc'.matches('^a.c$')",
        "'abc'.matches('b')",
        "!'abc'.matches('^b')",
        "matches('abc', 'c$')",
    ]);
    fail_with(&[
        ("'tacocat'.substring(40)", "index out of range: 40"),
        ("'tacocat'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'tacocat'.charAt(-1)", "index out of range: -1"),
        ("'a'.matches('(')", "error parsing regexp"),
        ("'a'.matches(self.name + '(')", "error parsing regexp"),
    ]);
}

#[test]
fn formats_fill_in_values() {
    come_to(&[
        ("'%s and %d'.format(['a', dyn(2)])", json!("a and 2")),
        ("'%s'.format([[dyn(1), 'a', true]])", json!("[1, a, true]")),
        ("'%s'.format([{'a': 1}])", json!("{a: 1}")),
        ("'%.2f'.format([1.5])", json!("1.50")),
        ("'%f'.format([1])", json!("1.000000")),
        ("'%e'.format([1052.5])", json!("1.052500e+03")),
        ("'%x %X %x'.format([dyn(255), 255, 'ab'])", json!("ff FF 6162")),
        ("'%b %o %b'.format([dyn(5), 8, true])", json!("101 10 1")),
        ("'100%%'.format([])", json!("100%")),
    ]);
    fail_with(&[
        ("'%d'.format(['a'])", "decimal clause can only be used on integers"),
        ("'%s %s'.format(['a'])", "index 1 out of range"),
        ("'%s'.format(['a', 'b'])", "too many arguments"),
        ("'%q'.format(['a'])", "unrecognized formatting clause"),
        ("'%'.format([])", "unexpected end of string"),
    ]);
}

#[test]
fn lists() {
    all_hold(&[
        "[1, 2, 3].isSorted()",
        "!self.numbers.isSorted()",
        "['a', 'b', 'b', 'c'].isSorted()",
        "[2.0, 1.0].isSorted() == false",
        "[1, 3].sum() == 4",
        "[1.0, 3.0].sum() == 4.0",
        "['1m', '1s'].map(d, duration(d)).sum() == duration('61s')",
        "[].sum() == 0",
        "[1, 3].min() == 1",
        "[1, 3].max() == 3",
        "['a', 'b'].max() == 'b'",
        "[1, 2, 2, 3].indexOf(2) == 1",
        "[1, 2, 2, 3].lastIndexOf(2) == 2",
        "['a', 'b', 'b', 'c'].indexOf('b') == 1",
        "[1].indexOf(7) == -1",
        "[1.0].indexOf(1.1) == -1",
        "self.numbers.sum() == 6",
    ]);
    fail_with(&[("dyn([]).min()", "min called on empty list"), ("[9223372036854775807, 1].sum()", "integer overflow")]);
}

#[test]
fn sets() {
    all_hold(&[
        "sets.contains([], [])",
        "!sets.contains([], [1])",
        "sets.contains([1, 2, 3, 4], [2, 3])",
        "sets.contains([dyn(1), dyn(2.0), dyn(3u)], [dyn(1.0), dyn(2u), dyn(3)])",
        "sets.equivalent([], [])",
        "sets.equivalent([1], [1, 1])",
        "sets.equivalent([dyn(1)], [dyn(1u), dyn(1.0)])",
        "!sets.equivalent([1, 2], [1])",
        "!sets.intersects([1], [])",
        "sets.intersects([1], [1, 2])",
        "sets.intersects([[dyn(1)], [dyn(2), dyn(3)]], [[dyn(1), dyn(2)], [dyn(2), dyn(3.0)]])",
    ]);
}

#[test]
fn regular_expressions() {
    come_to(&[
        ("'abc 123'.find('[0-9]+')", json!("123")),
        ("'abc'.find('[0-9]+')", json!("")),
        ("'123 abc 456'.findAll('[0-9]+')", json!(["123", "456"])),
        ("'123 abc 456'.findAll('[0-9]+', 1)", json!(["123"])),
        ("'123 abc 456'.findAll('[0-9]+', 0)", json!([])),
    ]);
}

#[test]
fn urls() {
    come_to(&[
        ("url('https://example.com:80/path').getScheme()", json!("https")),
        ("url('/path').getScheme()", json!("")),
        ("url('https://example.com:80/').getHost()", json!("example.com:80")),
        ("url('https://[::1]:80/').getHost()", json!("[::1]:80")),
        ("url('https://example.com:80/').getHostname()", json!("example.com")),
        ("url('https://[::1]:80/').getHostname()", json!("::1")),
        ("url('https://example.com:80/').getPort()", json!("80")),
        ("url('https://example.com/').getPort()", json!("")),
        (
            "url('https://example.com/path with spaces/'.replace(' ', '%20')).getEscapedPath()",
            json!("/path%20with%20spaces/"),
        ),
        ("url('https://example.com/path?k1=a&k2=b&k2=c').getQuery()", json!({"k1": ["a"], "k2": ["b", "c"]})),
        ("url('https://example.com/path?key%201=a+b').getQuery()", json!({"key 1": ["a b"]})),
    ]);
    all_hold(&[
        "isURL('https://user:pass@example.com:80/path?query=val#fragment')",
        "isURL('/absolute-path')",
        "!isURL('https://a:b:c/')",
        "!isURL('../relative-path')",
        "!isURL('')",
    ]);
    fail_with(&[("url('../relative-path')", "URL parse error")]);
}

#[test]
fn quantities() {
    all_hold(&[
        "isQuantity('1.3Gi')",
        "!isQuantity('1.3GiB')",
        "quantity('50000000G').isInteger()",
        "!quantity('50k').add(quantity('1m')).isInteger()",
        "quantity('50k').asInteger() == 50000",
        "quantity('50.703k').asApproximateFloat() == 50703.0",
        "quantity('-200').sign() == -1",
        "quantity('0').sign() == 0",
        "quantity('200M').compareTo(quantity('0.2G')) == 0",
        "quantity('50M').isLessThan(quantity('100M'))",
        "quantity('150Mi').isGreaterThan(quantity('100Mi'))",
        "quantity('50k').add(20) == quantity('50020')",
        "quantity('50k').sub(quantity('20')) == quantity('49980')",
        "quantity('1Gi') == quantity('1024Mi')",
        "type(quantity('1')) == kubernetes.Quantity",
    ]);
    fail_with(&[
        ("quantity('10 Gi')", "unable to parse quantity's suffix"),
        ("quantity('1m').asInteger()", "cannot convert value to integer"),
    ]);
}

#[test]
fn addresses() {
    all_hold(&[
        "isIP('127.0.0.1')",
        "isIP('::1')",
        "!isIP('127.0.0.256')",
        "!isIP('::1%eth0')",
        "!isIP('::ffff:1.2.3.4')",
        "ip.isCanonical('127.0.0.1')",
        "ip.isCanonical('2001:db8::abcd')",
        "!ip.isCanonical('2001:DB8::ABCD')",
        "ip('127.0.0.1').family() == 4",
        "ip('::1').family() == 6",
        "ip('0.0.0.0').isUnspecified()",
        "ip('127.0.0.1').isLoopback()",
        "ip('169.254.169.254').isLinkLocalUnicast()",
        "ip('224.0.0.1').isLinkLocalMulticast()",
        "ip('192.168.0.1').isGlobalUnicast()",
        "!ip('255.255.255.255').isGlobalUnicast()",
        "ip('fe80::1').isLinkLocalUnicast()",
        "ip('::1') == ip('0:0:0:0:0:0:0:1')",
        "string(ip('::1')) == '::1'",
        "isCIDR('192.168.0.0/16')",
        "!isCIDR('192.168.0.0/33')",
        "!isCIDR('192.168.0.0')",
        "cidr('192.168.0.0/24').containsIP('192.168.0.1')",
        "!cidr('192.168.0.0/24').containsIP('192.168.1.1')",
        "cidr('192.168.0.0/24').containsIP(ip('192.168.0.1'))",
        "cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24')",
        "!cidr('192.168.1.0/24').containsCIDR('192.168.0.0/16')",
        "cidr('192.168.0.1/24').masked() == cidr('192.168.0.0/24')",
        "cidr('192.168.0.0/24').prefixLength() == 24",
        "cidr('192.168.0.1/24').ip() == ip('192.168.0.1')",
        "cidr('0.0.0.0/0').containsIP('1.2.3.4')",
        "cidr('::/0').containsIP('::1')",
        "string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
    ]);
    fail_with(&[
        ("ip('not-an-ip')", "parse error during conversion from string"),
        ("cidr('10.0.0.0/08')", "parse error"),
    ]);
}

#[test]
fn versions() {
    all_hold(&[
        "isSemver('1.0.0')",
        "isSemver('1.0.0-alpha.1+build.5')",
        "!isSemver('v1.0')",
        "!isSemver('1.0')",
        "isSemver('v1.0', true)",
        "!isSemver('01.0.0')",
        "semver('1.2.3').major() == 1",
        "semver('1.2.3').minor() == 2",
        "semver('1.2.3').patch() == 3",
        "semver('v01.2', true).minor() == 2",
        "semver('1.2.3').compareTo(semver('1.2.3')) == 0",
        "semver('1.2.3').isGreaterThan(semver('1.2.0'))",
        "semver('1.0.0-alpha').isLessThan(semver('1.0.0'))",
        "semver('1.0.0-alpha.2').isLessThan(semver('1.0.0-alpha.10'))",
        "semver('1.0.0+a') == semver('1.0.0+b')",
    ]);
    fail_with(&[("semver('three')", "version")]);
}

#[test]
fn named_formats() {
    all_hold(&[
        "!format.dns1123Label().validate('my-label').hasValue()",
        "format.dns1123Label().validate('My_Label').hasValue()",
        "!format.named('dns1123Subdomain').value().validate('a.b').hasValue()",
        "!format.named('none').hasValue()",
        "!format.dns1123LabelPrefix().validate('my-label-').hasValue()",
        "!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()",
        "format.uuid().validate('x').value() == ['does not match the UUID format']",
        "!format.byte().validate('aGVsbG8=').hasValue()",
        "!format.date().validate('2021-01-01').hasValue()",
        "!format.datetime().validate('2021-01-01T00:00:00Z').hasValue()",
        "!format.uri().validate('http://example.com').hasValue()",
        "!format.qualifiedName().validate('apps.v1/deployment').hasValue()",
        "format.labelValue().validate('a b').value().size() == 1",
        "!format.dns1035Label().validate('a-b').hasValue()",
    ]);
}

/// The examples of `cel-go/ext/lists.go`.
#[test]
fn lists_are_cut_turned_and_sorted() {
    come_to(&[
        ("[1, 2, 3, 4].slice(1, 3)", json!([2, 3])),
        ("[1].slice(1, 1)", json!([])),
        ("[[1], [2, 3], []].flatten()", json!([1, 2, 3])),
        ("[dyn(1), dyn([2, 3]), dyn([4])].flatten()", json!([1, 2, 3, 4])),
        ("[[[1, 2]], [[3]]].flatten(0)", json!([[[1, 2]], [[3]]])),
        ("[[[1]], [[2, 3]]].flatten(2)", json!([1, 2, 3])),
        ("[5, 3, 1, 2].reverse()", json!([2, 1, 3, 5])),
        ("['b', 'b', 'c', 'a', 'c'].distinct()", json!(["b", "c", "a"])),
        ("lists.range(5)", json!([0, 1, 2, 3, 4])),
        ("[3, 2, 1].sort()", json!([1, 2, 3])),
        ("['b', 'c', 'a'].sort()", json!(["a", "b", "c"])),
        ("[0.0 / 0.0, 1.0, -1.0].sort()[0]", json!(-1.0)),
        ("self.ports.sortBy(p, -p.port).map(p, p.name)", json!(["https", "http"])),
        ("[].sortBy(x, x)", json!([])),
    ]);
    fail_with(&[
        ("[1].slice(0, 2)", "cannot slice(0, 2), list is length 1"),
        ("[1].slice(-1, 1)", "cannot slice(-1, 1), negative indexes not supported"),
        ("[1].slice(1, 0)", "cannot slice(1, 0), start index must be less than or equal to end index"),
        ("[1].flatten(-1)", "level must be non-negative"),
        ("lists.range(-1)", "lists.range: size must be non-negative, got -1"),
        ("[dyn(1), dyn('b')].sort()", "list elements must have the same type"),
        ("[[1, 2]].sort()", "found no matching overload for 'sort'"),
        (
            "[1].sortBy(x, [x])",
            "found no matching overload for '@sortByAssociatedKeys' applied to 'list(int).(list(list(int)))'",
        ),
        ("dyn([1]).sortBy(x, dyn([x]))", "list elements must be comparable"),
    ]);
}
