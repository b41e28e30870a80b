//! The second factor at a use: `pam_elevate.so` asks from inside sudo, the daemon looks at the code, this remembers for how long
//! a code counts at one terminal.
//!
//! In: [`FactorUse`] from root. Out: a prompt, then yes or no. Threats D13, D14, X-h; THREATS §6.1: without the daemon it is no.

use std::collections::{BTreeMap, BTreeSet};

use elevate_protocol::document::FACTOR_AT_USE_MAX;
use elevate_protocol::id::{ActivationId, Nonce};
use elevate_protocol::message::agent::{Caller, FactorUse, Seat};
use elevate_protocol::message::person::{Ask, AtUseAsk, Challenge, Outcome, Reply, Say};
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::secret::Secret;
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::super::state::Agent;
use super::{Talk, Verdict};
use crate::clock::{self, Boot};
use crate::journal::{self, Level};

/// Most seats that are remembered; whoever comes when all are taken is asked each time.
const SEATS_MAX: usize = 1024;
/// Longest command that is shown in a prompt, in letters.
const SHOWN_MAX: usize = 120;

/// Where a code was given lately. In memory only: an agent that starts again asks again.
#[derive(Debug, Default)]
pub(crate) struct Seats(BTreeMap<(u32, Seat), Given>);

/// What a code was given for.
#[derive(Debug)]
struct Given {
    /// These grants and no others.
    grants: BTreeSet<ActivationId>,
    /// Until then, by a clock that nobody sets back.
    until: Boot,
}

/// A use that waits for its code.
#[derive(Debug)]
pub(super) struct Use {
    key: (u32, Seat),
    grants: BTreeSet<ActivationId>,
    counts: Span,
    /// The challenge that a code is for, once the daemon has sent it.
    challenge: Option<Challenge>,
    verdict: Verdict,
}

impl Seats {
    /// Whether a code counts here for all of these grants.
    fn holds(&self, key: (u32, Seat), grants: &BTreeSet<ActivationId>, now: Boot) -> bool {
        self.0.get(&key).is_some_and(|given| now < given.until && grants.is_subset(&given.grants))
    }

    fn remember(&mut self, key: (u32, Seat), grants: BTreeSet<ActivationId>, until: Boot, now: Boot) {
        self.0.retain(|_, given| now < given.until);
        if self.0.len() < SEATS_MAX || self.0.contains_key(&key) {
            self.0.insert(key, Given { grants, until });
        }
    }
}

impl Agent {
    /// The module asks for one use.
    pub(crate) fn at_use(&mut self, serial: u64, asked: &FactorUse) {
        let now = clock::read();
        let mut login = None;
        let mut grants = BTreeSet::new();
        let mut counts = FACTOR_AT_USE_MAX;
        for one in self.in_force(asked.uid, now) {
            let grant = one.live.grant();
            if let Some(span) = grant.factor_at_use {
                login = Some(grant.login.clone());
                grants.insert(grant.id);
                counts = counts.min(span);
            }
        }
        let Some(login) = login else {
            let refusal = Refusal::new(Code::Gone, "your rights changed while sudo waited, run it again");
            return self.refuse(serial, refusal);
        };
        let key = (asked.uid, asked.seat);
        if self.people.seats.holds(key, &grants, now.boot) {
            self.reply(serial, &Reply::Done(Outcome::Ok));
            return self.leave(serial);
        }
        if !self.is_linked() {
            let refusal = "this right asks for a code at every use, and the daemon that looks at codes cannot be reached";
            return self.refuse(serial, Refusal::new(Code::Unreachable, refusal));
        }
        let Some(ask) = ask_of(asked, &grants) else {
            return self.refuse(serial, Refusal::new(Code::Internal, "this host has no random numbers"));
        };
        let Ok(digest) = ask.digest() else {
            return self.refuse(serial, Refusal::new(Code::Internal, "the ask cannot be written"));
        };
        let conversation = self.people.count();
        let Some(visitor) = self.people.visitors.get_mut(&serial) else { return };
        let waits = Use { key, grants, counts, challenge: None, verdict: Verdict::Open };
        let caller = Caller { uid: asked.uid, login };
        visitor.talk =
            Some(Talk { conversation, caller, ask: digest, stack: None, stacks: 0, at_use: Some(waits) });
        self.people.conversations.insert(conversation, serial);
        self.say(serial, Say::Ask(ask));
    }

