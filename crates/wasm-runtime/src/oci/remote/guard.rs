//! Where a registry may lead us: redirects, token servers and addresses. Pure, but for [`Guarded`].
//!
//! A registry that anybody may name in a pod must not make the node talk to what only the node can reach: the metadata
//! service of a cloud (169.254.169.254), or servers on the node's loopback.

use std::io;
use std::net::{IpAddr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::is_loopback;

/// Which addresses a connection may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// What a person named: anything but link-local addresses.
    Named,
    /// What a registry elsewhere named: no loopback either.
    Elsewhere,
}

impl Reach {
    /// Returns what forbids an address.
    pub(super) fn forbids(self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        let is_link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let is_here = address.is_loopback() || address.is_unspecified();
        match self {
            _ if is_link_local => Some("a link-local address"),
            Self::Elsewhere if is_here => Some("this machine"),
            Self::Named | Self::Elsewhere => None,
        }
    }
}

/// Why a registry's hint is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry sends us to {to}, {reason}; that is not followed")]
pub struct Stray {
    /// Where to, without what may be secret in its query.
    pub to: String,
    /// Why not.
    pub reason: &'static str,
}

/// Judges a redirect, or a token server, that the registry at `from` names. Names are judged again when they are resolved.
pub(super) fn judge(from: &Url, to: &Url) -> Result<Reach, Stray> {
    let reach = if host(from).is_some_and(|host| is_loopback(&host)) { Reach::Named } else { Reach::Elsewhere };
    let stray = |reason| Stray { to: shown(to), reason };
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(stray("which is not encrypted although the registry is")),
        _ => return Err(stray("which is neither http nor https")),
    }
    let Some(host) = host(to) else { return Err(stray("which has no host")) };
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return reach.forbids(address).map_or(Ok(reach), |reason| Err(stray(reason)));
    }
    if reach == Reach::Elsewhere && is_loopback(&host) {
        return Err(stray("this machine"));
    }
    Ok(reach)
}

/// Judges what a person named.
pub(super) fn judge_named(url: &Url) -> Result<(), Stray> {
    let address = host(url).and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    match address.and_then(|address| Reach::Named.forbids(address)) {
        Some(reason) => Err(Stray { to: shown(url), reason }),
        None => Ok(()),
    }
}

fn host(url: &Url) -> Option<String> {
    url.host_str().map(str::to_owned)
}

/// Signed URLs carry their secret in the query.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    url.into()
}

/// The system's resolver, without the addresses that are out of reach.
pub(super) struct Guarded(pub(super) Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let refused = found.iter().find_map(|address| reach.forbids(address.ip()));
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| reach.forbids(address.ip()).is_none()).collect();
            match (allowed.is_empty(), refused) {
                (true, Some(reason)) => {
                    Err(io::Error::other(format!("{} is {reason}; that is not followed", name.as_str())).into())
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str) -> Result<Reach, &'static str> {
        judge(&from.parse().unwrap(), &to.parse().unwrap()).map_err(|stray| stray.reason)
    }

    #[test]
    fn other_servers_are_fine() {
        for to in ["https://cdn.r.io/x", "https://192.0.2.1/x", "https://10.0.0.1:9000/x", "https://[2001:db8::1]/x"] {
            assert_eq!(check("https://r.io/v2/", to), Ok(Reach::Elsewhere), "{to}");
        }
        assert_eq!(check("http://r.lan/v2/", "http://s3.lan/x"), Ok(Reach::Elsewhere));
    }

    #[test]
    fn the_metadata_service_is_out_of_reach_however_it_is_written() {
        for to in [
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.0.1/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fe80::1]/",
        ] {
            for from in ["http://r.lan/v2/", "http://127.0.0.1:5000/v2/"] {
                assert_eq!(check(from, to), Err("a link-local address"), "{to}");
            }
        }
    }

    #[test]
    fn only_a_registry_on_this_machine_may_lead_to_this_machine() {
        for to in ["http://127.0.0.1:6443/", "http://localhost/", "http://[::1]/", "http://0.0.0.0/", "http://[::]:1/"]
        {
            assert_eq!(check("http://r.lan/v2/", to), Err("this machine"), "{to}");
            assert_eq!(check("http://127.0.0.1:5000/v2/", to), Ok(Reach::Named), "{to}");
        }
    }

    #[test]
    fn encryption_is_not_dropped_on_the_way() {
        assert_eq!(check("https://r.io/", "http://r.io/"), Err("which is not encrypted although the registry is"));
        assert_eq!(check("https://r.io/", "ftp://r.io/"), Err("which is neither http nor https"));
        assert_eq!(check("http://r.io/", "file:///etc/passwd"), Err("which is neither http nor https"));
    }

    #[test]
    fn messages_hold_no_signatures() {
        let stray = judge(&"https://r.io/".parse().unwrap(), &"http://u:p@s/x?X-Sig=secret#f".parse().unwrap());
        assert_eq!(
            stray.unwrap_err().to_string(),
            "the registry sends us to http://u@s/x, which is not encrypted although the registry is; that is not followed"
        );
    }

    #[test]
    fn a_person_may_name_this_machine_but_no_link_local_address() {
        assert!(judge_named(&"http://127.0.0.1:5000/".parse().unwrap()).is_ok());
        assert!(judge_named(&"https://169.254.169.254/v2/".parse().unwrap()).is_err());
    }
}
