//! What one line of sshd's log says of certificates.
//!
//! In: a message of a process of root's that calls itself sshd. Out: a refusal, or whose connection it is; all else is nothing. A line
//! counts from its beginning: names and words of those who connect stand further behind (THREATS E16, I01).

use std::net::IpAddr;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A certificate was refused, in sshd's words.
    Refused(Refusal, String),
    /// sshd takes a certificate.
    Taken,
    /// Whose connection it is.
    Peer(Peer),
    /// Nothing of this.
    Other,
}

/// Whose connection a process serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Which process; none: the one that says so.
    pub(crate) pid: Option<u32>,
    /// The account, where it is named.
    pub(crate) login: Option<String>,
    /// From where.
    pub(crate) from: IpAddr,
    /// Whether it has logged in.
    pub(crate) is_in: bool,
}

/// When sshd refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// A certificate of another CA, or signed with what sshd does not take, which may be good for something else on this host.
    Strange,
    /// One on a list of revoked ones, before it asks whether it opens the account.
    Revoked,
    /// After it was told that it does.
    Asked,
    /// It was not told so.
    NotOpened,
}

/// How the lines of refusals begin (OpenSSH 7.6 to 10.0, auth.c, auth2-pubkey.c, auth2-pubkeyfile.c, auth-options.c).
const REFUSALS: [(&str, Refusal); 9] = [
    ("Certificate does not contain an authorized principal", Refusal::NotOpened),
    ("Certificate invalid: ", Refusal::Asked),
    ("Certificate lacks principal list", Refusal::Asked),
    ("Certificate signed with disallowed algorithm", Refusal::Asked),
    ("Certificate contains unsupported critical options", Refusal::Asked),
    ("Certificate critical option ", Refusal::Asked),
    ("Certificate has multiple ", Refusal::Asked),
    ("cert: Authentication tried for ", Refusal::Asked),
    ("cert: Certificate source-address invalid", Refusal::Asked),
];
/// How the lines begin that name account and address.
const PEERS: [&str; 6] = [
    "Connection closed by authenticating user ",
    "Connection reset by authenticating user ",
    "Disconnected from authenticating user ",
    "Disconnecting authenticating user ",
    "maximum authentication attempts exceeded for ",
    "ssh_dispatch_run_fatal: Connection from authenticating user ",
];
/// Somebody has not logged in within LoginGraceTime; from OpenSSH 9.8 on the listener says so.
const LATE: &str = "Timeout before authentication for ";
/// The function of sshd's that our file has tell everything (sshd_config(5) LogVerbose).
pub(crate) const VERBOSE: &str = "user_cert_trusted_ca";

/// What a message of sshd's says.
#[must_use]
pub(crate) fn read(message: &str) -> Line {
    let said = without_place(without_level(message));
    if said.starts_with("Accepted certificate ID ") {
        return Line::Taken;
    }
    refusal(said).or_else(|| peer(said).or_else(|| late(said)).map(Line::Peer)).unwrap_or(Line::Other)
}

fn without_level(message: &str) -> &str {
    ["error: ", "fatal: ", "debug1: ", "debug2: ", "debug3: "]
        .iter()
        .find_map(|level| message.strip_prefix(level))
        .unwrap_or(message)
}

/// `FILE.c:FUNCTION():LINE (pid=N): `, with which lines begin that LogVerbose names.
fn without_place(said: &str) -> &str {
    let cut = || {
        let (place, rest) = said.split_once("): ")?;
        // `(pid=N)`; from OpenSSH 9.8 on `(bin=sshd-session, pid=N)`.
        let (function, process) = place.split_once(" (")?;
        let (bin, pid) = process.rsplit_once("pid=")?;
        let (file, function) = function.split_once(".c:")?;
        let is_place = function.starts_with(VERBOSE) && !file.contains(' ');
        let is_process =
            (bin.is_empty() || bin.starts_with("bin=")) && pid.bytes().all(|byte| byte.is_ascii_digit());
        (is_place && is_process).then_some(rest)
    };
    cut().unwrap_or(said)
}

