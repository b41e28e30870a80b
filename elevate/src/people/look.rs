//! Commands that only look.
//!
//! In: which. Out: data on stdout.

use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::name::HostWord;

use super::request::not_expected;
use super::session::Session;
use crate::args::{CanI, History, List, Requests};
use crate::failure::Failure;
use crate::paint::Line;
use crate::render::data::{ACTIVATION, Stream};
use crate::render::{activation, json, overview as show_overview};
use crate::talk::{End, Told, Wait};

/// `elevate` alone.
pub(super) fn overview(session: &mut Session) -> Result<u8, Failure> {
    let end = session.ask(&Ask::Overview, Wait::Machines)?;
    let End::Done(Outcome::Overview(view)) = end else { return Err(not_expected(end)) };
    let at = session.at();
    if session.common.quiet && !session.scripted() {
        session.only_ids(&view.active);
        session.only_ids(&view.waiting);
    } else {
        session.show(&json::overview(&view, at.now), &show_overview::overview(&view, &at));
    }
    Ok(0)
}

/// `elevate list`.
pub(super) fn list(session: &mut Session, words: &List) -> Result<u8, Failure> {
    let at = session.at();
    if words.eligible {
        let end = session.ask(&Ask::Eligible, Wait::Machines)?;
        let End::Done(Outcome::Eligible(views)) = end else { return Err(not_expected(end)) };
        if session.common.quiet && !session.scripted() {
            views.iter().for_each(|view| session.console.data(&Line::plain(view.role.as_str())));
        } else {
            session.show_table(&json::eligible(&views), &show_overview::eligible(&views, &at));
        }
        return Ok(0);
    }
    let mut views = activations(session, words.expired)?;
    views.retain(|view| match &view.state {
        State::Active => !words.expired,
        State::Pending | State::Approved => !words.active && !words.expired,
        State::Denied { .. }
        | State::Withdrawn
        | State::Lapsed
        | State::Refused { .. }
        | State::Ended { .. } => words.expired,
    });
    show_list(session, &views);
    Ok(0)
}

/// My activations.
pub(super) fn activations(session: &mut Session, all: bool) -> Result<Vec<ActivationView>, Failure> {
    let end = session.ask(&Ask::Activations { all }, Wait::Machines)?;
    let End::Done(Outcome::Activations(views)) = end else { return Err(not_expected(end)) };
    Ok(views)
}

pub(super) fn show_list(session: &mut Session, views: &[ActivationView]) {
    let at = session.at();
    if !session.only_ids(views) {
        session.show_table(&json::activations(views, at.now), &show_overview::activations(views, &at));
    }
}

/// `elevate history`.
pub(super) fn history(session: &mut Session, words: History) -> Result<u8, Failure> {
    let end = session.ask(&Ask::History { person: words.person, since: words.since }, Wait::Machines)?;
    let End::Done(Outcome::Activations(views)) = end else { return Err(not_expected(end)) };
    show_list(session, &views);
    if views.is_empty() {
        session.console.say(&Line::plain("Nothing in that time."));
    }
    Ok(0)
}

/// `elevate show`.
pub(super) fn show(session: &mut Session, id: IdPrefix, documents: bool) -> Result<u8, Failure> {
    let at = session.at();
    let view = one(session, id, documents)?;
    if session.only_ids(std::slice::from_ref(&view)) {
        return Ok(0);
    }
    let mut lines = activation::full(&view, &at);
    for host in &view.hosts {
        for (number, document) in host.documents.iter().enumerate() {
            lines.push(Line::plain(&format!("  {} document {}", host.name, number.saturating_add(1))));
            lines.extend(crate::paint::lines_of(&document.body));
            lines.extend(crate::paint::lines_of(&document.signature));
        }
    }
    session.show(&json::activation(&view, at.now), &lines);
    Ok(0)
}

