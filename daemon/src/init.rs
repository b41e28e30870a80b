//! `elevated init`: keys, database, configuration, a sample policy. Overwrites nothing.
//!
//! In: the command line. Out: files, and what to type next. Runs as: root (the data folder then belongs to the daemon's
//! account), or as the account itself.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

use elevate_protocol::message::DEFAULT_PORT;
use elevate_protocol::paste::is_address;
use nix::unistd::{User, geteuid};
use zeroize::Zeroizing;

use crate::app::{AppError, setup};
use crate::cli::Init;
use crate::config::{self, ConfigError};
use crate::core::{Core, CoreError};
use crate::keys::{KeyError, Keys, folder};
use crate::store::WITNESS;

const SAMPLE_POLICY: &str = include_str!("init_policy.toml");
const SAMPLE_CONFIG: &str = include_str!("init_config.toml");

/// Why nothing, or not everything, was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// There is something already.
    #[error("there is a daemon here already, nothing was changed; found: {}", shown(.found))]
    There {
        /// What was found.
        found: Vec<PathBuf>,
    },
    /// No such account.
    #[error(
        "there is no account {login}; make it first (useradd --system {login}) or name another with --user"
    )]
    NoUser {
        /// The login.
        login: String,
    },
    /// Not root, and not that account.
    #[error("only root can make files for {login}; run it with sudo, or with --user and your own login")]
    NotRoot {
        /// The login.
        login: String,
    },
    /// No usable address.
    #[error("{address} is no NAME:PORT; say with --address how hosts and people reach this daemon")]
    Address {
        /// As written or guessed.
        address: String,
    },
    /// A path that is not absolute, or not plain text.
    #[error("{path} is not an absolute path in plain text")]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// A folder or file.
    #[error("cannot make {path}")]
    Make {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No randomness.
    #[error("the system gives no randomness")]
    Random(#[source] getrandom::Error),
    /// A key.
    #[error("the keys cannot be made")]
    Keys(#[from] KeyError),
    /// What was written does not read back.
    #[error("the new configuration does not read back")]
    Config(#[from] ConfigError),
    /// Nor does the policy.
    #[error("the new policy does not read back")]
    App(#[from] AppError),
    /// The database.
    #[error("the database cannot be made")]
    Core(#[from] CoreError),
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What is going to be made, all of it known beforehand.
struct Plan<'a> {
    config: &'a Path,
    policy_dir: PathBuf,
    settings: &'a Init,
    address: String,
    owner: Option<(u32, u32)>,
}

impl<'a> Plan<'a> {
    fn new(config: &'a Path, settings: &'a Init) -> Result<Self, InitError> {
        let own_name = || {
            let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
            format!("{}:{DEFAULT_PORT}", name.unwrap_or_default())
        };
        let address = settings.address.clone().unwrap_or_else(own_name);
        if !is_address(&address) {
            return Err(InitError::Address { address });
        }
        let beside = || config.parent().unwrap_or(Path::new("/")).join("policy.d");
        let policy_dir = settings.policy_dir.clone().unwrap_or_else(beside);
        for path in [config, &policy_dir, &settings.data_dir, &settings.admin_socket] {
            if !path.is_absolute() || path.to_str().is_none_or(|text| text.contains(['"', '\\', '\n'])) {
                return Err(InitError::Path { path: path.to_owned() });
            }
        }
        let plan = Self { config, policy_dir, settings, address, owner: owner(&settings.user)? };
        plan.nothing_there()?;
        Ok(plan)
    }

    fn policy(&self) -> PathBuf {
        self.policy_dir.join("main.toml")
    }

    fn nothing_there(&self) -> Result<(), InitError> {
        let data = &self.settings.data_dir;
        let (database, witness) = (data.join("elevated.db"), data.join(WITNESS));
        let would_be = [self.config.to_owned(), self.policy(), folder(data), database, witness];
        let found: Vec<PathBuf> =
            would_be.into_iter().filter(|path| std::fs::symlink_metadata(path).is_ok()).collect();
        if found.is_empty() { Ok(()) } else { Err(InitError::There { found }) }
    }

    fn config_text(&self) -> String {
        SAMPLE_CONFIG
            .replace("{address}", &self.address)
            .replace("{listen}", &self.settings.listen.to_string())
            .replace("{data_dir}", &self.settings.data_dir.display().to_string())
            .replace("{policy_dir}", &self.policy_dir.display().to_string())
            .replace("{admin_socket}", &self.settings.admin_socket.display().to_string())
    }

    /// Gives the data folder to the daemon's account.
    fn give(&self, path: &Path) -> Result<(), InitError> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        let failed = |source| InitError::Make { path: path.to_owned(), source };
        if std::fs::symlink_metadata(path).map_err(failed)?.is_dir() {
            for entry in std::fs::read_dir(path).map_err(failed)? {
                self.give(&entry.map_err(failed)?.path())?;
            }
        }
        lchown(path, Some(uid), Some(gid)).map_err(failed)
    }
}

/// To whom the data folder goes; none: it stays with whoever runs this.
fn owner(login: &str) -> Result<Option<(u32, u32)>, InitError> {
    let user = User::from_name(login).ok().flatten();
    let me = geteuid();
    match user {
        Some(user) if user.uid == me => Ok(None),
        Some(user) if me.is_root() => Ok(Some((user.uid.as_raw(), user.gid.as_raw()))),
        None if me.is_root() => Err(InitError::NoUser { login: login.to_owned() }),
        Some(_) | None => Err(InitError::NotRoot { login: login.to_owned() }),
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), InitError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| InitError::Make { path: path.to_owned(), source })
}

fn make_file(path: &Path, text: &str) -> Result<(), InitError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|source| InitError::Make { path: path.to_owned(), source })
}

fn make(plan: &Plan<'_>) -> Result<Keys, InitError> {
    let data = &plan.settings.data_dir;
    make_folder(data, 0o700)?;
    make_folder(&folder(data), 0o700)?;
    let mut seeds = Zeroizing::new([[0u8; 32]; 3]);
    for seed in seeds.iter_mut() {
        getrandom::fill(seed).map_err(InitError::Random)?;
    }
    let keys = Keys::make(data, &seeds)?;
    make_folder(&plan.policy_dir, 0o755)?;
    make_file(&plan.policy(), SAMPLE_POLICY)?;
    make_folder(plan.config.parent().unwrap_or(Path::new("/")), 0o755)?;
    make_file(plan.config, &plan.config_text())?;
    let config = config::read(plan.config)?;
    let opened = setup(&config, &keys)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| InitError::Make { path: data.clone(), source })?;
    runtime.block_on(async {
        let core = Core::open(opened).await?;
        core.close().await;
        Ok::<(), CoreError>(())
    })?;
    plan.give(data)?;
    Ok(keys)
}

