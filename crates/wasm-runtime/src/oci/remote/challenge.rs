//! What a registry says in `WWW-Authenticate` (RFC 9110, section 11; the distribution's token authentication). Pure.

/// How a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By name and password.
    Basic,
    /// By a token of the server at `realm`.
    Bearer {
        /// The token server.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// For what; the registry knows best.
        scope: Option<String>,
    },
}

/// Returns the best challenge in a header; a token before a password.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let found: Vec<Challenge> = split(header).into_iter().filter_map(|(scheme, rest)| read(scheme, rest)).collect();
    let bearer = found.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(found.first()).cloned()
}

fn read(scheme: &str, rest: &str) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let find = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    Some(Challenge::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
}

/// Splits a header into challenges: a scheme is a word that is followed by a space and not by `=`.
fn split(header: &str) -> Vec<(&str, &str)> {
    let mut starts: Vec<usize> = Vec::new();
    let (mut is_quoted, mut is_start) = (false, true);
    let bytes = header.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if is_quoted => at += 1,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => is_start = true,
            byte if is_start && !byte.is_ascii_whitespace() => {
                let word = header[at..].find([' ', '=', ',']).map_or(header.len(), |end| at + end);
                if !header[word..].starts_with('=') {
                    starts.push(at);
                }
                (is_start, at) = (false, word.max(at + 1) - 1);
            }
            _ => {}
        }
        at += 1;
    }
    let ends = starts.iter().skip(1).copied().chain([header.len()]);
    let parts = starts.iter().zip(ends).map(|(start, end)| header[*start..end].trim_end_matches([' ', ',']));
    parts.map(|part| part.split_once(' ').unwrap_or((part, ""))).collect()
}

/// Reads `name="value", name=value`.
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_owned();
        let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        found.push((name, value));
        text = rest;
    }
    found
}

/// Reads to the closing quote, and returns what comes behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            char => value.push(char),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn the_challenges_of_registries_are_understood() {
        let hub =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        let expected = bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull"));
        assert_eq!(parse(hub), Some(expected));
        assert_eq!(parse(r#"Basic realm="Registry""#), Some(Challenge::Basic));
        assert_eq!(parse("basic"), Some(Challenge::Basic));
        assert_eq!(parse(r#"bearer realm=https://t, service="""#), Some(bearer("https://t", None, None)));
    }

    #[test]
    fn commas_in_quotes_belong_to_the_value() {
        let header = r#"Bearer realm="https://t",scope="repository:a:pull,push",service="s\"q""#;
        assert_eq!(parse(header), Some(bearer("https://t", Some("s\"q"), Some("repository:a:pull,push"))));
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let header = r#"Basic realm="r", Bearer realm="https://t",service="s""#;
        assert_eq!(parse(header), Some(bearer("https://t", Some("s"), None)));
        assert_eq!(parse(r#"Negotiate, Basic realm="a, b""#), Some(Challenge::Basic));
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for header in ["", "Negotiate", "Bearer", "Bearer service=\"s\"", ",,,", "=", "\"", "Bearer realm=\"\""] {
            assert_eq!(parse(header), None, "{header}");
        }
    }
}
