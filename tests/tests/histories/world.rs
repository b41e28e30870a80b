//! One fleet that things happen to: the daemon, two hosts, three people who may do something and one who may not.
//!
//! In: steps. Out: what came of each; after each, an error if sudo and the model do not agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_protocol::id::ActivationId;
use elevate_tests::fleet::{Fleet, Managed, Person};
use elevate_tests::{Access, PATIENCE, eventually};
use nix::libc::{SIGCONT, SIGSTOP};

use crate::ask::{Means, role_name};
use crate::log::Log;
use crate::model::{HOSTS, InForce, MAX, Model, PEOPLE, Role, Rules, WITHIN};
use crate::reach::{LEASE, Reach};
use crate::step::{Ask, Step, Victim, WEBS};
use crate::sudo::{OWN_RULE, command, now};

/// A link that was away for a while tries again after a while.
const REUNION: Duration = Duration::from_secs(60);

/// Person, role, host, seconds.
type Wish = (&'static str, Role, &'static str, i64);

pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) hosts: Vec<Managed>,
    people: Vec<Person>,
    pub(crate) model: Model,
    pub(crate) reach: Reach,
    log: Log,
    /// Requests that were typed and are not in the log yet.
    pub(crate) tried: Vec<Wish>,
    /// Signed and not ended, as the log says.
    pub(crate) active: BTreeMap<ActivationId, InForce>,
    /// First second in which each is over on its host, whatever was said since.
    pub(crate) ends: BTreeMap<ActivationId, i64>,
    /// Over, and its host has heard it.
    pub(crate) settled: BTreeSet<ActivationId>,
    pub(crate) in_: usize,
    pub(crate) out: usize,
}

fn everybody() -> Rules {
    let all = || -> BTreeSet<&'static str> { PEOPLE[..3].iter().copied().collect() };
    Rules { quick: all(), ops: all(), leads: all(), need: 1 }
}

