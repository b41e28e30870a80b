//! Deciding about requests, and ending or extending what one has.
//!
//! In: an id, a reason. Out: the activation as it is then.

use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::look::activations;
use super::request::{not_expected, one_line};
use super::session::Session;
use super::ssh_config;
use crate::args::{Approve, Deny, Drop, Extend, LockMe};
use crate::failure::Failure;
use crate::paint::Line;
use crate::render::{activation, json, locks, overview};
use crate::talk::{End, Wait};

/// `elevate approve`.
pub(super) fn approve(session: &mut Session, words: Approve) -> Result<u8, Failure> {
    let ask = Ask::Approve { id: words.id.clone(), reason: words.reason };
    review(session, &ask, words.id)?;
    done(session, &ask)
}

/// `elevate deny`.
pub(super) fn deny(session: &mut Session, words: Deny) -> Result<u8, Failure> {
    let needed = || Failure::usage("a denial needs a reason", "elevate deny REQ -m TEXT");
    let way = Ask::Deny { id: words.id.clone(), reason: UntrustedText::lossy("") };
    review(session, &way, words.id.clone())?;
    let reason = match words.reason {
        Some(reason) => reason,
        None if session.console.manner().asks => {
            one_line(session, "Why, for the requester and the log:")?.ok_or_else(needed)?
        }
        None => return Err(needed()),
    };
    done(session, &Ask::Deny { id: words.id, reason })
}

/// Shows what is decided about, before a code is asked for it. Only where somebody looks.
fn review(session: &mut Session, decision: &Ask, id: IdPrefix) -> Result<(), Failure> {
    let which = session.door(decision)?;
    if !session.console.manner().asks || session.scripted() {
        return Ok(());
    }
    let end = session.ask_through(which, &Ask::Show { id, documents: false }, Wait::Machines)?;
    let End::Done(Outcome::Activation(view)) = end else { return Err(not_expected(end)) };
    let at = session.at();
    activation::full(&view, &at).iter().for_each(|line| session.console.say(line));
    Ok(())
}

/// `elevate cancel`.
pub(super) fn cancel(session: &mut Session, id: IdPrefix) -> Result<u8, Failure> {
    done(session, &Ask::Cancel { id })
}

/// `elevate drop`.
pub(super) fn give_back(session: &mut Session, words: Drop) -> Result<u8, Failure> {
    let which = words.id.is_none() && !words.all;
    let end = session.ask(&Ask::Drop { id: words.id, all: words.all }, Wait::Machines)?;
    match &end {
        End::Done(Outcome::Activation(view)) => ssh_config::forget(session, std::slice::from_ref(view)),
        End::Done(Outcome::Activations(views)) => ssh_config::forget(session, views),
        End::Done(_) | End::Refused(_) | End::Left { .. } => {}
    }
    told(session, end, which)
}

/// `elevate extend`.
pub(super) fn extend(session: &mut Session, words: Extend) -> Result<u8, Failure> {
    let (id, by) = extension(&words.words)?;
    let which = id.is_none();
    let end = session.ask(&Ask::Extend { id, by, reason: words.reason }, Wait::Machines)?;
    told(session, end, which)
}

/// `[ID] DURATION`; the other way round is understood as well, there is no doubt about it.
fn extension(words: &[String]) -> Result<(Option<IdPrefix>, Span), Failure> {
    let usage = |error: String| Failure::usage(error, "elevate extend 30m, or elevate extend G-7K2M 30m");
    let span = |word: &String| word.parse::<Span>().map_err(|error| usage(error.to_string()));
    match words {
        [by] => Ok((None, span(by)?)),
        [by, id] if IdPrefix::looks_like(id) => Ok((id.parse().ok(), span(by)?)),
        [id, by] => {
            let id = id.parse::<IdPrefix>().map_err(|error| usage(error.to_string()))?;
            Ok((Some(id), span(by)?))
        }
        _ => Err(usage("too many words".to_owned())),
    }
}

/// `elevate lock me`: without a question, since it takes rights away and somebody may be in a hurry.
pub(super) fn lock_me(session: &mut Session, words: LockMe) -> Result<u8, Failure> {
    let end = session.ask(&Ask::LockMe { ttl: words.ttl, reason: words.reason }, Wait::Machines)?;
    let End::Done(Outcome::Locked(view)) = end else { return Err(not_expected(end)) };
    let at = session.at();
    session.show(&locks::locked_json(&view), &locks::locked(&view, &at));
    session.console.say(&Line::plain("An administrator lifts it; nobody lifts their own."));
    Ok(if view.unconfirmed_count == 0 { 0 } else { Code::Host.exit() })
}

fn done(session: &mut Session, ask: &Ask) -> Result<u8, Failure> {
    let end = session.ask(ask, Wait::Machines)?;
    told(session, end, false)
}

/// Prints what it is now. With several to choose from, lists them.
fn told(session: &mut Session, end: End, which: bool) -> Result<u8, Failure> {
    let at = session.at();
    match end {
        End::Done(Outcome::Activation(view)) => {
            if !session.only_ids(std::slice::from_ref(&view)) {
                session.show(&json::activation(&view, at.now), &[activation::one_line(&view, &at)]);
            }
            Ok(0)
        }
        End::Done(Outcome::Activations(views)) => {
            if !session.only_ids(&views) {
                let lines: Vec<Line> = views.iter().map(|view| activation::one_line(view, &at)).collect();
                session.show(&json::activations(&views, at.now), &lines);
            }
            Ok(0)
        }
        End::Done(Outcome::Ok) => Ok(0),
        End::Refused(refusal) => {
            if which && refusal.code == Code::Usage && !session.scripted() {
                choices(session);
            }
            Err(Failure::Refused(refusal))
        }
        other @ (End::Done(_) | End::Left { .. }) => Err(not_expected(other)),
    }
}

/// The active grants, on stderr. Without them the refusal still says enough.
fn choices(session: &mut Session) {
    let at = session.at();
    let mut views: Vec<ActivationView> = activations(session, false).unwrap_or_default();
    views.retain(|view| view.state == State::Active);
    overview::activations(&views, &at).columns().iter().for_each(|line| session.console.warn(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(Option<String>, u32), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        extension(&words)
            .map(|(id, by)| (id.map(|id| id.letters().to_owned()), by.0))
            .map_err(|failure| failure.refusal().message)
    }

    #[test]
    fn an_extension_is_a_duration_with_or_without_a_grant() {
        assert_eq!(read(&["30m"]), Ok((None, 1800)));
        assert_eq!(read(&["G-7K2M", "1h"]), Ok((Some("7K2M".into()), 3600)));
        assert_eq!(read(&["1h", "g-7k2m"]), Ok((Some("7K2M".into()), 3600)));
        assert_eq!(read(&["30"]), Err("30 of what? write 30m or 30h".into()));
        assert_eq!(read(&["G-7K", "1h"]), Err("write at least 4 letters of the id".into()));
        assert!(read(&["G-7K2M"]).is_err());
    }
}
