//! Administration: for root on the daemon's machine, and for people under a live grant. Each use is an event.
//!
//! In: [`AdminAsk`]. Out: [`AdminOutcome`]. The event is durable before anything is done.

use elevate_audit::Kind;
use elevate_policy::Policy;
use elevate_protocol::flavour::Enforcement;
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, Signs, SinkView};
use elevate_protocol::message::person::Outcome;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::view::{HostView, PersonView};
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;

use super::dialogue::Dialogue;
use super::fault::{Stop, Told};
use super::label::{self, Labels};
use super::{
    Core, Inner, cas, changes, end, entitled, export, host_names, invite, keys, locks, policy_files, reload,
    replace, restore, tail, view,
};
use crate::log::chain;
use crate::sinks::Condition;
use crate::store::Authority;

pub(super) async fn administer(core: &Core, talk: &mut Dialogue, ask: &AdminAsk) -> Told<Outcome> {
    let inner = core.inner();
    entitled::entitled(inner, talk, ask).await?;
    used(inner, talk, ask).await?;
    restore::remind(inner, talk, ask).await?;
    let outcome = match ask {
        AdminAsk::PersonInvite { person, valid } => invite::person(inner, talk, person, *valid).await?,
        AdminAsk::PersonReset { person, reason } => invite::reset(inner, talk, person, reason).await?,
        AdminAsk::PersonConfirm { person, what } => changes::confirm(inner, talk, person, what.raw()).await?,
        AdminAsk::HostInvite { name, labels, names, valid } => {
            invite::host(inner, talk, (name, labels, names), *valid).await?
        }
        AdminAsk::HostConfirm { name, by } => replace::confirm(inner, talk, (name, by)).await?,
        AdminAsk::PersonList => AdminOutcome::People(people(inner).await?),
        AdminAsk::HostLabel { name, set, remove } => {
            label::label(inner, talk, name, Labels { set, remove }).await?;
            one_host(inner, name).await?
        }
        AdminAsk::HostNames { name, add, remove } => {
            host_names::change(inner, talk, name, (add, remove)).await?;
            one_host(inner, name).await?
        }
        AdminAsk::HostList => AdminOutcome::Hosts(hosts(inner).await?),
        AdminAsk::PolicyShow => {
            let policy = inner.policy();
            AdminOutcome::Policy { text: policy.show_effective(), digest: policy.digest().to_string() }
        }
        AdminAsk::PolicyCheck => check(inner)?,
        AdminAsk::PolicyDiff => diff(inner)?,
        AdminAsk::PolicyReload => match reload::reload(core.inner(), &talk.voice).await {
            Ok(digest) => AdminOutcome::Policy { text: String::new(), digest: digest.to_string() },
            Err(error) => {
                // What the files say is for whoever wrote them; what the store does not do is nobody's mistake.
                let code = match &error {
                    reload::ReloadError::Read { .. } => Code::Usage,
                    reload::ReloadError::Fault { .. } => Code::Internal,
                };
                let refusal = Refusal::new(code, chain(&error));
                return Err(Stop::Refuse(refusal.hint("the policy before stays in force")));
            }
        },
        AdminAsk::Revoke { what, reason } => return end::revoke(core, talk, what, reason).await,
        AdminAsk::KeyList => keys::list(inner).await?,
        AdminAsk::KeyRotate { signs, overlap, key_type } => {
            let how = keys::Rotation { overlap: *overlap, key_type: *key_type };
            rotate(inner, talk, *signs, how).await?
        }
        AdminAsk::SshExport => export::export(inner).await?,
        AdminAsk::SinkList => AdminOutcome::Sinks(sinks(inner).await?),
        AdminAsk::Lock { what, ttl, reason } => return locks::lock(core, talk, what, (*ttl, reason)).await,
        AdminAsk::Unlock { what, reason } => locks::unlock(inner, talk, what, reason).await?,
        AdminAsk::LockList => locks::list(inner).await?,
        AdminAsk::RestoreShow => restore::show(inner).await?,
        AdminAsk::RestoreAccept { reason } => restore::accept(inner, talk, reason).await?,
        AdminAsk::AuditTail { last, follow } => return tail::tail(core, talk, ask, (*last, *follow)).await,
    };
    Ok(Outcome::Admin(outcome))
}