/// Makes everything and says what to do next.
///
/// # Errors
/// An [`InitError`]; when something is there already, nothing was changed.
pub(crate) fn init(config: &Path, settings: &Init) -> Result<(), InitError> {
    let plan = Plan::new(config, settings)?;
    let keys = make(&plan)?;
    let data = settings.data_dir.display();
    println!("Made");
    println!("  {}   the daemon's configuration", config.display());
    println!("  {}   a sample policy, nobody in it", plan.policy().display());
    println!(
        "  {data}   database; keys/host, keys/grant, keys/ssh_user_ca, keys/ssh_host_ca, keys/seal: back them up, apart from the database"
    );
    println!("Hosts and people reach it as {}; its host key is {}", plan.address, keys.fingerprint());
    println!("Next");
    println!("  1. write people and roles: {}", plan.policy().display());
    println!("  2. check:  elevated --check-config");
    println!("  3. start:  systemctl enable --now elevated   (or, as {}: elevated run)", settings.user);
    println!("  4. invite: elevatectl host invite web1 --label env=prod    elevatectl person invite alice");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn settings(place: &Path) -> Init {
        Init {
            address: Some("daemon.example:7022".into()),
            listen: "127.0.0.1:7022".parse().unwrap(),
            user: User::from_uid(geteuid()).unwrap().unwrap().name,
            data_dir: place.join("lib"),
            policy_dir: None,
            admin_socket: place.join("run/admin.sock"),
        }
    }

    #[test]
    fn what_init_makes_is_private_and_passes_the_check() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("etc/daemon.toml");
        init(&path, &settings(place.path())).unwrap();
        let mode = |name: &str| std::fs::metadata(place.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!([mode("lib"), mode("lib/keys"), mode("lib/keys/seal")], [0o700, 0o700, 0o600]);
        let config = config::read(&path).unwrap();
        assert_eq!(config.address, "daemon.example:7022");
        assert_eq!(config.policy_dir, place.path().join("etc/policy.d"));
        Keys::read(&config.data_dir).unwrap();
        let policy = crate::core::read_policy(&config.policy_dir).unwrap();
        assert_eq!((policy.people().count(), policy.warnings().len()), (0, 0));
    }

    #[test]
    fn the_sample_policy_with_its_comments_removed_is_a_valid_policy() {
        let active: String = SAMPLE_POLICY
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let parsed = elevate_policy::Policy::parse(&[("main.toml".into(), active)]);
        let policy = parsed.unwrap_or_else(|error| panic!("{error}"));
        assert!(policy.people().count() >= 3 && policy.roles().count() >= 2);
    }

    #[test]
    fn init_overwrites_nothing_and_says_what_it_found() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("etc/daemon.toml");
        init(&path, &settings(place.path())).unwrap();
        std::fs::remove_file(&path).unwrap();
        let before = std::fs::read(place.path().join("lib/keys/grant")).unwrap();
        match init(&path, &settings(place.path())) {
            Err(InitError::There { found }) => assert!(found.contains(&place.path().join("lib/keys"))),
            other => panic!("{other:?}"),
        }
        assert!(!path.exists(), "nothing was changed");
        assert_eq!(std::fs::read(place.path().join("lib/keys/grant")).unwrap(), before);
    }

    #[test]
    fn an_address_that_nobody_can_use_is_refused_before_anything_is_made() {
        let place = tempfile::tempdir().unwrap();
        let bad = Init { address: Some("daemon".into()), ..settings(place.path()) };
        let refused = init(&place.path().join("etc/daemon.toml"), &bad);
        assert!(matches!(refused, Err(InitError::Address { .. })), "{refused:?}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
