//! Who may administer what: root on the daemon's own socket, or a person under a live grant of a role with that part.
//!
//! In: who speaks, an [`AdminAsk`]. Out: nothing, or a refusal that is an event. Nobody administers their own person.
//! Each ask belongs to exactly one part: a new one does not compile before it has one.

use elevate_audit::{Kind, Subject};
use elevate_policy::{AdminPart, role_digest};
use elevate_protocol::message::admin::{AdminAsk, RevokeWhat};
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;

use super::dialogue::Dialogue;
use super::fault::{Fault, Stop, Told};
use super::{Inner, Speaker, locks};

/// The part that an ask belongs to.
fn part(ask: &AdminAsk) -> AdminPart {
    match ask {
        AdminAsk::PersonInvite { .. }
        | AdminAsk::PersonReset { .. }
        | AdminAsk::PersonConfirm { .. }
        | AdminAsk::PersonList => AdminPart::People,
        AdminAsk::HostInvite { .. }
        | AdminAsk::HostConfirm { .. }
        | AdminAsk::HostLabel { .. }
        | AdminAsk::HostNames { .. }
        | AdminAsk::HostList => AdminPart::Hosts,
        AdminAsk::PolicyShow | AdminAsk::PolicyCheck | AdminAsk::PolicyDiff | AdminAsk::PolicyReload => {
            AdminPart::Policy
        }
        AdminAsk::Revoke { .. }
        | AdminAsk::Lock { .. }
        | AdminAsk::Unlock { .. }
        | AdminAsk::LockList
        | AdminAsk::RestoreShow
        | AdminAsk::RestoreAccept { .. } => AdminPart::Locks,
        AdminAsk::AuditTail { .. } | AdminAsk::SinkList => AdminPart::Audit,
        AdminAsk::KeyList | AdminAsk::KeyRotate { .. } | AdminAsk::SshExport => AdminPart::Keys,
    }
}

/// Whose matters an ask would change for the better, where it is one person's. Taking rights away is nobody's gain.
fn gains(ask: &AdminAsk) -> Option<&Name> {
    match ask {
        AdminAsk::PersonInvite { person, .. }
        | AdminAsk::PersonReset { person, .. }
        | AdminAsk::PersonConfirm { person, .. } => Some(person),
        AdminAsk::Unlock { what: LockWhat::Person(person), .. } => Some(person),
        AdminAsk::Unlock { what: LockWhat::Role(_) | LockWhat::Host(_) | LockWhat::Everything, .. }
        | AdminAsk::PersonList
        | AdminAsk::HostInvite { .. }
        | AdminAsk::HostConfirm { .. }
        | AdminAsk::HostLabel { .. }
        | AdminAsk::HostNames { .. }
        | AdminAsk::HostList
        | AdminAsk::PolicyShow
        | AdminAsk::PolicyCheck
        | AdminAsk::PolicyDiff
        | AdminAsk::PolicyReload
        | AdminAsk::Revoke { .. }
        | AdminAsk::Lock { .. }
        | AdminAsk::LockList
        | AdminAsk::RestoreShow
        | AdminAsk::RestoreAccept { .. }
        | AdminAsk::SinkList
        | AdminAsk::KeyList
        | AdminAsk::KeyRotate { .. }
        | AdminAsk::SshExport
        | AdminAsk::AuditTail { .. } => None,
    }
}

