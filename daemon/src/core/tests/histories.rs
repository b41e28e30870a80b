//! Random histories of requests, decisions, ends, policies and restarts, against the reference model (THREATS §0.2, I1, I2, I10).
//!
//! In: a seed that is the same each time; `HISTORIES` says how many (default 40). Out: pass, or the shortest history after which
//! somebody is in whom the model does not let in.

use std::collections::BTreeMap;

use elevate_protocol::document::Act;
use elevate_protocol::id::{ActivationId, HostId};
use elevate_protocol::message::admin::{AdminAsk, RevokeWhat};
use elevate_protocol::message::agent::Claim;
use elevate_protocol::message::enrol::Enrolled;
use elevate_protocol::message::lock::LockWhat;
use elevate_protocol::message::person::{Ask, Outcome, Reply, RequestAsk};
use elevate_protocol::message::view::State;
use elevate_protocol::signed::{TrustedKeys, verify_document};
use elevate_protocol::time::Span;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::model::{HOSTS, InForce, Lock, MAX, Model, PEOPLE, Role, Rules, WITHIN};
use super::place::*;

/// One step. People, hosts and requests are numbers, taken modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Request { who: usize, quick: bool, host: usize, minutes: i64 },
    Approve { who: usize, which: usize },
    Deny { who: usize, which: usize },
    Cancel { who: usize, which: usize },
    Resume { who: usize, which: usize },
    Drop { who: usize, which: usize },
    Extend { who: usize, which: usize, minutes: i64 },
    RevokeGrant { which: usize },
    RevokePerson { who: usize },
    RevokeRole { quick: bool },
    Lock { which: usize },
    Unlock,
    Policy(Rules),
    BrokenPolicy,
    Wait { minutes: i64 },
    Restart,
}

