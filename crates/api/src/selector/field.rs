//! Field selectors: `metadata.name=x,status.phase!=Running` (`apimachinery/pkg/fields`).

use std::fmt;

use super::Error;

/// All of its terms must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// What one field must, or must not, be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// The path, such as `metadata.name`.
    pub field: String,
    /// The value, unescaped.
    pub value: String,
    /// Whether the field must differ from the value.
    pub negated: bool,
}

impl FieldSelector {
    /// Reads a query. `\,`, `\=` and `\\` stand for the character after the backslash in values.
    ///
    /// # Errors
    /// With Kubernetes' text, if a term has no operator.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let terms = split(query).into_iter().filter(|term| !term.is_empty()).map(|term| {
            let can_not = || Error::new(format!("invalid selector: '{query}'; can't understand '{term}'"));
            let (field, negated, value) = split_operator(term).ok_or_else(can_not)?;
            let value = unescape(value).ok_or_else(|| Error::new(format!("invalid field selector: {value}")))?;
            Ok(FieldTerm { field: field.to_owned(), value, negated })
        });
        Ok(Self { terms: terms.collect::<Result<_, Error>>()? })
    }

    /// Returns what must hold.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object is meant, given a look-up of its fields. A field that the look-up does not know counts as
    /// empty; servers refuse unknown fields before they get here.
    pub fn matches(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        self.terms.iter().all(|term| (field(&term.field).unwrap_or_default() == term.value) != term.negated)
    }

    /// Returns the value that a field must have, if one term says so: a list by `metadata.name` is a get.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.field == field && !term.negated).map(|term| term.value.as_str())
    }
}

/// Splits at commas that are not escaped.
fn split(query: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, byte) in query.bytes().enumerate() {
        match byte {
            b'\\' => escaped = !escaped,
            b',' if !escaped => {
                terms.push(&query[start..index]);
                start = index + 1;
            }
            _ => escaped = false,
        }
    }
    terms.push(&query[start..]);
    terms
}

fn split_operator(term: &str) -> Option<(&str, bool, &str)> {
    let index = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(index);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, true, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((field, false, value))
}

fn unescape(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|next| matches!(next, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.negated { "!=" } else { "=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(query: &str, name: &str) -> bool {
        FieldSelector::parse(query).unwrap().matches(|field| (field == "metadata.name").then(|| name.to_owned()))
    }

    #[test]
    fn terms_are_joined_by_and() {
        assert!(matches("metadata.name=a", "a"));
        assert!(matches("metadata.name==a,metadata.name!=b", "a"));
        assert!(!matches("metadata.name=a,metadata.name!=a", "a"));
        assert!(matches("", "a"));
        assert!(matches("spec.nodeName=", "a"));
        assert!(!matches("spec.nodeName!=", "a"));
    }

    #[test]
    fn escapes_stand_for_the_character_itself() {
        let selector = FieldSelector::parse(r"a=x\,y\=z\\,b!=c").unwrap();
        assert_eq!(selector.terms()[0].value, r"x,y=z\");
        assert_eq!(selector.terms().len(), 2);
        assert_eq!(selector.to_string(), r"a=x\,y\=z\\,b!=c");
        assert_eq!(selector.exact("a"), Some(r"x,y=z\"));
        assert_eq!(selector.exact("b"), None);
    }

    #[test]
    fn what_has_no_operator_is_not_understood() {
        let error = FieldSelector::parse("a=b,foo").unwrap_err();
        assert_eq!(error.to_string(), "invalid selector: 'a=b,foo'; can't understand 'foo'");
        assert!(FieldSelector::parse("a!b").is_err());
        assert!(FieldSelector::parse(r"a=b\x").is_err());
        assert!(FieldSelector::parse("a=b=c").is_err());
    }
}
