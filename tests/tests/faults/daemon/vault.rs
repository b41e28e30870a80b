//! A daemon in a folder: made once with people, keys and a host, then copied for every run.
//!
//! In: nothing. Out: [`Template`], and [`Vault`]s made of it, each with an address of its own on the loopback network.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use elevate_protocol::time::Timestamp;
use elevate_tests::places;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::disk::{Disk, cut_power};
use crate::strace::{self, Executioner, Plan};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static ADDRESSES: AtomicU16 = AtomicU16::new(0);

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp(i64::try_from(seconds).unwrap())
}

/// Waits for a condition; false when it does not come.
pub(crate) fn comes(mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !holds() {
        if begin.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// An address that no other run of this machine uses at the same time: the process and a count are in it.
fn address() -> String {
    let [high, low] = (std::process::id() & 0xffff).to_be_bytes()[2..] else { unreachable!() };
    let count = ADDRESSES.fetch_add(1, Ordering::Relaxed) % 250 + 2;
    format!("127.{}.{low}.{count}", high % 250 + 2)
}

/// A daemon's folder. Dropped, the daemon is killed and everything vanishes.
#[derive(Debug)]
pub(crate) struct Vault {
    place: tempfile::TempDir,
    /// Where it listens.
    pub(crate) address: String,
    child: Option<Child>,
    /// Of the last start; before another start the one before is over.
    executioner: Option<Executioner>,
    /// What `lib` is on, where its power is to be cut.
    disk: Option<Disk>,
    starts: u32,
}

impl Vault {
    /// A folder with an initialised daemon, not started.
    pub(crate) fn init(policy: &str) -> Self {
        let vault = Self::empty();
        let program = places::program("elevated").unwrap();
        let made = Command::new(program)
            .arg("--config")
            .arg(vault.path("etc/daemon.toml"))
            .args(["init", "--address", "daemon.example:7022", "--user", "root", "--listen"])
            .arg(format!("{}:7022", vault.address))
            .arg("--data-dir")
            .arg(vault.path("lib"))
            .arg("--admin-socket")
            .arg(vault.path("run/admin.sock"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(vault.path("etc/policy.d/main.toml"), policy).unwrap();
        let config = std::fs::read_to_string(vault.path("etc/daemon.toml")).unwrap();
        let socket = vault.path("log.sock");
        let config = config.replace("unix:/dev/log", &format!("unix:{}", socket.display()));
        std::fs::write(vault.path("etc/daemon.toml"), config).unwrap();
        vault
    }

    fn empty() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("run")).unwrap();
        Self { place, address: address(), child: None, executioner: None, disk: None, starts: 0 }
    }

    /// A copy of a stopped daemon's folder, at another address, and perhaps on a disk of its own.
    pub(crate) fn copy(&self, own_disk: bool) -> Self {
        let mut copy = Self::empty();
        if own_disk {
            copy.disk = Some(Disk::make(copy.path("image"), copy.path("lib")));
        }
        for folder in ["etc", "lib"] {
            let done =
                Command::new("/bin/cp").arg("-a").arg(self.path(folder)).arg(copy.place.path()).status();
            assert!(done.unwrap().success());
        }
        let config = std::fs::read_to_string(self.path("etc/daemon.toml")).unwrap();
        let config = config
            .replace(self.place.path().to_str().unwrap(), copy.place.path().to_str().unwrap())
            .replace(&self.address, &copy.address);
        std::fs::write(copy.path("etc/daemon.toml"), config).unwrap();
        if let Some(disk) = &copy.disk {
            disk.settle();
        }
        copy
    }

    /// The folder.
    pub(crate) fn base(&self) -> &Path {
        self.place.path()
    }

    /// Something in it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    /// Root's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/admin.sock")
    }

    /// What strace wrote.
    pub(crate) fn trace(&self) -> PathBuf {
        self.path("trace")
    }

    /// What the daemon said since its last start.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.path(&format!("said{}", self.starts))).unwrap_or_default()
    }

    /// Starts the daemon, its disk too where it has one; whether it became ready.
    pub(crate) fn start(&mut self, plan: &Plan) -> bool {
        drop(self.executioner.take());
        if let Some(disk) = self.disk.as_ref().filter(|_| self.starts > 0) {
            disk.start_again();
        }
        self.launch(plan)
    }

    /// Starts the daemon on what is there; whether it became ready.
    pub(crate) fn launch(&mut self, plan: &Plan) -> bool {
        self.starts += 1;
        let program: OsString = places::program("elevated").unwrap().into();
        let command = [program, "--config".into(), self.path("etc/daemon.toml").into(), "run".into()];
        let said = File::create(self.path(&format!("said{}", self.starts))).unwrap();
        let mut command = strace::wrap(&command, plan, (self.base(), &self.trace()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).env("RUST_BACKTRACE", "0");
        let child = command.spawn().unwrap();
        let lib = self.disk.is_some().then(|| self.path("lib"));
        let first = move || lib.iter().for_each(|lib| cut_power(lib));
        self.executioner = Executioner::wait(child.id(), plan, (self.trace(), first));
        self.child = Some(child);
        comes(|| self.has_ended() || self.said().contains("ready, listening on")) && !self.has_ended()
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether it is not there any more.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Asks it to stop, and waits; its exit code, none when it was killed.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        // One that is gone already is not asked.
        let _asked = kill(Pid::from_raw(self.pid().try_into().unwrap()), Signal::SIGTERM);
        assert!(comes(|| self.has_ended()), "the daemon does not stop: {}", self.said());
        self.wait()
    }

    /// Waits for its end; its exit code, none when it was killed.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.as_mut().unwrap().kill().unwrap();
        assert_eq!(self.wait(), None);
    }

    /// A private key file of this seed.
    pub(crate) fn key_file(&self, name: &str, key: &ssh_key::PrivateKey) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, key.to_openssh(ssh_key::LineEnding::LF).unwrap()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
