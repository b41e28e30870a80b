//! A log of documents for one host, from the first grant to the last end, against an agent that may die at any moment; and one
//! that begins anew on the way, by the word of the host's root.
//!
//! In: a plan. Out: after each document and after each start, what sudo lists is what the acknowledged documents say.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use elevate_protocol::digest::Digest;
use elevate_protocol::document::{Act, Document, End, EndCause, Extend, Grant};
use elevate_protocol::epoch::NewEpoch;
use elevate_protocol::frame;
use elevate_protocol::id::{ActivationId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{Applied, Claim, Report, ToAgent};
use elevate_protocol::message::refusal::{Code, Refusal};
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
    /// The daemon's log: acts, each with its epoch.
    log: Vec<(u32, Act)>,
    /// The epoch that the daemon's log is in.
    epoch: u32,
    /// What the host acknowledged, by epoch and place: whether it is enforced.
    acknowledged: BTreeMap<(u32, u64), bool>,
    /// Every report by its number.
    reports: BTreeMap<u64, Report>,
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

fn end(number: u8, revision: u32) -> Act {
    Act::End(End { id: id(number), revision, cause: EndCause::Revoked })
}

/// Which log is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Two rights, one is extended, both end.
    Rights,
    /// The log begins anew while two rights are in force. One of them is given again.
    Epoch,
}

impl Route {
    fn log(self, begun: Timestamp) -> Vec<(u32, Act)> {
        match self {
            Self::Rights => vec![
                (1, grant(5, begun, "/usr/bin/id")),
                (1, Act::Extend(Extend { id: id(5), revision: 2, not_after: begun.after(Span(900)) })),
                (1, grant(6, begun, "/usr/bin/uptime")),
                (1, end(5, 3)),
                (1, end(6, 2)),
            ],
            Self::Epoch => vec![
                (1, grant(5, begun, "/usr/bin/id")),
                (1, grant(6, begun, "/usr/bin/uptime")),
                (2, grant(7, begun, "/usr/bin/id")),
                (2, end(7, 2)),
            ],
        }
    }
}

impl Way {
    pub(crate) fn begin(plan: &Plan, route: Route) -> Self {
        let mut rig = Rig::new();
        rig.start(plan);
        let (acknowledged, reports) = (BTreeMap::new(), BTreeMap::new());
        Self { rig, link: None, log: route.log(now()), epoch: 1, acknowledged, reports }
    }

    pub(crate) fn walk(&mut self) {
        let mut seq = 0;
        for (epoch, act) in self.log.clone() {
            if epoch != self.epoch {
                self.begin_epoch(epoch);
                seq = 0;
            }
            seq += 1;
            let document = Document { format: 1, cluster: cluster(), host: host(), epoch, seq, act };
            let signed = SignedBody::sign(document.to_line().unwrap(), &key(7), GRANT_NAMESPACE).unwrap();
            self.again_until(&format!("document {seq} of epoch {epoch}"), |way| way.apply(seq, &signed));
            self.rules_are_those_of_the_log();
        }
        // One more start: what is on the disk says the same, and nothing lies about.
        self.rig.kill();
        self.link = None;
        assert!(self.rig.start(&Plan::Leave), "no start at the end:\n{}", self.rig.said());
        self.rules_are_those_of_the_log();
        let drafts = self.rig.drafts();
        assert!(drafts.is_empty(), "left behind: {drafts:?}");
        self.ends_were_reported();
    }

    fn again_until(&mut self, what: &str, step: impl Fn(&mut Self) -> Result<(), Lost>) {
        let mut tries = 0;
        while step(self).is_err() {
            tries += 1;
            assert!(tries < 2000, "{what} is not done:\n{}", self.rig.said());
            self.recover();
        }
    }

