//! Asking for a role, waiting, taking up waiting again.
//!
//! In: a role and how it is wanted, or an id. Out: a grant, or how far it is; the exit code says which.

use elevate_protocol::document::EndCause;
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, Outcome, RequestAsk};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{ActivationView, EligibilityView, HostState, State};
use elevate_protocol::name::Name;
use elevate_protocol::secret::Secret;

use super::look::explain;
use super::run::run;
use super::session::Session;
use crate::args::{Amend, Request, WaitFor, Wanted, verbs};
use crate::failure::{Failure, tell};
use crate::paint::Line;
use crate::render::{activation, json, progress};
use crate::talk::{End, Leaving, TalkError, Wait};
use crate::typing::{self, Echo, Typed};

/// How far a name may be off to be meant.
const MEANT_MAX: usize = 2;

/// `elevate ROLE`.
pub(super) fn request(session: &mut Session, words: &Request) -> Result<u8, Failure> {
    if !words.command.is_empty() {
        return run(session, &words.role, &words.wanted, &words.command);
    }
    if words.wanted.dry_run {
        return dry_run(session, &words.role, &words.wanted);
    }
    let wait = waiting(session, &words.wanted);
    let end = activate(session, &words.role, &words.wanted, wait)?;
    conclude(session, end, words.wanted.nowait, Some(&words.role))
}

/// `elevate R-7K2M`: waits on when it is mine and waits, otherwise shows it.
pub(super) fn take_up(session: &mut Session, id: IdPrefix) -> Result<u8, Failure> {
    let end = session.ask(&Ask::Show { id: id.clone(), documents: false }, Wait::Machines)?;
    let End::Done(Outcome::Activation(view)) = end else { return Err(not_expected(end)) };
    let mine = is_mine(session, &view)?;
    if mine && matches!(view.state, State::Pending | State::Approved) {
        let wait = waiting(session, &Wanted::nothing());
        let end = session.ask(&Ask::Resume { id }, wait)?;
        return conclude(session, end, false, None);
    }
    let at = session.at();
    if !session.only_ids(std::slice::from_ref(&view)) {
        session.show(&json::activation(&view, at.now), &activation::full(&view, &at));
    }
    // Who comes back for a request of their own learns by the code as well what became of it.
    Ok(if mine { exit_of(&view, false) } else { 0 })
}

/// `elevate amend R-7K2M`: the same again with something changed. Who had approved decides anew.
pub(super) fn amend(session: &mut Session, words: Amend) -> Result<u8, Failure> {
    let wanted = words.wanted;
    if wanted.changes_nothing() {
        let example = format!("elevate amend R-{} -d 30m, or -m, -t, -H", words.id.letters());
        return Err(Failure::usage("nothing is to be different", example));
    }
    let end = session.ask(&Ask::Show { id: words.id.clone(), documents: false }, Wait::Machines)?;
    let End::Done(Outcome::Activation(former)) = end else { return Err(not_expected(end)) };
    let hosts = if wanted.hosts.is_empty() {
        former.hosts.iter().map(|host| host.name.clone().into()).collect()
    } else {
        wanted.hosts.clone()
    };
    let ask = Ask::Request(RequestAsk {
        role: former.role.clone(),
        hosts,
        duration: wanted.duration.or(Some(former.duration)),
        reason: wanted.reason.clone().or(former.reason),
        ticket: wanted.ticket.clone().or(former.ticket),
        wait: !wanted.nowait,
        dry_run: wanted.dry_run,
        amends: Some(words.id),
    });
    if wanted.dry_run {
        return explain(session, &ask);
    }
    let wait = waiting(session, &wanted);
    let end = session.ask(&ask, wait)?;
    conclude(session, end, wanted.nowait, Some(&former.role))
}

fn is_mine(session: &mut Session, view: &ActivationView) -> Result<bool, Failure> {
    let end = session.ask(&Ask::Whoami, Wait::Machines)?;
    let End::Done(Outcome::Account(account)) = end else { return Err(not_expected(end)) };
    Ok(account.person == view.person)
}

/// On a terminal for people, otherwise for machines only, unless something else was said.
pub(super) fn waiting(session: &Session, wanted: &Wanted) -> Wait {
    match wanted.wait {
        Some(WaitFor(limit)) => Wait::People(limit),
        None if wanted.nowait || !session.console.manner().asks => Wait::Machines,
        None => Wait::People(None),
    }
}

/// Asks for a role, with what the options and variables say and what can still be asked of the person.
pub(super) fn activate(
    session: &mut Session,
    role: &Name,
    wanted: &Wanted,
    wait: Wait,
) -> Result<End, Failure> {
    let mut ask = wished(session, role, wanted);
    if session.console.manner().asks && ask.reason.is_none() && ask.ticket.is_none() {
        ask_missing(session, &mut ask)?;
    }
    session.ask(&Ask::Request(ask), wait)
}

