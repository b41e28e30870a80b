//! The second factor at one use: asked inside sudo, in `account`, also under NOPASSWD.
//!
//! In: the agent's answer, the code from the person. Out: success only where the agent says that the daemon accepted a code here and now,
//! or lately at this very terminal; every error is a refusal (threats B08, D13; THREATS §6.1). Spec: docs/wire.md "A use".

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use elevate_protocol::frame;
use elevate_protocol::message::agent::FactorUse;
use elevate_protocol::message::sudo_side::{Plain, SudoHears, SudoSays};
use elevate_protocol::text::UntrustedText;

use crate::clock;
use crate::factor::tidy;
use crate::report;
use crate::talk::{Conversation, Line};
use crate::wire::Timed;

/// Longest wait for the agent, which is on the same host.
const AGENT_WAIT: Duration = Duration::from_secs(1);
/// Longest wait for what the daemon says through it.
const DAEMON_WAIT: Duration = Duration::from_secs(30);
/// Most codes asked for, whatever the other side says.
const CODES_MAX: u8 = 10;

/// Why a use is refused. The person reads these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The kernel knows no terminal of this process.
    #[error("this right asks for a code at every use, which takes a terminal")]
    NoTerminal,
    /// Nobody answered the prompt: `sudo -n`, an end of file, nothing typed.
    #[error("this right asks for a code at every use, and none was given (sudo -n asks for none)")]
    NoCode,
    /// No agent at the other end, or it said something else.
    #[error("this right asks for a code at every use, and elevate-agent does not answer")]
    Agent,
    /// The agent or the daemon said no.
    #[error("{}", why.escaped())]
    Refused {
        /// Why.
        why: UntrustedText,
    },
}

/// Asks the agent, and the person where the agent says so.
pub(crate) fn ask(socket: &Path, asked: FactorUse, person: &impl Conversation) -> Result<(), Denied> {
    let stream = report::connected(socket).ok_or(Denied::Agent)?;
    let mut agent = Timed::with_root(stream.as_fd(), clock::deadline(AGENT_WAIT)).ok_or(Denied::Agent)?;
    frame::write(&mut agent, &SudoSays::AtUse(asked)).map_err(|_| Denied::Agent)?;
    let mut prompt = None;
    let mut codes = 0u8;
    loop {
        let reply: SudoHears =
            frame::read(agent.until(clock::deadline(DAEMON_WAIT))).ok().flatten().ok_or(Denied::Agent)?;
        let asks = match reply {
            SudoHears::Done(Plain::Ok) => return Ok(()),
            SudoHears::Refused(refusal) => {
                return Err(Denied::Refused { why: UntrustedText::lossy(&refusal.message) });
            }
            SudoHears::Prompt { text, echo: false } if prompt.is_none() => {
                prompt = Some(Line::prompt(text.raw()));
                true
            }
            SudoHears::Verdict { accepted, tries, message } => {
                if let Some(message) = message.filter(|_| !accepted) {
                    person.warn(&Line::new(&message));
                }
                // With no tries left the refusal follows, and after the right code the word that it was.
                !accepted && tries > 0
            }
            SudoHears::Prompt { .. } => return Err(Denied::Agent),
        };
        if !asks {
            continue;
        }
        codes = codes.saturating_add(1);
        let line = prompt.as_ref().filter(|_| codes <= CODES_MAX).ok_or(Denied::Agent)?;
        let text = person.ask(line).and_then(|typed| tidy(&typed)).ok_or(Denied::NoCode)?;
        let agent = agent.until(clock::deadline(AGENT_WAIT));
        frame::write(agent, &SudoSays::Input { text }).map_err(|_| Denied::Agent)?;
    }
}

#[cfg(test)]
#[path = "at_use_tests.rs"]
mod tests;
