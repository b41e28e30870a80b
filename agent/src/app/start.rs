//! The start: who we are, what we hold, what lies about; then the doors open.
//!
//! In: root's files. Out: [`Agent`] and the channel it is fed by. Whatever is unclear means no rule in force (THREATS §6.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use elevate_protocol::deadlines::{DEADLINES_MAX, Deadlines};
use elevate_protocol::id::ActivationId;
use elevate_protocol::message::agent::Report;
use elevate_protocol::time::Span;
use nix::sys::stat::{Mode, umask};

use super::connections::Connected;
use super::contact::Contact;
use super::flavour::Flavour;
use super::grants::{Account, Standing};
use super::host_keys::HostCertificates;
use super::manager::Manager;
use super::message::Message;
use super::people::People;
use super::place::Early;
use super::refused::Refusals;
use super::revoked::Revoked;
use super::ssh::Ssh;
use super::state::{Agent, Rounds};
use crate::changed::{self, OnItsWay};
use crate::clock::{self, Alarm, Boot, Moment};
use crate::config::{self, ConfigError, Identity};
use crate::door;
use crate::enforce::accepted::Accepted;
use crate::enforce::{principals, reconcile};
use crate::journal::{self, Level};
use crate::nss::{self, NssError};
use crate::paths::Paths;
use crate::probe;
use crate::safe::{self, SafeError};
use crate::store::documents::{self, Loaded};
use crate::store::position::{Position, PositionError};
use crate::store::spool::Spool;
use crate::uplink;

/// Messages that may wait for the one thread; those who send more wait.
const CHANNEL: usize = 256;
/// How long the accounts of grants are looked at before the doors open.
const ACCOUNTS_TIME: Span = Span(5);

/// Why the agent does not run. No rule of ours is in force then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Not root.
    #[error("elevate-agent run needs root")]
    NotRoot,
    /// Another one runs.
    #[error("another elevate-agent runs on this host")]
    Running,
    /// A folder or file of ours is not as it must be.
    #[error("a folder of elevate-agent is not safe to use")]
    Place {
        /// Which, and why.
        source: SafeError,
    },
    /// Not enrolled, or not understood.
    #[error("elevate-agent does not know who it is")]
    Config {
        /// Why.
        source: ConfigError,
    },
    /// The position is not known.
    #[error("elevate-agent does not know where it stands")]
    Position {
        /// Why.
        source: PositionError,
    },
    /// The link's account cannot be looked up.
    #[error("the account {name} of elevate-link cannot be looked up")]
    LinkAccount {
        /// Its name.
        name: String,
        /// Why.
        source: NssError,
    },
    /// The link's account is not there.
    #[error("there is no account {name}; the package's sysusers.d entry makes it")]
    NoLinkAccount {
        /// Its name.
        name: String,
    },
    /// The system refused something.
    #[error("cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The channel closed, which cannot happen while the agent lives.
    #[error("nothing can be received any more")]
    Channel,
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

fn place(source: SafeError) -> StartError {
    StartError::Place { source }
}

/// Starts.
///
/// # Errors
/// [`StartError`]; every drop-in was removed before it is returned, wherever that was possible.
pub(crate) fn start(paths: &Paths) -> Result<(Agent, Receiver<Message>), StartError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(StartError::NotRoot);
    }
    umask(Mode::from_bits_truncate(0o077));
    // Signed documents and a private key: no core dump, no ptrace by the same uid's children (THREATS B15).
    nix::sys::prctl::set_dumpable(false).map_err(|errno| system("forbid core dumps")(errno.into()))?;
    let repaired = folders(paths).map_err(place)?;
    let lock = lock(paths)?;
    match prepare(paths, &repaired) {
        Ok((agent, receiver)) => {
            // Held until the process ends.
            std::mem::forget(lock);
            agent.manager.ready();
            journal::log(Level::Info, &format!("ready, listening on {}", paths.agent_socket.display()));
            Ok((agent, receiver))
        }
        Err(error) => {
            // Nothing is known, so nothing is in force.
            drop(reconcile::reconcile(paths, &BTreeMap::new(), &BTreeSet::new()));
            drop(principals::clear(paths, &principals::Wanted::new()));
            Err(error)
        }
    }
}

