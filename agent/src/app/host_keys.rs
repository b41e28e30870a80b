//! Certificates of this host: asked for when the daemon would write others than those that are here, and long before they are over.
//!
//! In: what the daemon says of them, sshd's keys as a thread finds them. Out: [`Claim::HostKeys`]; certificates for sshd, by a thread.
//! Nothing here takes a login away: sshd shows its plain keys whatever becomes of certificates. Threats E02, E19, E20.

use std::thread;

use elevate_protocol::host_ssh::{HostKeys, HostNames};
use elevate_protocol::id::HostId;
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
    /// When certificates were last asked for, whatever was said since; a connection that is new begins anew.
    asked: Option<Boot>,
    /// The connection on which terms were said last.
    serial: u64,
    /// Since when certificates are awaited, whatever was said, asked or begun anew since; none: all were there.
    awaited: Option<Boot>,
    /// Certificates that came while a thread was at work.
    came: Option<Vec<String>>,
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
            serial: 0,
            awaited: Some(now),
            came: None,
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
    pub(crate) fn told(&self) -> (Vec<HostCertificate>, Option<String>, Option<Boot>) {
        (self.shown.iter().map(Shown::told).collect(), self.problem.clone(), self.awaited)
    }

    /// Something that certificates stand on may be another thing.
    pub(crate) fn hurry(&mut self, now: Boot) {
        self.await_from(now);
        self.look_soon();
    }

    /// A wait that stands goes on: what keeps happening would have nobody ever told that nothing comes.
    fn await_from(&mut self, now: Boot) {
        self.awaited.get_or_insert(now);
    }

    /// What a look found.
    fn found(&mut self, shown: Vec<Shown>, now: Boot) {
        if shown.iter().all(|one| one.proof.is_some()) {
            self.awaited = None;
        } else {
            self.await_from(now);
        }
        self.shown = shown;
    }

    fn look_soon(&mut self) {
        self.next = self.next.min(self.looked.after(SOON));
    }

    /// What the daemon would write, as it says on this connection; whether to look at once. It is not signed: whoever holds the
    /// connection could say another thing each second, and has nobody sign or look more often than that.
    fn terms_said(&mut self, terms: (HostNames, Ca), serial: u64, now: Moment) -> bool {
        let wants = self.shown.iter().any(|shown| shown.wants(&terms, now.wall));
        let worth = self.terms.replace(terms.clone()) != Some(terms) || wants;
        let is_new = self.serial != serial;
        self.serial = serial;
        if is_new {
            self.asked = None;
        } else if worth {
            self.look_soon();
        }
        is_new && worth
    }

    /// Whether certificates may be asked for; until when not.
    fn may_ask(&self, now: Boot) -> Result<(), Boot> {
        match self.asked.map(|asked| asked.after(AGAIN)).filter(|again| now < *again) {
            Some(again) => Err(again),
            None => Ok(()),
        }
    }
}

