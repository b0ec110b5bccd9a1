//! Which service a host name means: the gateway's `<service>.<namespace>.localhost` and the names that guests use.

use wkube_api::ObjectKey;

/// The domain of cluster names (`<service>.<namespace>.svc.cluster.local`).
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// The domain that browsers and `curl` resolve to the loopback address (RFC 6761, section 6.3).
const GATEWAY_DOMAIN: &str = "localhost";

/// Returns a host name without its port, lower-cased if it has to be, and without a final dot.
pub fn bare_host(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        // An IPv6 address in brackets has colons of its own.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Returns the service that a host of the gateway names, such as `hello.default.localhost`.
pub fn of_gateway(host: &str) -> Option<ObjectKey> {
    let labels = host.strip_suffix(GATEWAY_DOMAIN)?.strip_suffix('.')?;
    let (service, namespace) = labels.split_once('.')?;
    is_pair(service, namespace).then(|| ObjectKey::new(namespace, service))
}

/// Returns the host under which the gateway serves a service.
pub fn for_gateway(service: &ObjectKey) -> String {
    format!("{}.{}.{GATEWAY_DOMAIN}", service.name, service.namespace)
}

/// Returns the service that a name means to a guest in `namespace`: `svc`, `svc.ns`, `svc.ns.svc` or
/// `svc.ns.svc.cluster.local` (Kubernetes' DNS specification, section 2.3).
pub fn of_guest(host: &str, namespace: &str) -> Option<ObjectKey> {
    let short = host.strip_suffix(CLUSTER_DOMAIN).and_then(|rest| rest.strip_suffix('.')).unwrap_or(host);
    let labels: Vec<&str> = short.split('.').collect();
    match labels[..] {
        [service] if is_label(service) => Some(ObjectKey::new(namespace, service)),
        [service, namespace] | [service, namespace, "svc"] if is_pair(service, namespace) => {
            Some(ObjectKey::new(namespace, service))
        }
        _ => None,
    }
}

fn is_pair(service: &str, namespace: &str) -> bool {
    is_label(service) && is_label(namespace)
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_in_the_host_header_does_not_matter() {
        for authority in ["Hello.default.localhost:8080", "hello.default.localhost", "hello.default.localhost."] {
            assert_eq!(bare_host(authority), "hello.default.localhost");
        }
        assert_eq!(bare_host("[::1]:80"), "[::1]");
        assert_eq!(bare_host("[::1]"), "[::1]");
    }

    #[test]
    fn the_gateway_serves_services_under_localhost() {
        assert_eq!(of_gateway("hello.default.localhost"), Some(ObjectKey::new("default", "hello")));
        for other in ["localhost", "hello.localhost", "a.b.c.localhost", "hello.default.example", ".default.localhost"]
        {
            assert_eq!(of_gateway(other), None, "{other}");
        }
    }

    #[test]
    fn guests_use_the_four_forms_of_the_dns_specification() {
        for host in ["back", "back.shop", "back.shop.svc", "back.shop.svc.cluster.local"] {
            assert_eq!(of_guest(host, "shop"), Some(ObjectKey::new("shop", "back")), "{host}");
        }
        assert_eq!(of_guest("back.other", "shop"), Some(ObjectKey::new("other", "back")));
        assert_eq!(of_guest("api.example.com", "shop"), None);
        assert_eq!(of_guest("127.0.0.1", "shop"), None);
    }

    #[test]
    fn gateway_names_go_both_ways() {
        let key = ObjectKey::new("default", "hello");
        assert_eq!(of_gateway(&for_gateway(&key)), Some(key));
    }
}