/// `--dry-run`: what the daemon would decide, which records nothing and asks nobody.
fn dry_run(session: &mut Session, role: &Name, wanted: &Wanted) -> Result<u8, Failure> {
    let ask = RequestAsk { dry_run: true, ..wished(session, role, wanted) };
    explain(session, &Ask::Request(ask))
}

/// What options and variables say.
fn wished(session: &Session, role: &Name, wanted: &Wanted) -> RequestAsk {
    RequestAsk {
        role: role.clone(),
        hosts: wanted.hosts.clone(),
        duration: wanted.duration.or(session.around.duration),
        reason: wanted.reason.clone().or_else(|| session.around.reason.clone()),
        ticket: wanted.ticket.clone(),
        // `--nowait` is the daemon's business too; otherwise it reports until the hosts have confirmed.
        wait: !wanted.nowait,
        dry_run: false,
        amends: None,
    }
}

/// Asks for what the role wants and the command line did not say.
fn ask_missing(session: &mut Session, ask: &mut RequestAsk) -> Result<(), Failure> {
    let found = eligible(session, &Ask::Request(ask.clone()))?;
    let Some(role) = found.into_iter().find(|one| one.role == ask.role) else { return Ok(()) };
    if let Some(pattern) = &role.ticket {
        ask.ticket = one_line(session, &format!("Ticket ({pattern}):"))?;
    }
    if role.reason && ask.ticket.is_none() {
        ask.reason = one_line(session, "Reason, for the approvers and the log:")?;
    }
    Ok(())
}

/// My roles, through the door of `ask`.
fn eligible(session: &mut Session, ask: &Ask) -> Result<Vec<EligibilityView>, Failure> {
    // No way for the ask: it says so itself, and better.
    let Ok(which) = session.door(ask) else { return Ok(Vec::new()) };
    let end = session.ask_through(which, &Ask::Eligible, Wait::Machines)?;
    let End::Done(Outcome::Eligible(found)) = end else { return Err(not_expected(end)) };
    Ok(found)
}

/// One line from the person; none when it is empty.
pub(super) fn one_line<T: std::str::FromStr<Err: std::fmt::Display>>(
    session: &mut Session,
    question: &str,
) -> Result<Option<T>, Failure> {
    let line = Line::plain(question);
    match typing::ask(&mut session.console, &session.signals, &line, Echo::Shown, None)? {
        Typed::Line(text) => parsed(&text),
        Typed::Interrupted | Typed::Over | Typed::Disturbed => {
            Err(Failure::usage("nothing was asked for", "nothing was changed"))
        }
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &Secret) -> Result<Option<T>, Failure> {
    if text.expose().is_empty() {
        return Ok(None);
    }
    text.expose()
        .parse()
        .map(Some)
        .map_err(|error: T::Err| Failure::usage(error.to_string(), "type it again"))
}

/// Tells how a request ended, and gives the exit code.
pub(super) fn conclude(
    session: &mut Session,
    end: End,
    nowait: bool,
    role: Option<&Name>,
) -> Result<u8, Failure> {
    let at = session.at();
    match end {
        End::Done(Outcome::Activation(view)) => {
            if !session.only_ids(std::slice::from_ref(&view)) {
                session.show(&json::activation(&view, at.now), &[activation::one_line(&view, &at)]);
            }
            let exit = exit_of(&view, nowait);
            if view.state == State::Active && exit == 0 {
                session.console.say(&progress::how_to_use(&view));
            } else if exit == 9 {
                session.console.warn(&Line::plain("No host has confirmed; sudo will refuse until one does."));
            }
            if view.state == State::Pending {
                session.console.say(&progress::left(&view, &at));
            }
            Ok(exit)
        }
        End::Done(_) => Err(TalkError::Unexpected("another outcome").into()),
        End::Refused(refusal) => {
            let json = session.json();
            let exit = tell(&mut session.console, &refusal, json);
            if let (Code::UnknownRole, Some(role), false) = (refusal.code, role, json) {
                suggest(session, role);
            }
            Ok(exit)
        }
        End::Left { last: Some(view), why: Leaving::Interrupted | Leaving::TimeOver } => {
            if !session.only_ids(std::slice::from_ref(&view)) {
                session.show_value(&json::activation(&view, at.now));
            }
            session.console.say(&progress::left(&view, &at));
            Ok(Code::Pending.exit())
        }
        End::Left { last: None, why: _ } => {
            let message = "left before anything was recorded";
            Err(Failure::Refused(
                Refusal::new(Code::Factor, message).hint("nothing is pending from this attempt"),
            ))
        }
    }
}

/// The exit code of an activation that somebody wanted.
pub(super) fn exit_of(view: &ActivationView, nowait: bool) -> u8 {
    match &view.state {
        State::Pending | State::Approved => Code::Pending.exit(),
        State::Active if nowait => 0,
        State::Active if view.hosts.is_empty() => 0,
        State::Active if view.hosts.iter().any(|host| host.state == HostState::Confirmed) => 0,
        State::Active => Code::Host.exit(),
        State::Denied { .. } => Code::Denied.exit(),
        State::Refused { .. } => Code::NotEligible.exit(),
        State::Ended {
            cause: EndCause::NotEnforced | EndCause::AccountChanged | EndCause::NoContact | EndCause::Restored,
            ..
        } => Code::Host.exit(),
        State::Withdrawn | State::Lapsed | State::Ended { .. } => Code::Gone.exit(),
    }
}

/// After "no such role": the commands, the roles, and what may have been meant. Nothing is done by itself.
fn suggest(session: &mut Session, role: &Name) {
    let commands = verbs();
    // The refusal was told already; without the roles the rest still helps.
    let roles: Vec<String> = eligible(session, &Ask::Eligible)
        .map(|found| found.into_iter().map(|one| one.role.to_string()).collect())
        .unwrap_or_default();
    let known = commands.iter().chain(&roles);
    let meant =
        known.map(|word| (distance(word, role.as_str()), word)).filter(|(off, _)| *off <= MEANT_MAX).min();
    if let Some((_, word)) = meant {
        session.console.warn(&Line::plain("Did you mean: elevate ").then(word));
    }
    let own = if roles.is_empty() { "none".to_owned() } else { roles.join(" ") };
    session.console.warn(&Line::plain("Your roles: ").then(&own));
    session.console.warn(&Line::plain("Commands:   ").then(&commands.join(" ")));
}

/// Letters to add, drop or change to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut left = line.saturating_add(1);
        let mut fresh = vec![left];
        for (above, b) in row.windows(2).zip(&other) {
            let [corner, above] = above else { continue };
            let change = corner.saturating_add(usize::from(a != *b));
            left = change.min(above.saturating_add(1)).min(left.saturating_add(1));
            fresh.push(left);
        }
        row = fresh;
    }
    row.last().copied().unwrap_or_default()
}