/// What lies here after something was done.
fn seen(paths: &Paths, now: (HostId, Timestamp), done: &Result<(), HostKeysError>) -> Message {
    let found = host_keys::look(paths, now);
    let problem = done.as_ref().err().or(found.as_ref().err()).map(|error| journal::chain(error));
    let clash = found.as_ref().ok().and_then(|found| found.clash.as_deref()).map(host_keys::clashes);
    Message::HostKeys { shown: found.ok().map(|found| found.shown), problem: problem.or(clash) }
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
        let (sender, paths, own) = (self.sender.clone(), self.paths.clone(), self.identity.config.host);
        self.work_on_host_keys(move || {
            let settled = host_keys::settle(&paths);
            drop(sender.send(seen(&paths, (own, now.wall), &settled)));
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
        if self.host_certificates.terms_said((names, ca), self.link_serial, now) {
            self.find_host_keys(now);
        }
    }

    /// The keys were looked at.
    pub(crate) fn host_keys_found(&mut self, shown: Option<Vec<Shown>>, problem: Option<String>) {
        let now = clock::read();
        if let Some(shown) = shown {
            self.host_certificates.found(shown, now.boot);
        }
        self.host_keys_are(problem, now);
        match self.host_certificates.came.take() {
            Some(certificates) => self.host_certificates_came(certificates, now),
            None => self.ask_for_host_certificates(now),
        }
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
        if let Err(again) = state.may_ask(now.boot) {
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
            self.host_certificates.came = Some(certificates);
            return;
        }
        let (sender, paths) = (self.sender.clone(), self.paths.clone());
        let shown = self.host_certificates.shown.clone();
        let (own, name) = (self.identity.config.host, self.identity.config.name.clone());
        self.work_on_host_keys(move || {
            let own_words = ((own, name.as_str()), now.wall);
            let put = host_keys::install(&paths, (&shown, &certificates), own_words);
            drop(sender.send(seen(&paths, (own, now.wall), &put)));
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

#[cfg(test)]
mod tests {
    use elevate_protocol::host_ssh::{HostKey, HostName, HostProof};
    use ssh_key::{HashAlg, PublicKey};

    use super::*;
    use crate::enforce::samples::NOW;

    fn at(seconds: i64) -> Moment {
        Moment { wall: NOW, boot: Boot(1_000_000).after_seconds(seconds) }
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIpWbOzCq5nnwB+vqkgtVBWZc6DEUGIOkI1hJCeZqqMC";

    fn terms(name: &str) -> (HostNames, Ca) {
        let names = vec![name.parse::<HostName>().unwrap()];
        (HostNames::try_from(names).unwrap(), KEY.parse().unwrap())
    }

    /// One of sshd's keys, with a certificate or without.
    fn shown(number: u8, certified: bool) -> Shown {
        let by = PublicKey::from_openssh(KEY).unwrap().fingerprint(HashAlg::Sha256);
        let proof = HostProof {
            host: HostId::from_random([1; 16]),
            serial: 1,
            names: terms("web1").0,
            valid_after: NOW,
            valid_before: NOW.after(Span::HOUR),
            by,
        };
        let place = format!("ssh_host_{number}_key-cert.pub").into();
        Shown { key: HostKey::of_file(KEY).unwrap(), place, proof: certified.then_some(proof) }
    }

    /// Names are said by a link, unsigned: one that says others all the time has nobody sign or look all the time.
    #[test]
    fn whatever_is_said_on_a_connection_certificates_are_asked_for_once_in_five_minutes() {
        let mut state = HostCertificates::begin(at(0).boot);
        assert!(state.terms_said(terms("web1"), 1, at(0)), "a connection that is new");
        (state.asked, state.next) = (Some(at(0).boot), at(0).boot.after(LOOK));
        for second in 1..i64::from(AGAIN.0) {
            let name = format!("db{second}");
            assert!(!state.terms_said(terms(&name), 1, at(second)), "{second}");
            assert!(state.due() >= state.looked.after(SOON) && state.due() <= at(20).boot, "{second}");
            assert_eq!(state.may_ask(at(second).boot), Err(at(300).boot), "{second}");
        }
        assert_eq!(state.may_ask(at(300).boot), Ok(()));
        assert!(state.terms_said(terms("web1"), 2, at(310)), "and the next connection begins anew");
        assert_eq!(state.may_ask(at(310).boot), Ok(()));
    }

    /// A link that is lost again and again, and a host where something changes all the time, hide no certificate that does not come.
    #[test]
    fn certificates_are_awaited_from_the_first_moment_on_until_all_are_there() {
        let mut state = HostCertificates::begin(at(0).boot);
        for second in 1..120 {
            let serial = u64::try_from(second).unwrap();
            assert!(state.terms_said(terms("web1"), serial, at(second)), "{second}");
            state.hurry(at(second).boot);
            state.found(vec![shown(1, true), shown(2, false)], at(second).boot);
            assert_eq!(state.told().2, Some(at(0).boot), "{second}");
        }
        state.found(vec![shown(1, true), shown(2, true)], at(130).boot);
        assert_eq!(state.told().2, None);
        assert!(state.terms_said(terms("db1"), 130, at(140)));
        assert_eq!(state.told().2, None, "a new name is no certificate that is missing");
        state.found(vec![shown(1, false), shown(2, true)], at(150).boot);
        assert_eq!(state.told().2, Some(at(150).boot), "one that is gone");
        state.found(vec![shown(1, true), shown(2, true)], at(160).boot);
        state.hurry(at(170).boot);
        assert_eq!(state.told().2, Some(at(170).boot), "one that may be gone with what has changed");
    }
}
