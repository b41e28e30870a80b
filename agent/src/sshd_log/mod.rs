//! What sshd refuses by itself, out of its log: certificates that are over or of another CA, revoked ones, wrong addresses. It asks
//! nobody about these, or asks before it looks at them.
//!
//! In: lines of the system's log in their order, of sshd and of the program that it asks. Out: each refused certificate with what is
//! known of it. It decides nothing: who is refused is refused. Spec: docs/wire.md "A login", docs/decisions/0046. Threat E16.

mod line;
pub(crate) mod reading;

use std::collections::BTreeMap;
use std::net::IpAddr;

use elevate_protocol::asked::{Asked, Said};
use elevate_protocol::id::ActivationId;
use elevate_protocol::time::{Span, Timestamp};

pub(crate) use line::VERBOSE;
use line::{Line, Refusal};
use reading::{Entry, Who};

/// How long is waited for the line that says from where a connection came: longer than sshd waits for a login (LoginGraceTime, 120 s).
const OVERDUE: Span = Span(150);
/// Most connections that are waited for.
const OPEN_MAX: usize = 1024;
/// Most refusals that are kept of one connection: sshd lets nobody try more often (MaxAuthTries, 6).
const OF_ONE_MAX: usize = 16;

/// One certificate that sshd refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// When, by the host's clock.
    pub(crate) at: Timestamp,
    /// The grant that it is of, where sshd had asked about it.
    pub(crate) grant: Option<ActivationId>,
    /// The account, where a line names it.
    pub(crate) login: Option<String>,
    /// From where, where a line names it.
    pub(crate) from: Option<IpAddr>,
    /// Why, in sshd's words.
    pub(crate) said: String,
}

/// Connections of which something was refused, by the process that serves them.
#[derive(Debug, Default)]
pub(crate) struct Connections(BTreeMap<u32, Connection>);

#[derive(Debug)]
struct Connection {
    /// What sshd has asked last.
    asked: Option<Asked>,
    refused: Vec<Refused>,
    /// The last line about it.
    seen: Timestamp,
}

impl Connections {
    /// Takes one line in; what is known with it to have been refused.
    pub(crate) fn take(&mut self, entry: &Entry) -> Vec<Refused> {
        let Entry { who, at, message } = entry;
        match who {
            Who::Program => {
                if let Ok(asked) = message.parse::<Asked>() {
                    let sshd = asked.sshd;
                    self.of(sshd, *at).asked = Some(asked);
                }
            }
            Who::Sshd { pid } => match line::read(message) {
                Line::Refused(refusal, said) => self.of(*pid, *at).refuse(refusal, *at, said),
                Line::Peer { login, from } => {
                    return self.0.remove(pid).map(|known| known.of_peer(&login, from)).unwrap_or_default();
                }
                Line::Other => {}
            },
        }
        self.too_many()
    }

    fn of(&mut self, pid: u32, at: Timestamp) -> &mut Connection {
        let begun = || Connection { asked: None, refused: Vec::new(), seen: at };
        let known = self.0.entry(pid).or_insert_with(begun);
        known.seen = at;
        known
    }

    /// Those of which no line has said from where they came, and none will.
    pub(crate) fn overdue(&mut self, now: Timestamp) -> Vec<Refused> {
        let over = |_: &u32, known: &mut Connection| now.since(known.seen) > OVERDUE || known.seen > now;
        self.0.extract_if(.., over).flat_map(|(_, known)| known.refused).collect()
    }

    fn too_many(&mut self) -> Vec<Refused> {
        if self.0.len() <= OPEN_MAX {
            return Vec::new();
        }
        let oldest = self.0.iter().min_by_key(|(_, known)| known.seen).map(|(pid, _)| *pid);
        oldest.and_then(|pid| self.0.remove(&pid)).map(|known| known.refused).unwrap_or_default()
    }
}

impl Connection {
    fn refuse(&mut self, refusal: Refusal, at: Timestamp, said: String) {
        let asked = match refusal {
            Refusal::Unasked => None,
            Refusal::Asked | Refusal::NotOpened => self.asked.take(),
        };
        let is_told = matches!(&asked, Some(Asked { said: Said::Told, .. }));
        if is_told || self.refused.len() >= OF_ONE_MAX {
            return;
        }
        let (grant, login) = asked.map(|asked| (asked.grant, asked.login.to_string())).unzip();
        self.refused.push(Refused { at, grant, login, from: None, said });
    }

