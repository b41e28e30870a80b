//! `elevate status`: where grants stand, once or for as long as somebody looks.
//!
//! In: one id, or all that is active. Out: lines or values; with --watch one for each change.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::view::{ActivationView, State};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::look::{activations, one};
use super::request::exit_of;
use super::session::Session;
use crate::args::Status;
use crate::failure::Failure;
use crate::paint::Line;
use crate::render::data::{ACTIVATION, Stream};
use crate::render::{activation, json};
use crate::talk::TalkError;

/// Between two looks. One speaker begins 600 conversations a minute at most.
const PAUSE: Duration = Duration::from_secs(2);

/// `elevate status`.
pub(super) fn status(session: &mut Session, words: Status) -> Result<u8, Failure> {
    if words.watch {
        return watch(session, &words);
    }
    let at = session.at();
    if let Some(id) = words.id {
        let view = one(session, id, false)?;
        if !session.only_ids(std::slice::from_ref(&view)) {
            session.show(&json::activation(&view, at.now), &activation::full(&view, &at));
        }
        return Ok(exit_of(&view, false));
    }
    let views = active(session)?;
    if !session.only_ids(&views) {
        let lines: Vec<Line> = views.iter().flat_map(|view| activation::full(view, &at)).collect();
        session.show(&json::activations(&views, at.now), &lines);
    }
    if views.is_empty() {
        session.console.say(&Line::plain("No active grant."));
    }
    Ok(0)
}

fn active(session: &mut Session) -> Result<Vec<ActivationView>, Failure> {
    let mut views = activations(session, false)?;
    views.retain(|view| view.state == State::Active);
    Ok(views)
}

/// Prints what is new or different, until Ctrl-C; with an id, until that one is over, and then with its exit code.
fn watch(session: &mut Session, words: &Status) -> Result<u8, Failure> {
    let mut stream = session.form().map(|form| Stream::new(form, ACTIVATION));
    let mut shown: BTreeMap<ActivationId, ActivationView> = BTreeMap::new();
    loop {
        let views = match &words.id {
            Some(id) => vec![*one(session, id.clone(), false)?],
            None => seen(session, &shown)?,
        };
        for view in views.iter().filter(|view| shown.get(&view.id) != Some(view)) {
            tell(session, view, stream.as_mut());
        }
        if let (Some(_), [only]) = (&words.id, views.as_slice())
            && is_over(only)
        {
            return Ok(exit_of(only, false));
        }
        shown = views.into_iter().filter(|view| !is_over(view)).map(|view| (view.id, view)).collect();
        if interrupted(session)? {
            return Ok(0);
        }
    }
}

/// What is active, and once more what was shown and is not.
fn seen(
    session: &mut Session,
    shown: &BTreeMap<ActivationId, ActivationView>,
) -> Result<Vec<ActivationView>, Failure> {
    let mut views = active(session)?;
    let gone: Vec<ActivationId> =
        shown.keys().filter(|id| views.iter().all(|view| view.id != **id)).copied().collect();
    for id in gone {
        views.push(*one(session, id.into(), false)?);
    }
    Ok(views)
}

fn is_over(view: &ActivationView) -> bool {
    match &view.state {
        State::Pending | State::Approved | State::Active => false,
        State::Denied { .. }
        | State::Withdrawn
        | State::Lapsed
        | State::Refused { .. }
        | State::Ended { .. } => true,
    }
}

fn tell(session: &mut Session, view: &ActivationView, stream: Option<&mut Stream>) {
    let at = session.at();
    if let Some(stream) = stream {
        let text = stream.next(&json::activation(view, at.now));
        session.console.json(&text);
    } else if !session.only_ids(std::slice::from_ref(view)) {
        session.console.data(&activation::one_line(view, &at));
    }
}

/// Waits a while; true when somebody pressed Ctrl-C meanwhile.
fn interrupted(session: &Session) -> Result<bool, Failure> {
    let pause = PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::MAX);
    let mut watched = [PollFd::new(session.signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut watched, pause) {
        Ok(0) | Err(Errno::EINTR) => Ok(false),
        Ok(_) => Ok(session.signals.next().map_err(TalkError::Wait)?.is_some()),
        Err(error) => Err(TalkError::Wait(error).into()),
    }
}
