//! From hello to done: takes a conversation's one ask to whoever answers it.
//!
//! In: a [`Conversation`]. Out: its last reply. What a door may ask is decided here (docs/wire.md, "doors").

use elevate_audit::{Actor, Door};
use elevate_protocol::frame::{FRAME_MAX, encode};
use elevate_protocol::message::person::{Ask, Outcome, Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::{Versions, parts};
use elevate_protocol::time::Span;

use super::dialogue::Dialogue;
use super::fault::{Stop, Told, refuse, refuse_hint};
use super::{Conversation, Core, Speaker};
use super::{
    admin, at_use, cas, certificate, end, extend, listing, locks, mfa, recovery, request, requests, review,
    room, why,
};
use crate::store::{HostRow, Voice};

/// How long somebody may say nothing before the ask.
const ASK_WITHIN: Span = Span(60);

/// Longest answer that is sent whole, in bytes: a frame, less what a host's connection puts around it.
const WHOLE_MAX: usize = FRAME_MAX - 1024;
/// Longest answer through a host's door in bytes: its agent holds it for the person, and others'.
pub(super) const HOST_ANSWER_MAX: usize = 1024 * 1024;

pub(super) async fn converse(core: &Core, conversation: Conversation) {
    let Conversation { speaker, say, reply } = conversation;
    let last = reply.clone();
    let most = match &speaker {
        Speaker::OnHost { .. } => HOST_ANSWER_MAX,
        Speaker::Root { .. } | Speaker::Person { .. } => parts::ANSWER_MAX,
    };
    let place = match &speaker {
        // Whoever is root here may well work through a list of hosts.
        Speaker::Root { .. } => core.0.talks.take(whose(&speaker)),
        Speaker::Person { .. } | Speaker::OnHost { .. } => {
            core.0.talks.take_seldom(whose(&speaker), core.0.clock.now())
        }
    };
    let answer = match place {
        None => Err(Stop::Refuse(Refusal::new(Code::Busy, "too many conversations at once"))),
        Some(_place) => match begin(core, speaker).await {
            Ok((speaker, voice, here)) => {
                let mut talk = Dialogue { speaker, voice, here, say, reply };
                talk_through(core, &mut talk).await
            }
            Err(stop) => Err(stop),
        },
    };
    let said = match answer {
        Ok(outcome) => Reply::Done(outcome),
        Err(Stop::Refuse(refusal)) => Reply::Refused(refusal),
        Err(Stop::Left) => return,
        Err(Stop::Fault(_)) if core.0.store.is_closed() => {
            Reply::Refused(Refusal::new(Code::Unreachable, "the daemon is stopping"))
        }
        Err(Stop::Fault(fault)) => Reply::Refused(room::failed(core.inner(), &fault)),
    };
    for reply in fitting(said, most) {
        // Whoever left does not need the answer: what was done is done and recorded.
        if last.send(reply).await.is_err() {
            return;
        }
    }
}

/// An answer that is no frame goes in parts. One that is too long for that is not sent at all.
fn fitting(said: Reply, most: usize) -> Vec<Reply> {
    if encode(&said).is_ok_and(|frame| frame.len() <= WHOLE_MAX) {
        return vec![said];
    }
    let parts = match &said {
        Reply::Done(outcome) => parts::split(outcome, most).ok(),
        Reply::Refused(_)
        | Reply::Hello { .. }
        | Reply::Challenge(_)
        | Reply::Prompt { .. }
        | Reply::Notice { .. }
        | Reply::Verdict { .. }
        | Reply::Seed { .. }
        | Reply::Progress(_)
        | Reply::Event(_)
        | Reply::Away(_)
        | Reply::Part { .. } => None,
    };
    parts.unwrap_or_else(|| {
        let refusal = Refusal::new(Code::Usage, "the answer is longer than an answer may be");
        vec![Reply::Refused(refusal.hint("ask for less: one role, one host or one request"))]
    })
}

fn whose(speaker: &Speaker) -> String {
    match speaker {
        Speaker::Root { uid } => format!("root {uid}"),
        Speaker::Person { name, .. } => format!("key {name}"),
        Speaker::OnHost { host, name, .. } => format!("{host} {name}"),
    }
}

async fn begin(core: &Core, speaker: Speaker) -> Told<(Speaker, Voice, Option<HostRow>)> {
    match &speaker {
        Speaker::Root { uid } => {
            let voice = Voice { actor: Actor::Root(*uid), door: Some(Door::Local) };
            Ok((speaker, voice, None))
        }
        Speaker::Person { name, key, address } => {
            let door = Door::Key { fingerprint: key.clone(), address: *address };
            let voice = Voice { actor: Actor::Person(name.clone()), door: Some(door) };
            Ok((speaker, voice, None))
        }
        Speaker::OnHost { host, name, uid, .. } => {
            let row = core.0.store.glance().await?.host(*host).await?;
            let Some(row) = row else { return refuse(Code::UnknownHost, "this host is not enrolled") };
            let door = Door::Host { name: row.name.clone(), uid: *uid };
            let voice = Voice { actor: Actor::Person(name.clone()), door: Some(door) };
            Ok((speaker, voice, Some(row)))
        }
    }
}

async fn talk_through(core: &Core, talk: &mut Dialogue) -> Told<Outcome> {
    let clock = core.0.clock.clone();
    let until = clock.now().after(ASK_WITHIN);
    let ask = tokio::select! {
        ask = first_ask(talk) => ask?,
        () = clock.sleep_until(until) => return refuse(Code::Usage, "nothing was asked"),
    };
    talk.stands(core.inner())?;
    allowed(&talk.speaker, &ask)?;
    room::admit(core.inner(), &ask)?;
    locks::admit(core.inner(), talk, &ask).await?;
    answer(core, talk, &ask).await
}

async fn first_ask(talk: &mut Dialogue) -> Told<Ask> {
    loop {
        match talk.hear().await? {
            Say::Ask(ask) => return Ok(ask),
            Say::Hello { versions } => match Versions::OURS.common(versions) {
                Some(version) => talk.tell(Reply::Hello { version }).await?,
                None => {
                    return refuse_hint(
                        Code::Version,
                        "this program and the daemon speak no common version",
                        "update the older one of the two",
                    );
                }
            },
            Say::Answer { .. }
            | Say::Confirm { .. }
            | Say::Input { .. }
            | Say::Leave
            | Say::Use(_)
            | Say::AtUse(_)
            | Say::Ssh(_)
            | Say::SshDenied(_) => {
                return refuse(Code::Usage, "an ask comes first");
            }
        }
    }
}

/// What each door may ask. Through a host: the person's own requests; never a decision, a factor, an administration.
fn allowed(speaker: &Speaker, ask: &Ask) -> Told<()> {
    let on_host = matches!(speaker, Speaker::OnHost { .. });
    let own_key = |command: String| {
        refuse_hint(
            Code::WrongDoor,
            "this needs your own key; it is not taken from a managed host",
            format!("from your own machine: {command}"),
        )
    };
    match ask {
        Ask::Approve { id, .. } if on_host => own_key(format!("elevate approve R-{}", id.letters())),
        Ask::Deny { id, .. } if on_host => own_key(format!("elevate deny R-{} -m …", id.letters())),
        Ask::FactorAdd { .. } if on_host => own_key("elevate mfa add".to_owned()),
        Ask::RecoveryMake if on_host => own_key("elevate mfa recovery".to_owned()),
        Ask::Certificate(_) if on_host => own_key("elevate cert -o FILE".to_owned()),
        Ask::HostCas if on_host => own_key("elevate ssh-config".to_owned()),
        Ask::Show { id, documents: true } if on_host => own_key(format!("elevate show G-{}", id.letters())),
        Ask::History { person: Some(person), .. } if on_host => {
            own_key(format!("elevate history --person {person}"))
        }
        Ask::Requests { to_review: true, .. } if on_host => {
            own_key("elevate requests --to-review".to_owned())
        }
        // Who may administer what is looked at where it is done, so that each refusal is an event.
        Ask::Admin(_)
        | Ask::Request(_)
        | Ask::Resume { .. }
        | Ask::Overview
        | Ask::Eligible
        | Ask::Activations { .. }
        | Ask::History { .. }
        | Ask::Show { .. }
        | Ask::Requests { .. }
        | Ask::Approve { .. }
        | Ask::Deny { .. }
        | Ask::Cancel { .. }
        | Ask::Drop { .. }
        | Ask::Extend { .. }
        | Ask::Why { .. }
        | Ask::CanI { .. }
        | Ask::FactorAdd { .. }
        | Ask::RecoveryMake
        | Ask::Certificate(_)
        | Ask::HostCas
        | Ask::LockMe { .. }
        | Ask::FactorList
        | Ask::FactorTest
        | Ask::AtUse(_)
        | Ask::Whoami => Ok(()),
    }
}

/// Whether an ask gives a right, decides, or takes a code: what a lock refuses. The rest looks, or gives back.
pub(super) fn gives_or_decides(ask: &Ask) -> bool {
    match ask {
        Ask::Request(_)
        | Ask::Resume { .. }
        | Ask::Requests { to_review: true, .. }
        | Ask::Approve { .. }
        | Ask::Deny { .. }
        | Ask::Extend { .. }
        | Ask::FactorAdd { .. }
        | Ask::RecoveryMake
        | Ask::Certificate(_)
        | Ask::LockMe { .. }
        | Ask::FactorTest
        | Ask::AtUse(_)
        | Ask::Admin(_) => true,
        Ask::Overview
        | Ask::Eligible
        | Ask::Activations { .. }
        | Ask::History { .. }
        | Ask::Show { .. }
        | Ask::Requests { to_review: false, .. }
        | Ask::Cancel { .. }
        | Ask::Drop { .. }
        | Ask::Why { .. }
        | Ask::CanI { .. }
        | Ask::FactorList
        | Ask::HostCas
        | Ask::Whoami => false,
    }
}

/// An ask in a word or two, for events.
pub(super) fn word(ask: &Ask) -> &'static str {
    match ask {
        Ask::Request(_) => "request",
        Ask::Resume { .. } => "start",
        Ask::Overview => "overview",
        Ask::Eligible | Ask::Activations { .. } => "list",
        Ask::History { .. } => "history",
        Ask::Show { .. } => "show",
        Ask::Requests { .. } => "requests",
        Ask::Approve { .. } => "approve",
        Ask::Deny { .. } => "deny",
        Ask::Cancel { .. } => "cancel",
        Ask::Drop { .. } => "drop",
        Ask::Extend { .. } => "extend",
        Ask::Why { .. } => "why",
        Ask::CanI { .. } => "can-i",
        Ask::FactorAdd { .. } => "mfa add",
        Ask::RecoveryMake => "mfa recovery",
        Ask::Certificate(_) => "cert",
        Ask::HostCas => "host keys",
        Ask::LockMe { .. } => "lock me",
        Ask::FactorList => "mfa list",
        Ask::FactorTest => "mfa test",
        Ask::AtUse(_) => "use",
        Ask::Whoami => "whoami",
        Ask::Admin(_) => "elevatectl",
    }
}