    /// The daemon's log is another one from now on; the host's root says so too, as soon as the host has heard of it.
    fn begin_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.link = None;
        self.again_until("the new epoch", |way| {
            // Without root's word it says so again and again, and is not welcome.
            let begun = way.connect();
            if begun.is_err() {
                way.rig.confirm(epoch);
            }
            begun
        });
        self.rules_are_those_of_the_log();
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
        let known = self.acknowledged.last_key_value().map_or((1, 0), |(place, _)| *place);
        let place = (hello.epoch, hello.seq);
        assert!(place >= known, "{known:?} was acknowledged, and the host is at {place:?}");
        if hello.epoch != self.epoch {
            let (cluster, host, nonce) = (cluster(), host(), hello.nonce);
            let said = NewEpoch { cluster, host, nonce, epoch: self.epoch }.sign(&key(7)).unwrap();
            frame::write(&mut stream, &ToAgent::Epoch(said)).map_err(|_| Lost)?;
            let refusal = Refusal::new(Code::Integrity, "another log");
            frame::write(&mut stream, &ToAgent::Refused(refusal)).map_err(|_| Lost)?;
            // It hangs up when it has heard that.
            while let Ok(Some(_)) = frame::read::<SignedBody>(&mut stream) {}
            return Err(Lost);
        }
        let reported = self.reports.last_key_value().map_or(0, |(number, _)| *number);
        let welcome = ToAgent::Welcome { version: 1, name: "web1".parse().unwrap(), reported };
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
                self.acknowledged.insert((self.epoch, seq), result == Applied::Enforced);
                return Ok(());
            }
        }
    }

    /// What became of the documents that were acknowledged, with their epochs.
    fn done(&self) -> impl Iterator<Item = (u32, &Act, bool)> {
        let mut seq = BTreeMap::new();
        self.log.iter().filter_map(move |(epoch, act)| {
            let seq = seq.entry(*epoch).and_modify(|seq| *seq += 1).or_insert(1);
            Some((*epoch, act, *self.acknowledged.get(&(*epoch, *seq))?))
        })
    }

    /// The model: what the acknowledged documents of this epoch come to, as the commands that may be run.
    fn model(&self) -> BTreeSet<&'static str> {
        let mut live = BTreeSet::new();
        for (_, act, enforced) in self.done().filter(|(epoch, ..)| *epoch == self.epoch) {
            match act {
                Act::Grant(grant) if enforced => drop(live.insert(grant.id)),
                Act::End(end) => drop(live.remove(&end.id)),
                _ => {}
            }
        }
        live.iter().map(|live| if *live == id(6) { "/usr/bin/uptime" } else { "/usr/bin/id" }).collect()
    }

    /// What the real sudo lists is exactly that. A rule may come back with the agent's next look at its folders.
    fn rules_are_those_of_the_log(&mut self) {
        let live = self.model();
        let mut listed = String::new();
        let fits = comes(|| {
            listed = self.rig.sudo_lists("alice");
            // More than the model is never right, not for a moment.
            for path in ["/usr/bin/id", "/usr/bin/uptime"] {
                let wider = listed.contains(path) && !live.contains(path);
                assert!(
                    !wider,
                    "{path} is allowed and was never granted or is over:\n{listed}\n{}",
                    self.rig.said()
                );
            }
            live.iter().all(|path| listed.contains(path)) || self.rig.has_ended()
        });
        assert!(fits, "a right without its rule:\n{listed}\n{}", self.rig.said());
        let mallory = self.rig.sudo_lists("mallory");
        assert!(!mallory.contains("/usr/bin"), "{mallory}");
    }

    /// Every right that began here is told to have ended.
    fn ends_were_reported(&mut self) {
        let grant = |(_, act, enforced): (u32, &Act, bool)| match act {
            Act::Grant(grant) if enforced => Some(grant.id),
            _ => None,
        };
        let began: Vec<ActivationId> = self.done().filter_map(grant).collect();
        // What the disk refused to take is lost, and the agent says so at once.
        if self.rig.ever_said("a report is lost") {
            return;
        }
        let begin = Instant::now();
        let told = |reports: &BTreeMap<u64, Report>, epoch: u32| {
            let ended = began.iter().all(|id| reports.values().any(|report| ends(report, *id)));
            ended && (epoch == 1 || reports.values().any(|report| *report == Report::Epoch { epoch }))
        };
        while !told(&self.reports, self.epoch) {
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
