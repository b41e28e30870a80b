//! A log of documents for one host, from the first grant to the last end, against an agent that may die at any moment.
//!
//! In: a plan. Out: after each document and after each start, what sudo lists is what the acknowledged documents say.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, End, EndCause, Extend, Grant};
use elevate_protocol::frame;
use elevate_protocol::id::{ActivationId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::signed::{GRANT_NAMESPACE, SignedBody, TrustedKeys};
use elevate_protocol::time::{Span, Timestamp};
use elevate_protocol::vouch::VouchReader;

use super::rig::{Rig, cluster, host, key};
use crate::daemon::vault::{PATIENCE, comes, now};
use crate::strace::Plan;

/// The connection ended.
struct Lost;

struct Link {
    stream: UnixStream,
    vouches: VouchReader,
}

/// One run.
pub(crate) struct Way {
    pub(crate) rig: Rig,
    link: Option<Link>,
    /// What the host acknowledged, by place: whether it is enforced.
    acknowledged: BTreeMap<u64, bool>,
    /// Every report by its number.
    reports: BTreeMap<u64, Report>,
    begun: Timestamp,
}

fn id(number: u8) -> ActivationId {
    ActivationId::from_random([number; 16])
}

fn grant(number: u8, begun: Timestamp, path: &str) -> Act {
    Act::Grant(Box::new(Grant {
        id: id(number),
        revision: 1,
        person: "alice".parse().unwrap(),
        login: "alice".parse().unwrap(),
        uid: 2000,
        request_digest: Digest::of(b"request"),
        role: "web-ops".parse().unwrap(),
        role_digest: Digest::of(b"role"),
        not_before: begun.before(Span::MINUTE),
        not_after: begun.after(Span(600)),
        duration: Span(600),
        warn: vec![],
        sudo: serde_json::from_str(&format!(r#"{{"as":"root","run":[["{path}"]]}}"#)).unwrap(),
        ssh: None,
        approvals: vec![],
        lease: None,
        factor_at_use: None,
        critical: vec![],
    }))
}

/// The log: two rights, one is extended, both end.
fn log(begun: Timestamp) -> Vec<Act> {
    let end = |number, revision| Act::End(End { id: id(number), revision, cause: EndCause::Revoked });
    vec![
        grant(5, begun, "/usr/bin/id"),
        Act::Extend(Extend { id: id(5), revision: 2, not_after: begun.after(Span(900)) }),
        grant(6, begun, "/usr/bin/uptime"),
        end(5, 3),
        end(6, 2),
    ]
}

impl Way {
    pub(crate) fn begin(plan: &Plan) -> Self {
        let mut rig = Rig::new();
        rig.start(plan);
        Self { rig, link: None, acknowledged: BTreeMap::new(), reports: BTreeMap::new(), begun: now() }
    }

    pub(crate) fn walk(&mut self) {
        let log = log(self.begun);
        for (place, act) in log.iter().enumerate() {
            let seq = u64::try_from(place + 1).unwrap();
            let document =
                Document { format: 1, cluster: cluster(), host: host(), epoch: 1, seq, act: act.clone() };
            let signed = SignedBody::sign(document.to_line().unwrap(), &key(7), GRANT_NAMESPACE).unwrap();
            let mut tries = 0;
            while self.apply(seq, &signed).is_err() {
                tries += 1;
                assert!(tries < 2000, "document {seq} is not applied:\n{}", self.rig.said());
                self.recover();
            }
            self.rules_are_those_of(&log);
        }
        // One more start: what is on the disk says the same, and nothing lies about.
        self.rig.kill();
        self.link = None;
        assert!(self.rig.start(&Plan::Leave), "no start at the end:\n{}", self.rig.said());
        self.rules_are_those_of(&log);
        let drafts = self.rig.drafts();
        assert!(drafts.is_empty(), "left behind: {drafts:?}");
        self.ends_were_reported();
    }

    /// Starts the agent again when it is gone.
    fn recover(&mut self) {
        self.link = None;
        if self.rig.has_ended() {
            self.rig.kill();
            assert!(self.rig.start(&Plan::Leave), "the agent does not start again:\n{}", self.rig.said());
        } else {
            // It was just killed, or has just cut the link.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn connect(&mut self) -> Result<(), Lost> {
        if self.link.is_some() {
            return Ok(());
        }
        let mut stream = UnixStream::connect(self.rig.path("run/elevate/link.sock")).map_err(|_| Lost)?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let nonce = Nonce::from_random([9; 16]);
        let hello = ToAgent::Hello { versions: Versions::OURS, cluster: cluster(), nonce, time: now() };
        frame::write(&mut stream, &hello).map_err(|_| Lost)?;
        let keys = TrustedKeys::one(key(8).public_key().clone()).unwrap();
        let mut vouches = VouchReader::new(keys, host(), nonce);
        let signed: SignedBody = frame::read(&mut stream).map_err(|_| Lost)?.ok_or(Lost)?;
        let Claim::Hello(hello) = vouches.open(&signed).unwrap() else { panic!("no hello") };
        let known = self.acknowledged.last_key_value().map_or(0, |(seq, _)| *seq);
        assert!(hello.seq >= known, "place {known} was acknowledged, and the host is at {}", hello.seq);
        let welcome = ToAgent::Welcome { version: 1, name: "web1".parse().unwrap() };
        frame::write(&mut stream, &welcome).map_err(|_| Lost)?;
        self.link = Some(Link { stream, vouches });
        Ok(())
    }

    fn claim(&mut self) -> Result<Claim, Lost> {
        let link = self.link.as_mut().ok_or(Lost)?;
        let signed: SignedBody = frame::read(&mut link.stream).map_err(|_| Lost)?.ok_or(Lost)?;
        let claim = link.vouches.open(&signed).unwrap();
        if let Claim::Report { number, report, .. } = &claim {
            let before = self.reports.insert(*number, report.clone());
            assert!(before.is_none_or(|before| before == *report), "number {number} names two reports");
            frame::write(&mut link.stream, &ToAgent::Recorded { number: *number }).map_err(|_| Lost)?;
        }
        Ok(claim)
    }

    fn apply(&mut self, seq: u64, signed: &SignedBody) -> Result<(), Lost> {
        self.connect()?;
        let link = self.link.as_mut().ok_or(Lost)?;
        frame::write(&mut link.stream, &ToAgent::Document(signed.clone())).map_err(|_| Lost)?;
        loop {
            if let Claim::Applied { seq: found, result } = self.claim()?
                && found == seq
            {
                self.acknowledged.insert(seq, result == Applied::Enforced);
                return Ok(());
            }
        }
    }

    /// The model: what the acknowledged documents come to.
    fn model(&self, log: &[Act]) -> BTreeSet<ActivationId> {
        let mut live = BTreeSet::new();
        for (place, act) in log.iter().enumerate() {
            let enforced = self.acknowledged.get(&u64::try_from(place + 1).unwrap());
            match act {
                Act::Grant(grant) if enforced == Some(&true) => drop(live.insert(grant.id)),
                Act::End(end) if enforced.is_some() => drop(live.remove(&end.id)),
                _ => {}
            }
        }
        live
    }

    /// What the real sudo lists is exactly that. A rule may come back with the agent's next look at its folders.
    fn rules_are_those_of(&mut self, log: &[Act]) {
        let live = self.model(log);
        let mut listed = String::new();
        let fits = comes(|| {
            listed = self.rig.sudo_lists("alice");
            // More than the model is never right, not for a moment.
            for (number, path) in [(5, "/usr/bin/id"), (6, "/usr/bin/uptime")] {
                let wider = listed.contains(path) && !live.contains(&id(number));
                assert!(
                    !wider,
                    "{path} is allowed and was never granted or is over:\n{listed}\n{}",
                    self.rig.said()
                );
            }
            live.contains(&id(5)) == listed.contains("/usr/bin/id")
                && live.contains(&id(6)) == listed.contains("/usr/bin/uptime")
                || self.rig.has_ended()
        });
        assert!(fits, "a right without its rule:\n{listed}\n{}", self.rig.said());
        let mallory = self.rig.sudo_lists("mallory");
        assert!(!mallory.contains("/usr/bin"), "{mallory}");
    }

    /// Every right that began here is told to have ended.
    fn ends_were_reported(&mut self) {
        let began: Vec<u8> = [(1, 5), (3, 6)]
            .iter()
            .filter(|(seq, _)| self.acknowledged[seq])
            .map(|(_, number)| *number)
            .collect();
        // What the disk refused to take is lost, and the agent says so at once.
        if self.rig.ever_said("a report is lost") {
            return;
        }
        let begin = Instant::now();
        while !began.iter().all(|number| self.reports.values().any(|report| ends(report, id(*number)))) {
            assert!(begin.elapsed() < PATIENCE, "no end reported: {:?}\n{}", self.reports, self.rig.said());
            if self.connect().and_then(|()| self.claim()).is_err() {
                self.recover();
            }
        }
    }
}

fn ends(report: &Report, wanted: ActivationId) -> bool {
    matches!(report, Report::Ended { grant, .. } if *grant == wanted)
}
