//! What machines without agent are given: the keys that sign certificates for people, and which certificates are revoked.
//!
//! In: the store. Out: [`SshExport`], whose version grows whenever it differs from the one before. Who carries it there is not known here.
//! Spec: docs/ssh.md "Machines without agent".

use elevate_protocol::digest::Digest;
use elevate_protocol::message::admin::{AdminOutcome, SshExport};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Stop, Told, refuse, refuse_hint};
use super::{Inner, cas, restore};
use crate::issue::certificate::LIFE;
use crate::store::{Authority, StoreError, Tx};

/// In `meta`: the last export.
const LAST: &str = "ssh_export";
/// Most grants of one: what fits an answer.
const REVOKED_MAX: usize = 4096;

/// What is kept of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    version: u64,
    made: Timestamp,
    digest: Digest,
}

/// In `meta`: the first second in which a list may be written again.
const FROM: &str = "ssh_export_from";

/// A backup was laid back and counts from here on: of certificates that were given since it nobody here knows, nor which of their grants
/// are over. The list that lies where an export goes does, until the last of them is over.
pub(super) async fn hold_back(tx: &mut Tx) -> Result<(), StoreError> {
    let from = tx.now().after(LIFE);
    tx.set_meta(FROM, &from.0.to_string()).await
}

async fn may_be_written(tx: &mut Tx) -> Told<()> {
    if restore::gate(tx).await?.is_some() {
        return Err(Stop::Refuse(restore::refusal()));
    }
    let from = tx.meta(FROM).await?.and_then(|text| text.parse().ok()).map_or(Timestamp(0), Timestamp);
    if tx.now() < from {
        let left = from.since(tx.now());
        return refuse_hint(
            Code::Busy,
            "a backup was laid back: certificates that were given since it may live, and which are revoked is not known here",
            format!("leave the list that is there in place, and export in {left}"),
        );
    }
    Ok(())
}

pub(super) async fn export(core: &Inner) -> Told<AdminOutcome> {
    let mut tx = core.store.write().await?;
    may_be_written(&mut tx).await?;
    let now = tx.now();
    let (user_ca, revoked) = (cas::trusted(&mut tx, Authority::People).await?, tx.revoked(LIFE).await?);
    if revoked.len() > REVOKED_MAX {
        let what =
            format!("more than {REVOKED_MAX} grants are over whose certificates live: wait for {LIFE}");
        return refuse(Code::Busy, what);
    }
    let ids: Vec<String> = revoked.iter().map(ToString::to_string).collect();
    let digest = Digest::of(format!("{}{}", user_ca.to_file(), ids.join("\n")).as_bytes());
    let last = tx.meta(LAST).await?;
    let last = last.and_then(|text| serde_json::from_str::<Last>(&text).ok());
    let last = match last {
        Some(last) if last.digest == digest => last,
        last => {
            let before = last.map_or(0, |last| last.version);
            // The time, so that it grows also where a backup was laid back.
            let version = before.saturating_add(1).max(u64::try_from(now.0).unwrap_or_default());
            let last = Last { version, made: now, digest };
            let text = serde_json::to_string(&last).map_err(|_| Fault::Broken { what: "an export" })?;
            tx.set_meta(LAST, &text).await?;
            last
        }
    };
    tx.commit().await?;
    let Last { version, made, .. } = last;
    Ok(AdminOutcome::SshExport(Box::new(SshExport { version, made, user_ca, revoked })))
}