async fn rotate(core: &Inner, talk: &Dialogue, signs: Signs, how: keys::Rotation) -> Told<AdminOutcome> {
    match signs {
        Signs::Grants => keys::rotate(core, talk, how).await,
        Signs::SshUserCa => cas::rotate(core, talk, Authority::People, how).await,
        Signs::SshHostCa => cas::rotate(core, talk, Authority::Hosts, how).await,
    }
}

async fn used(core: &Inner, talk: &Dialogue, ask: &AdminAsk) -> Told<()> {
    let (word, subject) = entitled::words(ask);
    let mut tx = core.store.write().await?;
    tx.record(talk.voice.did(subject, Kind::AdminUsed { ask: UntrustedText::lossy(word) })).await?;
    tx.commit().await?;
    Ok(())
}

async fn people(core: &Inner) -> Told<Vec<PersonView>> {
    let mut tx = core.store.read().await?;
    let policy = core.policy();
    let waiting = tx.changes_waiting().await?;
    let mut found = Vec::new();
    for person in policy.people() {
        let waiting = changes::shown(&waiting, &person.name);
        found.push(view::person(&mut tx, person, waiting).await?);
    }
    Ok(found)
}

async fn one_host(core: &Inner, name: &Name) -> Told<AdminOutcome> {
    let mut all = hosts(core).await?;
    all.retain(|host| host.name == *name);
    Ok(AdminOutcome::Hosts(all))
}

async fn hosts(core: &Inner) -> Told<Vec<HostView>> {
    let mut tx = core.store.read().await?;
    let (mut found, now) = (Vec::new(), tx.now());
    let waiting = tx.replacements().await?;
    for host in tx.hosts().await? {
        found.push(HostView {
            behind: tx.behind(host.id).await?,
            connected: core.agents.is_connected(host.id),
            new_epoch: core.agents.waits_for(host.id),
            certified_until: tx.certified_until(host.id).await?,
            replacement: replace::shown(&waiting, &host.name, now),
            name: host.name,
            id: host.id,
            labels: host.labels,
            names: host.names,
            since: host.enrolled_at,
            seen_at: host.seen_at,
            sudo: host.sudo.as_ref().and_then(Enforcement::line).cloned(),
        });
    }
    Ok(found)
}

async fn sinks(core: &Inner) -> Told<Vec<SinkView>> {
    let mut tx = core.store.read().await?;
    let head = tx.next_seq().await?;
    let mut found = Vec::new();
    for (name, Condition { to, failing_since, last_error }) in core.sinks.list() {
        let next = tx.cursor(&name).await?;
        let behind = head.saturating_sub(next);
        found.push(SinkView { name, to, next, behind, failing_since, last_error });
    }
    Ok(found)
}

/// What the files would change of what is in force.
fn diff(core: &Inner) -> Told<AdminOutcome> {
    let after = read(core)?;
    Ok(AdminOutcome::Policy { text: core.policy().diff(&after), digest: after.digest().to_string() })
}

/// The policy of the files as they are.
fn read(core: &Inner) -> Told<Policy> {
    policy_files::read_policy(&core.policy_dir)
        .map_err(|error| Stop::Refuse(Refusal::new(Code::Usage, chain(&error)).hint("nothing was changed")))
}

fn check(core: &Inner) -> Told<AdminOutcome> {
    let policy = read(core)?;
    let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    Ok(AdminOutcome::Policy { text: warnings.join("\n"), digest: policy.digest().to_string() })
}
