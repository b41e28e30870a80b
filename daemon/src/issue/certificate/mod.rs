//! Signs OpenSSH user certificates, each under a grant that lives, and none that says more than the grant.
//!
//! In: [`Live`], the proof that a person's own grant lives; that person's public key. Out: [`Unrecorded`], which becomes a
//! certificate only in the transaction that records it. What is signed is looked at once more before the key sees it, whoever made it
//! (threats E01–E03, E16, E17, X-n). Runs as: `elevated`. Spec: docs/ssh.md, PROTOCOL.certkeys.

mod order;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use elevate_audit::Kind;
use elevate_protocol::document::BACKDATE;
use elevate_protocol::id::ActivationId;
use elevate_protocol::name::Name;
use elevate_protocol::person_key::PersonKeyError;
use elevate_protocol::ssh::SshPart;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::{Span, Timestamp};
use ssh_key::{HashAlg, PublicKey};

pub(crate) use order::LIFE;
use order::Order;

use super::about;
use super::ca::{Ca, NONCE, Which};
use crate::signer::SignError;
use crate::store::{Activation, AsSeen, CertificateRow, StoreError, Tx, Voice};

/// Certificates of one person in a minute.
const EACH_MINUTE: u32 = 120;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The key to be certified is none for a person.
    #[error("no certificate for this key: {0}")]
    Key(#[from] PersonKeyError),
    /// The key that signs certificates is to be certified itself.
    #[error("the key that signs certificates gets none")]
    Own,
    /// Not exactly the grant's own principal.
    #[error("a certificate names the one principal of its grant, not {found:?}")]
    Principals {
        /// What was to be signed.
        found: Vec<String>,
    },
    /// The key id is not the grant's id.
    #[error("the key id of a certificate is its grant's id")]
    KeyId,
    /// A certificate of another type.
    #[error("only certificates for people are signed with this key")]
    Kind,
    /// Not from a minute ago to at most the end of the grant and a quarter of an hour.
    #[error("a certificate is valid from {BACKDATE} ago for at most {LIFE}, and not longer than its grant")]
    Validity,
    /// An option that no role gives.
    #[error("no certificate has the option {name}")]
    Option {
        /// Which.
        name: String,
    },
    /// Serial 0, which says nothing.
    #[error("a certificate has a serial")]
    Serial,
    /// Too many.
    #[error("more than {EACH_MINUTE} certificates for one person in a minute")]
    Often,
    /// The grant does not live any more, or does not open SSH.
    #[error("the grant is not in force for SSH")]
    Ended,
    /// There is no key.
    #[error("there is no key for certificates")]
    NoKey,
    /// The key did not sign.
    #[error("the key for certificates did not sign")]
    Sign(#[from] SignError),
    /// The certificate cannot be written.
    #[error("the certificate cannot be written")]
    Form(#[from] ssh_key::Error),
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
    /// The store.
    #[error("the store did not do it")]
    Store(#[from] StoreError),
}

/// Proof that a grant lived, was this person's, and opened SSH, when the store was asked. [`Unrecorded::record`] wants it anew, in the
/// transaction that records.
pub(crate) struct Live {
    activation: Activation,
    ends_at: Timestamp,
    ssh: SshPart,
}

impl Live {
    /// Looks for a person's own grant.
    ///
    /// # Errors
    /// [`CertificateError::Ended`] for one that waits, is over, is somebody else's or has no SSH part; the store.
    pub(crate) async fn find(tx: &mut Tx, person: &Name, id: ActivationId) -> Result<Self, CertificateError> {
        let found = tx.activation(id).await?.ok_or(CertificateError::Ended)?;
        Self::of(found, person, tx.now())
    }

    /// The same of one that was found.
    ///
    /// # Errors
    /// [`CertificateError::Ended`], as above.
    pub(crate) fn of(found: Activation, person: &Name, now: Timestamp) -> Result<Self, CertificateError> {
        match (found.ends_at, found.ssh.clone()) {
            // Over by the clock is over, also before the timer has said so.
            (Some(ends_at), Some(ssh)) if found.is_active() && found.person == *person && now < ends_at => {
                Ok(Self { activation: found, ends_at, ssh })
            }
            (_, _) => Err(CertificateError::Ended),
        }
    }

    /// Whether its role has certificates for machines without agent.
    pub(crate) fn is_agentless(&self) -> bool {
        self.ssh.options().agentless
    }

    /// The accounts that it opens.
    pub(crate) fn logins(&self) -> &[Name] {
        self.ssh.logins()
    }

    /// First second after it.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// The grant.
    pub(crate) fn activation(&self) -> &Activation {
        &self.activation
    }
}

/// Where a certificate opens something, by what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opens {
    /// On hosts, by the grant's own principal.
    Hosts,
    /// These accounts, on machines without agent.
    Accounts(Vec<Name>),
}

/// How many of each person's in the minute that goes on.
#[derive(Default)]
struct Rate(Mutex<(Option<Timestamp>, HashMap<Name, u32>)>);

impl Rate {
    fn take(&self, person: &Name, now: Timestamp) -> Result<(), CertificateError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, counts) = &mut *held;
        // A clock that was set back begins anew as well.
        if since.is_none_or(|since| now < since || now >= since.after(Span::MINUTE)) {
            *since = Some(now);
            counts.clear();
        }
        let count = counts.entry(person.clone()).or_default();
        *count = count.saturating_add(1);
        if *count > EACH_MINUTE { Err(CertificateError::Often) } else { Ok(()) }
    }
}