fn rules() -> impl Strategy<Value = Rules> {
    let some = || proptest::sample::subsequence(PEOPLE[..3].to_vec(), 0..=3);
    (some(), some(), some(), 1usize..=2).prop_map(|(quick, ops, leads, need)| Rules {
        quick: quick.into_iter().collect(),
        ops: ops.into_iter().collect(),
        leads: leads.into_iter().collect(),
        need,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (who, which, minutes) = (0usize..4, 0usize..6, -1i64..40);
    prop_oneof![
        9 => (who.clone(), any::<bool>(), 0usize..3, minutes.clone())
            .prop_map(|(who, quick, host, minutes)| Step::Request { who, quick, host, minutes }),
        10 => (who.clone(), which.clone()).prop_map(|(who, which)| Step::Approve { who, which }),
        1 => (who.clone(), which.clone()).prop_map(|(who, which)| Step::Deny { who, which }),
        1 => (who.clone(), which.clone()).prop_map(|(who, which)| Step::Cancel { who, which }),
        2 => (who.clone(), which.clone()).prop_map(|(who, which)| Step::Resume { who, which }),
        2 => (who.clone(), which.clone()).prop_map(|(who, which)| Step::Drop { who, which }),
        2 => (who.clone(), which.clone(), minutes).prop_map(|(who, which, minutes)| Step::Extend { who, which, minutes }),
        1 => which.prop_map(|which| Step::RevokeGrant { which }),
        1 => who.prop_map(|who| Step::RevokePerson { who }),
        1 => any::<bool>().prop_map(|quick| Step::RevokeRole { quick }),
        1 => (0usize..7).prop_map(|which| Step::Lock { which }),
        3 => Just(Step::Unlock),
        3 => rules().prop_map(Step::Policy),
        1 => Just(Step::BrokenPolicy),
        2 => (1i64..45).prop_map(|minutes| Step::Wait { minutes }),
        1 => Just(Step::Restart),
    ]
}

/// What can be locked, as the model and as the daemon call it.
fn lockable(which: usize) -> (Lock, LockWhat) {
    match which {
        0..4 => (Lock::Person(PEOPLE[which]), LockWhat::Person(name(PEOPLE[which]))),
        4 => (Lock::Role(Role::Quick), LockWhat::Role(name("quick"))),
        5 => (Lock::Role(Role::Ops), LockWhat::Role(name("ops"))),
        _ => (Lock::Host(HOSTS[0]), LockWhat::Host(name(HOSTS[0]))),
    }
}

fn policy(rules: &Rules) -> String {
    let list = |who: &std::collections::BTreeSet<&str>| {
        who.iter().map(|who| format!("{who:?}")).collect::<Vec<_>>().join(", ")
    };
    let common = format!("hosts = {{ tier = \"web\" }}\nduration = \"10m\"\nmax = \"{MAX}s\"\n");
    let mut text = String::from("[people]\nalice = {}\nbob = {}\ncarol = {}\ndave = {}\nmallory = {}\n");
    if !rules.quick.is_empty() {
        let who = list(&rules.quick);
        text += &format!(
            "[roles.quick]\nwho = [{who}]\nsudo = {{ as = \"root\", shell = true }}\nmfa = \"none\"\n{common}"
        );
    }
    if !rules.ops.is_empty() {
        let (who, leads, need) = (list(&rules.ops), list(&rules.leads), rules.need);
        text += &format!(
            "[roles.ops]\nwho = [{who}]\nsudo = {{ as = \"root\", shell = true }}\n{common}\
             approve = [{{ need = {need}, of = [{leads}], within = \"{WITHIN}s\" }}]\n"
        );
    }
    text
}

struct World {
    place: Place,
    hosts: Vec<(HostId, TrustedKeys)>,
    model: Model,
    ids: Vec<ActivationId>,
}

impl World {
    async fn new() -> Self {
        let place = Place::new().await;
        let mut world = Self { place, hosts: Vec::new(), model: Model::default(), ids: Vec::new() };
        let all = || PEOPLE[..3].iter().copied().collect();
        world.rule(Rules { quick: all(), ops: all(), leads: all(), need: 1 }).await;
        for ((host, tier), seed) in HOSTS.iter().zip(["web", "web", "db"]).zip(31..) {
            let enrolled = world.place.enrol(host, tier, seed).await;
            if tier == "web" {
                accounts(&world.place, &enrolled, seed).await;
            }
            world.hosts.push((enrolled.host, TrustedKeys::from_signers(&enrolled.grant_signers).unwrap()));
        }
        for who in PEOPLE {
            world.place.factor(who).await;
        }
        world
    }

    async fn rule(&mut self, rules: Rules) {
        std::fs::write(self.place.folder.path().join("policy.d/main.toml"), with_keys(&policy(&rules)))
            .unwrap();
        // A policy that nobody could satisfy is refused as a whole.
        if self.place.core.reload_policy().await.is_ok() {
            self.model.ruled(rules);
        } else {
            // Put right, as whoever wrote it would: a daemon that starts reads the files.
            let before = policy(&self.model.rules);
            std::fs::write(self.place.folder.path().join("policy.d/main.toml"), with_keys(&before)).unwrap();
        }
    }

    fn id(&self, which: usize) -> Option<ActivationId> {
        self.ids.get(which.checked_rem(self.ids.len())?).copied()
    }

    /// Asks with the code of whoever asks; an activation in the answer is known from then on.
    async fn ask(&mut self, who: usize, ask: Ask) -> Option<ActivationId> {
        match self.place.ask_with_code(PEOPLE[who], ask).await {
            Ok(Outcome::Activation(view)) => Some(view.id),
            Ok(Outcome::Activations(views)) => views.first().map(|view| view.id),
            Ok(_) | Err(_) => None,
        }
    }

    /// Starts what can start; whoever would have to wait for others leaves.
    async fn resume(&self, who: usize, id: ActivationId) {
        let mut talk = self.place.talk(self.place.person(PEOPLE[who]), Ask::Resume { id: id.into() });
        loop {
            match talk.next().await {
                Reply::Challenge(challenge) => {
                    let code = self.place.code(PEOPLE[who]);
                    talk.answer(challenge.id, &code).await;
                }
                Reply::Progress(view) if view.state == State::Pending => return,
                Reply::Progress(_) | Reply::Verdict { .. } => {}
                Reply::Done(_) | Reply::Refused(_) => return,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn request(&mut self, who: usize, role: Role, host: usize, minutes: i64) {
        let ask = RequestAsk {
            hosts: vec![word(HOSTS[host])],
            duration: u32::try_from(minutes).ok().map(|minutes| Span(minutes * 60)),
            ..wanted(if role == Role::Quick { "quick" } else { "ops" }, false)
        };
        if let Some(id) = self.ask(who, Ask::Request(ask)).await {
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
            let minutes = if minutes < 0 { 10 } else { minutes };
            self.model.asked(id, (PEOPLE[who], role, HOSTS[host]), minutes * 60);
        }
    }

    async fn revoke(&mut self, what: RevokeWhat, which: impl Fn(ActivationId, &str, Role) -> bool) {
        let ask = AdminAsk::Revoke { what, reason: "because".parse().unwrap() };
        let root = crate::core::Speaker::Root { uid: 0 };
        if self.place.talk(root, Ask::Admin(ask)).end().await.is_ok() {
            self.model.ended_if_running(which);
        }
    }

    async fn step(&mut self, step: Step) {
        let reason = || "because it is so".parse().unwrap();
        match step {
            Step::Request { who, quick, host, minutes } => {
                let role = if quick { Role::Quick } else { Role::Ops };
                self.request(who, role, host, minutes).await;
            }
            Step::Policy(rules) => self.rule(rules).await,
            Step::BrokenPolicy => {
                let file = self.place.folder.path().join("policy.d/main.toml");
                let before = std::fs::read_to_string(&file).unwrap();
                std::fs::write(&file, "[roles.quick]\nwho = [\"mallory\"]\n").unwrap();
                self.place.core.reload_policy().await.unwrap_err();
                std::fs::write(&file, before).unwrap();
            }
            Step::Wait { minutes } => self.place.clock.advance(minutes * 60),
            Step::Restart => self.place.restart().await,
            Step::RevokePerson { who } => {
                let person = PEOPLE[who];
                self.revoke(RevokeWhat::Person(name(person)), |_, one, _| one == person).await;
            }
            Step::RevokeRole { quick } => {
                let (word, role) = if quick { ("quick", Role::Quick) } else { ("ops", Role::Ops) };
                self.revoke(RevokeWhat::Role(name(word)), |_, _, one| one == role).await;
            }
            Step::Lock { which } => {
                let (lock, what) = lockable(which);
                let ask = Ask::Admin(AdminAsk::Lock { what, ttl: None, reason: reason() });
                let root = crate::core::Speaker::Root { uid: 0 };
                // A role that the policy does not have cannot be locked.
                if self.place.talk(root, ask).end().await.is_ok() {
                    self.model.locked(lock);
                }
            }
            Step::Unlock => {
                for (lock, what) in (0..7).map(lockable) {
                    let ask = Ask::Admin(AdminAsk::Unlock { what, reason: reason() });
                    let root = crate::core::Speaker::Root { uid: 0 };
                    if self.place.talk(root, ask).end().await.is_ok() {
                        self.model.unlocked(lock);
                    }
                }
            }
            Step::RevokeGrant { which } => {
                if let Some(id) = self.id(which) {
                    self.revoke(RevokeWhat::Grant(id.into()), |one, _, _| one == id).await;
                }
            }
            Step::Approve { which, .. }
            | Step::Deny { which, .. }
            | Step::Cancel { which, .. }
            | Step::Resume { which, .. }
            | Step::Drop { which, .. }
            | Step::Extend { which, .. } => {
                if let Some(id) = self.id(which) {
                    self.about(id, step, reason()).await;
                }
            }
        }
    }

    /// A step about one request.
    async fn about(&mut self, id: ActivationId, step: Step, reason: elevate_protocol::text::UntrustedText) {
        let over = |model: &mut Model, done: Option<ActivationId>| {
            if done.is_some() {
                model.ended(id);
            }
        };
        match step {
            Step::Approve { who, .. } => {
                self.ask(who, Ask::Approve { id: id.into(), reason: None }).await;
                self.model.said_yes(id, PEOPLE[who], self.place.clock.now().0);
            }
            Step::Deny { who, .. } => {
                let done = self.ask(who, Ask::Deny { id: id.into(), reason }).await;
                over(&mut self.model, done);
            }
            Step::Cancel { who, .. } => {
                let done = self.ask(who, Ask::Cancel { id: id.into() }).await;
                over(&mut self.model, done);
            }
            Step::Drop { who, .. } => {
                let done = self.ask(who, Ask::Drop { id: Some(id.into()), all: false }).await;
                over(&mut self.model, done);
            }
            Step::Resume { who, .. } => self.resume(who, id).await,
            Step::Extend { who, minutes, .. } => {
                let by = Span(u32::try_from(minutes).unwrap_or(0) * 60);
                self.model.extended(id, PEOPLE[who], minutes.max(0) * 60);
                self.ask(who, Ask::Extend { id: Some(id.into()), by, reason: None }).await;
            }
            other => panic!("{other:?} is about no request"),
        }
    }

    /// What the hosts would obey: their signed logs, read as an agent reads them.
    async fn in_force(&self) -> Vec<InForce> {
        let mut found = BTreeMap::new();
        for ((id, keys), host) in self.hosts.iter().zip(HOSTS) {
            let mut tx = self.place.core.inner().store.read().await.unwrap();
            for stored in tx.documents_from(*id, 1, 1, 10_000).await.unwrap() {
                let document =
                    verify_document(&stored.signed().unwrap(), keys, id).unwrap().document().clone();
                match document.act {
                    Act::Grant(grant) => {
                        let (person, role) = (grant.person.to_string(), grant.role.to_string());
                        let approvers = grant.approvals.iter().map(|one| one.person.to_string()).collect();
                        let one = InForce {
                            id: grant.id,
                            person,
                            role,
                            host,
                            not_after: grant.not_after.0,
                            approvers,
                        };
                        assert!(found.insert((host, grant.id), one).is_none(), "one grant was issued twice");
                    }
                    Act::Extend(extend) => {
                        found.get_mut(&(host, extend.id)).unwrap().not_after = extend.not_after.0;
                    }
                    Act::End(end) => drop(found.remove(&(host, end.id)).unwrap()),
                    Act::Keys(_) => {}
                }
            }
        }
        found.into_values().collect()
    }
}

/// The host says once which accounts it has, and is then away: what is signed for it is what counts.
async fn accounts(place: &Place, enrolled: &Enrolled, seed: u8) {
    let mut agent = place.agent(enrolled, seed).await;
    agent.hello(0).await;
    let uids = PEOPLE.iter().zip(2000..).map(|(who, uid)| (who.parse().unwrap(), uid)).collect();
    agent.claim(Claim::Accounts { uids }).await;
    let known = async || {
        let mut tx = place.core.inner().store.read().await.unwrap();
        tx.account(enrolled.host, &"carol".parse().unwrap()).await.unwrap().is_some()
    };
    soon("the accounts of the host, and its end", async {
        while !known().await {
            tokio::task::yield_now().await;
        }
        drop(agent);
        while place.core.inner().agents.is_connected(enrolled.host) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn live(steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let mut world = World::new().await;
    for (number, step) in steps.into_iter().enumerate() {
        let told = format!("step {number}, {step:?}");
        world.step(step).await;
        let found = world.in_force().await;
        let now = world.place.clock.now().0;
        world.model.judge(&found, now).map_err(|why| TestCaseError::fail(format!("after {told}: {why}")))?;
    }
    Ok(world.model.started)
}

#[test]
fn nobody_is_in_whom_the_model_does_not_let_in() {
    let cases = std::env::var("HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let started = std::cell::Cell::new(0);
    let ran = runner.run(&proptest::collection::vec(step(), 1..30), |steps| {
        started.set(started.get() + tokio.block_on(live(steps))?);
        Ok(())
    });
    assert!(ran.is_ok(), "{}", ran.unwrap_err());
    let cases = usize::try_from(cases).unwrap();
    assert!(started.get() > cases / 2, "only {} grants in {cases} histories", started.get());
}
