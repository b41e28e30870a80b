//! A lab: one switch and the hosts on it; it vanishes with the process that made it.
//!
//! In: a name. Out: hosts that reach each other and nothing else.
//! Runs as: root. Spec: tests/README.md.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, ensure};

use crate::host::Host;
use crate::machine::{HostSpec, Machine};
use crate::network::Cable;
use crate::places;

static LABS: AtomicU16 = AtomicU16::new(0);

/// A private network with hosts on it. Hosts keep their lab alive.
#[derive(Clone, Debug)]
pub struct Lab(Arc<Switch>);

/// The process that holds a lab's namespaces, and who is on its network.
#[derive(Debug)]
pub(crate) struct Switch {
    process: Mutex<Child>,
    pub(crate) pid: u32,
    id: String,
    hosts: AtomicU16,
    names: Mutex<Vec<(String, String)>>,
    running: Mutex<Vec<Weak<Machine>>>,
}

impl Lab {
    /// A lab with nothing on its network. Any number of them may run at once.
    ///
    /// # Errors
    /// Not root, no current tree (`make tree`), or the kernel refuses namespaces.
    pub fn new() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "test hosts need root: run `make test`, which uses sudo, or run this as root"
        );
        places::tree_root()?;
        let disks = places::bed_dir()?.join("disks");
        std::fs::create_dir_all(&disks)?;
        let mut process = Command::new(places::program("testbed")?)
            .arg("switch")
            .arg("--disks")
            .arg(&disks)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start testbed switch")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("the switch has no output")?).read_line(&mut line)?;
        ensure!(line == "READY\n", "the switch did not start: {line:?}");
        let pid = process.id();
        let id = format!("testbed-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let (hosts, names, running) = (AtomicU16::new(1), Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Switch { process: Mutex::new(process), pid, id, hosts, names, running })))
    }

    /// A running host with the plain tree.
    ///
    /// # Errors
    /// As [`Lab::host_with`].
    pub fn host(&self, name: &str) -> Result<Host> {
        self.host_with(name, HostSpec::default())
    }

    /// A running host.
    ///
    /// # Errors
    /// The name is taken or no host name, or the host did not start.
    pub fn host_with(&self, name: &str, spec: HostSpec) -> Result<Host> {
        let fits = (1..=32).contains(&name.len());
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        ensure!(fits && plain && name != "localhost", "{name:?} is no host name of a lab");
        let cable = Cable { switch: self.0.pid, number: self.0.hosts.fetch_add(1, Ordering::Relaxed) };
        {
            let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
            ensure!(names.iter().all(|(_, taken)| taken != name), "there is a host {name} already");
            names.push((cable.address(), name.to_owned()));
        }
        Host::start(Arc::clone(&self.0), name, cable, spec)
    }
}

impl Switch {
    /// Directory of a host's disk, as the lab's mount namespace sees it.
    pub(crate) fn disk(&self, host: &str) -> Result<std::path::PathBuf> {
        Ok(places::bed_dir()?.join("disks").join(host))
    }

    pub(crate) fn cgroup(&self, host: &str) -> Result<std::path::PathBuf> {
        Ok(places::cgroup_root()?.join(format!("{}-{host}", self.id)))
    }

    /// `/etc/hosts` of every host of this lab.
    pub(crate) fn hosts_file(&self) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = names.iter().map(|(address, name)| format!("{address} {name}\n"));
        format!("127.0.0.1 localhost\n::1 localhost\n{}", lines.collect::<String>())
    }

    /// A host is up: from now on it and all others know each other's names.
    pub(crate) fn announce(&self, newcomer: &Arc<Machine>) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.push(Arc::downgrade(newcomer));
        running.retain(|machine| machine.strong_count() > 0);
        let text = self.hosts_file();
        for machine in running.iter().filter_map(Weak::upgrade) {
            machine.learn_names(&text)?;
        }
        Ok(())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(process.stdin.take());
        if let Err(error) = process.wait() {
            eprintln!("the switch of {} did not end: {error}", self.id);
        }
    }
}
