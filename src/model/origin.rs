//! Whether a browser's request comes from a page of this very daemon.
//!
//! That Origin and Host are equal does not say so by itself: who owns `evil.example` can point it at
//! 127.0.0.1 once a browser has loaded its page (DNS rebinding), and the browser then names it in
//! both. An address or `localhost` cannot be pointed elsewhere, so only these may change anything.

use std::net::IpAddr;

use http::uri::Authority;

/// Whether the value of `Origin` names the same place as that of `Host`, at an address or localhost.
pub fn is_own_origin(origin: &str, host: Option<&str>) -> bool {
    let origin = origin.split_once("://").map(|(_, authority)| authority);
    origin.is_some() && origin == host && host.is_some_and(is_fixed)
}

/// Whether no name server has a say in where this Host leads.
fn is_fixed(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| {
        let host = authority.host();
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_beyond_the_reach_of_name_servers() {
        for host in ["127.0.0.1", "127.0.0.1:8787", "[::1]:8787", "10.1.2.3:80", "localhost", "LocalHost:80"]
        {
            assert!(is_own_origin(&format!("http://{host}"), Some(host)), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:80", "127.0.0.1@evil.example", "localhost.", ""]
        {
            assert!(!is_own_origin(&format!("http://{host}"), Some(host)), "{host}");
        }
        assert!(!is_own_origin("http://127.0.0.1", Some("127.0.0.1:8787")));
        assert!(!is_own_origin("null", None));
    }
}
