//! Connections of sshd under grants: let in here, known while they last, closed when their grant is over.
//!
//! In: what `pam_elevate.so` says from within sshd, ends of grants. Out: yes or no, reports, no process of a grant that is over.
//! Threats X-m, F12, E07; docs/ssh.md "The end", docs/decisions/0038.

use std::collections::BTreeSet;
use std::thread;

use elevate_protocol::document::EndCause;
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::message::refusal::{Code, Refusal};
use elevate_protocol::message::session::{SshConnection, SshEnd, SshPhase, SshSession};
use elevate_protocol::name::Name;
use elevate_protocol::ssh_login::{self, Proof};
use elevate_protocol::text::UntrustedText;

use super::message::Message;
use super::state::Agent;
use crate::clock::{self, Moment};
use crate::closing::{self, Closed, Target};
use crate::journal::{self, Level};
use crate::paths::Paths;
use crate::process::{self, Process, Seen};
use crate::sshd;
use crate::store::connections::{self, CONNECTIONS_MAX, Connection, Connections, GRANT_MAX, Stage};

/// What is known of connections.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    all: Connections,
    /// Those that a thread is closing.
    busy: BTreeSet<Process>,
    /// Those of which was told that they do not end.
    told: BTreeSet<Process>,
}

impl Connected {
    /// Whether there is anything to look after.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Looks for the login session of each that was not seen to have one of its own; whether anything is new.
    fn learn(&mut self) -> bool {
        let taken: BTreeSet<u32> = self.all.values().filter_map(|connection| connection.session).collect();
        let ours = process::session(std::process::id());
        let mut learnt = false;
        for (served_by, connection) in &mut self.all {
            if connection.session.is_some() || connection.stage != Stage::Open {
                continue;
            }
            let found = process::session(served_by.pid).filter(|_| served_by.is_there());
            let own = |session: &u32| {
                Some(*session) != connection.before && Some(*session) != ours && !taken.contains(session)
            };
            if let Some(session) = found.filter(own) {
                connection.session = Some(session);
                learnt = true;
            }
        }
        learnt
    }
}

/// Whose login is refused, and why.
struct Denied {
    grant: Option<ActivationId>,
    why: String,
}

fn denied(grant: Option<ActivationId>, why: &str) -> Denied {
    Denied { grant, why: why.to_owned() }
}

impl Agent {
    /// The module in sshd speaks, from this process.
    ///
    /// # Errors
    /// The refusal of a login.
    pub(crate) fn ssh_session(&mut self, peer: Option<Seen>, asked: &SshSession) -> Result<(), Refusal> {
        let now = clock::read();
        match asked.phase {
            SshPhase::Opened => match self.open_connection(peer, asked, now) {
                Ok(report) => {
                    self.report(now, report);
                    Ok(())
                }
                Err(Denied { grant, why }) => {
                    let text = UntrustedText::lossy(&why);
                    let (login, from) = (asked.login.clone(), asked.from.clone());
                    self.report(now, Report::SshRefused { grant, login, from, why: text });
                    Err(Refusal::new(Code::Gone, why))
                }
            },
            SshPhase::Closing => {
                if self.connected.learn() {
                    self.save_connections();
                }
                Ok(())
            }
        }
    }

