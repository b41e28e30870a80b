//! A managed host as the daemon knows it: takes documents in order, remembers every byte of them, reports.
//!
//! In: the host's keys. Out: a thread that connects again and again, and what it [`Seen`]. Its memory outlives the daemon's:
//! what it once took stays taken, as on a host whose agent has acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use elevate_protocol::document::{Act, Document, EndCause, head};
use elevate_protocol::epoch::NewEpoch;
use elevate_protocol::flavour::{Enforcement, Installed};
use elevate_protocol::frame;
use elevate_protocol::id::{ActivationId, ClusterId, HostId, Nonce};
use elevate_protocol::message::Versions;
use elevate_protocol::message::agent::{AgentHello, Applied, Claim, Report, ToAgent};
use elevate_protocol::signed::{SignedBody, TrustedKeys, VOUCH_NAMESPACE, verify_document};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::vouch::Vouch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ssh_key::PrivateKey;

use super::talk::{Place, Ssh};
use super::vault::now;

/// Of its hellos.
const NONCE: [u8; 16] = [6; 16];

/// Who the host is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Its id.
    pub(crate) host: HostId,
    /// The cluster that it is in.
    pub(crate) cluster: ClusterId,
    /// Where it connects, with its link key.
    pub(crate) place: Place,
    /// Its vouch key.
    pub(crate) vouch: PrivateKey,
    /// Whose documents it takes.
    pub(crate) signers: TrustedKeys,
    /// Accounts on it.
    pub(crate) accounts: BTreeMap<String, u32>,
}

/// The log of a host, as far as it was applied.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// Its epoch.
    epoch: u32,
    /// Documents by place, and their bytes.
    pub(crate) documents: BTreeMap<u64, (Document, String)>,
    /// The last of them.
    last: Option<SignedBody>,
}

impl Log {
    /// One that begins.
    pub(crate) fn of(epoch: u32) -> Self {
        Self { epoch, documents: BTreeMap::new(), last: None }
    }
}

/// What the host has seen and said.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What was applied.
    pub(crate) log: Log,
    /// The epoch that the daemon says begins.
    pub(crate) new_epoch: Option<u32>,
    /// Reports that the daemon has not acknowledged.
    waiting: VecDeque<(u64, Report)>,
    /// The last report that it has.
    pub(crate) recorded: u64,
    /// Reports made.
    pub(crate) reported: u64,
    /// What no daemon may do.
    pub(crate) trouble: Vec<String>,
    /// The connection, once welcome.
    line: Option<Line>,
    welcome: bool,
    ssh: Option<i32>,
}

#[derive(Debug)]
struct Line {
    input: ChildStdin,
    nonce: Nonce,
    count: u64,
    /// Of the log that the hello told.
    epoch: u32,
    /// Whether the daemon has said that it has another one.
    apart: bool,
}