pub(super) fn one(
    session: &mut Session,
    id: IdPrefix,
    documents: bool,
) -> Result<Box<ActivationView>, Failure> {
    let end = session.ask(&Ask::Show { id, documents }, Wait::Machines)?;
    let End::Done(Outcome::Activation(view)) = end else { return Err(not_expected(end)) };
    Ok(view)
}

/// `elevate requests`.
pub(super) fn requests(session: &mut Session, words: &Requests) -> Result<u8, Failure> {
    let mut ask = Ask::Requests { to_review: words.to_review, mine: words.mine, watch: words.watch };
    // Without a key there are only one's own to see; with one, both kinds.
    if !words.to_review && !words.mine {
        let pinned = session.daemon()?.is_some();
        ask = Ask::Requests { to_review: pinned, mine: !pinned, watch: words.watch };
    }
    if words.watch {
        return watch(session, &ask);
    }
    let end = session.ask(&ask, Wait::Machines)?;
    let End::Done(Outcome::Activations(views)) = end else { return Err(not_expected(end)) };
    let at = session.at();
    let review = matches!(ask, Ask::Requests { to_review: true, .. });
    if review && session.console.manner().tables && !session.scripted() && !session.common.quiet {
        views.iter().for_each(|view| session.console.data(&activation::for_review(view, &at)));
    } else {
        show_list(session, &views);
    }
    if views.is_empty() {
        session.console.say(&Line::plain("Nothing waits."));
    }
    Ok(0)
}

/// One line per change, until Ctrl-C.
fn watch(session: &mut Session, ask: &Ask) -> Result<u8, Failure> {
    let (quiet, zone) = (session.common.quiet, session.at().zone);
    let mut stream = session.form().map(|form| Stream::new(form, ACTIVATION));
    let mut told = |console: &mut crate::console::Console, told: Told<'_>| {
        if let Told::Progress(view, _) = told {
            let at = crate::render::At { now: crate::clock::now(), zone: zone.clone() };
            if let Some(stream) = &mut stream {
                console.json(&stream.next(&json::activation(view, at.now)));
            } else if quiet {
                console.data(&Line::plain(&activation::full_id(view)));
            } else if view.state == State::Pending {
                console.data(&activation::for_review(view, &at));
            } else {
                console.data(&activation::one_line(view, &at));
            }
        }
    };
    match session.ask_telling(ask, Wait::Follow, &mut told)? {
        End::Done(_) | End::Left { .. } => Ok(0),
        End::Refused(refusal) => Err(Failure::Refused(refusal)),
    }
}

/// `elevate why`.
pub(super) fn why(session: &mut Session, host: Option<HostWord>, argv: Vec<String>) -> Result<u8, Failure> {
    explain(session, &Ask::Why { host, argv })
}

/// `elevate can-i`.
pub(super) fn can_i(session: &mut Session, words: CanI) -> Result<u8, Failure> {
    match words.role {
        Some(role) => explain(session, &Ask::CanI { role, host: words.host }),
        None => explain(session, &Ask::Why { host: words.host, argv: words.command }),
    }
}

pub(super) fn explain(session: &mut Session, ask: &Ask) -> Result<u8, Failure> {
    let end = session.ask(ask, Wait::Machines)?;
    let End::Done(Outcome::Explanation(view)) = end else { return Err(not_expected(end)) };
    session.show(&json::explanation(&view), &show_overview::explanation(&view));
    if let (Some(hint), false) = (&view.hint, session.scripted()) {
        session.console.say(&Line::plain("hint:  ").then(hint));
    }
    Ok(if view.yes { 0 } else { Code::NotEligible.exit() })
}

/// `elevate whoami`.
pub(super) fn whoami(session: &mut Session) -> Result<u8, Failure> {
    let end = session.ask(&Ask::Whoami, Wait::Machines)?;
    let End::Done(Outcome::Account(view)) = end else { return Err(not_expected(end)) };
    if session.common.quiet && !session.scripted() {
        session.console.data(&Line::plain(view.person.as_str()));
    } else {
        session.show(&json::account(&view), &show_overview::account(&view));
    }
    Ok(0)
}
