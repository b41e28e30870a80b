//! Certificates for the keys of a host's sshd: what they would say now is told to the host, which asks for them when its own say otherwise.
//!
//! In: public keys, as the host claims them. Out: [`ToAgent::HostTerms`], [`ToAgent::HostCertificates`] after their events are durable.
//! The names are the store's, never the host's (threat E19). Spec: docs/wire.md "Certificates of hosts".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use elevate_protocol::host_ssh::{HostKeys, HostNames};
use elevate_protocol::id::HostId;
use elevate_protocol::message::agent::ToAgent;
use elevate_protocol::ssh::Ca;
use tokio::time::timeout;

use super::{Cut, SEND_WITHIN, Serving, voice};
use crate::core::{Core, Fault, certified, restore, signing_for_hosts};
use crate::issue::ca::Which;
use crate::issue::host_certificate::HostCertificateError;
use crate::log::chain;
use crate::store::{HostRow, Tx};

/// What certificates say now: for whom, with which key, with which names; none: there are none for this host.
type Terms = (HostRow, Which, HostNames);

async fn terms(tx: &mut Tx, id: HostId) -> Result<Option<Terms>, Fault> {
    let Some(host) = tx.host(id).await? else { return Ok(None) };
    // What a database that is older than what was seen says of names and keys may be over.
    if restore::gate(tx).await?.is_some() {
        return Ok(None);
    }
    let names = certified(tx, &host).await?;
    let which = signing_for_hosts(tx).await?;
    Ok(names.map(|names| (host, which, names)))
}

impl Serving {
    /// Tells the host what its certificates say from now on, when that is something else than before.
    pub(super) async fn tell_terms(&mut self) -> Result<(), Cut> {
        let inner = Arc::clone(self.core.inner());
        let mut tx = inner.store.read().await?;
        let found = terms(&mut tx, self.host.id).await?;
        drop(tx);
        let Some((_, which, names)) = found else { return Ok(()) };
        let Some((_, signer)) = inner.host_ca().ca.key(which) else { return Ok(()) };
        let Some(ca) = signer.line().ok().and_then(|line| line.parse::<Ca>().ok()) else { return Ok(()) };
        let now = (names, ca);
        if self.terms.as_ref() == Some(&now) {
            return Ok(());
        }
        self.terms = Some(now.clone());
        match self.say(ToAgent::HostTerms { names: now.0, ca: now.1 }).await {
            // What it has said before it went is heard all the same; then the connection ends.
            Ok(()) | Err(Cut::Lost(_)) => Ok(()),
            Err(cut) => Err(cut),
        }
    }

    /// Signs for these keys, beside everything else: an agent that holds the key may take its time. Without an answer the host asks again.
    pub(super) fn certify(&self, keys: HostKeys) {
        // One at a time for each host.
        if self.certifying.swap(true, Ordering::SeqCst) {
            return;
        }
        let (core, id, out) = (self.core.clone(), self.host.id, self.out.clone());
        let busy = Busy(Arc::clone(&self.certifying));
        tokio::spawn(async move {
            let done = certificates(&core, id, &keys).await;
            drop(busy);
            match done {
                Ok(Some(certificates)) => {
                    let answer = Box::new(ToAgent::HostCertificates { certificates });
                    // A connection that is gone, or too slow, asks again.
                    drop(timeout(SEND_WITHIN, out.send(answer)).await);
                }
                Ok(None) => {}
                Err(_) if core.inner().store.is_closed() => {}
                Err(fault) => crate::log::error(&format!("no certificate for a host: {}", chain(&fault))),
            }
        });
    }
}

/// Whether somebody is at it.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// One for each key, recorded together; none: there is none for this host.
async fn certificates(core: &Core, id: HostId, keys: &HostKeys) -> Result<Option<Vec<String>>, Fault> {
    let inner = core.inner();
    let mut tx = inner.store.read().await?;
    let (found, now) = (terms(&mut tx, id).await?, tx.now());
    drop(tx);
    let Some((_, which, names)) = found else { return Ok(None) };
    let mut signed = Vec::new();
    for key in keys.all() {
        signed.push(inner.host_ca().certify((id, &names), key.clone(), (which, now)).await?);
    }
    let mut tx = inner.store.write().await?;
    // An agent may take its time to sign: the host may be another one by now, or called otherwise.
    let Some((host, _, names)) = terms(&mut tx, id).await? else {
        return Err(HostCertificateError::Changed.into());
    };
    let mut lines = Vec::new();
    for one in signed {
        lines.push(one.record(&mut tx, &voice(&host), (&host, &names)).await?);
    }
    tx.commit().await?;
    Ok(Some(lines))
}
