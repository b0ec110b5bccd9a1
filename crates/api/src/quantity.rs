//! `Quantity`: numbers with suffixes such as `100m` and `1Gi` (`apimachinery/pkg/api/resource`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// An exact amount, kept in billionths as Kubernetes does, with the family of suffixes it was written in.
///
/// Equality and order look at the amount only: `1Gi` equals `1024Mi`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// The family of suffixes of a quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `m`, `k`, `M`, `G` ...
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi` ...
    BinarySi,
    /// `e3`, `E6` ...
    DecimalExponent,
}

/// Why a text is no quantity. The messages are those of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text does not look like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is fine, what follows is not.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
/// Kubernetes caps every amount at the largest 64-bit integer.
const NANO_MAX: i128 = i64::MAX as i128 * NANO;
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    /// Returns a whole amount.
    pub fn new(value: i64) -> Self {
        Self { nano: i128::from(value) * NANO, format: Format::DecimalSi }
    }

    /// Returns an amount in thousandths, such as CPU millicores.
    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * 1_000_000, format: Format::DecimalSi }
    }

    /// Returns an amount of bytes, written with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nano: i128::from(bytes) * NANO, format: Format::BinarySi }
    }

    /// Returns the amount in thousandths, rounded up.
    pub fn milli(self) -> i128 {
        divide_up(self.nano, 1_000_000)
    }

    /// Returns the whole amount (bytes, pieces), rounded up.
    pub fn value(self) -> i128 {
        divide_up(self.nano, NANO)
    }

    /// Returns the amount in billionths, exactly.
    pub fn nano(self) -> i128 {
        self.nano
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// Returns the sum, in the suffixes of the first that is not zero (`Quantity.Add`).
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nano: (self.nano + other.nano).clamp(-NANO_MAX, NANO_MAX), format }
    }

    /// Returns the difference.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { nano: -other.nano, format: other.format })
    }
}

/// Divides, away from zero: an amount is never understated.
fn divide_up(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    if rest == 0 { quotient } else { quotient + value.signum() }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(Error::Format);
        }
        let scale = Scale::parse(suffix)?;
        let nano = scale.apply(whole, fraction);
        Ok(Self { nano: if negative { -nano } else { nano }, format: scale.format() })
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Scale {
    /// Ten to this power.
    Ten(i32, Format),
    /// Two to this power.
    Two(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Result<Self, Error> {
        if let Some(index) = DECIMAL.iter().position(|known| *known == suffix) {
            let power = i32::try_from(index).unwrap_or_default() * 3 - 9;
            return Ok(Self::Ten(power, Format::DecimalSi));
        }
        if let Some(index) = BINARY.iter().position(|known| *known == suffix) {
            return Ok(Self::Two(u32::try_from(index).unwrap_or_default() * 10));
        }
        let exponent =
            suffix.strip_prefix(['e', 'E']).ok_or(if suffix.is_ascii() { Error::Suffix } else { Error::Format })?;
        let power: i32 = exponent.parse().map_err(|_| Error::Suffix)?;
        Ok(Self::Ten(power, Format::DecimalExponent))
    }

    fn format(self) -> Format {
        match self {
            Self::Ten(_, format) => format,
            Self::Two(_) => Format::BinarySi,
        }
    }

    /// Returns the number in billionths, rounded up, at most [`NANO_MAX`].
    fn apply(self, whole: &str, fraction: &str) -> i128 {
        // More digits than this are beyond the cap or below a billionth of the smallest suffix.
        const DIGITS_MAX: usize = 27;
        let whole = whole.trim_start_matches('0');
        if whole.len() > DIGITS_MAX {
            return NANO_MAX;
        }
        let (kept, lost) = fraction.split_at(fraction.len().min(DIGITS_MAX.saturating_sub(whole.len()).min(18)));
        let Ok(digits) = format!("0{whole}{kept}").parse::<i128>() else { return NANO_MAX };
        let mut power = 9 - i32::try_from(kept.len()).unwrap_or_default();
        let mut digits = digits;
        match self {
            Self::Ten(exponent, _) => power = power.saturating_add(exponent),
            Self::Two(bits) => match digits.checked_mul(1 << bits) {
                Some(product) => digits = product,
                None => return NANO_MAX,
            },
        }
        let round = i128::from(lost.bytes().any(|digit| digit != b'0'));
        scale_by_ten(digits, power, round).min(NANO_MAX)
    }
}

/// Returns `digits * 10^power`, rounded up; `lost` is 1 if digits were dropped before.
fn scale_by_ten(digits: i128, power: i32, lost: i128) -> i128 {
    if digits == 0 {
        return lost;
    }
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    match (factor, power >= 0) {
        (Some(factor), true) => digits.checked_mul(factor).unwrap_or(NANO_MAX),
        (Some(factor), false) => divide_up(digits + lost, factor),
        (None, true) => NANO_MAX,
        (None, false) => 1,
    }
}

impl fmt::Display for Quantity {
    /// Writes the canonical form: the largest suffix that needs no fraction (`Quantity.CanonicalizeBytes`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.nano % NANO == 0;
        let small = self.nano.abs() < 1024 * NANO;
        match self.format {
            Format::BinarySi if whole && !small => {
                let (number, index) = strip(self.nano / NANO, 1024, BINARY.len() - 1);
                write!(f, "{number}{}", BINARY[index])
            }
            Format::DecimalExponent => {
                let (number, index) = strip(self.nano, 1000, usize::MAX);
                match i64::try_from(index).unwrap_or_default() * 3 - 9 {
                    0 => write!(f, "{number}"),
                    exponent => write!(f, "{number}e{exponent}"),
                }
            }
            Format::DecimalSi | Format::BinarySi => {
                let (number, index) = strip(self.nano, 1000, DECIMAL.len() - 1);
                write!(f, "{number}{}", DECIMAL[index])
            }
        }
    }
}

/// Divides by `base` as long as nothing is lost; returns what is left and how often.
fn strip(mut number: i128, base: i128, times_max: usize) -> (i128, usize) {
    if number == 0 {
        // Zero has no suffix; index 3 is the empty one of the decimal family.
        return (0, 3);
    }
    let mut times = 0;
    while number % base == 0 && times < times_max {
        number /= base;
        times += 1;
    }
    (number, times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn amounts_are_written_in_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1000Ki", "1000Ki"),
            ("1e3", "1e3"),
            ("1500e3", "1500e3"),
            ("12E", "9223372036854775807"),
            ("5E", "5E"),
            ("1E3", "1e3"),
            ("-5Gi", "-5Gi"),
            ("+5", "5"),
            (".5", "500m"),
            ("5.", "5"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("1000000000000000000000", "9223372036854775807"),
        ] {
            assert_eq!(parse(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_told_as_kubernetes_does() {
        for text in ["", "-", "abc", "1.2.3", " 1"] {
            assert!(text.parse::<Quantity>().unwrap_err().to_string().starts_with("quantities must match"), "{text}");
        }
        for text in ["1x", "1mi", "1 Gi", "1e", "1e3.5", "1GiB"] {
            assert_eq!(text.parse::<Quantity>(), Err(Error::Suffix), "{text}");
        }
    }

    #[test]
    fn amounts_compare_across_suffixes() {
        assert_eq!(parse("1Gi"), parse("1024Mi"));
        assert_eq!(parse("1"), parse("1000m"));
        assert!(parse("1Gi") > parse("1G"));
        assert!(parse("-1") < Quantity::ZERO);
    }

    #[test]
    fn rounding_never_understates() {
        assert_eq!(parse("100m").value(), 1);
        assert_eq!(parse("1001u").milli(), 2);
        assert_eq!(parse("-1500m").value(), -2);
        assert_eq!(parse("64Mi").value(), 67_108_864);
        assert_eq!(parse("250m").milli(), 250);
    }

    #[test]
    fn a_sum_keeps_the_first_suffixes_that_count() {
        assert_eq!(parse("1Gi").plus(parse("1G")).to_string(), "2073741824");
        assert_eq!(Quantity::ZERO.plus(parse("1Gi")).to_string(), "1Gi");
        assert_eq!(parse("1").minus(parse("250m")).to_string(), "750m");
        assert_eq!(Quantity::from_bytes(1 << 30).to_string(), "1Gi");
    }

    #[test]
    fn huge_exponents_are_capped_and_tiny_ones_round_up() {
        assert_eq!(parse("1e400").value(), i128::from(i64::MAX));
        assert_eq!(parse("1e-400").to_string(), "1e-9");
    }
}
