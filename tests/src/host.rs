//! A host of a lab: boot, power off, its users, files, network and commands.
//!
//! In: a name and a [`HostSpec`]. Out: a running system with real sudo, sshd and PAM.
//! Runs as: root. Spec: tests/README.md.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::PATIENCE;
use crate::cmd::{Cmd, Ran};
use crate::files::Access;
use crate::lab::Switch;
use crate::machine::{HostSpec, Machine};
use crate::network::Cable;
use crate::running::Running;
use crate::tty::Tty;

/// Every host starts with exactly this.
const SUDOERS: &str = "\
Defaults env_reset
Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"
root ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
";

/// A host; clones are the same host. It ends with its last clone.
#[derive(Clone, Debug)]
pub struct Host(Arc<Machine>);

impl Host {
    pub(crate) fn start(lab: Arc<Switch>, name: &str, cable: Cable, spec: HostSpec) -> Result<Self> {
        let host = Self(Arc::new(Machine::new(lab, name, cable, spec)));
        // Files first, under our own init: a foreign init would read them before they are there.
        host.0.power_on(None)?;
        host.first_files()?;
        if let Some(init) = &host.0.spec.init {
            // It may start sshd.
            host.host_key()?;
            host.0.power_off()?;
            host.0.power_on(Some(init))?;
        }
        host.0.lab.announce(&host.0)?;
        Ok(host)
    }