    fn of_peer(self, login: &str, from: IpAddr) -> Vec<Refused> {
        let with = |one: Refused| Refused { login: Some(login.to_owned()), from: Some(from), ..one };
        self.refused.into_iter().map(with).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn sshd(pid: u32, message: &str) -> Entry {
        Entry { who: Who::Sshd { pid }, at: NOW, message: message.to_owned() }
    }

    fn grant(number: u8) -> ActivationId {
        ActivationId::from_random([number; 16])
    }

    fn program(sshd: u32, number: u8, said: Said) -> Entry {
        let asked = Asked { sshd, login: "deploy".parse().unwrap(), grant: grant(number), said };
        Entry { who: Who::Program, at: NOW, message: asked.to_string() }
    }

    fn all(lines: &[Entry]) -> Vec<Refused> {
        let mut connections = Connections::default();
        let found = lines.iter().flat_map(|line| connections.take(line)).collect();
        assert!(connections.0.is_empty());
        found
    }

    const CLOSED: &str = "Connection closed by authenticating user deploy 10.0.0.7 port 1 [preauth]";

    #[test]
    fn a_certificate_that_is_over_is_told_with_its_grant_account_and_address_and_once() {
        let expired = "error: Certificate invalid: expired";
        let found = all(&[
            program(7, 1, Said::Yes),
            program(8, 2, Said::Yes),
            sshd(7, expired),
            sshd(8, CLOSED),
            sshd(7, CLOSED),
            sshd(7, CLOSED),
        ]);
        let (login, from) = (Some("deploy".to_owned()), Some("10.0.0.7".parse().unwrap()));
        let said = "Certificate invalid: expired".to_owned();
        assert_eq!(found, [Refused { at: NOW, grant: Some(grant(1)), login, from, said }]);
    }

    #[test]
    fn several_certificates_of_one_connection_are_told_each_with_its_own_grant() {
        let accepted = "Accepted publickey for deploy from 10.0.0.7 port 1 ssh2: ED25519 SHA256:x";
        let found = all(&[
            sshd(
                7,
                "debug2: auth2-pubkey.c:user_cert_trusted_ca():507 (pid=7): CA ED25519 SHA256:y is not listed in /x: key not found",
            ),
            program(7, 1, Said::Yes),
            sshd(7, "error: Certificate invalid: expired"),
            program(7, 2, Said::Yes),
            sshd(7, "error: Certificate invalid: not yet valid"),
            sshd(7, accepted),
        ]);
        let grants: Vec<_> = found.iter().map(|one| one.grant).collect();
        assert_eq!(grants, [None, Some(grant(1)), Some(grant(2))]);
    }

    #[test]
    fn what_the_agent_was_told_is_not_told_again_and_what_it_was_not_is() {
        let not = "error: Certificate does not contain an authorized principal";
        assert_eq!(all(&[program(7, 1, Said::Told), sshd(7, not), sshd(7, CLOSED)]), []);
        let found = all(&[program(7, 1, Said::No), sshd(7, not), sshd(7, CLOSED)]);
        assert_eq!(found.first().and_then(|one| one.grant), Some(grant(1)));
        // The program hung, or is not there.
        let found = all(&[sshd(7, not), sshd(7, CLOSED)]);
        assert_eq!(found.first().map(|one| one.grant), Some(None));
    }

    #[test]
    fn whoever_keeps_a_connection_open_or_opens_many_is_told_of_without_an_address() {
        let mut connections = Connections::default();
        let revoked = "error: Authentication key ED25519-CERT SHA256:x revoked by file /y";
        for pid in 1..=1024 {
            assert_eq!(connections.take(&sshd(pid, revoked)), []);
        }
        assert_eq!(connections.take(&sshd(2000, revoked)).len(), 1);
        assert_eq!(connections.overdue(NOW.after(OVERDUE)), []);
        let found = connections.overdue(NOW.after(Span(151)));
        assert!(
            found.len() == 1024 && found.iter().all(|one| one.from.is_none()) && connections.0.is_empty()
        );
        // A clock that was set back keeps nobody.
        assert_eq!(connections.take(&sshd(1, revoked)), []);
        assert_eq!(connections.overdue(NOW.before(Span(10))).len(), 1);
        for _ in 0..100 {
            assert_eq!(connections.take(&sshd(1, revoked)), []);
        }
        assert_eq!(connections.overdue(NOW.after(Span(151))).len(), 16);
    }
}