/// The keys that sign certificates for people.
pub(crate) struct UserCa {
    pub(crate) ca: Ca,
    rate: Rate,
}

impl UserCa {
    #[must_use]
    pub(crate) fn new(ca: Ca) -> Self {
        Self { ca, rate: Rate::default() }
    }

    /// Signs a certificate for a person's key under a grant that lives. In nobody's transaction: an agent may take its time.
    ///
    /// # Errors
    /// A [`CertificateError`].
    pub(crate) async fn certify(
        &self,
        (live, opens): (&Live, &Opens),
        key: PublicKey,
        (which, now): (Which, Timestamp),
    ) -> Result<Unrecorded, CertificateError> {
        let (ca, signer) = self.ca.key(which).ok_or(CertificateError::NoKey)?;
        self.rate.take(&live.activation.person, now)?;
        let serial = self.ca.serial();
        let order = Order::under(live, opens, (key, serial), now);
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)?;
        let certificate = order::sign(&signer, &order, (nonce, now)).await?;
        let fingerprint = order.key.fingerprint(HashAlg::Sha256).to_string();
        Ok(Unrecorded { text: certificate.to_openssh()?, fingerprint, order, ca })
    }
}

/// A certificate that nobody gets to see before it was recorded.
pub(crate) struct Unrecorded {
    /// In OpenSSH's form.
    text: String,
    /// Of the certified key.
    fingerprint: String,
    order: Order,
    ca: u64,
}

/// A certificate that the log has, once the transaction is durable.
#[derive(Debug)]
pub(crate) struct Issued {
    /// In OpenSSH's form.
    pub(crate) certificate: String,
    /// Its serial.
    pub(crate) serial: u64,
    /// Of the certified key.
    pub(crate) fingerprint: String,
    /// All of them.
    pub(crate) principals: Vec<String>,
    /// First second.
    pub(crate) valid_after: Timestamp,
    /// First second that is too late.
    pub(crate) valid_before: Timestamp,
}

impl Unrecorded {
    /// Records it: with its event, in the caller's transaction, in which its grant still has to live as it did. That grant.
    ///
    /// # Errors
    /// A [`CertificateError`]; nothing is to be committed then, and the certificate is gone.
    pub(crate) async fn record(
        &self,
        tx: &mut Tx,
        voice: &Voice,
        person: &Name,
    ) -> Result<(Live, Issued), CertificateError> {
        let live = Live::find(tx, person, self.order.grant).await?;
        self.fits(&live, tx.now())?;
        tx.insert_certificate(&self.row()).await?;
        let issued = self.tell(tx, voice, &live).await?;
        Ok((live, issued))
    }

    /// The same without a question: the change fails unless the grant is what was seen, and nothing is locked.
    ///
    /// # Errors
    /// A [`CertificateError`]; nothing is to be committed then.
    pub(crate) async fn record_under(
        &self,
        tx: &mut Tx,
        voice: &Voice,
        (live, seen): (&Live, &AsSeen),
    ) -> Result<Issued, CertificateError> {
        self.fits(live, tx.now())?;
        tx.insert_certificate_under(seen, &self.row()).await?;
        self.tell(tx, voice, live).await
    }

    /// Whether it says no more than its grant, which still goes on.
    fn fits(&self, live: &Live, now: Timestamp) -> Result<(), CertificateError> {
        let own = live.activation.id == self.order.grant;
        if own && now < live.ends_at && self.order.valid_before <= live.ends_at {
            return Ok(());
        }
        Err(CertificateError::Ended)
    }

    fn row(&self) -> CertificateRow {
        CertificateRow {
            serial: self.order.serial,
            ca: self.ca,
            activation: self.order.grant,
            fingerprint: self.fingerprint.clone(),
            valid_before: self.order.valid_before,
        }
    }

    async fn tell(&self, tx: &mut Tx, voice: &Voice, live: &Live) -> Result<Issued, CertificateError> {
        let Self { order, fingerprint, .. } = self;
        let kind = Kind::SshCertificate {
            serial: order.serial,
            fingerprint: UntrustedText::lossy(fingerprint),
            principals: order.principals.iter().map(|one| UntrustedText::lossy(one)).collect(),
            valid_after: order.valid_after,
            valid_before: order.valid_before,
        };
        tx.record(voice.did(about(&live.activation), kind)).await?;
        Ok(Issued {
            certificate: self.text.clone(),
            serial: order.serial,
            fingerprint: fingerprint.clone(),
            principals: order.principals.clone(),
            valid_after: order.valid_after,
            valid_before: order.valid_before,
        })
    }
}
