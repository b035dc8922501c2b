//! Keeps the client away from this machine and its neighbours: an address is judged after the name was resolved, and the judged one is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which hosts may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    Public,
    All,
}

impl Hosts {
    /// Refuses URLs that `fetch` does not go to. A host that is a name is judged by [`Resolver`] once its address is known.
    pub(super) fn check(self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "`{}` URLs are not fetched; only http and https are",
                url.scheme()
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user name or password in it is not fetched".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !self.may_reach(address) => Err(refusal(host, address)),
            _ if host.is_empty() => Err("the URL names no host".to_owned()),
            _ => Ok(()),
        }
    }

    fn may_reach(self, address: IpAddr) -> bool {
        self == Self::All || is_public(address)
    }
}

fn refusal(host: &str, address: IpAddr) -> String {
    format!(
        "{host} ({address}) is not a public address; `tools.fetch.allow_private_hosts` would allow it"
    )
}

/// Whether the address belongs to the public internet: not this machine, a private network, a link, a cloud's metadata service, a
/// group, or a reserved block; an IPv6 address that carries an IPv4 one is judged by that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    // The metadata services of two clouds have addresses that look public.
    !reserved && !matches!(address.octets(), [168, 63, 129, 16] | [192, 0, 0, 192])
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let carried = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xFFFF) | (0x64, 0xFF9B, 0, 0, 0, 0) => is_public_v4(carried(g, h)),
        (0x2002, high, low, ..) => is_public_v4(carried(high, low)),
        // Of what is in use, only 2000::/3 is public; Teredo, documentation and benchmarking lie in it.
        (0x2001, 0..=0x1FF | 0xDB8, ..) | (0x3FFF, 0..=0xFFF, ..) => false,
        _ => a & 0xE000 == 0x2000,
    }
}

/// Resolves names, and gives only the addresses that may be reached.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Hosts);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let hosts = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.iter().copied().filter(|address| hosts.may_reach(address.ip())).collect();
            match (allowed.is_empty(), found.first()) {
                (true, Some(first)) => Err(refusal(name.as_str(), first.ip()).into()),
                _ => Ok::<Addrs, _>(Box::new(allowed.into_iter())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let public = [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "2002:808:808::",
        ];
        let private = [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "::7f00:1",
            "2001:db8::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_url_is_checked_before_anything_is_resolved() {
        let refused = [
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://user:pw@example.com/",
            "http://user@example.com/",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:80/",
            "http://[::ffff:127.0.0.1]/",
            "http://127.1/",
        ];
        for url in refused {
            assert!(Hosts::Public.check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        assert_eq!(Hosts::Public.check(&Url::parse("https://example.com/a?b").unwrap()), Ok(()));
        assert_eq!(Hosts::All.check(&Url::parse("http://127.0.0.1/").unwrap()), Ok(()));
    }
}