/// What takes away is done again where there was no room for it: the reserve gives way a piece at a time.
async fn answer(core: &Core, talk: &mut Dialogue, ask: &Ask) -> Told<Outcome> {
    let mut tries = core.inner().store.tries();
    loop {
        match answer_once(core, talk, ask).await {
            Err(Stop::Fault(fault)) if room::takes_away(ask) && tries.again(&fault) => {}
            told => return told,
        }
    }
}

async fn answer_once(core: &Core, talk: &mut Dialogue, ask: &Ask) -> Told<Outcome> {
    match ask {
        Ask::Request(wanted) => request::request(core, talk, ask, wanted).await,
        Ask::Resume { id } => request::resume(core, talk, ask, id).await,
        Ask::Overview => listing::overview(core, talk).await,
        Ask::Eligible => listing::eligible(core, talk).await,
        Ask::Activations { all } => listing::activations(core, talk, *all).await,
        Ask::History { person, since } => listing::history(core, talk, person.as_ref(), *since).await,
        Ask::Show { id, documents } => listing::show(core, talk, id, *documents).await,
        Ask::Requests { to_review, mine, watch } => {
            requests::requests(
                core,
                talk,
                requests::Which { to_review: *to_review, mine: *mine, watch: *watch },
            )
            .await
        }
        Ask::Approve { id, reason } => review::approve(core, talk, ask, (id, reason.as_ref())).await,
        Ask::Deny { id, reason } => review::deny(core, talk, ask, (id, reason)).await,
        Ask::Cancel { id } => end::cancel(core, talk, id).await,
        Ask::Drop { id, all } => end::give_back(core, talk, id.as_ref(), *all).await,
        Ask::Extend { id, by, reason } => {
            extend::extend(
                core,
                talk,
                ask,
                extend::Wish { id: id.as_ref(), by: *by, reason: reason.as_ref() },
            )
            .await
        }
        Ask::Why { host, argv } => why::why(core, talk, host.as_ref(), argv).await,
        Ask::CanI { role, host } => why::can_i(core, talk, role, host.as_ref()).await,
        Ask::FactorAdd { invitation } => mfa::add(core, talk, ask, invitation).await,
        Ask::RecoveryMake => recovery::make(core, talk, ask).await,
        Ask::Certificate(wanted) => certificate::certificate(core, talk, (ask, wanted)).await,
        Ask::LockMe { ttl, reason } => locks::lock_me(core, talk, ask, (*ttl, reason.as_ref())).await,
        Ask::FactorList => mfa::list(core, talk).await,
        Ask::HostCas => {
            let mut tx = core.inner().store.read().await?;
            cas::of_hosts(&mut tx).await
        }
        Ask::FactorTest => mfa::test(core, talk, ask).await,
        Ask::Whoami => mfa::whoami(core, talk).await,
        Ask::AtUse(asked) => at_use::at_use(core, talk, ask, asked).await,
        Ask::Admin(what) => admin::administer(core, talk, what).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elevate_protocol::message::view::AccountView;

    #[test]
    fn b06_an_answer_that_is_no_frame_goes_in_parts_and_one_that_is_too_long_is_refused() {
        let account = |groups: usize| {
            Reply::Done(Outcome::Account(AccountView {
                person: "alice".parse().unwrap(),
                groups: vec!["operators".parse().unwrap(); groups],
                through: "web1".parse().unwrap(),
                factors: vec![],
            }))
        };
        assert!(matches!(fitting(account(10), HOST_ANSWER_MAX).as_slice(), [Reply::Done(_)]));
        let parts = fitting(account(FRAME_MAX / 8), HOST_ANSWER_MAX);
        assert!(parts.len() > 2);
        assert!(parts.iter().all(|part| encode(part).unwrap().len() <= WHOLE_MAX));
        assert!(parts.iter().rev().skip(1).all(|part| !part.is_last()) && parts.last().unwrap().is_last());
        let refused = fitting(account(HOST_ANSWER_MAX / 8), HOST_ANSWER_MAX);
        assert!(matches!(refused.as_slice(), [Reply::Refused(refusal)] if refusal.code == Code::Usage));
    }
}
