//! What an agent claims, one after the other, each recorded before it is answered.
//!
//! In: signed claims. Out: acknowledgements in the store, replies, conversations.

use std::collections::BTreeMap;

use elevate_audit::{Kind, Subject};
use elevate_protocol::document::{Act, Document};
use elevate_protocol::flavour::Enforcement;
use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::name::Login;
use elevate_protocol::signed::SignedBody;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Timestamp;
use tokio::sync::mpsc;

use super::{Cut, Serving, hello, reports, subject, voice};
use crate::store::Tx;

/// Reports that are recorded with one commit. Whoever else has to write waits for that long.
const REPORTS_AT_ONCE: usize = 64;
/// The same in bytes, but for the last of them: on a full disk there is room for that.
const BYTES_AT_ONCE: usize = 128 * 1024;

/// A report: its number, when it was by the host's clock, what it says.
type Told = (u64, Timestamp, Report);

impl Serving {
    /// Takes a claim, and the reports that follow it, as far as they are there.
    pub(super) async fn take(
        &mut self,
        signed: &SignedBody,
        claims: &mut mpsc::Receiver<Box<SignedBody>>,
    ) -> Result<(), Cut> {
        let mut claim = hello::open(&mut self.reader, signed)?;
        if let Claim::Report { number, at, report } = claim {
            let (reports, next) = self.gather((number, at, report), signed.body.len(), claims);
            self.reports(reports).await?;
            match next? {
                Some(next) => claim = next,
                None => return Ok(()),
            }
        }
        match claim {
            Claim::Hello(_) => Err(Cut::Refused(Refusal::new(Code::Usage, "a hello comes once"))),
            Claim::Heartbeat { time } => self.clock(time).await,
            Claim::Contact { nonce } => self.contact(nonce).await,
            Claim::Applied { seq, result } => self.applied(seq, result).await,
            Claim::Missing { from } => self.missing(from).await,
            Claim::Sudo(sudo) => self.sudo(sudo).await,
            Claim::Ssh(ssh) => self.ssh(ssh).await,
            Claim::HostKeys { keys } => {
                self.certify(keys);
                Ok(())
            }
            Claim::Accounts { uids } => self.accounts(uids).await,
            Claim::Report { number, at, report } => self.reports(vec![(number, at, report)]).await,
            Claim::Conversation { conversation, caller, say } => self.speak(conversation, caller, say).await,
        }
    }

    /// The reports that have come already, up to what is recorded at once, and what came after them: another claim, or the end.
    fn gather(
        &mut self,
        first: Told,
        mut bytes: usize,
        claims: &mut mpsc::Receiver<Box<SignedBody>>,
    ) -> (Vec<Told>, Result<Option<Claim>, Cut>) {
        let mut reports = vec![first];
        while reports.len() < REPORTS_AT_ONCE
            && bytes < BYTES_AT_ONCE
            && let Ok(signed) = claims.try_recv()
        {
            bytes = bytes.saturating_add(signed.body.len());
            match hello::open(&mut self.reader, &signed) {
                Ok(Claim::Report { number, at, report }) => reports.push((number, at, report)),
                Ok(other) => return (reports, Ok(Some(other))),
                Err(cut) => return (reports, Err(cut)),
            }
        }
        (reports, Ok(None))
    }

