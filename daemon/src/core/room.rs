//! What is refused while the disk is full, and who looks whether it still is.
//!
//! In: asks, the store's room. Out: refusals; `store.full` and `store.room`. What takes a right away is never refused (threat R05).

use std::path::Path;
use std::time::Duration;

use elevate_audit::{Kind, Subject};
use elevate_protocol::message::admin::AdminAsk;
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::text::UntrustedText;

use super::fault::{Fault, Told, refuse_hint};
use super::{Core, Inner};
use crate::log::{self, chain};
use crate::store::{StoreError, Voice, found_no_room};

/// Between two looks at a disk that is full.
const SOON: Duration = Duration::from_secs(2);
/// Between two looks at one that is not: so that the alert comes before somebody needs the room.
const SELDOM: Duration = Duration::from_secs(10);

/// Whether an ask begins something, or gives, or only costs room. The rest looks, or takes away, or is needed for that.
fn is_new(ask: &Ask) -> bool {
    match ask {
        Ask::Request(wanted) => !wanted.dry_run,
        Ask::Resume { .. }
        | Ask::Approve { .. }
        | Ask::Extend { .. }
        | Ask::FactorAdd { .. }
        | Ask::FactorTest
        | Ask::RecoveryMake
        | Ask::Certificate(_) => true,
        Ask::Admin(ask) => is_new_for_administrators(ask),
        // A use of what was granted needs its code checked: whoever is to make room may need it.
        Ask::AtUse(_)
        | Ask::Overview
        | Ask::Eligible
        | Ask::Activations { .. }
        | Ask::History { .. }
        | Ask::Show { .. }
        | Ask::Requests { .. }
        | Ask::Deny { .. }
        | Ask::Cancel { .. }
        | Ask::Drop { .. }
        | Ask::Why { .. }
        | Ask::CanI { .. }
        | Ask::LockMe { .. }
        | Ask::FactorList
        | Ask::HostCas
        | Ask::Whoami => false,
    }
}

fn is_new_for_administrators(ask: &AdminAsk) -> bool {
    match ask {
        AdminAsk::PersonInvite { .. }
        | AdminAsk::PersonConfirm { .. }
        | AdminAsk::HostInvite { .. }
        | AdminAsk::HostConfirm { .. }
        | AdminAsk::HostLabel { .. }
        | AdminAsk::HostNames { .. }
        | AdminAsk::KeyRotate { .. } => true,
        // A policy may take people's rights away; what it gives begins with a request. A reset takes a factor away.
        AdminAsk::PolicyReload
        | AdminAsk::PersonReset { .. }
        | AdminAsk::PersonList
        | AdminAsk::HostList
        | AdminAsk::PolicyShow
        | AdminAsk::PolicyCheck
        | AdminAsk::PolicyDiff
        | AdminAsk::Revoke { .. }
        | AdminAsk::KeyList
        | AdminAsk::SshExport
        | AdminAsk::SinkList
        | AdminAsk::Lock { .. }
        | AdminAsk::Unlock { .. }
        | AdminAsk::RestoreShow
        | AdminAsk::RestoreAccept { .. }
        | AdminAsk::LockList
        | AdminAsk::AuditTail { .. } => false,
    }
}

/// Whether an ask takes something away in one go, without a question in between.
pub(super) fn takes_away(ask: &Ask) -> bool {
    matches!(
        ask,
        Ask::Cancel { .. }
            | Ask::Drop { .. }
            | Ask::Admin(
                AdminAsk::Revoke { .. }
                    | AdminAsk::Lock { .. }
                    | AdminAsk::PersonReset { .. }
                    | AdminAsk::RestoreAccept { .. }
            )
    )
}

/// Refuses what is new while the disk is full. Nothing of it is recorded: there is no room for it.
pub(super) fn admit(core: &Inner, ask: &Ask) -> Told<()> {
    if is_new(ask) { admit_new(core) } else { Ok(()) }
}

/// Refuses something new while the disk is full.
pub(super) fn admit_new(core: &Inner) -> Told<()> {
    match core.store.admit() {
        Ok(()) => Ok(()),
        Err(StoreError::Full { folder }) => refuse_hint(Code::Full, said(&folder), HINT),
        Err(error) => Err(error.into()),
    }
}

const HINT: &str = "an administrator makes room there; the daemon goes on by itself within seconds";

fn shown(folder: &Path) -> String {
    UntrustedText::lossy(&folder.display().to_string()).escaped()
}

fn said(folder: &Path) -> String {
    let folder = shown(folder);
    format!(
        "the disk of the daemon is full ({folder}): nothing new begins; rights end, and can be taken away, as ever"
    )
}

/// What somebody is told of a fault. Why it was goes to the log, unless they may know: all of the reserve is used up, say.
pub(super) fn failed(core: &Inner, fault: &Fault) -> Refusal {
    log::error(&chain(fault));
    if found_no_room(fault) {
        let folder = shown(core.store.room().folder());
        let message =
            format!("there was no room for it on the disk of the daemon ({folder}): nothing was changed");
        return Refusal::new(Code::Full, message).hint(HINT);
    }
    Refusal::new(Code::Internal, "the daemon could not do it; its own log says why")
}

impl Core {
    /// Looks at the disk as long as the daemon runs, and makes the reserve whole again. `tell` hears in a line how it is.
    pub(crate) async fn keep_room(self, tell: impl Fn(&str)) {
        let store = &self.inner().store;
        let mut told = false;
        loop {
            let full = store.room().look();
            if full != told {
                match turned(self.inner(), full).await {
                    Ok(line) => {
                        tell(&line);
                        told = full;
                    }
                    Err(fault) => log::error(&chain(&fault)),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(if full || told { SOON } else { SELDOM }) => {}
                () = store.room().changed() => {}
            }
        }
    }
}

/// Records that the disk is full or no longer is.
async fn turned(core: &Inner, full: bool) -> Result<String, Fault> {
    let folder = core.store.room().folder();
    let (line, kind) = if full {
        let line = said(folder);
        log::error(&line);
        (line.clone(), Kind::StoreFull { why: UntrustedText::lossy(&line) })
    } else {
        let line = format!("there is room again in {}", folder.display());
        log::info(&line);
        (line, Kind::StoreRoom {})
    };
    core.store.save_room(full).await?;
    let mut tx = core.store.write().await?;
    tx.record(Voice::DAEMON.did(Subject::default(), kind)).await?;
    tx.commit().await?;
    Ok(line)
}
