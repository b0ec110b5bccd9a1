//! Ranges of addresses such as `10.42.0.0/16` (RFC 4632).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range, by an address in it and how many of its first bits all of them share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

/// A text is no range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a range of addresses such as 10.42.0.0/16")]
pub struct NotCidr;

impl Cidr {
    /// Returns the range of the addresses whose first `bits` are those of `ip`; `None` if an address has fewer.
    pub fn new(ip: IpAddr, bits: u8) -> Option<Self> {
        let most = if ip.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { ip, bits })
    }

    /// Returns the address by which the range was named, which need not be its first.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// Returns how many bits its addresses share.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Returns the range, named by its first address.
    #[must_use]
    pub fn masked(self) -> Self {
        Self { ip: mask(self.ip, self.bits), ..self }
    }

    /// Whether an address is in it. None of the other family is.
    pub fn contains(self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4() && mask(self.ip, self.bits) == mask(ip, self.bits)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// Reads `10.42.0.0/16`. A number with leading zeros is none, as in Go's `net.ParseCIDR`.
impl FromStr for Cidr {
    type Err = NotCidr;

    fn from_str(text: &str) -> Result<Self, NotCidr> {
        let (ip, bits) = text.split_once('/').ok_or(NotCidr)?;
        let digits_fit = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let bits = bits.parse().ok().filter(|_| digits_fit).ok_or(NotCidr)?;
        Self::new(ip.parse().map_err(|_| NotCidr)?, bits).ok_or(NotCidr)
    }
}

fn mask(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(four.to_bits() & mask).into()
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(six.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_addresses_that_share_its_bits() {
        let contains = |range: &str, ip: &str| range.parse::<Cidr>().unwrap().contains(ip.parse().unwrap());
        assert!(contains("10.42.7.9/16", "10.42.255.255") && !contains("10.42.0.0/16", "10.43.0.0"));
        assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("192.0.2.1/32", "192.0.2.1") && !contains("192.0.2.1/32", "192.0.2.2"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1") && !contains("2001:db8::/32", "2001:db9::"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", "10.42.0.0", "10.42.0.0/", "10.42.0.0/33", "10.42.0.0/016", "10.42.0.0/+8", "fd00::/129", "x/8"]
        {
            assert_eq!(text.parse::<Cidr>(), Err(NotCidr), "{text:?}");
        }
        assert_eq!("10.42.7.9/16".parse::<Cidr>().unwrap().masked().to_string(), "10.42.0.0/16");
    }
}
