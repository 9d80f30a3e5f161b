//! Which addresses a district may be reached at: public ones, unless the process was told otherwise.
//!
//! Sources: the IANA special-purpose address registries (RFC 6890 and its successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the public internet's: not loopback, link-local, private, shared, multicast or
/// reserved, and not one of these dressed up as IPv6.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = a == 0
        || a >= 224 // multicast (RFC 5771), reserved, broadcast
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || (a == 100 && b & 0xc0 == 64) // shared by carriers (RFC 6598)
        || (a == 198 && b & 0xfe == 18) // benchmarks (RFC 2544)
        || matches!([a, b, c], [192, 0, 0 | 2] | [192, 88, 99] | [198, 51, 100] | [203, 0, 113]);
    !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let words = address.segments();
    if let Some(inner) = embedded(words) {
        return is_public_v4(inner);
    }
    // Only 2000::/3 is handed out; within it, Teredo, documentation and 6to4 are not the public internet.
    let global = words[0] & 0xe000 == 0x2000;
    let special = words[0] == 0x2001 && (words[1] < 0x0200 || words[1] == 0x0db8);
    global && !special && words[0] != 0x2002 && words[0] & 0xfff0 != 0x3ff0
}

/// The IPv4 address within a mapped (RFC 4291) or NAT64 (RFC 6052) one.
fn embedded(words: [u16; 8]) -> Option<Ipv4Addr> {
    let inner = Ipv4Addr::from((u32::from(words[6]) << 16) | u32::from(words[7]));
    let mapped = words[..5] == [0; 5] && words[5] == 0xffff;
    let nat64 = words[..6] == [0x0064, 0xff9b, 0, 0, 0, 0];
    (mapped || nat64).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let public = [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "198.17.0.1",
            "2606:4700::1",
            "64:ff9b::808:808",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "100::1",
            "3fff::1",
        ];
        for text in refused {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }
}
