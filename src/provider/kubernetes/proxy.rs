//! Which proxy stands between here and a cluster.
//!
//! `proxy-url` of the kubeconfig always counts. Otherwise the proxy of the environment counts, unless `NO_PROXY` names
//! the cluster's address, or the address is this machine: as Go's `http.ProxyFromEnvironment`, which `kubectl` uses.

use std::net::IpAddr;

use http::Uri;

use super::access::KubeconfigEnv;

/// The proxy for an address.
pub(super) fn proxy_for(server: &Uri, own: Option<&str>, env: &KubeconfigEnv) -> Result<Option<Uri>, String> {
    if let Some(own) = own.filter(|own| !own.trim().is_empty()) {
        return parse(own).map(Some);
    }
    let plain = server.scheme_str() == Some("http");
    let named = if plain { &env.http_proxy } else { &env.https_proxy };
    let Some(named) = named.as_deref().map(str::trim).filter(|named| !named.is_empty()) else {
        return Ok(None);
    };
    let (host, port) = host_and_port(server);
    if is_exempt(host, port, env.no_proxy.as_deref().unwrap_or_default()) {
        return Ok(None);
    }
    parse(named).map(Some)
}

/// Host and port of a server; the host of an IPv6 address stands without its brackets.
pub(super) fn host_and_port(server: &Uri) -> (&str, u16) {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    (host, server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 }))
}

/// A proxy's address; one without a scheme is reached by plain HTTP.
fn parse(text: &str) -> Result<Uri, String> {
    let text = text.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = whole.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    if uri.host().is_none_or(str::is_empty) {
        return Err("it names no host".to_owned());
    }
    Ok(uri)
}

/// Whether an address is reached without the proxy of the environment.
fn is_exempt(host: &str, port: u16, no_proxy: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        entry == "*" || matches_network(&entry, address) || matches_host(&entry, &host, address, port)
    })
}

/// Whether an entry is a network that holds the address.
fn matches_network(entry: &str, address: Option<IpAddr>) -> bool {
    let Some((network, length)) = entry.split_once('/') else { return false };
    let (Ok(network), Ok(length), Some(address)) = (network.parse::<IpAddr>(), length.parse::<u32>(), address) else {
        return false;
    };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let ((network, width), (address, other)) = (bits(network), bits(address));
    if width != other || length > width {
        return false;
    }
    // A shift by the whole width is no shift that Rust knows; a network of length 0 holds everything.
    length == 0 || (network ^ address) >> (128 - length) == 0
}

/// Whether an entry names the host: exactly, as its domain (`example.com` and `.example.com`, the latter without the
/// domain itself), or as its address; with a port, only that port.
fn matches_host(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    let (name, wanted) = match entry.parse::<IpAddr>() {
        // Of an address of IPv6 the last group is no port.
        Ok(_) => (entry, None),
        Err(_) => match entry.rsplit_once(':') {
            Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (name, digits.parse::<u16>().ok())
            }
            Some(_) | None => (entry, None),
        },
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if let Some(address) = address {
        return name.parse::<IpAddr>().is_ok_and(|named| named == address);
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(no_proxy: &str) -> KubeconfigEnv {
        KubeconfigEnv {
            https_proxy: Some("http://proxy.corp:3128".to_owned()),
            no_proxy: Some(no_proxy.to_owned()),
            ..KubeconfigEnv::default()
        }
    }

    fn proxied(server: &str, no_proxy: &str) -> bool {
        proxy_for(&server.parse().unwrap(), None, &env(no_proxy)).unwrap().is_some()
    }

    #[test]
    fn no_proxy_is_held_against_the_address_of_the_cluster() {
        let server = "https://10.0.0.1:6443";
        assert!(proxied(server, ""));
        assert!(proxied(server, "proxy.corp"));
        for exempt in ["10.0.0.1", "10.0.0.0/8", "*", "a,10.0.0.1,", " 10.0.0.1 ", "10.0.0.1:6443", "0.0.0.0/0"] {
            assert!(!proxied(server, exempt), "{exempt}");
        }
        for other in ["10.0.0.2", "11.0.0.0/8", "10.0.0.1:443", "::/0", "10.0.0.0/99"] {
            assert!(proxied(server, other), "{other}");
        }
    }

    #[test]
    fn names_match_their_domains() {
        let server = "https://api.prod.example.com";
        for exempt in ["example.com", ".example.com", "*.example.com", "API.prod.example.com", "example.com:443"] {
            assert!(!proxied(server, exempt), "{exempt}");
        }
        for other in ["ample.com", ".api.prod.example.com", "example.com:6443", "example"] {
            assert!(proxied(server, other), "{other}");
        }
    }

    #[test]
    fn this_machine_is_never_proxied() {
        assert!(!proxied("https://127.0.0.1:6443", ""));
        assert!(!proxied("https://localhost:6443", ""));
        assert!(!proxied("https://[::1]:6443", ""));
        assert!(!proxied("https://[2001:db8::1]:6443", "2001:db8::/32"));
        assert!(!proxied("https://[2001:db8::1]:6443", "2001:db8::1"));
    }

    #[test]
    fn the_kubeconfigs_own_proxy_always_counts() {
        let own = proxy_for(&"https://10.0.0.1".parse().unwrap(), Some("http://own:1"), &env("*")).unwrap();
        assert_eq!(own.unwrap().to_string(), "http://own:1/");
        let bare = proxy_for(&"https://10.0.0.1".parse().unwrap(), Some("own:1"), &env("")).unwrap();
        assert_eq!(bare.unwrap().to_string(), "http://own:1/");
    }
}
