//! `elevate run` and `elevate shell`: activate, work through sudo, give back.
//!
//! In: a role, a command. Out: the command's own exit code; 125 to 127 are this program's, as `env` has it.

use std::ffi::OsString;
use std::path::Path;

use elevate_protocol::document::EndCause;
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::name::Name;

use super::look::activations;
use super::request::{activate, exit_of, not_expected, waiting};
use super::session::Session;
use super::sudo::{Asks, Order, Runnable, SUDO, argv, run as run_sudo, runnable};
use crate::args::{Request, Wanted};
use crate::door::DoorError;
use crate::failure::{Failure, tell};
use crate::paint::Line;
use crate::render::{activation, progress};
use crate::talk::{End, Wait};

/// `elevate run`.
pub(super) fn run(
    session: &mut Session,
    role: &Name,
    wanted: &Wanted,
    command: &[OsString],
) -> Result<u8, Failure> {
    refuse_dry_run(wanted)?;
    if let Some(program) = command.first() {
        let shown = program.to_string_lossy();
        let (exit, what) = match runnable(program, &session.around.path) {
            Runnable::Perhaps => (0, ""),
            Runnable::Not => (126, "is no program"),
            Runnable::Absent => (127, "is not found"),
        };
        if exit != 0 {
            let refusal = Refusal::new(Code::Usage, format!("{shown} {what}; nothing was asked for"));
            let json = session.json();
            tell(&mut session.console, &refusal, json);
            return Ok(exit);
        }
    }
    through_sudo(session, role, wanted, Order::Command(command))
}

/// `elevate shell`.
pub(super) fn shell(session: &mut Session, words: &Request) -> Result<u8, Failure> {
    refuse_dry_run(&words.wanted)?;
    if !words.command.is_empty() {
        return Err(Failure::usage("a shell takes no command", "elevate run ROLE -- CMD"));
    }
    through_sudo(session, &words.role, &words.wanted, Order::Shell)
}

/// Nothing is run for show; what would be decided is asked by itself.
fn refuse_dry_run(wanted: &Wanted) -> Result<(), Failure> {
    if wanted.dry_run {
        return Err(Failure::usage("--dry-run runs nothing", "elevate request ROLE --dry-run"));
    }
    Ok(())
}

fn through_sudo(
    session: &mut Session,
    role: &Name,
    wanted: &Wanted,
    order: Order<'_>,
) -> Result<u8, Failure> {
    let this = session.around.host.clone();
    if !session.managed() || wanted.hosts.iter().any(|host| this.as_ref().is_none_or(|this| *host != *this)) {
        return Err(DoorError::NotManaged.into());
    }
    if !Path::new(SUDO).exists() {
        return Err(Failure::Refused(Refusal::new(Code::Internal, format!("there is no {SUDO}"))));
    }
    // What was there before stays afterwards: somebody asked for it by hand.
    let before = activations(session, false)?;
    let wait = waiting(session, wanted);
    let end = activate(session, role, wanted, wait)?;
    let view = active(session, end)?;
    if view.run_as.is_none() && !view.logins.is_empty() {
        if before.iter().all(|one| one.id != view.id) {
            give_back(session, &view);
        }
        let message = format!("{role} allows nothing through sudo; it opens accounts by SSH");
        return Err(Failure::usage(message, "elevate ssh [USER@]HOST"));
    }
    let asks = if view.factor_at_use { Asks::Code } else { Asks::Nothing };
    let words = argv(order, view.run_as.as_ref(), asks);
    let status = run_sudo(&words, &mut session.console, &session.signals);
    if before.iter().any(|one| one.id == view.id) {
        let line = activation::one_line(&view, &session.at());
        session.console.say(&Line::plain("Stays: ").with(line));
    } else {
        give_back(session, &view);
    }
    status
}

/// The grant, active here; anything less is a failure of this program (125).
pub(super) fn active(session: &mut Session, end: End) -> Result<Box<ActivationView>, Failure> {
    let at = session.at();
    let view = match end {
        End::Done(Outcome::Activation(view)) => view,
        End::Left { last: Some(view), .. } => view,
        other @ (End::Done(_) | End::Refused(_) | End::Left { .. }) => return Err(not_expected(other)),
    };
    if exit_of(&view, false) == 0 {
        return Ok(view);
    }
    let code = match &view.state {
        State::Pending | State::Approved => {
            session.console.say(&progress::left(&view, &at));
            Code::Pending
        }
        State::Active
        | State::Ended {
            cause: EndCause::NotEnforced | EndCause::AccountChanged | EndCause::NoContact | EndCause::Restored,
            ..
        } => Code::Host,
        State::Denied { .. } => Code::Denied,
        State::Refused { .. } => Code::NotEligible,
        State::Withdrawn | State::Lapsed | State::Ended { .. } => Code::Gone,
    };
    let text = activation::one_line(&view, &at).render(false);
    Err(Failure::Refused(Refusal::new(code, format!("not run: {text}"))))
}

/// The command is over and its status counts: a failure here is told and changes nothing. The grant has its own end.
fn give_back(session: &mut Session, view: &ActivationView) {
    let ask = Ask::Drop { id: Some(IdPrefix::from(view.id)), all: false };
    let id = activation::short_id(view);
    let failure = match session.ask(&ask, Wait::Machines) {
        Ok(End::Done(_)) => return,
        // It ended while the command ran.
        Ok(End::Refused(refusal)) if refusal.code == Code::Gone => return,
        Ok(other) => not_expected(other),
        Err(failure) => failure,
    };
    let message = failure.refusal().message;
    let until = view.ends_at.map(|end| crate::render::when::until(end, &session.at())).unwrap_or_default();
    session
        .console
        .warn(&Line::plain(&format!("elevate: {id} was not given back ({message}); it ends {until}")));
}