fn policy(rules: &Rules) -> String {
    let list = |who: &BTreeSet<&str>| who.iter().map(|who| format!("{who:?}")).collect::<Vec<_>>().join(", ");
    let mut text = String::from("[people]\n");
    for who in &PEOPLE[..3] {
        text += &format!("{who} = {{ keys = [\"{{KEY:{who}}}\"] }}\n");
    }
    for (role, who) in [(Role::Quick, &rules.quick), (Role::Ops, &rules.ops)] {
        let (name, who, run) = (role_name(role), list(who), command(role));
        text += &format!(
            "[roles.{name}]\nwho = [{who}]\nhosts = {{ tier = \"web\" }}\nmfa = \"none\"\nwarn = []\nmax = \"{MAX}s\"\n\
             sudo = {{ as = \"root\", run = [[\"{run}\"]] }}\n"
        );
    }
    let (leads, need) = (list(&rules.leads), rules.need);
    text += &format!(
        "offline = \"lease {LEASE}s\"\napprove = [{{ need = {need}, of = [{leads}], within = \"{WITHIN}s\" }}]\n"
    );
    text
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let fleet = Fleet::with_policy(&policy(&everybody()))?;
        let mut hosts = Vec::new();
        for name in &HOSTS[..WEBS] {
            let managed = fleet.managed(name, &["tier=web"])?;
            managed.host.write_as("/etc/sudoers.d/own", OWN_RULE, Access::root(0o440))?;
            hosts.push(managed);
        }
        let people = PEOPLE[..3].iter().map(|who| fleet.person(who)).collect::<Result<_>>()?;
        let mut model = Model::default();
        model.ruled(everybody());
        let mut world = Self {
            fleet,
            hosts,
            people,
            model,
            reach: Reach::default(),
            log: Log::default(),
            tried: Vec::new(),
            active: BTreeMap::new(),
            ends: BTreeMap::new(),
            settled: BTreeSet::new(),
            in_: 0,
            out: 0,
        };
        world.read_log()?;
        Ok(world)
    }

    /// One of the requests that wait.
    pub(crate) fn waiting(&self, which: usize) -> Option<ActivationId> {
        let waits = self.model.requests.iter();
        let waits = waits.filter(|(_, one)| one.role == Role::Ops && !one.over && one.runs.is_none());
        let ids: Vec<_> = waits.map(|(id, _)| *id).collect();
        ids.get(which.checked_rem(ids.len())?).copied()
    }

    /// Mostly somebody who may say yes and has not, else anybody.
    fn approver(&self, id: ActivationId, who: usize) -> usize {
        let Some(request) = self.model.requests.get(&id) else { return who };
        let may = |one: &usize| {
            let one = PEOPLE[*one];
            self.model.rules.leads.contains(one)
                && one != request.person
                && !request.approved.contains_key(one)
        };
        (0..3).cycle().skip(who).take(3).find(may).unwrap_or(who)
    }

    /// One of the grants that run.
    pub(crate) fn running(&self, which: usize) -> Option<ActivationId> {
        self.active.keys().nth(which.checked_rem(self.active.len())?).copied()
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<String> {
        match step {
            Step::Ask(ask) => self.ask(ask, None),
            Step::Struck(ask, victim, after) => self.ask(ask, Some((*victim, Duration::from_millis(*after)))),
            Step::Decide { who, which, yes } => self.decide(*who, *which, *yes),
            Step::Policy(rules) => self.rule(rules),
            Step::BrokenPolicy => self.broken_policy(),
            Step::Break(victim) => self.strike(*victim).map(|()| String::new()),
            Step::Mend => self.mend().map(|()| String::new()),
            Step::Wait => self.wait().map(|()| String::new()),
        }
    }

    fn ask(&mut self, ask: &Ask, strike: Option<(Victim, Duration)>) -> Result<String> {
        self.wake_daemon()?;
        let Some(typed) = self.typed(ask) else { return Ok("nothing to ask about".to_owned()) };
        let (mut running, means) = typed.start()?;
        let mut limit = REUNION;
        if let Some((victim, after)) = strike {
            // Whether it has ended by then is a matter of chance, and meant to be.
            drop(running.wait(after));
            self.strike(victim)?;
            limit = Duration::from_secs(1);
        }
        let ended = running.wait(limit).ok();
        ensure!(ended.is_some() || strike.is_some(), "no answer: {}", running.log());
        let code = ended.and_then(|status| status.code());
        // Started again at once, as by systemd: nobody else can tell what it has done before it died.
        self.wake_daemon()?;
        self.heard(&means, code);
        let said = running.log().lines().next().unwrap_or_default().to_owned();
        if matches!(means, Means::Request) && matches!(code, Some(2 | 3)) && strike.is_none() {
            self.tried.pop();
        }
        Ok(format!("{code:?} {said}"))
    }

    fn decide(&mut self, who: usize, which: usize, yes: bool) -> Result<String> {
        self.wake_daemon()?;
        let Some(id) = self.waiting(which) else { return Ok("nothing to decide".to_owned()) };
        let who = self.approver(id, who);
        if !self.people[who].has_code()? {
            return Ok("no code yet".to_owned());
        }
        let name = format!("R-{id}");
        let mut screen =
            self.people[who].terminal(&[if yes { "approve" } else { "deny" }, &name, "-m", "as I see it"])?;
        if screen.expect_any(&["Code for"]).is_ok() {
            let code = self.people[who].code()?;
            screen.line(&code)?;
        }
        let code = screen.wait()?.code();
        if yes {
            self.model.said_yes(id, PEOPLE[who], now()?.div_euclid(1000));
        } else if code == Some(0) {
            self.model.ended(id);
        }
        Ok(format!("{code:?} {id}"))
    }

    fn reload(&self, text: &str) -> Result<bool> {
        self.fleet.write_policy(text)?;
        Ok(self.fleet.vault.run("root", ["elevatectl", "policy", "reload"])?.status.success())
    }

    fn rule(&mut self, rules: &Rules) -> Result<String> {
        self.wake_daemon()?;
        let before = policy(&self.model.rules);
        if self.reload(&policy(rules))? {
            self.model.ruled(rules.clone());
            return Ok("in force".to_owned());
        }
        // Put right, as whoever wrote it would: a daemon that starts reads the files.
        self.fleet.write_policy(&before)?;
        Ok("refused".to_owned())
    }

    fn broken_policy(&mut self) -> Result<String> {
        self.wake_daemon()?;
        ensure!(!self.reload("[roles.quick]\nwho = [\"mallory\"]\n")?, "a broken policy is in force");
        self.fleet.write_policy(&policy(&self.model.rules))?;
        Ok("refused".to_owned())
    }

    /// Until the next end of a right has passed, or for a second.
    fn wait(&mut self) -> Result<()> {
        let next = self.active.values().map(|one| one.not_after * 1000).min();
        let soon = now()? + 1000;
        let until = next.filter(|end| *end < soon + 10_000).unwrap_or(soon);
        eventually(PATIENCE, "a moment", || now().is_ok_and(|now| now > until))
    }

    fn strike(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Daemon if self.reach.daemon => self.fleet.kill_daemon()?,
            Victim::Agent(host) if self.reach.ways[host].agent => self.hosts[host].kill_agent()?,
            Victim::Link(host) if self.reach.ways[host].link => self.hosts[host].kill_link()?,
            Victim::Network(host) => self.hosts[host].host.network_cut()?,
            Victim::Stopped(host) if self.reach.ways[host].agent => self.signal(host, SIGSTOP)?,
            Victim::Daemon | Victim::Agent(_) | Victim::Link(_) | Victim::Stopped(_) => return Ok(()),
        }
        self.reach.broke(victim, now()?);
        Ok(())
    }

    fn signal(&self, host: usize, number: i32) -> Result<()> {
        self.hosts[host].agent.as_ref().context("no agent")?.signal(number)
    }

    /// Who wants something of the daemon finds it started again.
    pub(crate) fn wake_daemon(&mut self) -> Result<()> {
        if !self.reach.daemon {
            self.fleet.start_daemon()?;
            self.reach.daemon = true;
            self.read_log()?;
        }
        Ok(())
    }

    pub(crate) fn mend(&mut self) -> Result<()> {
        self.wake_daemon()?;
        for host in 0..WEBS {
            let way = self.reach.ways[host];
            if way.stopped && way.agent {
                self.signal(host, SIGCONT)?;
            }
            if !way.network {
                self.hosts[host].host.network_up()?;
            }
            if !way.agent {
                self.hosts[host].start_agent()?;
            }
            if !way.link {
                self.hosts[host].start_link()?;
            }
            let way = &mut self.reach.ways[host];
            (way.agent, way.link, way.network, way.stopped) = (true, true, true, false);
        }
        self.in_step()
    }

    /// Every host that the daemon reaches has heard everything.
    pub(crate) fn in_step(&mut self) -> Result<()> {
        for host in (0..WEBS).filter(|host| self.reach.reaches(*host)).collect::<Vec<_>>() {
            let synced = || self.hosts[host].wait_connected(&self.fleet).is_ok();
            eventually(REUNION, "a host in step", synced).with_context(|| HOSTS[host])?;
            let silent = self.reach.mended(host, now()?);
            for (id, request) in self.model.requests.iter().filter(|(_, one)| one.host == HOSTS[host]) {
                self.reach.unheard.remove(id);
                if silent > 3000 && request.role == Role::Ops {
                    self.reach.shaken.insert(*id);
                }
            }
        }
        Ok(())
    }

    /// What the daemon has on record goes to the model, which says what should not be there.
    pub(crate) fn read_log(&mut self) -> Result<()> {
        for event in self.log.news(&self.fleet)? {
            let id = event.id()?;
            match event.code() {
                "request.created" => {
                    let asked = (
                        event.text("person"),
                        event.text("role"),
                        event.names("hosts"),
                        event.number("duration")?,
                    );
                    let same = |one: &Wish| (one.0, role_name(one.1), vec![one.2.to_owned()], one.3) == asked;
                    let found = self.tried.iter().position(same);
                    let found = found.with_context(|| format!("nobody asked for this: {event:?}"))?;
                    let (person, role, host, seconds) = self.tried.remove(found);
                    self.model.asked(id, (person, role, host), seconds);
                }
                "grant.issued" => {
                    let host =
                        HOSTS.into_iter().find(|host| *host == event.text("host")).context("no host")?;
                    let (person, role) = (event.text("person").to_owned(), event.text("role").to_owned());
                    let (not_after, approvers) = (event.number("not_after")?, event.names("approvers"));
                    self.ends.insert(id, not_after);
                    let one = InForce { id, person, role, host, not_after, approvers };
                    ensure!(self.active.insert(id, one).is_none(), "issued twice: {event:?}");
                    // At its moment: it may be over with the next event, and a host that is away has it all the same.
                    self.judge_signed(event.at()?)?;
                }
                "grant.extended" => {
                    let until = event.number("not_after")?;
                    self.active.get_mut(&id).context("extended without a grant")?.not_after = until;
                    self.ends.insert(id, until);
                    // A host that hears of it after the end before has ended it.
                    let deaf =
                        (0..WEBS).any(|host| !self.reach.reaches(host) && event.text("host") == HOSTS[host]);
                    if deaf {
                        self.reach.shaken.insert(id);
                    }
                }
                "grant.ended" => drop(self.active.remove(&id)),
                _ => {}
            }
        }
        self.judge_signed(now()?.div_euclid(1000))
    }

    fn judge_signed(&mut self, now: i64) -> Result<()> {
        let found: Vec<_> = self.active.values().cloned().collect();
        self.model.judge(&found, now).map_err(anyhow::Error::msg)
    }
}
