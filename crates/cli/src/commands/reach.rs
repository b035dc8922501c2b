//! Whether a provider's endpoint takes connections.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use crate::config::Loaded;

/// How long it may take, name lookup included.
const REACH_WITHIN: Duration = Duration::from_secs(3);

/// What was found.
pub(super) enum Reached {
    /// This `host:port` takes connections.
    Answered(String),
    /// Requests go through a proxy, so a connection from here would prove nothing and is not tried.
    BehindProxy,
    /// The address names no host.
    NoAddress,
    /// No connection, and why.
    Failed(String),
}

/// Connects to the endpoint and says nothing. Takes at most [`REACH_WITHIN`].
pub(super) fn reach(loaded: &Loaded, url: &str) -> Reached {
    let variables =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let proxied = variables.iter().any(|name| loaded.environment.text(name).is_some());
    if proxied || loaded.config.http.proxy.is_some() {
        return Reached::BehindProxy;
    }
    let Some(address) = host_and_port(url) else {
        return Reached::NoAddress;
    };
    // Looking a name up cannot be given a deadline, so a thread of its own does it; it ends with the process.
    let (tell, told) = mpsc::sync_channel(1);
    let target = address.clone();
    std::thread::spawn(move || {
        let connected = target.to_socket_addrs().and_then(|mut found| {
            let first =
                found.next().ok_or_else(|| std::io::Error::other("the name has no address"))?;
            TcpStream::connect_timeout(&first, REACH_WITHIN).map(drop)
        });
        // The receiver may have given up; then nobody wants to know.
        drop(tell.send(connected));
    });
    match told.recv_timeout(REACH_WITHIN) {
        Ok(Ok(())) => Reached::Answered(address),
        Ok(Err(error)) => Reached::Failed(format!("cannot reach {address}: {error}")),
        Err(_) => Reached::Failed(format!("cannot reach {address} within 3 s")),
    }
}

/// `host:port` of an address, without credentials.
fn host_and_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, p)| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    Some(if has_port { host.to_owned() } else { format!("{host}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_found_without_credentials() {
        let table = [
            ("https://api.x.ai/v1", Some("api.x.ai:443")),
            ("http://localhost:4000/v1?q", Some("localhost:4000")),
            ("http://[::1]:80", Some("[::1]:80")),
            ("http://[::1]/", Some("[::1]:80")),
            ("https://user:pw@host", Some("host:443")),
            ("ftp://host", None),
            ("https:///path", None),
            ("host", None),
        ];
        for (url, expected) in table {
            assert_eq!(host_and_port(url).as_deref(), expected, "{url}");
        }
    }
}