    fn waiting_use(&mut self, serial: u64) -> Option<&mut Use> {
        self.people.visitors.get_mut(&serial)?.talk.as_mut()?.at_use.as_mut()
    }

    /// Whether this connection is a use that waits for its code.
    pub(super) fn is_at_use(&self, serial: u64) -> bool {
        let talk = self.people.visitors.get(&serial).and_then(|visitor| visitor.talk.as_ref());
        talk.is_some_and(|talk| talk.at_use.is_some())
    }

    /// What was typed: the code for the one challenge there is.
    pub(super) fn code_at_use(&mut self, serial: u64, code: Secret) {
        let challenge =
            self.waiting_use(serial).and_then(|waits| waits.challenge.as_ref()).map(|sent| sent.id);
        match challenge {
            Some(challenge) => self.say(serial, Say::Answer { challenge, code }),
            None => self.refuse(serial, Refusal::new(Code::Usage, "nobody asked for that")),
        }
    }

    /// The daemon replies. Only a challenge for this very use is prompted for, and only a code that it accepted counts.
    pub(super) fn daemon_at_use(&mut self, serial: u64, conversation: u64, reply: Reply) {
        match reply {
            Reply::Challenge(challenge) => self.challenged_at_use(serial, challenge),
            Reply::Verdict { accepted, tries, message } => {
                let Some(waits) = self.waiting_use(serial) else { return };
                if accepted && waits.verdict == Verdict::Open {
                    waits.verdict = Verdict::Accepted;
                    if let Some(challenge) = waits.challenge.as_ref().map(|sent| sent.id) {
                        // The stack that asks is sudo's own, and goes on only with our answer.
                        self.say(serial, Say::Confirm { challenge, passed: true });
                    }
                }
                self.reply(serial, &Reply::Verdict { accepted, tries, message });
            }
            Reply::Done(Outcome::Ok) if self.accepted_at_use(serial) => {
                self.remember_use(serial);
                self.finish_use(serial, conversation, &Reply::Done(Outcome::Ok));
            }
            Reply::Refused(refusal) => self.finish_use(serial, conversation, &Reply::Refused(refusal)),
            Reply::Hello { .. }
            | Reply::Prompt { .. }
            | Reply::Notice { .. }
            | Reply::Seed { .. }
            | Reply::Part { .. }
            | Reply::Progress(_)
            | Reply::Done(_)
            | Reply::Away(_)
            | Reply::Event(_) => {
                let text = "the daemon said what it never says about a use";
                self.refuse(serial, Refusal::new(Code::Integrity, text));
            }
        }
    }

    fn challenged_at_use(&mut self, serial: u64, challenge: Challenge) {
        let talk = self.people.visitors.get_mut(&serial).and_then(|visitor| visitor.talk.as_mut());
        let Some((asked, waits)) = talk.and_then(|talk| Some((talk.ask, talk.at_use.as_mut()?))) else {
            return;
        };
        if challenge.ask != asked || waits.challenge.is_some() {
            let text = "the daemon wants a code for something else than this use";
            let refusal = Refusal::new(Code::Integrity, text);
            return self.refuse(serial, refusal.hint("do not type a code; tell your administrators"));
        }
        let prompt = challenge.prompt.clone();
        waits.challenge = Some(challenge);
        self.reply(serial, &Reply::Prompt { text: prompt, echo: false });
    }

    fn accepted_at_use(&mut self, serial: u64) -> bool {
        self.waiting_use(serial).is_some_and(|waits| waits.verdict == Verdict::Accepted)
    }

    fn remember_use(&mut self, serial: u64) {
        let now = clock::read().boot;
        let Some(waits) = self.waiting_use(serial) else { return };
        let (key, grants, counts) = (waits.key, waits.grants.clone(), waits.counts);
        self.people.seats.remember(key, grants, now.after(counts), now);
        journal::log(Level::Info, &format!("uid {} gave a code for a use", key.0));
    }

    fn finish_use(&mut self, serial: u64, conversation: u64, reply: &Reply) {
        self.people.conversations.remove(&conversation);
        self.reply(serial, reply);
        self.people.visitors.remove(&serial);
    }
}

