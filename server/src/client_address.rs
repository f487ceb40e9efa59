//! Who is really at the other end: the peer, or what a trusted proxy says of it.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::HeaderValue;
use ipnet::IpNet;

/// The address at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Peer {
    /// The address, an IPv4 one in its usual form.
    pub(crate) fn address(self) -> IpAddr {
        self.0.ip().to_canonical()
    }

    /// Whether its `X-Forwarded-*` is believed.
    pub(crate) fn is_trusted(self, proxies: &[IpNet]) -> bool {
        is_trusted(self.address(), proxies)
    }
}

/// The address of the client. `X-Forwarded-For` is read from the right, where the proxies that
/// are trusted have written, up to the first address that is not a trusted proxy.
pub(crate) fn client_address(headers: &HeaderMap, peer: Peer, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.address();
    if !is_trusted(client, proxies) {
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

/// The first value of a forwarded header, if the peer is trusted.
pub(crate) fn forwarded<'a>(
    headers: &'a HeaderMap,
    name: &str,
    peer: Peer,
    proxies: &[IpNet],
) -> Option<&'a str> {
    if !peer.is_trusted(proxies) {
        return None;
    }
    headers.get(name)?.to_str().ok()?.split(',').next().map(str::trim)
}

fn is_trusted(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&address))
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
        let peer = Peer(SocketAddr::new(peer.parse().unwrap(), 9));
        assert_eq!(client_address(&headers, peer, &proxies).to_string(), expected);
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
}
