//! Certificates of this host: asked for when the daemon would write others than those that are here, and long before they are over.
//!
//! In: what the daemon says of them, sshd's keys as a thread finds them. Out: [`Claim::HostKeys`]; certificates for sshd, by a thread.
//! Nothing here takes a login away: sshd shows its plain keys whatever becomes of certificates. Threats E02, E19, E20.

use std::thread;

use elevate_protocol::host_ssh::{HostKeys, HostNames};
use elevate_protocol::message::agent::Claim;
use elevate_protocol::ssh::Ca;
use elevate_protocol::time::{Span, Timestamp};

use super::message::Message;
use super::state::{Agent, Looking};
use crate::clock::{self, Boot, Moment};
use crate::host_keys::{self, HostCertificate, HostKeysError, Shown};
use crate::journal::{self, Level};
use crate::paths::Paths;

/// Between two looks at sshd's keys and our certificates.
const LOOK: Span = Span(3600);
/// The same after something went wrong, or without an answer.
const AGAIN: Span = Span(300);
/// At the least, whatever happens in sshd's folder.
const SOON: Span = Span(20);

/// What is known of this host's certificates.
#[derive(Debug)]
pub(crate) struct HostCertificates {
    /// What the daemon would write, as it said on this connection or before.
    terms: Option<(HostNames, Ca)>,
    /// As they were last seen.
    shown: Vec<Shown>,
    /// Whether a thread looks, or puts certificates in place.
    working: Looking,
    /// When certificates were last asked for, on this connection and on these terms.
    asked: Option<Boot>,
    /// The last look.
    looked: Boot,
    /// The next one.
    next: Boot,
    /// What is not as it should be.
    problem: Option<String>,
}

impl HostCertificates {
    /// Nothing is known, and everything is to be looked at.
    #[must_use]
    pub(crate) fn begin(now: Boot) -> Self {
        Self {
            terms: None,
            shown: Vec::new(),
            working: Looking::Idle,
            asked: None,
            looked: now,
            next: now,
            problem: None,
        }
    }

    /// When the timer has to ring for it.
    #[must_use]
    pub(crate) fn due(&self) -> Boot {
        self.next
    }

    /// For `status`.
    #[must_use]
    pub(crate) fn told(&self) -> (Vec<HostCertificate>, Option<String>) {
        (self.shown.iter().map(Shown::told).collect(), self.problem.clone())
    }

    /// Something that certificates stand on may be another thing.
    pub(crate) fn hurry(&mut self) {
        self.next = self.next.min(self.looked.after(SOON));
    }
}

/// What lies here after something was done.
fn seen(paths: &Paths, now: Timestamp, done: &Result<(), HostKeysError>) -> Message {
    let found = host_keys::look(paths, now);
    let problem = done.as_ref().err().or(found.as_ref().err()).map(|error| journal::chain(error));
    Message::HostKeys { shown: found.ok(), problem }
}

impl Agent {
    /// Looks when it is time to.
    pub(crate) fn look_at_host_keys(&mut self, now: Moment) {
        if now.boot >= self.host_certificates.next {
            self.find_host_keys(now);
        }
    }

    fn find_host_keys(&mut self, now: Moment) {
        let state = &mut self.host_certificates;
        if state.working == Looking::Busy {
            // What it finds is asked about by the terms of then.
            state.next = now.boot.after(SOON);
            return;
        }
        (state.looked, state.next) = (now.boot, now.boot.after(LOOK));
        let (sender, paths) = (self.sender.clone(), self.paths.clone());
        self.work_on_host_keys(move || {
            let settled = host_keys::settle(&paths);
            drop(sender.send(seen(&paths, now.wall, &settled)));
        });
    }

    fn work_on_host_keys(&mut self, work: impl FnOnce() + Send + 'static) {
        match thread::Builder::new().name("host keys".into()).spawn(work) {
            Ok(_) => self.host_certificates.working = Looking::Busy,
            Err(error) => journal::log(Level::Error, &format!("host keys cannot be looked at: {error}")),
        }
    }

    /// What the daemon would write.
    pub(crate) fn host_terms(&mut self, names: HostNames, ca: Ca, now: Moment) {
        let terms = (names, ca);
        self.host_certificates.asked = None;
        let wants = self.host_certificates.shown.iter().any(|shown| shown.wants(&terms, now.wall));
        if self.host_certificates.terms.replace(terms.clone()) != Some(terms) || wants {
            self.find_host_keys(now);
        }
    }

    /// The keys were looked at.
    pub(crate) fn host_keys_found(&mut self, shown: Option<Vec<Shown>>, problem: Option<String>) {
        let now = clock::read();
        if let Some(shown) = shown {
            self.host_certificates.shown = shown;
        }
        self.host_keys_are(problem, now);
        self.ask_for_host_certificates(now);
    }

    fn ask_for_host_certificates(&mut self, now: Moment) {
        let state = &mut self.host_certificates;
        let Some(terms) = &state.terms else { return };
        if !state.shown.iter().any(|shown| shown.wants(terms, now.wall)) {
            return;
        }
        // Another key is told of by a document first; that comes by here again.
        if !host_keys::is_pinned(&self.paths, &terms.1) {
            return;
        }
        if let Some(again) = state.asked.map(|asked| asked.after(AGAIN)).filter(|again| now.boot < *again) {
            state.next = state.next.min(again);
            return;
        }
        let keys: Vec<_> = state.shown.iter().map(|shown| shown.key.clone()).collect();
        let Ok(keys) = HostKeys::try_from(keys) else { return };
        (state.asked, state.next) = (Some(now.boot), state.next.min(now.boot.after(AGAIN)));
        self.claim(Claim::HostKeys { keys });
    }

    /// Certificates came. They are nobody's word before they are verified.
    pub(crate) fn host_certificates_came(&mut self, certificates: Vec<String>, now: Moment) {
        if self.host_certificates.working == Looking::Busy {
            // They are asked for again.
            let state = &mut self.host_certificates;
            (state.asked, state.next) = (None, now.boot.after(SOON));
            return;
        }
        let (sender, paths) = (self.sender.clone(), self.paths.clone());
        let (shown, own) = (self.host_certificates.shown.clone(), self.identity.config.name.clone());
        self.work_on_host_keys(move || {
            let put = host_keys::install(&paths, (&shown, &certificates), (own.as_str(), now.wall));
            drop(sender.send(seen(&paths, now.wall, &put)));
        });
    }

    /// Notes what is wrong, and is said once.
    fn host_keys_are(&mut self, problem: Option<String>, now: Moment) {
        let state = &mut self.host_certificates;
        state.working = Looking::Idle;
        if problem.is_some() {
            state.next = state.next.min(now.boot.after(AGAIN));
        }
        if state.problem != problem {
            match &problem {
                Some(why) => {
                    journal::log(Level::Warning, &format!("the certificates of this host: {why}"));
                }
                None => journal::log(Level::Info, "the certificates of this host are looked after again"),
            }
            state.problem = problem;
        }
    }
}
