//! What a host does not have in force although its time is not over: a host's word is enough to lose a right there.
//!
//! In: documents that it refused, ends that it reported. Out: parts of activations that are lost, activations that are over.

use elevate_protocol::document::{Act, Document, EndCause};
use elevate_protocol::id::ActivationId;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;

use super::{Cut, Serving, voice};
use crate::issue::close;
use crate::store::{Activation, StoredDocument, Tx};

impl Serving {
    /// The host refused a document of an activation.
    pub(super) async fn refused_there(&self, tx: &mut Tx, id: ActivationId) -> Result<(), Cut> {
        let Some(mut activation) = tx.activation(id).await?.filter(Activation::is_active) else {
            return Ok(());
        };
        let documents = tx.documents_of(id).await?;
        if self.has_lost(tx, &activation, &documents).await? {
            self.lose(&mut activation, EndCause::NotEnforced);
            tx.update_activation(&activation).await?;
        }
        if in_force_nowhere(&activation, &documents) {
            // Whatever the host has after all ends with this.
            let why = UntrustedText::lossy("no host enforces it");
            let cause = (EndCause::NotEnforced, Some(&why));
            self.core.inner().issuer().end(tx, &voice(&self.host), cause, &mut activation).await?;
        }
        Ok(())
    }

    /// The host has ended a grant.
    pub(super) async fn ended_there(
        &self,
        tx: &mut Tx,
        id: ActivationId,
        cause: EndCause,
    ) -> Result<(), Cut> {
        let Some(mut activation) = tx.activation(id).await?.filter(Activation::is_active) else {
            return Ok(());
        };
        let documents = tx.documents_of(id).await?;
        let cause = match cause {
            EndCause::NotEnforced | EndCause::AccountChanged | EndCause::NoContact | EndCause::Restored => {
                cause
            }
            // In its time, as that was before an extension that the host refused.
            EndCause::Expired if self.has_lost(tx, &activation, &documents).await? => EndCause::NotEnforced,
            // In its time; or at our own word, and then it is over here too.
            EndCause::Expired | EndCause::Dropped | EndCause::Revoked | EndCause::NotEligible => {
                return Ok(());
            }
        };
        // A grant without hosts, to administer, is no host's to end: it is not found among its hosts.
        if !self.lose(&mut activation, cause) {
            return Ok(());
        }
        if in_force_nowhere(&activation, &documents) {
            close(tx, &voice(&self.host), (cause, None), &mut activation).await?;
        } else {
            tx.update_activation(&activation).await?;
        }
        Ok(())
    }

    /// Whether the right is over here although it was extended: the host refused that, and the end of before has come, or the
    /// host has told of one.
    async fn has_lost(
        &self,
        tx: &mut Tx,
        activation: &Activation,
        documents: &[StoredDocument],
    ) -> Result<bool, Cut> {
        let here = || documents.iter().filter(|document| document.host == self.host.id);
        if here().next_back().is_none_or(|last| last.refused.is_none()) {
            return Ok(false);
        }
        let ends = here().filter(|document| document.refused.is_none()).filter_map(end_of).max();
        let over = ends.is_some_and(|end| end <= tx.now());
        Ok(over || (ends.is_some() && tx.has_told_end(activation.id, self.host.id).await?))
    }

    /// Whether this host had a part in it.
    fn lose(&self, activation: &mut Activation, cause: EndCause) -> bool {
        let part = activation.hosts.iter_mut().find(|host| host.id == self.host.id);
        part.map(|part| part.lost = Some(cause)).is_some()
    }
}

/// Whether no host keeps it: each has lost it, or refused it from the beginning.
fn in_force_nowhere(activation: &Activation, documents: &[StoredDocument]) -> bool {
    activation.hosts.iter().all(|host| {
        let mut here = documents.iter().filter(|document| document.host == host.id);
        host.lost.is_some() || here.all(|document| document.refused.is_some())
    })
}

/// Until when a document lets a right be in force; none: it does not.
fn end_of(document: &StoredDocument) -> Option<Timestamp> {
    match serde_json::from_str::<Document>(&document.body).ok()?.act {
        Act::Grant(grant) => Some(grant.not_after),
        Act::Extend(extend) => Some(extend.not_after),
        Act::End(_) | Act::Keys(_) => None,
    }
}
