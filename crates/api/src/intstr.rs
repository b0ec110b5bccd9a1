//! Numbers that may be percentages, such as `maxSurge: 25%` (`apimachinery/pkg/util/intstr`).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

/// Which way a percentage of a whole number of things goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// To the larger number: `maxSurge`.
    Up,
    /// To the smaller number: `maxUnavailable`.
    Down,
}

/// Why a text is no percentage, as Kubernetes words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A string without `%`.
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotPercentage,
    /// A `%` after something that is no number.
    #[error("invalid value for IntOrString: invalid value {0:?}: invalid syntax")]
    NotNumber(String),
    /// Neither a number nor a string.
    #[error("invalid value for IntOrString: invalid type: neither int nor percentage")]
    WrongType,
}

/// Returns the number that is meant, taking percentages of `total` (`GetScaledValueFromIntOrPercent`).
///
/// # Errors
/// If the value is a string that is not a percentage.
pub fn scaled(value: &IntOrString, total: i32, round: Round) -> Result<i32, Error> {
    match value {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => Ok(percent_of(percentage(text)?, total, round)),
    }
}

/// As [`scaled`], for a value in a document.
///
/// # Errors
/// If the value is neither a number nor a percentage.
pub fn scaled_json(value: &Value, total: i32, round: Round) -> Result<i32, Error> {
    match value {
        Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()).ok_or(Error::WrongType),
        Value::String(text) => Ok(percent_of(percentage(text)?, total, round)),
        _ => Err(Error::WrongType),
    }
}

/// Returns 25 for `25%`.
///
/// # Errors
/// If the text is no percentage.
pub fn percentage(text: &str) -> Result<i32, Error> {
    let digits = text.strip_suffix('%').ok_or(Error::NotPercentage)?;
    digits.parse().map_err(|_| Error::NotNumber(text.to_owned()))
}

fn percent_of(percent: i32, total: i32, round: Round) -> i32 {
    let product = i64::from(percent) * i64::from(total);
    let scaled = match round {
        Round::Up => -(-product).div_euclid(100),
        Round::Down => product.div_euclid(100),
    };
    i32::try_from(scaled).unwrap_or(if scaled < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn percentages_round_the_way_they_are_told() {
        for (text, total, up, down) in [
            ("25%", 10, 3, 2),
            ("25%", 4, 1, 1),
            ("0%", 7, 0, 0),
            ("100%", 7, 7, 7),
            ("1%", 3, 1, 0),
            ("150%", 3, 5, 4),
        ] {
            assert_eq!(scaled_json(&json!(text), total, Round::Up), Ok(up), "{text} of {total}");
            assert_eq!(scaled_json(&json!(text), total, Round::Down), Ok(down), "{text} of {total}");
        }
    }

    #[test]
    fn numbers_stay_as_they_are() {
        assert_eq!(scaled(&IntOrString::Int(3), 100, Round::Up), Ok(3));
        assert_eq!(scaled_json(&json!(0), 100, Round::Down), Ok(0));
    }

    #[test]
    fn what_is_no_percentage_is_an_error() {
        assert_eq!(scaled(&IntOrString::String("3".into()), 1, Round::Up), Err(Error::NotPercentage));
        assert_eq!(scaled(&IntOrString::String("x%".into()), 1, Round::Up), Err(Error::NotNumber("x%".into())));
        assert_eq!(scaled_json(&json!(true), 1, Round::Up), Err(Error::WrongType));
        assert_eq!(scaled_json(&json!(1.5), 1, Round::Up), Err(Error::WrongType));
    }

    #[test]
    fn huge_percentages_do_not_overflow() {
        assert_eq!(scaled_json(&json!("2147483647%"), i32::MAX, Round::Up), Ok(i32::MAX));
    }
}
