//! One end of a conversation: hears, replies, asks for the second factor.
//!
//! In: channels of a door. Out: what was said, and [`Proven`]: the proof that a factor was checked for one thing.
//! Only [`Dialogue::challenge`] makes a [`Proven`] (threat D06).

use elevate_audit::{Kind, Subject};
use elevate_policy::FactorProof;
use elevate_protocol::digest::Digest;
use elevate_protocol::id::Nonce;
use elevate_protocol::message::person::{Ask, Challenge, Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::name::Name;
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use tokio::sync::mpsc;

use super::fault::{Stop, Told, refuse, refuse_hint};
use super::{Inner, Speaker, changes, locks, random};
use crate::factor::{
    self, Attempt, CHALLENGE_LIFE, CHALLENGE_TRIES, Checked, FactorError, RecoveryAttempt, RecoveryCode,
};
use crate::store::{HostRow, Voice};

/// A conversation from the daemon's side.
pub(super) struct Dialogue {
    pub(super) speaker: Speaker,
    pub(super) voice: Voice,
    /// Door 1: the host that it comes through.
    pub(super) here: Option<HostRow>,
    pub(super) say: mpsc::Receiver<Say>,
    pub(super) reply: mpsc::Sender<Reply>,
}

/// Proof that the speaker's second factor was checked for one thing, and that the host's PAM stack agreed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proven {
    at: Timestamp,
    bound_to: Digest,
}

impl Proven {
    /// As the policy looks at it.
    pub(super) fn proof(self) -> FactorProof {
        FactorProof { checked_at: self.at, bound_to: self.bound_to }
    }
}

/// What a factor is asked for.
pub(super) struct Demand<'a> {
    /// The ask of this conversation.
    pub(super) ask: &'a Ask,
    /// What the proof is to be bound to.
    pub(super) bound_to: Digest,
    /// One word for events.
    pub(super) purpose: &'static str,
    /// What the person is told: `start web-ops on web1`.
    pub(super) what: String,
    /// What events are about.
    pub(super) subject: Subject,
    /// Whether a recovery code does as well.
    pub(super) recovery: Recovery,
}

/// Whether a recovery code does in the place of the factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// It does: what is asked only takes rights away.
    Does,
    /// It is a wrong code like any other.
    Refused,
}

impl Dialogue {
    /// The person who speaks.
    pub(super) fn person(&self) -> Told<&Name> {
        match &self.speaker {
            Speaker::Person { name, .. } | Speaker::OnHost { name, .. } => Ok(name),
            Speaker::Root { .. } => refuse_hint(
                Code::WrongDoor,
                "root on the daemon's machine is no person of the policy",
                "use elevatectl, or elevate with your own key",
            ),
        }
    }

    /// Whether whoever was let in would be let in now: a key that was taken away, a login of somebody else or an entry that
    /// ended speaks no longer, also on a connection that was there before.
    pub(super) fn stands(&self, core: &Inner) -> Told<()> {
        stands(core, &self.speaker)
    }

    /// The door that wrong codes are counted at.
    pub(super) fn door(&self) -> String {
        match &self.speaker {
            Speaker::OnHost { host, .. } => host.to_string(),
            Speaker::Person { .. } | Speaker::Root { .. } => factor::KEY_DOOR.to_owned(),
        }
    }

    /// Says something; nobody listening ends the conversation.
    pub(super) async fn tell(&self, reply: Reply) -> Told<()> {
        self.reply.send(reply).await.map_err(|_| Stop::Left)
    }

    /// The next thing said. Leaving is a stop, and so is a closed channel.
    pub(super) async fn hear(&mut self) -> Told<Say> {
        match self.say.recv().await {
            None | Some(Say::Leave) => Err(Stop::Left),
            Some(say) => Ok(say),
        }
    }

    /// Waits for the person to leave; anything else said meanwhile is out of order.
    pub(super) async fn hear_nothing(&mut self) -> Stop {
        match self.hear().await {
            Ok(_) => Stop::Refuse(Refusal::new(Code::Usage, "nothing was asked at this point")),
            Err(stop) => stop,
        }
    }

