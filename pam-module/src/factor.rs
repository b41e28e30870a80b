//! The prompt of an activation: service `elevate`, inside `elevate-agent pam-run`.
//!
//! In: the agent's task on the inherited socket, the code from the person. Out: success only for a verdict that the daemon
//! accepted; every error is a failure (threats B08, X-h). Spec: docs/wire.md "PAM child".

use std::os::fd::BorrowedFd;
use std::time::Duration;

use elevate_protocol::frame;
use elevate_protocol::message::pam::{FromChild, ToChild};
use elevate_protocol::secret::Secret;

use crate::clock;
use crate::talk::{Conversation, Line};
use crate::wire::Timed;

/// Longest wait for the agent, which is on the same host.
const AGENT_WAIT: Duration = Duration::from_secs(1);
/// Longest wait for the daemon's verdict. No login path: this runs only in the agent's own child, which has a deadline of its own.
const VERDICT_WAIT: Duration = Duration::from_secs(30);
/// Most codes asked for, whatever the other side says.
const CODES_MAX: u8 = 10;
/// Longest code, in bytes as typed.
const CODE_MAX: usize = 64;

/// Why a person did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    /// No agent at the other end, or it said something else.
    #[error("the agent is not there")]
    Agent,
    /// Nothing usable was typed, or there was nobody to ask.
    #[error("no code was given")]
    NoCode,
    /// The daemon said no, and no tries are left.
    #[error("no tries are left")]
    Tries,
}

/// Asks for the code until it is accepted or tries run out.
pub(crate) fn ask(agent: Option<BorrowedFd<'_>>, person: &impl Conversation) -> Result<(), Failed> {
    let agent = agent.ok_or(Failed::Agent)?;
    let mut agent = Timed::with_root(agent, clock::deadline(AGENT_WAIT)).ok_or(Failed::Agent)?;
    say(&mut agent, &FromChild::Ready)?;
    let prompt = match hear(&mut agent)? {
        ToChild::Task { prompt } => Line::prompt(prompt.raw()),
        ToChild::Begin { .. } | ToChild::Input { .. } | ToChild::Verdict { .. } => return Err(Failed::Agent),
    };
    for _ in 0..CODES_MAX {
        let code = person.ask(&prompt).and_then(|typed| tidy(&typed)).ok_or(Failed::NoCode)?;
        say(agent.until(clock::deadline(AGENT_WAIT)), &FromChild::Code { code })?;
        let (accepted, tries, message) = match hear(agent.until(clock::deadline(VERDICT_WAIT)))? {
            ToChild::Verdict { accepted, tries, message } => (accepted, tries, message),
            ToChild::Begin { .. } | ToChild::Input { .. } | ToChild::Task { .. } => {
                return Err(Failed::Agent);
            }
        };
        if accepted {
            return Ok(());
        }
        if let Some(message) = message {
            person.warn(&Line::new(message.raw()));
        }
        if tries == 0 {
            return Err(Failed::Tries);
        }
    }
    Err(Failed::Tries)
}

fn say(agent: &mut Timed<'_>, message: &FromChild) -> Result<(), Failed> {
    frame::write(agent, message).map_err(|_| Failed::Agent)
}

fn hear(agent: &mut Timed<'_>) -> Result<ToChild, Failed> {
    frame::read(agent).ok().flatten().ok_or(Failed::Agent)
}

/// The code without the spaces that people type into it.
pub(crate) fn tidy(typed: &Secret) -> Option<Secret> {
    let text = typed.expose();
    if text.len() > CODE_MAX || text.chars().any(char::is_control) {
        return None;
    }
    // Reserved in full at once, so that no copy of the code is left behind by growing.
    let mut code = String::with_capacity(text.len());
    code.extend(text.chars().filter(|letter| *letter != ' '));
    let code = Secret::new(code);
    (!code.expose().is_empty()).then_some(code)
}

#[cfg(test)]
#[path = "factor_tests.rs"]
mod tests;