fn of_host(subject: &mut Subject, name: &Name, word: &'static str) -> &'static str {
    subject.host = Some(name.clone());
    word
}

/// An ask in words, and what it is about, for events.
pub(super) fn words(ask: &AdminAsk) -> (&'static str, Subject) {
    let mut subject = Subject::default();
    let word = match ask {
        AdminAsk::PersonInvite { person, .. } => {
            subject.person = Some(person.clone());
            "person invite"
        }
        AdminAsk::PersonReset { person, .. } => {
            subject.person = Some(person.clone());
            "person reset"
        }
        AdminAsk::PersonConfirm { person, .. } => {
            subject.person = Some(person.clone());
            "person confirm"
        }
        AdminAsk::PersonList => "person list",
        AdminAsk::HostInvite { name, .. } => of_host(&mut subject, name, "host invite"),
        AdminAsk::HostConfirm { name, .. } => of_host(&mut subject, name, "host confirm"),
        AdminAsk::HostLabel { name, .. } => of_host(&mut subject, name, "host label"),
        AdminAsk::HostNames { name, .. } => of_host(&mut subject, name, "host name"),
        AdminAsk::HostList => "host list",
        AdminAsk::PolicyShow => "policy show",
        AdminAsk::PolicyCheck => "policy check",
        AdminAsk::PolicyDiff => "policy diff",
        AdminAsk::PolicyReload => "policy reload",
        AdminAsk::Revoke { what, .. } => {
            match what {
                RevokeWhat::Grant(_) => {}
                RevokeWhat::Person(name) => subject.person = Some(name.clone()),
                RevokeWhat::Host(name) => subject.host = Some(name.clone()),
                RevokeWhat::Role(name) => subject.role = Some(name.clone()),
            }
            "revoke"
        }
        AdminAsk::Lock { what, .. } => {
            subject = locks::subject(what);
            "lock"
        }
        AdminAsk::Unlock { what, .. } => {
            subject = locks::subject(what);
            "unlock"
        }
        AdminAsk::LockList => "locks",
        AdminAsk::RestoreShow => "restore",
        AdminAsk::RestoreAccept { .. } => "restore accept",
        AdminAsk::SinkList => "sinks",
        AdminAsk::KeyList => "key list",
        AdminAsk::KeyRotate { .. } => "key rotate",
        AdminAsk::SshExport => "ssh export",
        AdminAsk::AuditTail { .. } => "audit tail",
    };
    (word, subject)
}

/// Whether the speaker may ask this now.
pub(super) async fn entitled(core: &Inner, talk: &Dialogue, ask: &AdminAsk) -> Told<()> {
    match look(core, talk, ask).await? {
        None => Ok(()),
        Some(refusal) => {
            let (word, subject) = words(ask);
            let why = UntrustedText::lossy(&refusal.message);
            let kind = Kind::AdminRefused { ask: UntrustedText::lossy(word), why };
            let mut tx = core.store.write().await?;
            tx.record(talk.voice.did(subject, kind)).await?;
            tx.commit().await?;
            Err(Stop::Refuse(refusal))
        }
    }
}

/// Why not; none: they may.
async fn look(core: &Inner, talk: &Dialogue, ask: &AdminAsk) -> Result<Option<Refusal>, Fault> {
    let person = match &talk.speaker {
        Speaker::Root { .. } => return Ok(None),
        Speaker::OnHost { .. } => {
            let refusal = Refusal::new(Code::WrongDoor, "Elevate is not administered through a host");
            return Ok(Some(refusal.hint("from your own machine, with your own key: elevatectl")));
        }
        Speaker::Person { name, .. } => name,
    };
    if gains(ask) == Some(person) {
        let refusal = Refusal::new(Code::NotEligible, "nobody administers their own person");
        return Ok(Some(refusal.hint("ask another administrator, or root on the daemon's machine")));
    }
    let part = part(ask);
    let mut tx = core.store.read().await?;
    let policy = core.policy();
    let now = tx.now();
    for grant in tx.live_of(person).await? {
        let lives = grant.is_active() && grant.ends_at.is_some_and(|at| now < at);
        let gives = policy.role(&grant.role).is_some_and(|role| role.administers(part));
        // What was granted is what the role was then: parts that it got since are not part of it.
        let same = role_digest(&policy, &grant.role, person) == grant.granted_digest;
        if lives && gives && same && grant.granted_digest.is_some() {
            return Ok(None);
        }
    }
    let roles: Vec<String> = policy
        .roles()
        .filter(|role| role.administers(part) && role_digest(&policy, &role.name, person).is_some())
        .map(|role| format!("elevate {}", role.name))
        .collect();
    let refusal = Refusal::new(
        Code::NotEligible,
        format!("{person} has no active grant to administer {}", part.word()),
    );
    Ok(Some(match roles.as_slice() {
        [] => refusal.hint("no role of yours administers that; root on the daemon's machine may"),
        roles => refusal.hint(roles.join(" | ")),
    }))
}