    /// Asks for the speaker's second factor, for one thing.
    pub(super) async fn challenge(&mut self, core: &Inner, demand: Demand<'_>) -> Told<Proven> {
        let person = self.person()?.clone();
        self.can_answer(core, &person, demand.recovery).await?;
        let id = Nonce::from_random(random()?);
        let prompt = UntrustedText::lossy(&format!("Code for {person}: {}", demand.what));
        let ask = demand.ask.digest()?;
        self.tell(Reply::Challenge(Challenge { id, ask, prompt })).await?;
        let clock = core.clock.clone();
        let until = clock.now().after(CHALLENGE_LIFE);
        let proven = tokio::select! {
            proven = self.answers(core, &person, id, &demand) => proven?,
            () = clock.sleep_until(until) => return refuse(Code::Factor, "no code came in time; nothing was changed"),
        };
        self.stands(core)?;
        Ok(proven)
    }

    /// Before anybody is asked for a code: is there a factor, is this door open.
    async fn can_answer(&self, core: &Inner, person: &Name, recovery: Recovery) -> Told<()> {
        let mut tx = core.store.read().await?;
        if recovery == Recovery::Refused {
            locks::unlocked(&mut tx, self, None).await?;
        }
        let helps = recovery == Recovery::Does && tx.recovery_set(person).await?.is_some();
        if tx.factor(person).await?.is_none() && !helps {
            return refuse_hint(
                Code::Factor,
                format!("no second factor is enrolled for {person}"),
                format!(
                    "ask an administrator for: elevatectl person invite {person}   then: elevate mfa add"
                ),
            );
        }
        let failures = tx.failures(person).await?;
        match factor::closed_until(&failures, &self.door(), tx.now()) {
            Some((until, locked)) => closed(until, tx.now(), locked),
            None => Ok(()),
        }
    }

    async fn answers(&mut self, core: &Inner, person: &Name, id: Nonce, demand: &Demand<'_>) -> Told<Proven> {
        let mut tries = CHALLENGE_TRIES;
        loop {
            let code = match self.hear().await? {
                Say::Answer { challenge, code } if challenge == id => code,
                Say::Answer { .. } => return refuse(Code::Factor, "that code is for another challenge"),
                // The PAM stack gave up before it asked for a code.
                Say::Confirm { challenge, passed: false } if challenge == id => {
                    return self.unconfirmed(core, demand).await;
                }
                Say::Confirm { .. }
                | Say::Hello { .. }
                | Say::Ask(_)
                | Say::Input { .. }
                | Say::Leave
                | Say::Use(_)
                | Say::AtUse(_)
                | Say::Ssh(_)
                | Say::SshDenied(_) => {
                    return refuse(Code::Usage, "a code was asked for");
                }
            };
            let (checked, at) = self.look(core, person, &code, demand).await?;
            tries = tries.saturating_sub(1);
            let message = match checked {
                Checked::Accepted => {
                    self.tell(Reply::Verdict { accepted: true, tries, message: None }).await?;
                    self.confirmed(core, id, demand).await?;
                    return Ok(Proven { at, bound_to: demand.bound_to });
                }
                Checked::Rejected { next_at: None } => "that code is not right".to_owned(),
                Checked::Rejected { next_at: Some(next) } => {
                    format!("that code is not right; the next one is looked at in {}", next.since(at))
                }
                Checked::Reused => "that code was used before; wait for the next one".to_owned(),
                Checked::Closed { until, locked } => return closed(until, at, locked),
                Checked::NoFactor => return refuse(Code::Factor, "the second factor is gone"),
            };
            self.tell(Reply::Verdict { accepted: false, tries, message: Some(message) }).await?;
            if tries == 0 {
                return refuse(Code::Factor, "no code was right; nothing was changed");
            }
        }
    }

