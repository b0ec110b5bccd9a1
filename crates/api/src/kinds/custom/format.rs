//! The formats of texts that schemas may ask for (`kube-openapi/pkg/validation/strfmt`). Unknown formats hold always.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use jiff::Timestamp;
use jiff::civil::Date;

/// Whether a text has the format.
pub(crate) fn holds(format: &str, text: &str) -> bool {
    match format {
        "date" => text.len() == 10 && text.parse::<Date>().is_ok(),
        "date-time" | "datetime" => is_time(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(text),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_hostname(host)),
        "hostname" => is_hostname(text),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()),
        "duration" => is_duration(text),
        "k8s-short-name" => crate::meta::dns1123_label(text).is_empty(),
        "k8s-long-name" => crate::meta::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

/// RFC 3339: the parser also takes shorter forms.
fn is_time(text: &str) -> bool {
    let shape = text.len() >= 20 && matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    shape && text.parse::<Timestamp>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(length) = length.parse::<u8>() else { return false };
    (address.parse::<Ipv4Addr>().is_ok() && length <= 32) || (address.parse::<Ipv6Addr>().is_ok() && length <= 128)
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|part| part.len() == 2 && is_hex(part))
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    (lengths == [8, 4, 4, 4, 12] || lengths == [32]) && parts.iter().all(|part| is_hex(part))
}

fn is_hostname(text: &str) -> bool {
    let label = |part: &str| {
        let inner = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !part.is_empty() && part.len() <= 63 && inner && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 255 && text.trim_end_matches('.').split('.').all(label)
}

fn is_scheme(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(rest)
}

/// Go's form, `1h30m`, or words: `2 days`.
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 27] = [
        "ns",
        "us",
        "µs",
        "μs",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "w",
        "nano",
        "nanos",
        "nanosecond",
        "micro",
        "micros",
        "milli",
        "millis",
        "sec",
        "secs",
        "second",
        "seconds",
        "min",
        "minute",
        "minutes",
        "hour",
        "hours",
        "days",
    ];
    let mut rest = text.trim_start_matches(['-', '+']);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let after = rest[number..].trim_start();
        let end = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(after.len());
        let unit = &after[..end];
        if rest[..number].parse::<f64>().is_err()
            || !(UNITS.contains(&unit) || matches!(unit, "day" | "week" | "weeks"))
        {
            return false;
        }
        parts += 1;
        rest = after[end..].trim_start();
    }
    parts > 0
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_good_texts_from_bad_ones() {
        for (format, good, bad) in [
            ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
            ("date", "2024-02-29", "2023-02-29"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:1b:44:11:3a:b7", "00:1b"),
            ("byte", "aGk=", "a b"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("email", "a@example.com", "a.example.com"),
            ("hostname", "a.example.com", "-a"),
            ("uri", "https://example.com", "example"),
            ("duration", "1h30m", "1 fortnight"),
            ("k8s-short-name", "a-b", "a.b"),
        ] {
            assert!(holds(format, good), "{format} {good}");
            assert!(!holds(format, bad), "{format} {bad}");
        }
        assert!(holds("of-my-own", "anything"));
    }
}