fn folders(paths: &Paths) -> Result<Vec<String>, SafeError> {
    let wanted = [
        (&paths.state, 0o700),
        (&paths.log, 0o700),
        (&paths.spool, 0o700),
        (&paths.run, 0o755),
        (&paths.sudoers, 0o755),
        (&paths.grants, 0o700),
        (&paths.mine, 0o711),
    ];
    let mut repaired = Vec::new();
    for (path, mode) in wanted {
        let existed = path.exists();
        if safe::folder(path, mode)? && existed {
            repaired.push(format!("the mode of {} was not {mode:04o} and is now", path.display()));
        }
    }
    // Drafts of writes that a crash cut off: never relied on. Those in the log and the spool go when these are read.
    for folder in [&paths.state, &paths.run] {
        for name in safe::names(folder)? {
            if name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".new") {
                safe::remove(&folder.join(name))?;
            }
        }
    }
    Ok(repaired)
}

fn lock(paths: &Paths) -> Result<std::fs::File, StartError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(&paths.lock)
        .map_err(system("open the lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::Running),
        Err(std::fs::TryLockError::Error(source)) => Err(system("take the lock")(source)),
    }
}

fn prepare(paths: &Paths, repaired: &[String]) -> Result<(Agent, Receiver<Message>), StartError> {
    let identity = config::load(paths).map_err(|source| StartError::Config { source })?;
    let position = Position::load(paths).map_err(|source| StartError::Position { source })?;
    let link_account = link_account(&identity)?;
    let loaded = documents::load(paths, &identity.signers, &identity.config.host).map_err(place)?;
    let (spool, mut odd) = Spool::load(paths).map_err(place)?;
    odd.extend(loaded.removed.iter().cloned());
    odd.extend(repaired.iter().cloned());
    let (sender, receiver) = sync_channel(CHANNEL);
    let alarm = Arc::new(Alarm::new().map_err(|errno| system("make a timer")(errno.into()))?);
    let now = clock::read();
    let flavour = Flavour::ask();
    let enforcement = probe::enforcement(paths, &flavour.sudo);
    let mut agent = Agent {
        paths: paths.clone(),
        identity: Arc::new(identity),
        flavour,
        accepted: Accepted::default(),
        enforcement,
        ssh: Ssh::look(paths),
        revoked: Revoked::look(paths, now),
        host_certificates: HostCertificates::begin(clock::read().boot),
        position,
        new_epoch: None,
        grants: BTreeMap::new(),
        lingering: BTreeSet::new(),
        connected: Connected::default(),
        refusals: Refusals::begin(paths, now.boot),
        contact: Contact::default(),
        spool,
        link: None,
        link_serial: 0,
        inbox: VecDeque::new(),
        checking: None,
        unplaced: None,
        early: Early::load(paths),
        offers: VecDeque::new(),
        people: People::default(),
        clocks: now,
        rounds: Rounds::begin(now.boot),
        change: OnItsWay::default(),
        told: String::new(),
        mine: None,
        manager: Manager::of_this_process(now.boot),
        alarm: Arc::clone(&alarm),
        sender: sender.clone(),
    };
    agent.take_over(loaded, &odd, now);
    open_doors(paths, &link_account, &sender)?;
    let watched = changed::start(paths, sender.clone(), agent.change.clone());
    watched.map_err(system("start to watch for changes"))?;
    ring(alarm, sender).map_err(system("start the timer"))?;
    agent.receive(Message::Tick);
    Ok((agent, receiver))
}