    async fn look(
        &self,
        core: &Inner,
        person: &Name,
        code: &Secret,
        demand: &Demand<'_>,
    ) -> Told<(Checked, Timestamp)> {
        if demand.recovery == Recovery::Does
            && let Some(code) = RecoveryCode::typed(code)
        {
            let door = self.door();
            let (purpose, subject) = (demand.purpose, &demand.subject);
            let attempt = RecoveryAttempt { person, door: &door, code, purpose, subject };
            return match factor::check_recovery(&core.store, &core.hasher, &self.voice, attempt).await {
                Err(FactorError::Busy) => refuse(Code::Busy, "others are at it; try again"),
                checked => Ok(checked?),
            };
        }
        let code = factor::Code::typed(code);
        let (door, purpose, subject) = (self.door(), demand.purpose, &demand.subject);
        let attempt = Attempt { person, door: &door, code: &code, purpose, subject };
        let mut tx = core.store.write().await?;
        let at = tx.now();
        let checked = factor::check(&mut tx, &core.seal, &self.voice, attempt).await?;
        tx.commit().await?;
        Ok((checked, at))
    }

    /// Door 1: the code went through the host's PAM stack, and all of it has to agree.
    async fn confirmed(&mut self, core: &Inner, id: Nonce, demand: &Demand<'_>) -> Told<()> {
        match &self.speaker {
            Speaker::Person { .. } | Speaker::Root { .. } => return Ok(()),
            Speaker::OnHost { .. } => {}
        }
        match self.hear().await? {
            Say::Confirm { challenge, passed: true } if challenge == id => Ok(()),
            Say::Confirm { challenge, passed: false } if challenge == id => {
                self.unconfirmed(core, demand).await
            }
            Say::Confirm { .. }
            | Say::Answer { .. }
            | Say::Hello { .. }
            | Say::Ask(_)
            | Say::Input { .. }
            | Say::Leave
            | Say::Use(_)
            | Say::AtUse(_)
            | Say::Ssh(_)
            | Say::SshDenied(_) => refuse(Code::Usage, "a confirmation was asked for"),
        }
    }

    async fn unconfirmed<T>(&self, core: &Inner, demand: &Demand<'_>) -> Told<T> {
        let mut tx = core.store.write().await?;
        let kind = Kind::FactorUnconfirmed { purpose: UntrustedText::lossy(demand.purpose) };
        tx.record(self.voice.did(demand.subject.clone(), kind)).await?;
        tx.commit().await?;
        refuse(Code::Factor, "the host's own authentication did not pass; nothing was changed")
    }
}

/// See [`Dialogue::stands`].
pub(super) fn stands(core: &Inner, speaker: &Speaker) -> Told<()> {
    let policy = core.policy();
    let (entry, what) = match speaker {
        Speaker::Root { .. } => return Ok(()),
        Speaker::Person { name, key, .. } => {
            let holds = |one: &&elevate_policy::Person| one.keys.iter().any(|own| fingerprint(own) == *key);
            (policy.person(name).filter(holds).filter(|_| !changes::waits(core, name, key)), "key")
        }
        Speaker::OnHost { name, login, .. } => {
            (policy.person(name).filter(|one| one.login == *login), "login")
        }
    };
    match entry {
        Some(entry) if !entry.is_over(core.clock.now()) => Ok(()),
        Some(entry) => refuse_hint(
            Code::NotEligible,
            format!("your entry in the policy ended at {}", entry.end_text()),
            "ask an administrator to set its `until` later",
        ),
        None => refuse(Code::NotEligible, format!("this {what} is nobody's in the policy any more")),
    }
}

fn fingerprint(key: &elevate_policy::PersonKey) -> String {
    key.fingerprint.to_string()
}

pub(super) fn closed<T>(until: Timestamp, now: Timestamp, locked: bool) -> Told<T> {
    let left = until.since(now);
    if locked {
        refuse_hint(
            Code::Factor,
            format!("too many wrong codes: this door is locked for another {left}"),
            "wait, or use another door; if it was not you, tell an administrator",
        )
    } else {
        refuse(Code::Factor, format!("too many wrong codes: the next one is looked at in {left}"))
    }
}