/// What to make of an end that this command did not ask for.
pub(super) fn not_expected(end: End) -> Failure {
    match end {
        End::Refused(refusal) => Failure::Refused(refusal),
        End::Left { .. } => Failure::Refused(Refusal::new(Code::Internal, "interrupted")),
        End::Done(_) => TalkError::Unexpected("another outcome").into(),
    }
}

impl Wanted {
    /// Whether it leaves a request as it is.
    #[must_use]
    fn changes_nothing(&self) -> bool {
        self.duration.is_none() && self.reason.is_none() && self.ticket.is_none() && self.hosts.is_empty()
    }

    /// No option given.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            duration: None,
            reason: None,
            ticket: None,
            hosts: Vec::new(),
            dry_run: false,
            nowait: false,
            wait: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::activation::tests::view;
    use elevate_protocol::time::Timestamp;

    #[test]
    fn each_state_has_its_exit_code() {
        let exit = |state: State| {
            let mut one = view();
            one.state = state;
            exit_of(&one, false)
        };
        let reason = || "no".parse().unwrap();
        assert_eq!(exit(State::Active), 0);
        assert_eq!(exit(State::Pending), 4);
        assert_eq!(exit(State::Approved), 4);
        assert_eq!(exit(State::Denied { by: "bob".parse().unwrap(), reason: reason() }), 5);
        assert_eq!(exit(State::Refused { reason: "no".into() }), 3);
        assert_eq!(exit(State::Lapsed), 7);
        assert_eq!(exit(State::Ended { cause: EndCause::NotEnforced, at: Timestamp(0) }), 9);
        assert_eq!(exit(State::Ended { cause: EndCause::Dropped, at: Timestamp(0) }), 7);
        let mut silent = view();
        silent.hosts.iter_mut().for_each(|host| host.state = HostState::Sent);
        assert_eq!((exit_of(&silent, false), exit_of(&silent, true)), (9, 0));
    }

    #[test]
    fn a_slip_is_near_and_another_word_is_far() {
        assert_eq!(
            (distance("list", "lsit"), distance("dba", "dab"), distance("web-ops", "web-ops")),
            (2, 2, 0)
        );
        assert!(distance("approve", "web-ops") > MEANT_MAX);
        assert_eq!((distance("", "abc"), distance("abc", "")), (3, 3));
    }
}