/// The ask for one use: whatever is asked twice differs by its nonce.
fn ask_of(asked: &FactorUse, grants: &BTreeSet<ActivationId>) -> Option<Ask> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    let terminal = asked.terminal.as_ref().map_or("a terminal", |name| {
        let name = name.raw();
        name.strip_prefix("/dev/").unwrap_or(name)
    });
    let command: Vec<&str> = asked.argv.iter().map(UntrustedText::raw).collect();
    let shown: String = command.join(" ").chars().take(SHOWN_MAX).collect();
    let shown = format!("{shown} ({terminal})");
    Some(Ask::AtUse(AtUseAsk {
        grants: grants.iter().copied().collect(),
        seat: asked.seat,
        nonce: Nonce::from_random(bytes),
        shown: UntrustedText::lossy(&shown),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAT: Seat = Seat { tty: 34_816, session: 100, began: 5_000 };

    fn grants(ids: &[u8]) -> BTreeSet<ActivationId> {
        ids.iter().map(|id| ActivationId::from_random([*id; 16])).collect()
    }

    fn given() -> Seats {
        let mut seats = Seats::default();
        let now = Boot(1_000_000);
        seats.remember((2000, SEAT), grants(&[1, 2]), now.after(FACTOR_AT_USE_MAX), now);
        seats
    }

    /// The key is what the kernel says of the session, and each part of it counts.
    #[test]
    fn d13_a_code_counts_for_one_account_at_one_terminal_of_one_session() {
        let (seats, now) = (given(), Boot(1_000_000));
        assert!(
            seats.holds((2000, SEAT), &grants(&[1]), now) && seats.holds((2000, SEAT), &grants(&[1, 2]), now)
        );
        for (uid, seat) in [
            (2001, SEAT),
            (2000, Seat { tty: 34_817, ..SEAT }),
            (2000, Seat { session: 101, ..SEAT }),
            (2000, Seat { began: 5_001, ..SEAT }),
        ] {
            assert!(!seats.holds((uid, seat), &grants(&[1]), now), "{uid} {seat:?}");
        }
        assert!(!seats.holds((2000, SEAT), &grants(&[1, 3]), now), "another grant asks for itself");
    }

    /// Only the clock that counts on from the machine's start is asked: setting the wall clock changes nothing.
    #[test]
    fn g01_a_code_counts_for_five_minutes_of_the_clock_that_nobody_sets() {
        let seats = given();
        let after = |seconds| Boot(1_000_000).after_seconds(seconds);
        assert!(seats.holds((2000, SEAT), &grants(&[1]), after(299)));
        assert!(!seats.holds((2000, SEAT), &grants(&[1]), after(300)));
        assert!(!seats.holds((2000, SEAT), &grants(&[1]), after(30_000)));
    }

    #[test]
    fn b06_seats_are_bounded_and_those_that_are_over_make_room() {
        let mut seats = Seats::default();
        let now = Boot(1_000_000);
        let until = now.after(FACTOR_AT_USE_MAX);
        for began in 0..2 * u64::try_from(SEATS_MAX).unwrap() {
            seats.remember((2000, Seat { began, ..SEAT }), grants(&[1]), until, now);
        }
        assert_eq!(seats.0.len(), SEATS_MAX);
        assert!(!seats.holds((2000, Seat { began: 2000, ..SEAT }), &grants(&[1]), now), "asked each time");
        seats.remember((2000, Seat { began: 1, ..SEAT }), grants(&[1]), until.after_seconds(300), until);
        assert_eq!(seats.0.len(), 1);
    }

    #[test]
    fn each_use_is_an_ask_of_its_own() {
        let asked = FactorUse {
            uid: 2000,
            seat: SEAT,
            terminal: Some(UntrustedText::lossy("/dev/pts/3")),
            argv: ["sudo", "/usr/bin/id", &"x".repeat(1000)].map(UntrustedText::lossy).to_vec(),
        };
        let (one, two) = (ask_of(&asked, &grants(&[1])).unwrap(), ask_of(&asked, &grants(&[1])).unwrap());
        assert_ne!(one.digest().unwrap(), two.digest().unwrap());
        let Ask::AtUse(one) = one else { panic!("another ask") };
        assert!(one.shown.raw().starts_with("sudo /usr/bin/id x") && one.shown.raw().ends_with(" (pts/3)"));
        assert!(one.shown.raw().len() < 200);
    }
}
