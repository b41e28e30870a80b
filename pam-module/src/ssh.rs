//! Logins in sshd: told apart here by the certificate, known to the agent before anything runs in them, or refused.
//!
//! In: what sshd says of the login in PAM's environment. Out: one frame to the agent and one back, within a second. Who has not come by a
//! certificate of ours is let through without the agent (THREATS E04). Spec: docs/wire.md "A login". Threats X-m, F12.

use std::ffi::CStr;
use std::path::Path;

use elevate_protocol::message::session::{SshPhase, SshSession};
use elevate_protocol::message::sudo_side::{Plain, SudoHears, SudoSays};
use elevate_protocol::ssh_login::{self, Means};
use elevate_protocol::text::UntrustedText;

use crate::report;

/// Where sshd leaves the methods that have succeeded, with their keys (auth-pam.c, since OpenSSH 7.6).
pub(crate) const INFO: &CStr = c"SSH_AUTH_INFO_0";

/// Why a login is refused. The person reads these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// No agent that answers.
    #[error("this login is by a grant, and elevate-agent does not answer")]
    Agent,
    /// The agent said no.
    #[error("{}", why.escaped())]
    Why {
        /// Why.
        why: UntrustedText,
    },
}

/// What the agent has to be asked for this login; none where no certificate of ours has opened it.
pub(crate) fn asked(
    info: Option<&[u8]>,
    login: UntrustedText,
    from: Option<UntrustedText>,
) -> Option<SshSession> {
    let certificate = match ssh_login::means(info.unwrap_or_default()) {
        Means::Other => return None,
        Means::Ours(certificate) => certificate,
        Means::Unclear => String::new(),
    };
    Some(SshSession { phase: SshPhase::Opened, login, from, certificate })
}

/// Asks the agent.
pub(crate) fn open(socket: &Path, asked: SshSession) -> Result<(), Refused> {
    match report::exchange(socket, &SudoSays::Ssh(asked)) {
        Some(SudoHears::Done(Plain::Ok)) => Ok(()),
        Some(SudoHears::Refused(why)) => Err(Refused::Why { why: UntrustedText::lossy(&why.message) }),
        Some(SudoHears::Prompt { .. } | SudoHears::Verdict { .. }) | None => Err(Refused::Agent),
    }
}

/// Tells the agent that the connection is over. An agent that does not hear it sees that itself.
pub(crate) fn closing(socket: &Path, login: UntrustedText) {
    let over = SshSession { phase: SshPhase::Closing, login, from: None, certificate: String::new() };
    drop(report::exchange(socket, &SudoSays::Ssh(over)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::frame;
    use elevate_protocol::message::person::{Outcome, Reply, Say};
    use elevate_protocol::message::refusal::{Code, Refusal};
    use std::os::unix::net::UnixListener;

    fn text(text: &str) -> UntrustedText {
        UntrustedText::lossy(text)
    }

    #[test]
    fn e04_who_has_no_certificate_of_ours_does_not_wait_for_the_agent() {
        let asked = |info: Option<&[u8]>| asked(info, text("deploy"), Some(text("10.0.0.7")));
        let other: [&[u8]; 5] = [
            b"",
            b"password\n",
            b"publickey ssh-ed25519 AAAA\n",
            b"publickey ssh-ed25519-cert-v01@openssh.com AAAA\n",
            b"publickey \xff\n",
        ];
        for info in other.map(Some).into_iter().chain([None]) {
            assert_eq!(asked(info), None, "{info:?}");
        }
        // `elevate:` in the one; what is none at all in the other.
        let unclear: [&[u8]; 2] = [
            b"publickey ssh-ed25519-cert-v01@openssh.com ZWxldmF0ZTo=\n",
            b"publickey ssh-ed25519-cert-v01@openssh.com \xff\n",
        ];
        for unclear in unclear {
            let asked = asked(Some(unclear)).unwrap();
            assert_eq!((asked.phase, asked.certificate.as_str()), (SshPhase::Opened, ""));
            assert_eq!((asked.login.raw(), asked.from.unwrap().raw()), ("deploy", "10.0.0.7"));
        }
    }

    #[test]
    fn b08_only_the_agents_word_lets_a_login_under_a_grant_pass() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent.sock");
        let login = || asked(Some(b"publickey x-cert-v01@openssh.com x\n"), text("deploy"), None).unwrap();
        assert_eq!(open(&path, login()), Err(Refused::Agent), "nobody there");
        let listener = UnixListener::bind(&path).unwrap();
        let said = |reply: Reply| {
            std::thread::scope(|scope| {
                let agent = scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let heard: Say = frame::read(&mut stream).unwrap().unwrap();
                    frame::write(&mut stream, &reply).unwrap();
                    matches!(heard, Say::Ssh(heard) if heard == login())
                });
                let result = open(&path, login());
                assert!(agent.join().unwrap());
                result
            })
        };
        assert_eq!(said(Reply::Done(Outcome::Ok)), Ok(()));
        let refused = said(Reply::Refused(Refusal::new(Code::Gone, "the grant is over")));
        assert_eq!(refused, Err(Refused::Why { why: text("the grant is over") }));
        assert_eq!(said(Reply::Notice { text: text("x") }), Err(Refused::Agent));
        assert_eq!(open(&path, login()), Err(Refused::Agent), "an agent that stands still");
    }
}
