//! Puts the parts together: configuration, keys, policy, core, doors, sinks, signals.
//!
//! In: a configuration. Out: a running daemon, until a signal ends it. Runs as: user elevated.

use std::future::Future;
use std::io;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::Config;
use crate::core::{Core, CoreError, CoreSetup, KeySetup, PolicyReadError, read_policy};
use crate::intake::admin::AdminError;
use crate::intake::ssh::ListenError;
use crate::intake::{Patience, admin, ssh};
use crate::keys::{KeyError, Keys, folder, own_uid};
use crate::manager::Manager;
use crate::{log, sinks, store};

/// Time for goodbyes.
const GOODBYE: Duration = Duration::from_secs(3);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    /// A key.
    #[error("the daemon's keys cannot be used")]
    Keys(#[from] KeyError),
    /// The policy.
    #[error("no policy")]
    Policy(#[from] PolicyReadError),
    /// The core.
    #[error("the daemon cannot start")]
    Core(#[from] CoreError),
    /// The SSH port.
    #[error("no SSH port")]
    Listen(#[from] ListenError),
    /// The local socket.
    #[error("no local socket")]
    Admin(#[from] AdminError),
    /// The kernel would let others read its memory.
    #[error("cannot forbid core dumps")]
    Dumpable(#[source] io::Error),
    /// Signals.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

impl AppError {
    /// Whether it only says that something may not, or cannot, be looked at from outside.
    pub(crate) fn is_unseen(&self) -> bool {
        match self {
            Self::Keys(error) => error.is_no_entry(),
            Self::Core(error) => error.is_unseen(),
            Self::Policy(_) | Self::Listen(_) | Self::Admin(_) | Self::Dumpable(_) | Self::Signals(_) => {
                false
            }
        }
    }
}

/// Where its keys are, as files of this account.
pub(crate) fn key_setup(config: &Config, owner: u32) -> KeySetup {
    KeySetup {
        folder: folder(&config.data_dir),
        owner,
        agent: config.keys.grant(),
        user_ca: config.keys.ssh_user_ca(),
        host_ca: config.keys.ssh_host_ca(),
    }
}

/// What the core is opened with.
///
/// # Errors
/// An [`AppError`] of keys or policy.
pub(crate) fn setup(config: &Config, keys: &Keys) -> Result<CoreSetup, AppError> {
    Ok(CoreSetup {
        data_dir: config.data_dir.clone(),
        keys: key_setup(config, own_uid()),
        seal_key: keys.seal.clone(),
        policy: read_policy(&config.policy_dir)?,
        policy_dir: config.policy_dir.clone(),
        advertised: config.address.clone(),
        fingerprint: keys.fingerprint(),
        clock: Clock::system(),
    })
}

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, AppError> {
        let get = |kind| signal(kind).map_err(AppError::Signals);
        Ok(Self {
            hang_up: get(SignalKind::hangup())?,
            terminate: get(SignalKind::terminate())?,
            interrupt: get(SignalKind::interrupt())?,
        })
    }

    /// Reloads at each SIGHUP; returns at SIGTERM and SIGINT.
    async fn serve(&mut self, core: &Core) {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => match core.reload_policy().await {
                    Ok(digest) => log::info(&format!("the policy {digest} is in force")),
                    Err(error) => {
                        log::error(&format!("the policy before stays in force: {}", log::chain(&error)));
                    }
                },
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// A task that must not end while the daemon runs.
fn keep<F: Future<Output = ()> + Send + 'static>(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: F,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

/// Runs until a signal.
///
/// # Errors
/// An [`AppError`] when it cannot start.
pub(crate) async fn run(config: Config) -> Result<(), AppError> {
    log::set_level(config.log);
    // The database and what SQLite puts beside it are nobody else's; the socket gets its own mode.
    umask(Mode::from_bits_truncate(0o077));
    // Keys and seeds: no core dump, and nothing for another process of the same account, which notify.exec is (THREATS B15).
    nix::sys::prctl::set_dumpable(false).map_err(|errno| AppError::Dumpable(errno.into()))?;
    let keys = Keys::read(&config.data_dir)?;
    let core = Core::open(setup(&config, &keys)?).await?;
    let port = ssh::bind(config.listen).await?;
    let local = admin::bind(&config.admin_socket)?;
    let mut signals = Signals::new()?;
    let patience = Patience::with_login(config.limits.login_seconds);
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let listening = port.local_addr().map_or_else(|_| config.listen.to_string(), |at| at.to_string());
    let listener = ssh::Listener { port, host_key: keys.host, limits: config.limits, patience };
    keep(&mut tasks, "the SSH port", ssh::serve(listener, core.clone(), stopped));
    keep(&mut tasks, "the local socket", admin::serve(local, core.clone(), patience));
    for collector in config.syslog {
        let sink = sinks::to_collector(core.events(), core.sinks(), collector, host_name());
        keep(&mut tasks, "a syslog sink", sink);
    }
    if !config.notify.exec.is_empty() {
        keep(&mut tasks, "notify.exec", sinks::to_program(core.events(), core.sinks(), config.notify));
    }
    log::info(&format!("ready, listening on {listening} and {}", config.admin_socket.display()));
    let manager = Manager::of_this_process();
    manager.tell("READY=1");
    keep(&mut tasks, "the watchdog", manager.clone().watch(core.clone()));
    let teller = manager.clone();
    keep(
        &mut tasks,
        "the reserve",
        core.clone().keep_room(move |line| teller.tell(&format!("STATUS={line}"))),
    );
    tokio::select! {
        () = signals.serve(&core) => log::info("stopping"),
        why = store::failure() => {
            log::error(&format!("the store failed: {why}; elevated ends, and is to be started again"));
            // At once: closing the database would write to it again.
            std::process::exit(1);
        }
        ended = tasks.join_next() => {
            let what = ended.and_then(Result::ok).unwrap_or("a part");
            log::error(&format!("{what} ended; the daemon stops, so that it is started again"));
        }
    }
    manager.tell("STOPPING=1");
    stop.send_replace(true);
    drop(std::fs::remove_file(&config.admin_socket));
    if timeout(GOODBYE, stop.closed()).await.is_err() {
        log::warning("some connections did not end in time");
    }
    tasks.shutdown().await;
    core.close().await;
    Ok(())
}