    fn open_connection(
        &mut self,
        peer: Option<Seen>,
        asked: &SshSession,
        now: Moment,
    ) -> Result<Report, Denied> {
        // A process of root's that says it is something else has only itself to lose; this keeps mistakes out.
        let peer = peer.ok_or_else(|| denied(None, "who asked was gone before the answer"))?;
        if !peer.name.starts_with("sshd") {
            return Err(denied(None, "it is not sshd that asks"));
        }
        if asked.certificate.is_empty() {
            return Err(denied(None, "what sshd says of the certificate cannot be understood"));
        }
        let proof = ssh_login::prove(&asked.certificate, &sshd::cas(&self.paths), now.wall);
        let Proof { grant, serial, fingerprint } =
            proof.map_err(|error| denied(None, &format!("the certificate opens nothing here: {error}")))?;
        let denied = |why: &str| denied(Some(grant), why);
        if let Some(error) = self.ssh.hindrance() {
            return Err(denied(&error.to_string()));
        }
        let standing = self.grants.get(&grant);
        let live = standing.and_then(|standing| standing.in_force(now, self.contact.proven));
        let live = live.ok_or_else(|| denied("the grant of this certificate is over"))?;
        let login: Name = asked.login.raw().parse().map_err(|_| denied("it opens no such account"))?;
        if !live.live.grant().ssh.as_ref().is_some_and(|part| part.logins().contains(&login)) {
            return Err(denied(&format!("the grant of this certificate does not open {login}")));
        }
        let of_grant = self.connected.all.values().filter(|one| one.grant == grant).count();
        if self.connected.all.len() >= CONNECTIONS_MAX || of_grant >= GRANT_MAX {
            return Err(denied("too many connections under grants are open here"));
        }
        let Seen { process, .. } = peer;
        let shown = SshConnection {
            login,
            from: asked.from.clone(),
            serial,
            fingerprint: UntrustedText::lossy(&fingerprint),
            pid: process.pid,
            since: now.wall,
        };
        let before = process::session(process.pid);
        let connection =
            Connection { grant, shown: shown.clone(), before, session: None, stage: Stage::Open };
        self.connected.all.insert(process, connection);
        // Known to the next agent before anything runs in it.
        if let Err(error) = connections::save(&self.paths, &self.connected.all) {
            self.connected.all.remove(&process);
            return Err(denied(&format!("it cannot be written down: {}", journal::chain(&error))));
        }
        Ok(Report::SshLogin { grant, connection: shown })
    }

    fn save_connections(&self) {
        if let Err(error) = connections::save(&self.paths, &self.connected.all) {
            journal::log(Level::Error, &journal::chain(&error));
        }
    }

    /// What an agent before this one knew. Whose grant is not held any more is closed now.
    pub(crate) fn take_over_connections(&mut self, now: Moment) {
        match connections::load(&self.paths) {
            Ok(all) => self.connected.all = all,
            Err(why) => {
                let what = format!("it is not known which connections grants have opened: {why}");
                self.tampered(now, &what);
            }
        }
        self.settle_gone(SshEnd::Unseen, now);
    }

    /// Closes those whose grant is not there, and goes on with what was begun.
    pub(crate) fn close_what_is_over(&mut self) {
        let mut over = Vec::new();
        for (served_by, connection) in &mut self.connected.all {
            if let Stage::Closing { .. } = connection.stage {
                over.push(*served_by);
            } else if !self.grants.contains_key(&connection.grant) {
                connection.stage = closing_of(connection.stage, None);
                over.push(*served_by);
            }
        }
        over.retain(|served_by| !self.connected.busy.contains(served_by));
        self.close(over);
    }

    /// The grant is over: so is everything that was opened under it.
    pub(crate) fn close_connections(&mut self, grant: ActivationId, cause: EndCause) {
        // Who has left before is not told of as sent away.
        self.settle_gone(SshEnd::Closed, clock::read());
        let mut over = Vec::new();
        self.connected.learn();
        for (served_by, connection) in &mut self.connected.all {
            if connection.grant == grant {
                connection.stage = closing_of(connection.stage, Some(cause));
                over.push(*served_by);
            }
        }
        over.retain(|served_by| !self.connected.busy.contains(served_by));
        self.close(over);
    }

    fn close(&mut self, over: Vec<Process>) {
        if over.is_empty() {
            return;
        }
        self.save_connections();
        let target = |served_by: &Process| Some(self.connected.all.get(served_by)?.target(*served_by));
        let targets: Vec<Target> = over.iter().filter_map(target).collect();
        let sender = self.sender.clone();
        let started = thread::Builder::new().name("closing".into()).spawn(move || {
            let closed = closing::close(&targets);
            let closed = targets.iter().map(|target| target.served_by).zip(closed).collect();
            drop(sender.send(Message::Closed(closed)));
        });
        match started {
            Ok(_) => self.connected.busy.extend(over),
            // Tried again with the next round.
            Err(error) => journal::log(Level::Error, &format!("connections cannot be closed: {error}")),
        }
    }

