//! What a `Match exec` of ssh asks at each login: is there a certificate for this door?
//!
//! In: a folder, an account, a host. Out: exit code 0 and a certificate in the folder; or within a second why not, and what to type.
//! Asks nobody anything, requests nothing. The daemon is asked once in ten seconds at most, by one process of all that want the same.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::time::{Span, Timestamp};

use super::super::cert::{bare, fits, system};
use super::super::known_hosts;
use super::super::request::not_expected;
use super::super::session::Session;
use super::Place;
use super::kept::{Kept, Known};
use crate::clock;
use crate::door::Which;
use crate::failure::Failure;
use crate::talk::{End, Wait};

/// How long the daemon's word on a grant is enough.
const FRESH: Duration = Duration::from_secs(10);
/// A certificate with less to go is asked for anew, while its grant lives.
const SPARE: Span = Span(5 * 60);
/// With less to go it is none: the login itself takes its time.
const LEAST: Span = Span(15);
/// ssh waits for this program, and a person for ssh.
const PATIENCE: Duration = Duration::from_millis(900);

/// `elevate ssh-config --ready`.
pub(super) fn ready(session: &mut Session, folder: &Path, place: &Place) -> Result<u8, Failure> {
    session.console.behave(|manner| manner.asks = false);
    let kept = Kept::open(folder, session.around.uid)?;
    let usable = usable(&kept, place);
    if usable.as_ref().is_some_and(is_fresh) {
        return Ok(0);
    }
    let done = limit(place, usable.is_some())?;
    let end = renew(session, &kept, place);
    drop(done);
    match end {
        Ok(()) => Ok(0),
        // The host decides; the daemon may be away for it.
        Err(failure) if usable.is_some() && failure.refusal().code == Code::Unreachable => Ok(0),
        Err(failure) => Err(failure),
    }
}

/// What opens the door as far as is known here.
fn usable(kept: &Kept, place: &Place) -> Option<Known> {
    let until = clock::now().after(LEAST);
    kept.at(place).filter(|known| known.opens(place, until))
}

fn is_fresh(known: &Known) -> bool {
    known.age(clock::wall()).is_some_and(|age| age < FRESH) && !is_short(known, clock::now())
}

/// Whether another certificate would last longer, and this one not much.
fn is_short(known: &Known, now: Timestamp) -> bool {
    let view = &known.view;
    view.valid_before < now.after(SPARE) && view.valid_before < view.ends_at
}

/// Sees to it that a door has a certificate of a grant that lives.
fn renew(session: &mut Session, kept: &Kept, place: &Place) -> Result<(), Failure> {
    let _alone = kept.alone()?;
    // Whoever was first did it for all who waited.
    if usable(kept, place).as_ref().is_some_and(is_fresh) {
        return Ok(());
    }
    let key = kept.key()?;
    let known = kept.all(&key, clock::now())?;
    let until = clock::now().after(LEAST);
    // Another door of the same grant, a moment ago.
    if let Some(known) = known.iter().find(|known| is_fresh(known) && known.opens(place, until)) {
        return kept.lead(place, known.view.id);
    }
    let live = live(session)?;
    let believed = known_hosts::ask(session)?;
    known_hosts::keep(&known_hosts::files(session)?, [&place.host], &believed)?;
    for gone in known.iter().filter(|known| live.iter().all(|grant| grant.id != known.view.id)) {
        kept.forget(gone.view.id);
    }
    let grant = live.iter().filter(|grant| opens(grant, place)).max_by_key(|grant| grant.ends_at);
    let there = known.iter().find(|known| grant.is_some_and(|grant| grant.id == known.view.id));
    let now = clock::now();
    if let Some(known) = there.filter(|known| known.opens(place, until) && !is_short(known, now)) {
        kept.saw(known.view.id, clock::wall())?;
        return kept.lead(place, known.view.id);
    }
    let ask = Ask::Certificate(CertificateAsk {
        key: bare(&key)?,
        grant: grant.map(|grant| grant.id.into()),
        role: None,
        host: Some(place.host.clone().into()),
        login: Some(place.login.clone()),
        agentless: false,
    });
    let view = match session.ask_through(Which::Two, &ask, Wait::Machines)? {
        End::Done(Outcome::Certificate(view)) => view,
        End::Refused(refusal) => return Err(refused(refusal, place)),
        other @ (End::Done(_) | End::Left { .. }) => return Err(not_expected(other)),
    };
    fits(&view, &key)?;
    kept.keep(&view)?;
    kept.lead(place, view.id)
}

/// My grants that are active, wherever.
fn live(session: &mut Session) -> Result<Vec<ActivationView>, Failure> {
    let end = session.ask_through(Which::Two, &Ask::Activations { all: false }, Wait::Machines)?;
    let End::Done(Outcome::Activations(views)) = end else { return Err(not_expected(end)) };
    Ok(views.into_iter().filter(|view| view.state == State::Active).collect())
}

fn opens(grant: &ActivationView, place: &Place) -> bool {
    grant.logins.contains(&place.login) && grant.hosts.iter().any(|host| host.name == place.host)
}

/// What is missing is asked for by a program that may ask.
fn refused(refusal: Refusal, place: &Place) -> Failure {
    let missing = matches!(refusal.code, Code::Gone | Code::NotEligible | Code::Factor);
    let refusal = if missing { refusal.hint(format!("elevate ssh {place}")) } else { refusal };
    Failure::Refused(refusal)
}

/// Ends this process when its time is over, unless what is given back is dropped before.
fn limit(place: &Place, usable: bool) -> Result<Sender<()>, Failure> {
    let (done, over) = channel::<()>();
    let said = format!("error: the daemon does not answer in time\nhint:  elevate ssh {place}\n");
    let ended = move || match over.recv_timeout(PATIENCE) {
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        // The host decides, and may know more.
        Err(RecvTimeoutError::Timeout) if usable => std::process::exit(0),
        Err(RecvTimeoutError::Timeout) => {
            drop(std::io::stderr().write_all(said.as_bytes()));
            std::process::exit(i32::from(Code::Unreachable.exit()));
        }
    };
    std::thread::Builder::new().spawn(ended).map_err(|error| system("start a thread", error))?;
    Ok(done)
}
