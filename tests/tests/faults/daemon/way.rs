//! The whole way once more, against a daemon that may die at any moment: each step is repeated until it is acknowledged.
//!
//! In: a [`Vault`] that is to be started with a plan. Out: what was acknowledged, for the oracles.

use std::path::PathBuf;

use elevate_protocol::id::ActivationId;
use elevate_protocol::message::admin::{AdminAsk, RevokeWhat};
use elevate_protocol::message::agent::{Report, UseKind, UseReport};
use elevate_protocol::message::person::{Ask, Outcome, RequestAsk};
use elevate_protocol::message::refusal::Code;
use elevate_protocol::message::view::{ActivationView, State};
use elevate_protocol::text::UntrustedText;
use elevate_protocol::time::Span;

use super::peer::{Identity, Peer};
use super::syslog::Syslog;
use super::talk::{Lost, Place, admin, events, person};
use super::template::{App, Template};
use super::vault::{PATIENCE, Vault};
use crate::point::{Mode, Strike};
use crate::strace::Plan;

mod laid_back;

/// Most times that one step is tried: one fault strikes once.
const TRIES: u32 = 1000;

/// A step: done, or the daemon was lost on the way.
type Step = Result<(), Lost>;

type Walk = fn(&mut Way) -> Step;

/// One run.
pub(crate) struct Way {
    pub(crate) vault: Vault,
    pub(crate) peer: Peer,
    pub(crate) syslog: Syslog,
    alice: Place,
    bob: Place,
    app: App,
    /// Whether the daemon has forgotten something.
    pub(crate) laid_back: bool,
    /// Exit codes of daemons that ended by themselves; none: killed.
    pub(crate) deaths: Vec<(Option<i32>, String)>,
    /// Codes of events that must be in the log, with what they are about.
    pub(crate) acknowledged: Vec<(&'static str, Option<ActivationId>)>,
    /// Lines of the log as they were seen.
    pub(crate) seen: Vec<String>,
    /// Whether the fault came while the daemon served, and not when it was asked to stop.
    pub(crate) met: bool,
    slow: Option<ActivationId>,
    quick: Option<ActivationId>,
    again: bool,
}

fn text(text: &str) -> UntrustedText {
    UntrustedText::lossy(text)
}

fn one(outcome: Outcome) -> ActivationView {
    match outcome {
        Outcome::Activation(view) => *view,
        other => panic!("{other:?}"),
    }
}

impl Way {
    /// A copy of the template's daemon, started with the plan, and everybody beside it.
    pub(crate) fn begin(template: &Template, plan: &Plan) -> Self {
        let power = matches!(plan, Plan::Strike(Strike { mode: Mode::Power, .. }));
        Self::begin_on(template, plan, power)
    }

    /// The same, with a disk of its own.
    pub(crate) fn begin_on(template: &Template, plan: &Plan, own_disk: bool) -> Self {
        let mut vault = template.vault.copy(own_disk);
        let place = |key: PathBuf| Place { address: vault.address.clone(), key };
        let (alice, bob) = (place(template.alice.clone()), place(template.bob.clone()));
        let identity = Identity { place: place(template.link.clone()), ..template.host.clone() };
        let syslog = Syslog::listen(&vault.path("log.sock"));
        vault.start(plan);
        let peer = Peer::start(identity, template.log.clone());
        let app = template.app.clone();
        let (deaths, acknowledged, seen) = (vec![], vec![], vec![]);
        let (slow, quick, again) = (None, None, false);
        let met = false;
        let laid_back = template.laid_back;
        Self {
            vault,
            peer,
            syslog,
            alice,
            bob,
            app,
            laid_back,
            deaths,
            acknowledged,
            seen,
            met,
            slow,
            quick,
            again,
        }
    }

    /// From the request to the end, each step until it is acknowledged.
    pub(crate) fn walk(&mut self) {
        if self.laid_back {
            return self.walk_to_the_new_epoch();
        }
        self.begin_right();
        self.walk_on();
    }