fn refusal(said: &str) -> Option<Line> {
    let known = REFUSALS.iter().find(|(begin, _)| said.starts_with(begin)).map(|(_, refusal)| *refusal);
    let unasked = || {
        let revoked = said.strip_prefix("Authentication key ").and_then(|rest| rest.split_once(' '));
        if revoked.is_some_and(|(kind, rest)| kind.ends_with("-CERT") && rest.contains(" revoked by file ")) {
            return Some(Refusal::Revoked);
        }
        // The former with LogVerbose only; the latter before sshd looks whose certificate it is.
        let is_strange = (said.starts_with("CA ") && said.contains(" is not listed in "))
            || said.starts_with("userauth_pubkey: certificate signature algorithm ");
        is_strange.then_some(Refusal::Strange)
    };
    let refusal = known.or_else(unasked)?;
    Some(Line::Refused(refusal, said.strip_prefix("cert: ").unwrap_or(said).to_owned()))
}

fn peer(said: &str) -> Option<Peer> {
    let rest = PEERS.iter().find_map(|begin| said.strip_prefix(begin)).or_else(|| of_method(said))?;
    let (who, _) = rest.split_once(" port ")?;
    let (login, from) = who.rsplit_once(' ')?;
    let login = login.strip_suffix(" from").unwrap_or(login).to_owned();
    Some(Peer { pid: None, login: Some(login), from: address(from)?, is_in: said.starts_with("Accepted ") })
}

/// `ADDRESS port N`, or `connection from ADDRESS to ADDRESS, pid = N`.
fn late(said: &str) -> Option<Peer> {
    let rest = said.strip_prefix(LATE)?;
    let (from, pid) = match rest.strip_prefix("connection from ") {
        Some(rest) => {
            let digits: String =
                rest.split_once(", pid = ")?.1.chars().take_while(char::is_ascii_digit).collect();
            (rest.split_once(" to ")?.0, Some(digits.parse().ok()?))
        }
        None => (rest.split_once(" port ")?.0, None),
    };
    Some(Peer { pid, login: None, from: address(from)?, is_in: false })
}

/// With its zone where it is a local one of IPv6.
fn address(text: &str) -> Option<IpAddr> {
    text.split('%').next().unwrap_or(text).parse().ok()
}

