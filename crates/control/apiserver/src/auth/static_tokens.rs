//! Static tokens for the time before there is anything else (`--token-auth-file`,
//! `apiserver/pkg/authentication/token/tokenfile`).

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{User, authenticate};

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A line says too little.
    #[error("{}:{line}: {problem}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// The tokens of a file, as they were when the server started.
#[derive(Debug, Default)]
pub struct StaticTokens(Vec<([u8; 32], User)>);

impl StaticTokens {
    /// Reads a file of lines `token,user,uid,"group1,group2"`; the groups may be missing.
    ///
    /// # Errors
    /// If it cannot be read, or a line says too little.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::Read(path.to_owned(), error))?;
        Self::parse(&text).map_err(|(line, problem)| Error::Line { path: path.to_owned(), line, problem })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut tokens: Vec<([u8; 32], User)> = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let problem = |problem| (index + 1, problem);
            let fields = columns(line).ok_or(problem("a quotation mark is not closed"))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(problem("token file must have at least 3 columns (token, user name, user uid)"));
            };
            if token.is_empty() {
                return Err(problem("empty token found in token file"));
            }
            let groups = rest.first().map_or("", String::as_str).split(',').map(str::trim);
            let groups: Vec<&str> = groups.filter(|group| !group.is_empty()).collect();
            let user = User { uid: uid.clone(), ..User::known(name, groups) };
            let digest = digest(token);
            // As upstream: of a token that is given twice, the last line counts.
            tokens.retain(|(known, _)| *known != digest);
            tokens.push((digest, user));
        }
        Ok(Self(tokens))
    }

    /// Returns whose token it is. The time it takes says nothing about how much of a guess was right: digests are
    /// compared, all of them, each to its end.
    pub fn user(&self, token: &str) -> Option<&User> {
        if self.0.is_empty() {
            return None;
        }
        let wanted = digest(token);
        let matching = self.0.iter().filter(|(known, _)| authenticate::same_secret(known, wanted));
        matching.fold(None, |_, (_, user)| Some(user))
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Splits a line of comma-separated values; a quoted value may hold commas and doubled quotation marks.
fn columns(line: &str) -> Option<Vec<String>> {
    let (mut columns, mut column, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                column.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => columns.push(std::mem::take(&mut column).trim().to_owned()),
            other => column.push(other),
        }
    }
    columns.push(column.trim().to_owned());
    (!is_quoted).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_token_a_user_a_uid_and_groups() {
        let tokens = StaticTokens::parse("secret,jane,7,\"dev, ops\"\n\nother , bob , 8\n").expect("well-formed");
        let jane = tokens.user("secret").expect("known");
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "7"));
        assert_eq!(jane.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(tokens.user("other").expect("known").groups, ["system:authenticated"]);
        for wrong in ["", "secre", "secrets", "SECRET", "jane"] {
            assert_eq!(tokens.user(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_last_line_of_a_token_counts() {
        let tokens = StaticTokens::parse("a,first,1\na,second,2").expect("well-formed");
        assert_eq!(tokens.user("a").expect("known").name, "second");
    }

    #[test]
    fn a_line_that_says_too_little_is_named() {
        let refused = |text| StaticTokens::parse(text).expect_err("refused");
        assert_eq!(refused("a,b,c\na,b").0, 2);
        assert_eq!(refused(",b,c"), (1, "empty token found in token file"));
        assert_eq!(refused("a,b,c,\"d"), (1, "a quotation mark is not closed"));
    }
}