    /// The first part: a right that is in force.
    pub(crate) fn begin_right(&mut self) {
        self.take(&[
            ("connect", Self::connect),
            ("request", Self::request),
            ("approve", Self::approve),
            ("in force", Self::in_force),
        ]);
    }

    /// The rest.
    pub(crate) fn walk_on(&mut self) {
        self.take(&[
            ("use", Self::usage),
            ("extend", Self::extend),
            ("quick", Self::quick),
            ("drop", Self::give_back),
            ("policy", Self::policy),
            ("invite", Self::invite),
            ("revoke", Self::revoke),
        ]);
    }

    fn take(&mut self, steps: &[(&str, Walk)]) {
        for (name, step) in steps {
            self.again = false;
            for tries in 0.. {
                assert!(tries < TRIES, "{name}: not done in {TRIES} tries\n{}", self.vault.said());
                match step(self).and_then(|()| self.look()) {
                    Ok(()) => break,
                    Err(Lost::Refused(refusal))
                        if !matches!(refusal.code, Code::Internal | Code::Busy | Code::Full) =>
                    {
                        panic!("{name}: {refusal:?}\n{}", self.vault.said());
                    }
                    Err(Lost::Refused(_) | Lost::Gone) => self.recover(),
                }
                self.again = true;
            }
        }
    }

    /// Starts the daemon again when it is gone.
    pub(crate) fn recover(&mut self) {
        if !self.vault.has_ended() {
            std::thread::sleep(std::time::Duration::from_millis(5));
            return;
        }
        self.deaths.push((self.vault.wait(), self.vault.said()));
        assert!(self.vault.start(&Plan::Leave), "the daemon does not start again:\n{}", self.vault.said());
    }

    /// Waits for something that the daemon does by itself.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Step {
        let begin = std::time::Instant::now();
        while !holds(self) {
            if self.vault.has_ended() {
                return Err(Lost::Gone);
            }
            assert!(begin.elapsed() < PATIENCE, "{what} did not come:\n{}", self.vault.said());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(())
    }

    fn acknowledge(&mut self, code: &'static str, about: Option<ActivationId>) -> Step {
        self.acknowledged.push((code, about));
        Ok(())
    }

    /// Reads the log: what was seen before stands there unchanged.
    pub(crate) fn look(&mut self) -> Step {
        let lines = events(&self.vault.socket())?;
        let seen = lines.get(..self.seen.len()).unwrap_or_default();
        assert!(seen == self.seen, "the log is not what it was");
        self.seen = lines;
        Ok(())
    }

    fn alice(&self, ask: Ask) -> Result<Outcome, Lost> {
        person(&self.alice, "alice", ask, None)
    }

    fn show(&self, id: ActivationId) -> Result<ActivationView, Lost> {
        self.alice(Ask::Show { id: id.into(), documents: false }).map(one)
    }

    fn connect(&mut self) -> Step {
        self.until("the host", |way| way.peer.is_welcome())
    }

    fn ask(&self, role: &str, seconds: u32) -> Result<ActivationView, Lost> {
        if self.again {
            let live = match self.alice(Ask::Activations { all: false })? {
                Outcome::Activations(all) => all,
                other => panic!("{other:?}"),
            };
            if let Some(found) = live.into_iter().find(|view| view.role.as_str() == role) {
                return Ok(found);
            }
        }
        self.ask_anew(role, seconds)
    }

    fn ask_anew(&self, role: &str, seconds: u32) -> Result<ActivationView, Lost> {
        let ask = RequestAsk {
            role: role.parse().unwrap(),
            hosts: vec!["web1".parse().unwrap()],
            duration: Some(Span(seconds)),
            reason: Some(text("INC-4211 nginx hangs")),
            ticket: None,
            wait: false,
            dry_run: false,
            amends: None,
        };
        self.alice(Ask::Request(ask)).map(one)
    }