    /// The host's clock: a difference that begins while it is connected is recorded, and bars new grants until it ends.
    async fn clock(&mut self, host_time: Timestamp) -> Result<(), Cut> {
        let skewed = hello::is_skewed(host_time, self.core.inner().clock.now());
        if self.seat.has_skew(skewed) && skewed {
            let mut tx = self.core.inner().store.write().await?;
            let kind = Kind::HostClockSkew { host_time };
            tx.record(voice(&self.host).did(subject(&self.host), kind)).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn applied(&self, seq: u64, result: Applied) -> Result<(), Cut> {
        let mut tx = self.core.inner().store.write().await?;
        let refused = match &result {
            Applied::Enforced => None,
            Applied::Refused { why } => Some(why),
        };
        let Some((activation, body)) = tx.acknowledge(self.host.id, (self.host.epoch, seq), refused).await?
        else {
            // Said before, or of a document that never was: nothing to record.
            return Ok(());
        };
        let act = serde_json::from_str::<Document>(&body).map(|document| document.act);
        match (activation, act, refused) {
            // Nothing is in force there any more, or never was.
            (Some(id), Ok(Act::End(_)), None) | (Some(id), Ok(Act::Grant(_)), Some(_)) => {
                tx.end_told(id, self.host.id).await?;
            }
            (_, Ok(Act::Grant(_) | Act::Extend(_) | Act::End(_) | Act::Keys(_)) | Err(_), _) => {}
        }
        let about = self.about(&mut tx, activation).await?;
        let kind = match (activation, refused) {
            (Some(_), None) => Kind::GrantConfirmed { place: seq },
            (Some(_), Some(why)) => Kind::GrantRefusedByHost { place: seq, why: why.clone() },
            (None, None) => Kind::KeyTrusted { place: seq },
            (None, Some(why)) => Kind::KeyRefusedByHost { place: seq, why: why.clone() },
        };
        tx.record(voice(&self.host).did(about, kind)).await?;
        if let (Some(id), Some(_)) = (activation, refused) {
            self.refused_there(&mut tx, id).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn missing(&mut self, from: u64) -> Result<(), Cut> {
        // Nothing before what was sent can be missing that was never issued.
        if from == 0 || from > self.next {
            return Err(Cut::Refused(Refusal::new(Code::Integrity, "the host misses what was never issued")));
        }
        self.next = from;
        self.pump().await
    }

    async fn accounts(&mut self, uids: BTreeMap<Login, u32>) -> Result<(), Cut> {
        let offered = |login: &Login| self.offered.as_ref().is_some_and(|roles| roles.contains_key(login));
        let known: BTreeMap<Login, u32> = uids.into_iter().filter(|(login, _)| offered(login)).collect();
        let store = &self.core.inner().store;
        // After a restart of the daemon every host says what it said before.
        if store.glance().await?.accounts(self.host.id).await? != known {
            let mut tx = store.write().await?;
            tx.set_accounts(self.host.id, &known).await?;
            tx.commit().await?;
        }
        // After the commit: whoever goes on finds them.
        self.answered();
        Ok(())
    }

    /// What enforces there is another one: what may be offered changes with it.
    async fn sudo(&mut self, sudo: Enforcement) -> Result<(), Cut> {
        if self.host.sudo.as_ref() == Some(&sudo) {
            return Ok(());
        }
        let mut tx = self.core.inner().store.write().await?;
        tx.host_seen(self.host.id, Some(&sudo)).await?;
        let why = match &sudo {
            Enforcement::None { why } => Some(why.clone()),
            Enforcement::With(installed) if installed.lacks.is_empty() => None,
            Enforcement::With(installed) => {
                let lacks: Vec<&str> = installed.lacks.iter().map(|ability| ability.phrase()).collect();
                Some(UntrustedText::lossy(&lacks.join(", ")))
            }
        };
        let kind = Kind::HostSudo { sudo: sudo.line().cloned(), why };
        tx.record(voice(&self.host).did(subject(&self.host), kind)).await?;
        tx.commit().await?;
        self.host.sudo = Some(sudo);
        self.offer().await
    }

    /// Of a change for the worse the host reports as well: that is the event.
    async fn ssh(&mut self, ssh: SshEnforcement) -> Result<(), Cut> {
        if self.host.ssh.as_ref() == Some(&ssh) {
            return Ok(());
        }
        let mut tx = self.core.inner().store.write().await?;
        tx.host_ssh(self.host.id, &ssh).await?;
        tx.commit().await?;
        self.host.ssh = Some(ssh);
        self.offer().await
    }

    /// Records reports, all or none of them, and says so.
    async fn reports(&self, reports: Vec<Told>) -> Result<(), Cut> {
        let mut tx = self.core.inner().store.write().await?;
        let mut known = tx.reported(self.host.id).await?;
        let mut subjects = BTreeMap::new();
        let mut last = 0;
        for (number, at, report) in reports {
            last = number;
            if number > known {
                known = number;
                self.report(&mut tx, &mut subjects, (number, at, report)).await?;
            }
        }
        tx.set_reported(self.host.id, known).await?;
        tx.commit().await?;
        self.say(ToAgent::Recorded { number: last }).await
    }

    /// Records one report. `subjects` are those of the reports before it.
    async fn report(
        &self,
        tx: &mut Tx,
        subjects: &mut BTreeMap<Option<ActivationId>, Subject>,
        (number, at, report): Told,
    ) -> Result<(), Cut> {
        let (grant, ended) = match &report {
            Report::Used { grants, .. } | Report::UseRefused { grants, .. } => {
                (grants.first().copied(), None)
            }
            Report::Warned { grant, .. }
            | Report::SshLogin { grant, .. }
            | Report::SshLogout { grant, .. } => (Some(*grant), None),
            Report::SshRefused { grant, .. } => (*grant, None),
            Report::Ended { grant, cause } => (Some(*grant), Some(*cause)),
            Report::GateClosed { .. }
            | Report::Lost { .. }
            | Report::ClockStep { .. }
            | Report::Epoch { .. }
            | Report::Tampered { .. }
            | Report::Started { .. } => (None, None),
        };
        let about = match subjects.get(&grant) {
            Some(about) => about.clone(),
            None => {
                let about = self.about(tx, grant).await?;
                subjects.insert(grant, about.clone());
                about
            }
        };
        tx.record(voice(&self.host).did(about, reports::kind(number, at, report))).await?;
        if let (Some(id), Some(cause)) = (grant, ended) {
            tx.end_told(id, self.host.id).await?;
            self.ended_there(tx, id, cause).await?;
        }
        Ok(())
    }

    /// The subject of what this host says, with the activation that it names when that is one of this host.
    async fn about(&self, tx: &mut Tx, id: Option<ActivationId>) -> Result<Subject, Cut> {
        let Some(id) = id else { return Ok(subject(&self.host)) };
        let Some((person, role)) = tx.whose(id, self.host.id).await? else { return Ok(subject(&self.host)) };
        Ok(Subject { person: Some(person), role: Some(role), activation: Some(id), ..subject(&self.host) })
    }
}