    /// A thread has closed these.
    pub(crate) fn closed(&mut self, closed: &[(Process, Closed)]) {
        let now = clock::read();
        for (served_by, Closed { killed, left }) in closed {
            self.connected.busy.remove(served_by);
            let Some(connection) = self.connected.all.get(served_by) else { continue };
            let (grant, shown) = (connection.grant, connection.shown.clone());
            if *left > 0 {
                if self.connected.told.insert(*served_by) {
                    let what = format!("{left} processes of a connection under G-{grant} do not end");
                    self.tampered(now, &what);
                }
                continue;
            }
            let end = match connection.stage {
                Stage::Closing { cause, remains: true } => SshEnd::Remains { cause, killed: *killed },
                Stage::Closing { cause, remains: false } => SshEnd::Grant { cause, killed: *killed },
                Stage::Open | Stage::Remains => SshEnd::Closed,
            };
            self.connected.all.remove(served_by);
            self.connected.told.remove(served_by);
            if !matches!(end, SshEnd::Remains { killed: 0, .. }) {
                self.keep(now, Report::SshLogout { grant, connection: shown, end });
            }
        }
        self.save_connections();
        self.send_reports();
    }

    /// Looks after connections: which are over, what they left, what does not end.
    pub(crate) fn look_at_connections(&mut self, now: Moment) {
        if self.connected.is_empty() {
            return;
        }
        if self.connected.learn() {
            self.save_connections();
        }
        self.settle_gone(SshEnd::Closed, now);
        self.close_what_is_over();
    }

    /// Those that nobody serves any more: told of, and kept while something that they started runs.
    fn settle_gone(&mut self, end: SshEnd, now: Moment) {
        let is_gone = |(served_by, connection): (&Process, &Connection)| {
            (connection.stage == Stage::Open && served_by.is_gone()).then_some(*served_by)
        };
        let gone: Vec<Process> = self.connected.all.iter().filter_map(is_gone).collect();
        if gone.is_empty() {
            return;
        }
        for served_by in gone {
            let Some(connection) = self.connected.all.get_mut(&served_by) else { continue };
            connection.stage = Stage::Remains;
            let (grant, connection) = (connection.grant, connection.shown.clone());
            self.keep(now, Report::SshLogout { grant, connection, end });
        }
        self.forget_what_left_nothing();
        self.send_reports();
    }

    /// One look at all processes for all connections that are over.
    pub(crate) fn forget_what_left_nothing(&mut self) {
        let over = |connection: &&Connection| connection.stage == Stage::Remains;
        let sessions: BTreeSet<u32> =
            self.connected.all.values().filter(over).filter_map(|connection| connection.session).collect();
        // Where nobody can look, all of it may run.
        let Ok(alive) = closing::alive(&sessions) else { return self.save_connections() };
        let before = self.connected.all.len();
        self.connected.all.retain(|_, connection| {
            connection.stage != Stage::Remains
                || connection.session.is_some_and(|session| alive.contains(&session))
        });
        if before > 0 {
            self.save_connections();
        }
    }
}

fn closing_of(stage: Stage, cause: Option<EndCause>) -> Stage {
    match stage {
        Stage::Open => Stage::Closing { cause, remains: false },
        Stage::Remains => Stage::Closing { cause, remains: true },
        Stage::Closing { .. } => stage,
    }
}

/// Closes all of them, for a host that leaves. Blocks.
pub(crate) fn close_all(paths: &Paths) {
    let all = connections::load(paths).unwrap_or_default();
    let targets: Vec<Target> =
        all.iter().map(|(served_by, connection)| connection.target(*served_by)).collect();
    drop(closing::close(&targets));
}
