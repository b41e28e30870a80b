//! Proof of contact: the daemon's signed word, at a host's question, that every document for it was sent.
//!
//! In: a nonce. Out: [`ToAgent::Contact`], by the key that signs now, once nothing of the host's log is left to send or to sign.
//! Spec: docs/wire.md "Contact".

use elevate_protocol::contact::{CONTACT_NAMESPACE, Contact};
use elevate_protocol::id::Nonce;
use elevate_protocol::message::agent::ToAgent;

use tokio::time::timeout;

use super::{Cut, SEND_WITHIN, Serving};
use crate::core::restore;
use crate::issue::IssueError;
use crate::log::chain;

impl Serving {
    /// Takes a question; an earlier one needs no answer any more.
    pub(super) async fn contact(&mut self, nonce: Nonce) -> Result<(), Cut> {
        self.question = Some(nonce);
        self.prove_contact().await
    }

    /// Answers the question that is open, unless a document waits for its signature: the news of that brings us here again.
    pub(super) async fn prove_contact(&mut self) -> Result<(), Cut> {
        let Some(nonce) = self.question else { return Ok(()) };
        self.pump().await?;
        let inner = self.core.inner();
        // Key and end of the log of one moment: before a document about keys was sent its host does not know the next one.
        let mut tx = inner.store.read().await?;
        let Some(host) = tx.host(self.host.id).await? else { return Err(Cut::Replaced) };
        // Whether an end was forgotten that the host was to be told is not known: leases run out.
        if restore::gate(&mut tx).await?.is_some() {
            return Ok(());
        }
        let (_, signer) = inner.issuer().signer(&mut tx).await?;
        drop(tx);
        if self.next <= host.issued {
            return Ok(());
        }
        self.question = None;
        let (cluster, epoch, seq) = (inner.store.cluster(), host.epoch, host.issued);
        let said = Contact { cluster, host: host.id, nonce, epoch, seq, time: inner.clock.now() };
        if signer.socket().is_none() {
            let signed = signer.sign(said.to_text(), CONTACT_NAMESPACE).await.map_err(IssueError::from)?;
            return self.say(ToAgent::Contact(signed)).await;
        }
        let out = self.out.clone();
        // Where an agent signs, the connection does not wait for it. Without an answer the host asks again.
        tokio::spawn(async move {
            match signer.sign(said.to_text(), CONTACT_NAMESPACE).await {
                // A connection that is gone, or too slow, gets no proof.
                Ok(signed) => drop(timeout(SEND_WITHIN, out.send(Box::new(ToAgent::Contact(signed)))).await),
                Err(error) => crate::log::error(&format!("no contact can be proven: {}", chain(&error))),
            }
        });
        Ok(())
    }
}
