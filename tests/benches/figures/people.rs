//! People at door 2: they ask, approve with codes of their own app, and give back.
//!
//! In: the daemon, keys. Out: activations. Runs as: the benches. Spec: docs/wire.md "A person's conversation"; RFC 6238.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use elevate_protocol::id::IdPrefix;
use elevate_protocol::message::SUBSYSTEM_PERSON;
use elevate_protocol::message::person::{Ask, Outcome, Reply, RequestAsk, Say};
use elevate_protocol::message::view::ActivationView;
use elevate_protocol::name::Name;
use elevate_protocol::paste::Paste;
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use ssh_key::PrivateKey;
use totp_rs::Totp;

use crate::wire::{Connection, Server};

/// Seconds of a TOTP step.
const STEP: u64 = 30;

/// Somebody of the policy.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// Name and login.
    pub(crate) name: Name,
    /// The key of door 2.
    pub(crate) key: Arc<PrivateKey>,
}

/// A request for a role, without a code and without waiting for anybody.
pub(crate) fn request(role: &str, hosts: &[&Name]) -> Result<Ask> {
    Ok(Ask::Request(RequestAsk {
        role: role.parse()?,
        hosts: hosts.iter().map(|name| (*name).clone().into()).collect(),
        duration: None,
        reason: Some(UntrustedText::lossy("measured by the benches")),
        ticket: None,
        wait: false,
        dry_run: false,
        amends: None,
    }))
}

/// One conversation on an open connection.
pub(crate) async fn converse(connection: &Connection, ask: Ask) -> Result<Outcome> {
    let mut frames = connection.subsystem(SUBSYSTEM_PERSON).await?;
    frames.ask(ask).await?;
    frames.outcome(|_| ()).await
}

/// The one activation that an outcome is about.
pub(crate) fn activation(outcome: Outcome) -> Result<ActivationView> {
    let Outcome::Activation(view) = outcome else { bail!("not an activation: {outcome:?}") };
    Ok(*view)
}

/// Somebody with a second factor.
pub(crate) struct Approver {
    /// Who.
    person: Person,
    app: Totp,
    used: u64,
}

/// Whether a conversation is over; a refusal is an error.
fn over(reply: &Reply) -> Result<bool> {
    if let Reply::Refused(refusal) = reply {
        bail!("refused: {}", refusal.message);
    }
    Ok(matches!(reply, Reply::Done(_)))
}

fn step_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().div_euclid(STEP)
}

impl Approver {
    /// Enrols a factor with the invitation of `elevatectl person invite`.
    pub(crate) async fn enrol(server: &Server, person: Person, paste: &str) -> Result<Self> {
        let paste: Paste = paste.parse()?;
        let invitation = paste.token.context("a paste string without a token")?;
        let connection = Connection::open(server, person.name.as_str(), &person.key).await?;
        let mut frames = connection.subsystem(SUBSYSTEM_PERSON).await?;
        frames.ask(Ask::FactorAdd { invitation }).await?;
        let (mut app, mut used) = (None, 0);
        loop {
            let reply = frames.next().await?;
            if let Reply::Seed { uri } = &reply {
                let read = Totp::from_url(uri.expose());
                app = Some(read.map_err(|error| anyhow::anyhow!("no TOTP: {error}"))?);
            } else if let Reply::Challenge(challenge) = &reply {
                let app = app.as_ref().context("a challenge before the seed")?;
                // The earliest step that counts, so that the next two are left.
                used = step_now().saturating_sub(1);
                let code = Secret::new(app.generate(used.saturating_mul(STEP)).to_string());
                frames.send(&Say::Answer { challenge: challenge.id, code }).await?;
            } else if over(&reply)? {
                break;
            }
        }
        connection.close().await;
        Ok(Self { person, app: app.context("no seed")?, used })
    }

    /// Whether there is a code that was not used yet.
    pub(crate) fn has_code(&self) -> bool {
        self.used <= step_now()
    }

    /// Approves; returns when the code was sent and when the answer came.
    pub(crate) async fn approve(&mut self, server: &Server, id: &IdPrefix) -> Result<(Instant, Instant)> {
        let connection = Connection::open(server, self.person.name.as_str(), &self.person.key).await?;
        let mut frames = connection.subsystem(SUBSYSTEM_PERSON).await?;
        frames.ask(Ask::Approve { id: id.clone(), reason: None }).await?;
        let mut said = None;
        loop {
            let reply = frames.next().await?;
            if let Reply::Challenge(challenge) = &reply {
                self.used = self.used.saturating_add(1).max(step_now().saturating_sub(1));
                let code = Secret::new(self.app.generate(self.used.saturating_mul(STEP)).to_string());
                said = Some(Instant::now());
                frames.send(&Say::Answer { challenge: challenge.id, code }).await?;
            } else if over(&reply)? {
                break;
            }
        }
        let done = Instant::now();
        connection.close().await;
        Ok((said.context("approved without a code")?, done))
    }
}