    fn first_files(&self) -> Result<()> {
        self.write_as("/etc/sudoers", SUDOERS, Access::root(0o440))?;
        self.write("/etc/resolv.conf", "")?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).context("no random numbers")?;
        self.write("/etc/machine-id", format!("{:032x}\n", u128::from_be_bytes(id)))
    }

    /// Its name, without a domain.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its IPv4 address in the lab.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.cable.address()
    }

    /// PID 1 of the host, as the machine counts.
    ///
    /// # Errors
    /// The host is off.
    pub fn pid(&self) -> Result<i32> {
        Ok(self.0.door()?.pid)
    }

    /// The cgroup that holds all its processes, as the machine sees it.
    ///
    /// # Errors
    /// The machine has no cgroup v2.
    pub fn cgroup(&self) -> Result<PathBuf> {
        self.0.lab.cgroup(self.name())
    }

    /// The cgroup of the commands that were started in it: what joins it from outside ends with the host, too.
    ///
    /// # Errors
    /// The host is off.
    pub fn entered_cgroup(&self) -> Result<PathBuf> {
        Ok(self.0.door()?.cgroup)
    }

    /// A command to be adjusted; `user` is a login of this host.
    pub fn cmd<W: AsRef<OsStr>>(&self, user: &str, argv: impl IntoIterator<Item = W>) -> Cmd {
        let argv = argv.into_iter().map(|word| word.as_ref().to_owned()).collect();
        Cmd::new(Arc::clone(&self.0), user, argv)
    }

    /// Run a command without a terminal to its end, however it ends.
    ///
    /// # Errors
    /// The host is off, has no such user or program, or the command takes longer than [`PATIENCE`].
    pub fn run<W: AsRef<OsStr>>(&self, user: &str, argv: impl IntoIterator<Item = W>) -> Result<Ran> {
        self.cmd(user, argv).run()
    }

    /// Start a command without a terminal; it is killed when the handle goes.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn spawn<W: AsRef<OsStr>>(&self, user: &str, argv: impl IntoIterator<Item = W>) -> Result<Running> {
        self.cmd(user, argv).spawn()
    }

    /// Start a command on a terminal of its own.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn tty<W: AsRef<OsStr>>(&self, user: &str, argv: impl IntoIterator<Item = W>) -> Result<Tty> {
        self.cmd(user, argv).tty()
    }

    /// A real sshd with a fresh Ed25519 host key (an existing one is kept).
    ///
    /// # Errors
    /// It does not come up.
    pub fn sshd(&self) -> Result<Running> {
        self.host_key()?;
        self.make_dir("/run/sshd", Access::root(0o755))?;
        // From OpenSSH 9.8 on an address that is refused often gets no answer for a while, and a test is refused often.
        let mut words = vec!["/usr/sbin/sshd", "-oPerSourcePenalties=no"];
        if !self.run("root", [&words[..], &["-t"]].concat())?.status.success() {
            words.pop();
        }
        let sshd = self.spawn("root", [&words[..], &["-D", "-e"]].concat())?;
        sshd.expect("Server listening on 0.0.0.0", PATIENCE)?;
        Ok(sshd)
    }

    fn host_key(&self) -> Result<()> {
        let key = "/etc/ssh/ssh_host_ed25519_key";
        if self.exists(key) {
            return Ok(());
        }
        let make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name(), "-f", key];
        self.run("root", make)?.success().map(drop)
    }

    /// A user with a home directory, a group of the same name and number, and no password.
    ///
    /// # Errors
    /// The host is off, or has such a user or number already.
    pub fn add_user(&self, login: &str, uid: u32) -> Result<()> {
        let id = uid.to_string();
        for line in self.read("/etc/passwd")?.lines() {
            let mut fields = line.split(':');
            let taken = fields.next() == Some(login) || fields.nth(1) == Some(&id);
            ensure!(!taken, "{} has {line} already", self.name());
        }
        self.append("/etc/group", &format!("{login}:x:{uid}:\n"), Access::root(0o644))?;
        // Group 42 is `shadow` on Debian and Ubuntu (base-passwd).
        let shadow = Access { mode: 0o640, uid: 0, gid: 42 };
        self.append("/etc/shadow", &format!("{login}:*:20000:0:99999:7:::\n"), shadow)?;
        let passwd = format!("{login}:x:{uid}:{uid}::/home/{login}:/bin/bash\n");
        self.append("/etc/passwd", &passwd, Access::root(0o644))?;
        self.make_dir(format!("/home/{login}"), Access::of(uid, 0o700))
    }

    /// Give a user a password, by the host's own chpasswd.
    ///
    /// # Errors
    /// There is no such user.
    pub fn set_password(&self, login: &str, password: &str) -> Result<()> {
        let line = format!("{login}:{password}\n");
        self.cmd("root", ["chpasswd"]).input(line).run()?.success().map(drop)
    }

    fn append(&self, path: &str, line: &str, access: Access) -> Result<()> {
        let text = self.read(path)? + line;
        self.write_as(path, text, access)
    }

    /// Write a file of root, mode 0644, atomically, with the directories above it.
    ///
    /// # Errors
    /// The host is off or a directory above is a file.
    pub fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<()> {
        self.write_as(path, text, Access::root(0o644))
    }

    /// Write a file with this mode and owner.
    ///
    /// # Errors
    /// As [`Host::write`].
    pub fn write_as(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>, access: Access) -> Result<()> {
        self.0.door()?.root.write(path.as_ref(), text.as_ref(), access)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        String::from_utf8(self.read_bytes(path)?).with_context(|| format!("{} is not UTF-8", path.display()))
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_bytes(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        self.0.door()?.root.read(path.as_ref())
    }

    /// Overwrite the first bytes of a file in place, for a program that has it mapped.
    pub(crate) fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.0.door()?.root.overwrite(Path::new(path), bytes)
    }

    /// Whether there is something of this name; a host that is off has nothing.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.0.door().is_ok_and(|door| door.root.exists(path.as_ref()))
    }

    /// Remove a file if it is there.
    ///
    /// # Errors
    /// The host is off, or it is a directory.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        self.0.door()?.root.remove(path.as_ref())
    }

    /// Make a directory and those above it.
    ///
    /// # Errors
    /// As [`Host::write`].
    pub fn make_dir(&self, path: impl AsRef<Path>, access: Access) -> Result<()> {
        self.0.door()?.root.make_dir(path.as_ref(), access)
    }

    /// Copy a file of the machine in, with this mode and owner.
    ///
    /// # Errors
    /// As [`Host::write`], or `from` cannot be read.
    pub fn install(&self, from: impl AsRef<Path>, to: impl AsRef<Path>, access: Access) -> Result<()> {
        let from = from.as_ref();
        let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write_as(to, bytes, access)
    }

    /// Copy what is in a directory of the machine over the host's root; all becomes root's, modes stay.
    ///
    /// # Errors
    /// As [`Host::install`].
    pub fn install_tree(&self, from: impl AsRef<Path>) -> Result<()> {
        self.0.door()?.root.copy_in(from.as_ref(), Path::new("/"))
    }

    /// Pull the plug: every process is killed, `/run` and `/tmp` are lost, the disk stays.
    ///
    /// # Errors
    /// A process survives.
    pub fn power_off(&self) -> Result<()> {
        self.0.power_off()
    }

    /// Boot a host that is off.
    ///
    /// # Errors
    /// It is on.
    pub fn power_on(&self) -> Result<()> {
        self.0.power_on(self.0.spec.init.as_deref())?;
        self.0.learn_names(&self.0.lab.hosts_file())
    }

    /// [`Host::power_off`], then [`Host::power_on`].
    ///
    /// # Errors
    /// As those.
    pub fn reboot(&self) -> Result<()> {
        self.power_off()?;
        self.power_on()
    }

    /// Pull its cable: the host sees that there is no carrier.
    ///
    /// # Errors
    /// The host is off.
    pub fn network_down(&self) -> Result<()> {
        self.0.cable.at_switch(&format!("link set v{} down\n", self.0.cable.number))
    }

    /// Cut it off silently: packets vanish, the carrier stays, nobody is told.
    ///
    /// # Errors
    /// The host is off.
    pub fn network_cut(&self) -> Result<()> {
        self.0.cable.at_switch(&format!("link set v{} nomaster\n", self.0.cable.number))
    }

    /// Undo [`Host::network_down`] and [`Host::network_cut`].
    ///
    /// # Errors
    /// The host is off.
    pub fn network_up(&self) -> Result<()> {
        let n = self.0.cable.number;
        self.0.cable.at_switch(&format!("link set v{n} master br0\nlink set v{n} up\n"))
    }
}