fn link_account(identity: &Identity) -> Result<nss::Account, StartError> {
    let name = identity.config.link_user.to_string();
    match nss::by_login(&name) {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(StartError::NoLinkAccount { name }),
        Err(source) => Err(StartError::LinkAccount { name, source }),
    }
}

impl Agent {
    /// Takes the grants over that were held before, ends those that are over, and puts /run/elevate right.
    fn take_over(&mut self, loaded: Loaded, odd: &[String], now: Moment) {
        let known: BTreeSet<ActivationId> = loaded.held.keys().copied().collect();
        let deadlines: Deadlines = safe::read(&self.paths.deadlines, DEADLINES_MAX)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        self.contact = Contact::known(deadlines.contact.map(Boot), now.boot);
        // A wall clock that stands before what was seen already was set back: count from what was seen.
        let since = Moment { wall: now.wall.max(self.position.seen), boot: now.boot };
        for (id, held) in loaded.held {
            let ends = deadlines.ends.get(&id).copied().map(Boot);
            let standing = Standing::new(held, since, ends, Account::Unconfirmed);
            self.grants.insert(id, standing);
        }
        for what in odd {
            self.tampered(now, what);
        }
        self.take_over_connections(now);
        for (id, cause) in self.early.all() {
            self.end(id, cause, now);
        }
        // What is over goes first: the name service may take its time.
        self.sweep(now);
        self.confirm_accounts();
        let now = clock::read();
        self.sweep(now);
        self.check_ceiling(now);
        self.end_what_it_lacks(now);
        self.close_what_is_over();
        self.look_at_revoked(now);
        self.save_deadlines();
        self.reconcile(&known, now);
        if let Err(error) = &self.enforcement {
            journal::log(Level::Error, &format!("no sudo enforcement here: {error}"));
        }
        if let Some(error) = self.ssh.hindrance() {
            journal::log(Level::Warning, &format!("no SSH enforcement here: {error}"));
        }
        let grants = u32::try_from(self.grants.len()).unwrap_or(u32::MAX);
        self.report(now, Report::Started { agent: env!("CARGO_PKG_VERSION").to_owned(), grants });
    }

    /// A quick look at the accounts before anything is installed again. The first that nobody can tell of ends it, and so does
    /// a name service that is slow: the rest is looked at by the rounds, and installed when somebody answers.
    fn confirm_accounts(&mut self) {
        let until = clock::read().boot.after(ACCOUNTS_TIME);
        for standing in self.grants.values_mut() {
            if clock::read().boot >= until {
                return;
            }
            match crate::enforce::check::account(standing.held.verified.grant()) {
                Ok(()) => standing.account = Account::Confirmed,
                Err(crate::enforce::check::CheckError::Nss { .. }) => return,
                // The round that begins at once ends this grant and says why.
                Err(_) => {}
            }
        }
    }
}

fn open_doors(paths: &Paths, link: &nss::Account, sender: &SyncSender<Message>) -> Result<(), StartError> {
    let link_door: UnixListener =
        uplink::listen(&paths.link_socket, 0o660).map_err(system("listen at link.sock"))?;
    std::os::unix::fs::chown(&paths.link_socket, None, Some(link.gid))
        .map_err(system("give link.sock its group"))?;
    uplink::serve(link_door, link.uid, sender.clone()).map_err(system("serve link.sock"))?;
    let people = uplink::listen(&paths.agent_socket, 0o666).map_err(system("listen at agent.sock"))?;
    door::serve(people, sender.clone()).map_err(system("serve agent.sock"))
}

fn ring(alarm: Arc<Alarm>, sender: SyncSender<Message>) -> io::Result<()> {
    thread::Builder::new().name("timer".into()).spawn(move || {
        while alarm.wait().is_ok() {
            if sender.send(Message::Tick).is_err() {
                return;
            }
        }
        journal::log(Level::Error, "the timer failed; the agent cannot go on");
        // Without its timer the agent would keep rights in force: better to be started again.
        std::process::exit(1);
    })?;
    Ok(())
}
