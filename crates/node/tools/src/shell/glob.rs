//! File names that match a pattern: `*` and `?`, and `\` before what is meant as it stands.

use std::fs;

/// Returns the names that match, sorted; `None` if the text is no pattern or nothing matches.
pub fn matches(pattern: &str) -> Option<Vec<String>> {
    if !is_pattern(pattern) {
        return None;
    }
    let (mut found, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (vec!["/".to_owned()], rest),
        None => (vec![String::new()], pattern),
    };
    for part in rest.split('/').filter(|part| !part.is_empty()) {
        found = found.iter().flat_map(|dir| step(dir, part)).collect();
    }
    found.sort();
    (!found.is_empty()).then_some(found)
}

fn is_pattern(text: &str) -> bool {
    let mut escaped = false;
    text.chars().any(|c| {
        let is_special = !escaped && matches!(c, '*' | '?');
        escaped = !escaped && c == '\\';
        is_special
    })
}

fn step(dir: &str, part: &str) -> Vec<String> {
    let join = |name: &str| {
        if dir.is_empty() || dir.ends_with('/') {
            format!("{dir}{name}")
        } else {
            format!("{dir}/{name}")
        }
    };
    if !is_pattern(part) {
        let path = join(&part.replace('\\', ""));
        return if fs::symlink_metadata(&path).is_ok() { vec![path] } else { Vec::new() };
    }
    let entries = fs::read_dir(if dir.is_empty() { "." } else { dir });
    let names =
        entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let pattern: Vec<char> = part.chars().collect();
    let shown = names.filter(|name| part.starts_with('.') || !name.starts_with('.'));
    shown.filter(|name| fits(&pattern, &name.chars().collect::<Vec<_>>())).map(|name| join(&name)).collect()
}

/// Whether a name fits a pattern; backtracks to the last `*` only, so it takes no longer than both lengths multiplied.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some('?') => (p, n) = (p + 1, n + 1),
            Some('\\') if pattern.get(p + 1) == Some(&name[n]) => (p, n) = (p + 2, n + 1),
            Some(c) if *c != '\\' && *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}
