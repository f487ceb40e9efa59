//! Who is really at the other end: the peer, or what a trusted proxy says of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::settings::TrustedProxy;
use http::HeaderMap;
use http::HeaderValue;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Somebody on the network.
    Network(SocketAddr),
    /// A process of this machine, over a unix socket.
    Unix,
}

impl Peer {
    /// The address, an IPv4 one in its usual form; that of this machine for a unix socket.
    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::Network(address) => address.ip().to_canonical(),
            Self::Unix => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Whether its `X-Forwarded-*` is believed. A unix socket is no loopback address: it is
    /// believed only where it is named.
    pub(crate) fn is_trusted(self, proxies: &[TrustedProxy]) -> bool {
        match self {
            Self::Network(_) => is_trusted(self.address(), proxies),
            Self::Unix => proxies.contains(&TrustedProxy::Unix),
        }
    }
}

/// The address of the client. `X-Forwarded-For` is read from the right, where the proxies that
/// are trusted have written, up to the first address that is not a trusted proxy.
pub(crate) fn client_address(headers: &HeaderMap, peer: Peer, proxies: &[TrustedProxy]) -> IpAddr {
    let mut client = peer.address();
    if !peer.is_trusted(proxies) {
        return client;
    }
    let lines: Vec<&HeaderValue> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        let Some(address) = parse(hop) else { break };
        client = address;
        if !is_trusted(client, proxies) {
            break;
        }
    }
    client
}

/// The last value of a header that is a list, if the peer is trusted: what comes before was
/// there when the request came to the peer, and anybody may have written it.
pub(crate) fn forwarded_last<'a>(
    headers: &'a HeaderMap,
    name: &str,
    peer: Peer,
    proxies: &[TrustedProxy],
) -> Option<&'a str> {
    if !peer.is_trusted(proxies) {
        return None;
    }
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    line.rsplit(',').next().map(str::trim)
}

/// The whole value of a header that is no list, if the peer is trusted and wrote it only once.
pub(crate) fn forwarded_whole<'a>(
    headers: &'a HeaderMap,
    name: &str,
    peer: Peer,
    proxies: &[TrustedProxy],
) -> Option<&'a str> {
    if !peer.is_trusted(proxies) {
        return None;
    }
    let mut all = headers.get_all(name).iter();
    let (first, second) = (all.next()?, all.next());
    if second.is_some() { None } else { first.to_str().ok().map(str::trim) }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has.
pub(crate) fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

fn is_trusted(address: IpAddr, proxies: &[TrustedProxy]) -> bool {
    let holds =
        |proxy: &_| matches!(proxy, TrustedProxy::Network(network) if network.contains(&address));
    proxies.iter().any(holds)
}

/// An address with or without a port, as proxies write it.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let peer = Peer::Network(SocketAddr::new(peer.parse().unwrap(), 9));
        assert_eq!(client_address(&headers, peer, &proxies).to_string(), expected);
    }

    #[track_caller]
    fn check_said(lines: &[&str], last: Option<&str>, whole: Option<&str>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-said", line.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let friend = Peer::Network(SocketAddr::new([10, 1, 1, 1].into(), 9));
        assert_eq!(forwarded_last(&headers, "x-said", friend, &proxies), last);
        assert_eq!(forwarded_whole(&headers, "x-said", friend, &proxies), whole);
        let stranger = Peer::Network(SocketAddr::new([192, 0, 2, 1].into(), 9));
        assert_eq!(forwarded_last(&headers, "x-said", stranger, &proxies), None);
        assert_eq!(forwarded_whole(&headers, "x-said", stranger, &proxies), None);
    }

    #[test]
    fn what_a_client_said_before_its_proxy_counts_for_nothing() {
        check_said(&[], None, None);
        check_said(&["a"], Some("a"), Some("a"));
        check_said(&["forged, a"], Some("a"), Some("forged, a"));
        check_said(&["forged", "a"], Some("a"), None);
        check_said(&["forged, x", "forged,a "], Some("a"), None);
        check_said(&["/a?b=c,d"], Some("d"), Some("/a?b=c,d"));
    }

    #[test]
    fn only_trusted_peers_are_believed() {
        check("192.0.2.1", &["203.0.113.9"], "192.0.2.1");
        check("10.1.1.1", &[], "10.1.1.1");
        check("10.1.1.1", &["203.0.113.9"], "203.0.113.9");
        check("10.1.1.1", &["6.6.6.6, 203.0.113.9, 10.2.2.2"], "203.0.113.9");
        check("10.1.1.1", &["6.6.6.6", "203.0.113.9"], "203.0.113.9");
        check("10.1.1.1", &["6.6.6.6, rubbish"], "10.1.1.1");
        check("::ffff:10.1.1.1", &["203.0.113.9:4711"], "203.0.113.9");
        check("::1", &["[2001:db8::1]"], "2001:db8::1");
    }

    #[test]
    fn a_unix_peer_is_believed_only_where_it_is_named() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.1.1.1".parse().unwrap());
        let seen = |proxies: &[TrustedProxy]| {
            let said = forwarded_last(&headers, "x-forwarded-for", Peer::Unix, proxies).is_some();
            (client_address(&headers, Peer::Unix, proxies).to_string(), said)
        };
        let network = |text: &str| text.parse::<TrustedProxy>().unwrap();
        assert_eq!(seen(&[]), ("127.0.0.1".into(), false));
        assert!(!seen(&[network("127.0.0.0/8"), network("0.0.0.0/0")]).1);
        assert_eq!(seen(&[network("unix")]), ("10.1.1.1".into(), true));
        let both = [network("unix"), network("10.0.0.0/8")];
        assert_eq!(seen(&both), ("203.0.113.9".into(), true));
    }
}
