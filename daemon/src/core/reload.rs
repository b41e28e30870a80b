//! Another policy comes into force: all or nothing, and everything that lives is looked at with it (threat C07).
//!
//! In: the files, or the policy of a start. Out: events, End documents for who is no longer eligible.

use std::sync::{Arc, PoisonError};

use elevate_audit::{Kind, Subject};
use elevate_policy::{HostFacts, Policy, still_eligible};
use elevate_protocol::digest::Digest;
use elevate_protocol::document::EndCause;
use elevate_protocol::text::UntrustedText;

use super::end::everything;
use super::facts::host_facts;
use super::fault::Fault;
use super::policy_files::{PolicyReadError, read_policy};
use super::settle::{Start, settle};
use super::{Inner, changes};
use crate::log::chain;
use crate::store::{Activation, StoreError, Tx, Voice};

const DIGEST: &str = "policy";

/// Why the policy before stays in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The files.
    #[error("the new policy was refused")]
    Read {
        /// Why.
        #[from]
        source: PolicyReadError,
    },
    /// The change could not be recorded.
    #[error("the new policy could not be put in force")]
    Fault {
        /// Why.
        #[from]
        source: Fault,
    },
}

impl From<StoreError> for ReloadError {
    fn from(source: StoreError) -> Self {
        Self::Fault { source: source.into() }
    }
}

/// Reads the files and puts them in force.
pub(super) async fn reload(core: &Inner, voice: &Voice) -> Result<Digest, ReloadError> {
    let _one_at_a_time = core.reloading.lock().await;
    let policy = match read_policy(&core.policy_dir) {
        Ok(policy) => Arc::new(policy),
        Err(error) => {
            let mut tx = core.store.write().await?;
            let kind = Kind::PolicyRefused { why: UntrustedText::lossy(&chain(&error)) };
            tx.record(voice.did(Subject::default(), kind)).await?;
            tx.commit().await?;
            return Err(error.into());
        }
    };
    // The writer is ours from here to the commit: no decision falls between the old policy and the new one.
    let mut tx = core.store.write().await?;
    let waiting = put_in_force(core, &mut tx, &policy, voice).await?;
    // Before the policy that has the keys: no moment in which one counts that waits.
    let waited = changes::set_waiting(core, waiting);
    let before = core.policy();
    swap(core, Arc::clone(&policy));
    core.agents.ask_again();
    if let Err(error) = tx.commit().await {
        swap(core, before);
        // What waited under the policy before waits on: it was not confirmed by a commit that failed.
        drop(changes::set_waiting(core, waited));
        return Err(error.into());
    }
    Ok(policy.digest())
}

fn swap(core: &Inner, policy: Arc<Policy>) {
    *core.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
}

/// Records a policy that differs from the last one, and looks at everything that lives.
/// Says which keys do not count yet.
pub(super) async fn put_in_force(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    voice: &Voice,
) -> Result<changes::Waiting, Fault> {
    let digest = policy.digest().to_string();
    if tx.meta_or(DIGEST, "").await? != digest {
        tx.set_meta(DIGEST, &digest).await?;
        let warnings = u32::try_from(policy.warnings().len()).unwrap_or(u32::MAX);
        let kind = Kind::PolicyLoaded { digest: policy.digest(), warnings };
        tx.record(Voice::DAEMON.did(Subject::default(), kind)).await?;
    }
    tx.touch_policy();
    for mut one in everything(tx).await? {
        if one.is_active() {
            look_at_grant(core, tx, policy, &mut one).await?;
        } else {
            // Nobody said anything: what could start now waits for its person.
            settle(core, tx, (&Voice::DAEMON, policy), &mut one, Start::Later).await?;
        }
    }
    changes::keys_of(tx, policy, voice).await
}

async fn look_at_grant(
    core: &Inner,
    tx: &mut Tx,
    policy: &Policy,
    grant: &mut Activation,
) -> Result<(), Fault> {
    if grant.ends_at.is_some_and(|at| at <= tx.now()) {
        // Over by itself; the timer records that.
        return Ok(());
    }
    let mut hosts: Vec<HostFacts> = Vec::new();
    for part in &grant.hosts {
        let row = tx.host(part.id).await?.ok_or(Fault::Broken { what: "a host of an active grant" })?;
        hosts.push(host_facts(&row));
    }
    if let Err(why) = still_eligible(policy, &grant.person, &grant.role, &hosts, tx.now()) {
        let why = UntrustedText::lossy(&why.to_string());
        core.issuer.end(tx, &Voice::DAEMON, (EndCause::NotEligible, Some(&why)), grant).await?;
    }
    Ok(())
}
