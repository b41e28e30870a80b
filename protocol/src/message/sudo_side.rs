//! What `pam_elevate.so` says at door 1 inside sudo and sshd, and what it takes for an answer.
//!
//! In and out: frames of [`Say`](super::person::Say) and [`Reply`](super::person::Reply), of which these are the parts that a use meets, in the same
//! form. Every process of sudo loads the module: it holds no reader of anything else. Spec: docs/wire.md "A use".

use serde::{Deserialize, Serialize};

use super::agent::{FactorUse, UseReport};
use super::refusal::Refusal;
use super::session::SshSession;
use crate::secret::Secret;
use crate::text::UntrustedText;

/// What the module says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SudoSays {
    /// What was seen.
    Use(UseReport),
    /// The second factor is needed for one use.
    AtUse(FactorUse),
    /// A connection that sshd has let in, or that is over.
    Ssh(SshSession),
    /// What was typed at a prompt.
    Input {
        /// As typed, spaces removed.
        text: Secret,
    },
}

/// What the module is answered. Anything else is nothing that an agent answers a use.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SudoHears {
    /// Ask the person.
    Prompt {
        /// The text.
        text: UntrustedText,
        /// Whether what is typed may be seen.
        echo: bool,
    },
    /// What became of an answer.
    Verdict {
        /// Whether the code was right.
        accepted: bool,
        /// Tries left.
        tries: u8,
        /// What was wrong, for the person.
        message: Option<String>,
    },
    /// Taken, or allowed.
    Done(Plain),
    /// Refused; the conversation is over.
    Refused(Refusal),
}

/// The one outcome of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plain {
    /// It is so.
    Ok,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, encode};
    use crate::message::agent::{Seat, UseKind};
    use crate::message::person::{Outcome, Reply, Say};
    use crate::message::refusal::Code;
    use crate::message::session::SshPhase;

    fn heard(reply: &Reply) -> Option<SudoHears> {
        let mut decoder = Decoder::default();
        decoder.feed(&encode(reply).unwrap());
        decoder.next_message().ok().flatten()
    }

    #[test]
    fn what_the_agent_answers_a_use_is_understood_and_nothing_else() {
        let text = UntrustedText::lossy("Code for alice");
        assert!(matches!(heard(&Reply::Done(Outcome::Ok)), Some(SudoHears::Done(Plain::Ok))));
        let refused = Reply::Refused(Refusal::new(Code::Factor, "no code was right"));
        assert!(matches!(heard(&refused), Some(SudoHears::Refused(why)) if why.code == Code::Factor));
        let prompt = Reply::Prompt { text: text.clone(), echo: false };
        assert!(
            matches!(heard(&prompt), Some(SudoHears::Prompt { text: found, echo: false }) if found == text)
        );
        let verdict = Reply::Verdict { accepted: false, tries: 2, message: Some("wrong".into()) };
        assert!(matches!(
            heard(&verdict),
            Some(SudoHears::Verdict { accepted: false, tries: 2, message: Some(_) })
        ));
        for other in [
            Reply::Hello { version: 1 },
            Reply::Notice { text },
            Reply::Event(String::new()),
            Reply::Done(Outcome::Factors(vec![])),
        ] {
            assert!(heard(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn what_the_module_says_is_what_the_agent_reads() {
        let used = UseReport {
            uid: 2000,
            kind: UseKind::Start,
            service: UntrustedText::lossy("sudo"),
            run_as: Some(UntrustedText::lossy("root")),
            argv: vec![UntrustedText::lossy("id")],
            directory: None,
            terminal: None,
            pid: 7,
        };
        let seat = Seat { tty: 1, session: 2, began: 3 };
        let at_use = FactorUse { uid: 2000, seat, terminal: None, argv: vec![] };
        let login = UntrustedText::lossy("deploy");
        let ssh = SshSession { phase: SshPhase::Opened, login, from: None, certificate: "x".into() };
        let said = |say: &SudoSays| {
            let mut decoder = Decoder::default();
            decoder.feed(&encode(say).unwrap());
            decoder.next_message::<Say>().unwrap().unwrap()
        };
        assert!(matches!(said(&SudoSays::Use(used.clone())), Say::Use(found) if found == used));
        assert!(matches!(said(&SudoSays::AtUse(at_use.clone())), Say::AtUse(found) if found == at_use));
        assert!(matches!(said(&SudoSays::Ssh(ssh.clone())), Say::Ssh(found) if found == ssh));
        let input = SudoSays::Input { text: Secret::new("123456".into()) };
        assert!(matches!(said(&input), Say::Input { text } if text.expose() == "123456"));
    }
}