/// The host.
#[derive(Debug)]
pub(crate) struct Peer {
    identity: Identity,
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Connects for as long as the value lives, with the log that it has.
    pub(crate) fn start(identity: Identity, log: Log) -> Self {
        let (seen, over) = (Arc::new(Mutex::new(Seen::of(log))), Arc::new(AtomicBool::new(false)));
        let (own, theirs, ended) = (identity.clone(), Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let address: SocketAddr = format!("{}:7022", own.place.address).parse().unwrap();
            while !ended.load(Ordering::Relaxed) {
                if TcpStream::connect(address).is_ok() {
                    serve(&own, &theirs);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { identity, seen, over, thread: Some(thread) }
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Whether the daemon takes what is said.
    pub(crate) fn is_welcome(&self) -> bool {
        self.seen().welcome
    }

    /// The word of its root: what was in force ends, and the log begins anew.
    pub(crate) fn confirm(&self) {
        let mut seen = self.seen();
        let Some(epoch) = seen.new_epoch.take() else { return };
        let held: BTreeSet<_> = seen.log.documents.values().filter_map(|(one, _)| one.activation()).collect();
        for grant in held {
            if seen.holds(grant) {
                seen.add(&self.identity, Report::Ended { grant, cause: EndCause::Restored });
            }
        }
        seen.add(&self.identity, Report::Epoch { epoch });
        seen.log = Log::of(epoch);
    }

    /// Reports; again on every connection until the daemon has it. Its number.
    pub(crate) fn report(&self, report: Report) -> u64 {
        let mut seen = self.seen();
        seen.add(&self.identity, report)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(ssh) = self.seen().ssh {
            let _cut = kill(Pid::from_raw(ssh), Signal::SIGKILL);
        }
        self.thread.take().map(JoinHandle::join);
    }
}

impl Seen {
    fn of(log: Log) -> Self {
        Self {
            log,
            new_epoch: None,
            waiting: VecDeque::new(),
            recorded: 0,
            reported: 0,
            trouble: Vec::new(),
            line: None,
            welcome: false,
            ssh: None,
        }
    }

    fn claim(&mut self, identity: &Identity, claim: Claim) {
        let Some(line) = &mut self.line else { return };
        line.count += 1;
        let vouch = Vouch { host: identity.host, nonce: line.nonce, count: line.count, claim };
        let body = serde_json::to_string(&vouch).unwrap();
        let signed = SignedBody::sign(body, &identity.vouch, VOUCH_NAMESPACE).unwrap();
        if frame::write(&mut line.input, &signed).is_err() {
            self.line = None;
        }
    }

    fn add(&mut self, identity: &Identity, report: Report) -> u64 {
        self.reported += 1;
        let number = self.reported;
        self.waiting.push_back((number, report.clone()));
        if self.welcome {
            self.claim(identity, Claim::Report { number, at: now(), report });
        }
        number
    }

    fn begins(&mut self, identity: &Identity, signed: &SignedBody) {
        let Some(line) = &mut self.line else { return };
        let ours = (identity.cluster, identity.host, Nonce::from_random(NONCE));
        match NewEpoch::open(signed, &identity.signers, ours) {
            Ok(said) if said.epoch == line.epoch + 1 => {
                line.apart = true;
                // Its root may have said so after the hello.
                self.new_epoch = Some(said.epoch).filter(|_| line.epoch == self.log.epoch);
            }
            other => self.trouble.push(format!("no new epoch: {other:?}")),
        }
    }

    /// Whether a grant was taken here and not ended.
    pub(crate) fn holds(&self, id: ActivationId) -> bool {
        let mut acts = self.log.documents.values().filter(|(document, _)| document.activation() == Some(id));
        acts.next_back().is_some_and(|(document, _)| !matches!(document.act, Act::End(_)))
    }

    /// How many documents of a grant were taken here.
    pub(crate) fn revision(&self, id: ActivationId) -> usize {
        self.log.documents.values().filter(|(document, _)| document.activation() == Some(id)).count()
    }

    fn place(&self) -> u64 {
        self.log.documents.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    fn take(&mut self, identity: &Identity, signed: &SignedBody) {
        let document = match verify_document(signed, &identity.signers, &identity.host) {
            Ok(verified) => verified.document().clone(),
            Err(error) => return self.trouble.push(format!("a document that does not verify: {error}")),
        };
        let seq = document.seq;
        if document.epoch != self.log.epoch {
            return self.trouble.push(format!("a document of epoch {}", document.epoch));
        }
        match self.log.documents.get(&seq) {
            Some((_, body)) if *body == signed.body => {}
            Some(_) => return self.trouble.push(format!("two documents at place {seq}")),
            None if seq != self.place() + 1 => {
                return self.trouble.push(format!("place {seq} after {}", self.place()));
            }
            None => {
                if let Act::End(end) = &document.act {
                    self.add(identity, Report::Ended { grant: end.id, cause: end.cause });
                }
                self.log.documents.insert(seq, (document, signed.body.clone()));
                self.log.last = Some(signed.clone());
            }
        }
        self.claim(identity, Claim::Applied { seq, result: Applied::Enforced });
    }
}

fn serve(identity: &Identity, seen: &Mutex<Seen>) {
    let mut ssh = Ssh::open(&identity.place, "elevate-agent", "elevate-agent");
    seen.lock().unwrap().ssh = Some(ssh.pid());
    while let Ok(Some(said)) = frame::read::<ToAgent>(&mut ssh.output) {
        let mut seen = seen.lock().unwrap();
        hear(identity, &mut seen, (said, &ssh));
    }
    let mut seen = seen.lock().unwrap();
    (seen.line, seen.welcome, seen.ssh) = (None, false, None);
}

fn hear(identity: &Identity, seen: &mut Seen, (said, ssh): (ToAgent, &Ssh)) {
    match said {
        ToAgent::Hello { nonce, .. } => {
            let input = std::os::fd::AsFd::as_fd(&ssh.input).try_clone_to_owned().unwrap();
            seen.line =
                Some(Line { input: input.into(), nonce, count: 0, epoch: seen.log.epoch, apart: false });
            let hello = AgentHello {
                versions: Versions::OURS,
                host: identity.host,
                agent: "0.0.0".into(),
                sudo: Enforcement::With(Installed {
                    line: UntrustedText::lossy("Sudo version 1.9.16"),
                    lacks: BTreeSet::new(),
                }),
                ssh: elevate_protocol::flavour::SshEnforcement::Asks,
                epoch: seen.log.epoch,
                seq: seen.place(),
                head: seen.log.documents.values().fold(None, |before, (_, body)| Some(head(before, body))),
                last: seen.log.last.clone(),
                nonce: Nonce::from_random(NONCE),
                time: now(),
            };
            seen.claim(identity, Claim::Hello(hello));
        }
        ToAgent::Welcome { reported, .. } => {
            if reported > seen.reported {
                seen.trouble.push(format!("report {reported} recorded that was never made"));
            }
            seen.welcome = true;
            for (number, report) in seen.waiting.clone() {
                seen.claim(identity, Claim::Report { number, at: now(), report });
            }
        }
        ToAgent::Document(signed) => seen.take(identity, &signed),
        ToAgent::Offers { .. } => {
            let uids = identity.accounts.iter().map(|(login, uid)| (login.parse().unwrap(), *uid)).collect();
            seen.claim(identity, Claim::Accounts { uids });
        }
        ToAgent::Recorded { number } => {
            if number > seen.reported {
                seen.trouble.push(format!("report {number} recorded that was never made"));
            }
            seen.recorded = seen.recorded.max(number);
            seen.waiting.retain(|(waiting, _)| *waiting > number);
        }
        ToAgent::Epoch(signed) => seen.begins(identity, &signed),
        // Until its root has said so too.
        ToAgent::Refused(_) if seen.line.as_ref().is_some_and(|line| line.apart) => {}
        ToAgent::Refused(refusal) => seen.trouble.push(format!("the host is refused: {}", refusal.message)),
        ToAgent::Conversation { .. }
        | ToAgent::Heartbeat { .. }
        | ToAgent::Contact(_)
        | ToAgent::HostTerms { .. }
        | ToAgent::HostCertificates { .. } => {}
    }
}
