//! Which hosts a deploy event may bring into the fleet.
//!
//! Whoever may tell of deployments could otherwise let the daemon ask any address it can reach.
//! Patterns are held against the URL's own host; names are not looked up. None are allowed unless
//! they are listed.

use std::net::IpAddr;

use url::{Host, Url};

use super::problem::{Fault, Sink};
use super::reader::{Fields, elements, keep};
use super::value;
use super::yaml::{Node, Value, quote};

/// Patterns at most.
const PATTERNS_MAX: usize = 1_000;
const SHAPES: &str =
    "expected a host such as `cachet.ci.example`, `*.ci.example`, `127.0.0.1`, `[::1]` or `10.0.0.0/8`";

/// The hosts that are allowed; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// In lower case, as URLs have it.
    Name(String),
    /// `.ci.example`: with one label or more before it.
    Below(String),
    /// An address, and how many of its first bits count.
    Net(IpAddr, u32),
}

impl Hosts {
    /// Whether the host of this URL is on the list.
    pub fn allow(&self, url: &Url) -> bool {
        self.0.iter().any(|pattern| match (pattern, url.host()) {
            (Pattern::Name(name), Some(Host::Domain(host))) => plain(host) == name,
            (Pattern::Below(suffix), Some(Host::Domain(host))) => {
                plain(host).strip_suffix(suffix.as_str()).is_some_and(|labels| !labels.is_empty())
            }
            (Pattern::Net(net, bits), Some(Host::Ipv4(ip))) => within(ip.into(), *net, *bits),
            (Pattern::Net(net, bits), Some(Host::Ipv6(ip))) => within(ip.into(), *net, *bits),
            _ => false,
        })
    }
}

/// Without the dot that may end a full name.
fn plain(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Both families as numbers, so that one shift compares them.
fn within(ip: IpAddr, net: IpAddr, bits: u32) -> bool {
    let of = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32_u32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let ((ip, width), (net, net_width)) = (of(ip), of(net));
    width == net_width && (ip ^ net).checked_shr(width - bits).unwrap_or(0) == 0
}

/// `deploy_events:` under `discover:`.
pub(super) fn read(sink: &Sink, events: Node) -> Hosts {
    let at = events.at;
    let Some(mut fields) = Fields::of(sink, events, "`deploy_events`") else { return Hosts::default() };
    let given = fields.need_node("allow_hosts");
    fields.finish();
    let Some(given) = given else { return Hosts::default() };
    if !matches!(given.value, Value::List(_)) {
        keep::<()>(sink, &given, |node| Err(value::expected("a list of hosts", node)));
        return Hosts::default();
    }
    let nodes = elements(sink, Some(given));
    if nodes.len() > PATTERNS_MAX {
        let fault = Fault::new(format!(
            "`allow_hosts`: has {} entries; expected at most {PATTERNS_MAX}",
            nodes.len()
        ));
        sink.report(at, fault.hint("allow a whole domain, `*.ci.example`, or a network, `10.0.0.0/8`"));
        return Hosts::default();
    }
    Hosts(nodes.iter().filter_map(|node| keep(sink, node, |n| parse(value::text(n)?))).collect())
}

fn parse(text: &str) -> Result<Pattern, Fault> {
    let wrong = || Fault::new(format!("{SHAPES}, found {}", quote(text)));
    if text.contains("://") || text.contains('@') {
        return Err(wrong().hint("the host alone: neither scheme nor port nor path"));
    }
    if let Some((address, bits)) = text.split_once('/') {
        let net: IpAddr = bare(address).parse().map_err(|_| {
            wrong().hint("before `/` stands the address of a network; a host has no path here")
        })?;
        let width = if net.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= width);
        let bits =
            bits.ok_or_else(|| wrong().hint(format!("behind `/` stands a number of bits, 0 to {width}")))?;
        let set = match net {
            IpAddr::V4(v4) => v4.to_bits().checked_shl(bits).unwrap_or(0) != 0,
            IpAddr::V6(v6) => v6.to_bits().checked_shl(bits).unwrap_or(0) != 0,
        };
        if set {
            return Err(
                wrong().hint(format!("the bits behind the first {bits} are not 0; is the length right?"))
            );
        }
        return Ok(Pattern::Net(net, bits));
    }
    if let Ok(ip) = bare(text).parse::<IpAddr>() {
        return Ok(Pattern::Net(ip, if ip.is_ipv4() { 32 } else { 128 }));
    }
    let (wild, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    if text == "*" {
        return Err(wrong().hint("any host is too much: name a domain, such as `*.ci.example`"));
    }
    if name.contains('*') {
        return Err(wrong().hint("`*.` stands at the beginning only, for one label or more"));
    }
    if let Some((_, port)) = name.rsplit_once(':')
        && !port.is_empty()
        && port.chars().all(|c| c.is_ascii_digit())
    {
        return Err(wrong().hint("leave the port out: all ports of the host are meant"));
    }
    // As URLs have it: lower case, and international names in their ASCII form.
    match Host::parse(plain(name)) {
        Ok(Host::Domain(name)) if name.split('.').all(is_label) => {
            Ok(if wild { Pattern::Below(format!(".{name}")) } else { Pattern::Name(name) })
        }
        _ => Err(wrong()),
    }
}

fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, url: &str) -> bool {
        Hosts(vec![parse(pattern).unwrap()]).allow(&Url::parse(url).unwrap())
    }

    #[test]
    fn names_are_whole_names() {
        assert!(allows("Cachet.ci.example", "http://cachet.CI.example:8080/status"));
        assert!(allows("cachet.ci.example", "https://cachet.ci.example./"));
        assert!(!allows("ci.example", "http://cachet.ci.example"));
        assert!(!allows("cachet.ci.example", "http://cachet.ci.example.evil.test"));
        assert!(!allows("cachet.ci.example", "http://evil.test/cachet.ci.example"));
    }

    #[test]
    fn a_star_stands_for_labels_and_never_for_none() {
        assert!(allows("*.ci.example", "http://a.ci.example"));
        assert!(allows("*.ci.example", "http://a.b.ci.example"));
        assert!(!allows("*.ci.example", "http://ci.example"));
        assert!(!allows("*.ci.example", "http://evilci.example"));
    }

    #[test]
    fn addresses_and_networks_are_compared_as_numbers() {
        assert!(allows("127.0.0.1", "http://127.0.0.1:8101"));
        assert!(allows("127.0.0.1", "http://2130706433/"), "another way to write it");
        assert!(!allows("127.0.0.1", "http://127.0.0.1.evil.test"));
        assert!(allows("10.0.0.0/8", "http://10.255.1.2") && !allows("10.0.0.0/8", "http://11.0.0.1"));
        assert!(allows("10.1.2.3/32", "http://10.1.2.3") && !allows("10.1.2.3/32", "http://10.1.2.2"));
        assert!(allows("0.0.0.0/0", "http://192.0.2.1") && !allows("0.0.0.0/0", "http://[::1]"));
        assert!(allows("::1", "http://[::1]:80") && allows("[fd00::]/8", "http://[fd12::1]"));
        assert!(!allows("fd00::/8", "http://[fe80::1]") && !allows("::/0", "http://127.0.0.1"));
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!Hosts::default().allow(&Url::parse("http://127.0.0.1").unwrap()));
    }
}
