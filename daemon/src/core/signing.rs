//! Signs what was committed for a key behind an agent, in nobody's transaction: an agent that is slow, hangs or is away holds up
//! nothing but the documents that are its own to sign.
//!
//! In: documents without a signature. Out: their signatures, checked, each host's in order; retries for as long as it takes. Ends
//! are documents like others: what was ended while the key is away reaches its host when the key is back.

use std::sync::{Arc, Weak};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use elevate_protocol::signed::GRANT_NAMESPACE;
use elevate_protocol::time::Span;

use super::fault::Fault;
use super::{Core, Inner, keys, timers};
use crate::issue::END_TOLD_WITHIN;
use crate::log::chain;
use crate::signer::{SignError, Signer};
use crate::store::{Change, StoredDocument};

/// Signatures that are put down together.
const BATCH: u32 = 8;
/// After an agent did not sign.
const AGAIN: Span = Span(2);

/// Runs as long as the core lives.
pub(super) fn spawn(core: &Core) {
    let (inner, changes) = (Arc::downgrade(core.inner()), core.inner().store.changes());
    tokio::spawn(run(inner, changes));
}

async fn run(core: Weak<Inner>, mut changes: Receiver<Change>) {
    // What an agent left unsigned its key may sign from a file now.
    let mut first = true;
    loop {
        let Some(inner) = core.upgrade() else { return };
        let done = if first || inner.issuer.asks_agents() { work(&inner).await } else { Ok(true) };
        let all = match done {
            Ok(all) => all,
            Err(_) if inner.store.is_closed() => return,
            Err(fault) => {
                crate::log::error(&chain(&fault));
                false
            }
        };
        first &= !all;
        let clock = inner.clock.clone();
        let next = (!all).then(|| clock.now().after(AGAIN));
        let bell = Arc::clone(&inner.issuer.bell);
        drop(inner);
        tokio::select! {
            () = timers::until(&clock, next) => {}
            () = bell.notified() => {}
            changed = changes.recv() => if let Err(RecvError::Closed) = changed { return },
        }
    }
}

/// Signs what can be signed; false when something is left.
async fn work(core: &Inner) -> Result<bool, Fault> {
    let awaited = core.store.glance().await?.keys_awaited().await?;
    let mut all = true;
    for (number, public) in awaited {
        // One key that is away holds up none of the documents of another, except behind its own on the same host.
        all &= sign(core, number, &core.issuer.by(&public)?).await?;
    }
    Ok(all)
}

/// Signs all that waits for one key, as far as it signs; false when it does not.
async fn sign(core: &Inner, number: u64, signer: &Signer) -> Result<bool, Fault> {
    loop {
        let waiting = core.store.glance().await?.unsigned(number, BATCH).await?;
        if waiting.is_empty() {
            return Ok(true);
        }
        let (signed, problem) = signatures(signer, &waiting).await;
        if !signed.is_empty() {
            let mut tx = core.store.write().await?;
            for (document, signature) in signed {
                tx.put_signature(document, (&signature, END_TOLD_WITHIN)).await?;
            }
            tx.commit().await?;
        }
        keys::noted(core, number, problem.as_ref(), &waiting).await?;
        if problem.is_some() {
            return Ok(false);
        }
    }
}

/// The signatures that the key gave, and why it gave no more.
async fn signatures<'a>(
    signer: &Signer,
    waiting: &'a [StoredDocument],
) -> (Vec<(&'a StoredDocument, String)>, Option<SignError>) {
    let mut signed = Vec::new();
    for document in waiting {
        match signer.sign(document.body.clone(), GRANT_NAMESPACE).await {
            Ok(done) => signed.push((document, done.signature)),
            Err(problem) => return (signed, Some(problem)),
        }
    }
    (signed, None)
}