    fn request(&mut self) -> Step {
        let view = self.ask("web-ops", 600)?;
        self.slow = Some(view.id);
        self.acknowledge("request.created", Some(view.id))
    }

    fn approve(&mut self) -> Step {
        let id = self.slow.unwrap();
        if !self.again || self.show(id)?.state == State::Pending {
            let code = self.app.code();
            let ask = Ask::Approve { id: id.into(), reason: Some(text("go on")) };
            person(&self.bob, "bob", ask, Some(&code))?;
        }
        self.acknowledge("request.approved", Some(id))?;
        self.acknowledge("grant.issued", Some(id))
    }

    fn in_force(&mut self) -> Step {
        let id = self.slow.unwrap();
        self.until("the grant on its host", |way| way.peer.seen().holds(id))?;
        let state = self.show(id)?.state;
        assert_eq!(state, State::Active);
        Ok(())
    }

    fn usage(&mut self) -> Step {
        let id = self.slow.unwrap();
        let used = UseReport {
            uid: 2000,
            kind: UseKind::Start,
            service: text("sudo"),
            run_as: Some(text("root")),
            argv: vec![text("sudo"), text("/usr/bin/id")],
            directory: Some(text("/")),
            terminal: None,
            pid: 4211,
        };
        if !self.again {
            self.peer.report(Report::Used { grants: vec![id], used });
        }
        self.recorded()?;
        self.acknowledge("host.used", None)
    }

    fn recorded(&mut self) -> Step {
        self.until("the reports recorded", |way| {
            let seen = way.peer.seen();
            seen.recorded == seen.reported
        })
    }

    fn extend(&mut self) -> Step {
        let id = self.slow.unwrap();
        if !self.again || self.show(id)?.extensions == 0 {
            self.alice(Ask::Extend {
                id: Some(id.into()),
                by: Span(300),
                reason: Some(text("not done yet")),
            })?;
        }
        self.until("the extension on its host", |way| way.peer.seen().revision(id) == 2)?;
        self.acknowledge("grant.extended", Some(id))
    }

    pub(crate) fn quick(&mut self) -> Step {
        let view = self.ask("web-quick", 300)?;
        self.quick = Some(view.id);
        self.until("the quick grant on its host", |way| way.peer.seen().holds(view.id))?;
        self.acknowledge("grant.issued", Some(view.id))
    }

    pub(crate) fn give_back(&mut self) -> Step {
        let id = self.quick.unwrap();
        if !self.again || self.show(id)?.state == State::Active {
            self.alice(Ask::Drop { id: Some(id.into()), all: false })?;
        }
        self.until("the end on its host", |way| !way.peer.seen().holds(id))?;
        self.recorded()?;
        self.acknowledge("grant.ended", Some(id))?;
        self.acknowledge("host.ended", Some(id))
    }

    fn policy(&mut self) -> Step {
        let path = self.vault.path("etc/policy.d/main.toml");
        let policy = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, policy.replace("Look at", "Only look at")).unwrap();
        admin(&self.vault.socket(), AdminAsk::PolicyReload)?;
        self.acknowledge("policy.loaded", None)
    }

    fn invite(&mut self) -> Step {
        let ask = AdminAsk::HostInvite {
            name: "db1".parse().unwrap(),
            labels: std::collections::BTreeMap::new(),
            names: vec![],
            valid: None,
        };
        admin(&self.vault.socket(), ask)?;
        self.acknowledge("host.invited", None)
    }

    pub(crate) fn revoke(&mut self) -> Step {
        let id = self.slow.unwrap();
        if !self.again || self.show(id)?.state == State::Active {
            let ask = AdminAsk::Revoke { what: RevokeWhat::Grant(id.into()), reason: text("seen enough") };
            admin(&self.vault.socket(), ask)?;
        }
        self.until("the revocation on its host", |way| !way.peer.seen().holds(id))?;
        self.recorded()?;
        self.acknowledge("grant.ended", Some(id))?;
        self.acknowledge("host.ended", Some(id))
    }
}