/// `Accepted METHOD for `, `Failed METHOD for `.
fn of_method(said: &str) -> Option<&str> {
    let rest = said.strip_prefix("Accepted ").or_else(|| said.strip_prefix("Failed "))?;
    rest.split_once(' ')?.1.strip_prefix("for ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> Option<(Refusal, String)> {
        match read(message) {
            Line::Refused(refusal, said) => Some((refusal, said)),
            Line::Peer(_) | Line::Taken | Line::Other => None,
        }
    }

    /// As sshd 9.2p1 and 10.0p2 have written them.
    #[test]
    fn e16_what_sshd_refuses_is_known_by_how_its_lines_begin() {
        for (message, refusal) in [
            ("error: Certificate invalid: expired", Refusal::Asked),
            (
                "error: auth2-pubkey.c:user_cert_trusted_ca():561 (pid=21362): Certificate invalid: not yet valid",
                Refusal::Asked,
            ),
            (
                "error: auth2-pubkey.c:user_cert_trusted_ca():594 (bin=sshd-session, pid=389): Certificate invalid: expired",
                Refusal::Asked,
            ),
            (
                "cert: Authentication tried for deploy with valid certificate but not from a permitted source address (127.0.0.1).",
                Refusal::Asked,
            ),
            ("error: Certificate does not contain an authorized principal", Refusal::NotOpened),
            (
                "error: Authentication key ED25519-CERT SHA256:p19J revoked by file /etc/ssh/elevate/revoked",
                Refusal::Revoked,
            ),
            (
                "debug2: auth2-pubkey.c:user_cert_trusted_ca():507 (pid=10233): CA ED25519 SHA256:FNbZ is not listed in /etc/elevate/trust/user_ca: key not found",
                Refusal::Strange,
            ),
            (
                "userauth_pubkey: certificate signature algorithm ecdsa-sha2-nistp256: signature algorithm not supported",
                Refusal::Strange,
            ),
        ] {
            let (found, said) = refused(message).unwrap_or_else(|| panic!("{message}"));
            assert_eq!(found, refusal, "{message}");
            assert!(message.ends_with(&said) && !said.contains("pid=") && !said.contains("cert: "), "{said}");
        }
    }

    #[test]
    fn e16_words_of_those_who_connect_are_no_refusals() {
        for message in [
            "Invalid user Certificate invalid: expired from 10.0.0.9 port 1",
            "Received disconnect from 10.0.0.9 port 1:11: error: Certificate invalid: expired",
            "a.c:user_cert_trusted_ca():1 (pid=x): Certificate invalid: expired",
            "Invalid user x.c:user_cert_trusted_ca():1 (pid=1): Certificate invalid: expired from 10.0.0.9 port 1",
            "Authentication key ED25519 SHA256:p19J revoked by file /etc/ssh/elevate/revoked",
            "Connection closed by 10.0.0.9 port 1 [preauth]",
            "Received disconnect from 10.0.0.9 port 5:11:  authenticating user root 10.0.0.1 port 3",
            "Refused by certificate options",
            "",
        ] {
            assert_eq!(read(message), Line::Other, "{message}");
        }
    }

    #[test]
    fn whose_connection_it_is_stands_in_several_lines() {
        for message in [
            "Connection closed by authenticating user deploy 10.0.0.7 port 47684 [preauth]",
            "Connection reset by authenticating user deploy 10.0.0.7 port 47684 [preauth]",
            "Disconnected from authenticating user deploy 10.0.0.7 port 47684 [preauth]",
            "Disconnecting authenticating user deploy 10.0.0.7 port 1: Too many authentication failures [preauth]",
            "error: maximum authentication attempts exceeded for deploy from 10.0.0.7 port 1 ssh2 [preauth]",
            "Accepted publickey for deploy from 10.0.0.7 port 1 ssh2: ED25519 SHA256:p19J",
            "ssh_dispatch_run_fatal: Connection from authenticating user deploy 10.0.0.7 port 1: message authentication code incorrect [preauth]",
            "Failed publickey for deploy from 10.0.0.7 port 1 ssh2: ED25519-CERT SHA256:p19J ID from 10.0.0.9 port 1 (serial 0)",
        ] {
            let peer = peer_of(message);
            assert_eq!(
                (peer.login.as_deref(), peer.from.to_string()),
                (Some("deploy"), "10.0.0.7".to_owned())
            );
            assert_eq!((peer.is_in, peer.pid), (message.starts_with("Accepted"), None), "{message}");
        }
        let peer = peer_of("Connection closed by authenticating user deploy fe80::1%eth0 port 1 [preauth]");
        assert_eq!(peer.from.to_string(), "fe80::1");
        for (message, pid) in [
            ("fatal: Timeout before authentication for 10.0.0.7 port 1", None),
            ("Timeout before authentication for connection from 10.0.0.7 to 10.0.0.1, pid = 393", Some(393)),
        ] {
            let peer = peer_of(message);
            assert_eq!((peer.login, peer.from.to_string(), peer.pid), (None, "10.0.0.7".to_owned(), pid));
        }
        let taken = "auth2-pubkey.c:user_cert_trusted_ca():601 (bin=sshd-session, pid=374): Accepted certificate ID \"x\"";
        assert_eq!(read(taken), Line::Taken);
    }

    fn peer_of(message: &str) -> Peer {
        match read(message) {
            Line::Peer(peer) => peer,
            found @ (Line::Refused(..) | Line::Taken | Line::Other) => panic!("{message}: {found:?}"),
        }
    }
}
