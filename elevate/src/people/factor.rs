//! The second factor, and which daemon a person belongs to.
//!
//! In: an invitation, a paste string. Out: an enrolled factor, client.toml.

use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::secret::Secret;
use serde_json::json;

use super::request::not_expected;
use super::session::Session;
use crate::args::Login;
use crate::door::DoorError;
use crate::failure::Failure;
use crate::paint::{Line, Tone};
use crate::render::{json, overview, when};
use crate::settings;
use crate::talk::{End, TalkError, Wait};
use crate::typing::{self, Typed};

/// `elevate mfa add`.
pub(super) fn add(session: &mut Session, recovery: bool) -> Result<u8, Failure> {
    let own_key = || DoorError::OwnKey { command: "elevate mfa add".to_owned() };
    let missing = if session.managed() { own_key() } else { DoorError::Nowhere };
    let daemon = session.daemon()?.ok_or(missing)?;
    let server = daemon.server();
    // The seed is shown once, to a person.
    if !session.console.manner().asks {
        return Err(TalkError::FactorNeeded.into());
    }
    let invitation = match (recovery, daemon.invitation) {
        (true, _) => recovery_code(session)?,
        (false, Some(invitation)) => invitation,
        (false, None) => {
            return Err(Failure::usage(
                format!("no invitation is kept for {}", server.address),
                "an administrator makes one: elevatectl person invite YOU; then elevate login STRING",
            ));
        }
    };
    let at = session.at();
    match session.ask(&Ask::FactorAdd { invitation }, Wait::Machines)? {
        End::Done(Outcome::Waits { counts_at }) => {
            let until = when::until(counts_at, &at);
            let text = format!(
                "Your new factor takes the place of another: it counts from {until}, or when an administrator confirms it."
            );
            session.console.say(&Line::of(Tone::Warn, &text));
        }
        End::Done(_) => session.console.say(&Line::of(Tone::Good, "Your second factor is enrolled.")),
        other @ (End::Refused(_) | End::Left { .. }) => return Err(not_expected(other)),
    }
    session.console.say(&Line::plain("Next, for the day the phone is gone: elevate mfa recovery"));
    settings::forget_invitation(&session.own_settings(), session.around.uid.as_raw(), &server)?;
    Ok(0)
}

fn recovery_code(session: &mut Session) -> Result<Secret, Failure> {
    session.console.question(&Line::plain("A recovery code of yours:"));
    match typing::input(&session.console, &session.signals)? {
        Typed::Line(line) => Ok(line),
        Typed::Interrupted | Typed::Over | Typed::Disturbed => {
            Err(Failure::usage("no recovery code was given", "elevate mfa add --recovery"))
        }
    }
}

/// `elevate mfa recovery`.
pub(super) fn recovery(session: &mut Session) -> Result<u8, Failure> {
    // Shown once, to a person: a pipe or a log would keep them.
    if !session.console.manner().asks {
        return Err(TalkError::FactorNeeded.into());
    }
    let end = session.ask(&Ask::RecoveryMake, Wait::Machines)?;
    let End::Done(Outcome::Recovery(codes)) = end else { return Err(not_expected(end)) };
    let shown: Vec<&str> = codes.iter().map(Secret::expose).collect();
    let lines: Vec<Line> = shown.iter().map(|code| Line::plain(code)).collect();
    session.show(&json::schema("recovery", json!({ "codes": shown })), &lines);
    session.console.say(&Line::of(
        Tone::Good,
        "Write them down; they are not shown again. Earlier ones are worth nothing now.",
    ));
    session.console.say(&Line::plain(
        "Each works once: to lock yourself from any host, and to enrol a new factor without the old one.",
    ));
    Ok(0)
}

/// `elevate mfa list`.
pub(super) fn list(session: &mut Session) -> Result<u8, Failure> {
    let at = session.at();
    let end = session.ask(&Ask::FactorList, Wait::Machines)?;
    let End::Done(Outcome::Factors(views)) = end else { return Err(not_expected(end)) };
    session.show_table(&json::factors(&views), &overview::factors(&views, &at));
    if views.is_empty() {
        session.console.say(&Line::plain("No second factor is enrolled: elevate mfa add"));
    }
    Ok(0)
}

/// `elevate mfa test`.
pub(super) fn test(session: &mut Session) -> Result<u8, Failure> {
    match session.ask(&Ask::FactorTest, Wait::Machines)? {
        End::Done(_) => {
            session.console.say(&Line::of(Tone::Good, "The code is right."));
            Ok(0)
        }
        other @ (End::Refused(_) | End::Left { .. }) => Err(not_expected(other)),
    }
}

/// `elevate login`.
pub(super) fn login(session: &mut Session, words: Login) -> Result<u8, Failure> {
    let line = match words.string.filter(|string| string != "-") {
        Some(line) => line,
        None => from_input(session)?,
    };
    let daemon = settings::keep(&session.own_settings(), session.around.uid.as_raw(), &line)?;
    let server = daemon.server();
    let value = json!({
        "address": server.address,
        "fingerprint": server.fingerprint,
        "invited": daemon.invitation.is_some(),
    });
    let text = format!("Your daemon is {} with the key {}.", server.address, server.fingerprint);
    session.show(&json::schema("login", value), &[Line::plain(&text)]);
    if daemon.invitation.is_some() {
        session.console.say(&Line::plain("Next: elevate mfa add"));
    }
    Ok(0)
}

fn from_input(session: &mut Session) -> Result<String, Failure> {
    if session.console.manner().asks {
        session.console.question(&Line::plain("The string from your administrator:"));
    }
    match typing::input(&session.console, &session.signals)? {
        Typed::Line(line) => Ok(line.expose().to_owned()),
        Typed::Interrupted | Typed::Over | Typed::Disturbed => {
            Err(Failure::usage("no string was given", "elevate login STRING, or elevate login < FILE"))
        }
    }
}
