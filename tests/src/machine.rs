//! The machine behind a host: its processes, its cable, its power switch.
//!
//! In: a [`HostSpec`]. Out: a booted host, and the [`Door`] by which commands enter it.
//! Runs as: root. Spec: `testbed help`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::files::{Access, Root};
use crate::lab::Switch;
use crate::network::Cable;
use crate::places;

/// What a host is made of besides the tree.
#[derive(Clone, Debug, Default)]
pub struct HostSpec {
    layers: Vec<PathBuf>,
    binds: Vec<(PathBuf, String)>,
    pub(crate) init: Option<String>,
}

impl HostSpec {
    /// Lay a directory of the machine (say, of `make install DESTDIR=…`) over the tree, read-only and shared.
    ///
    /// Costs nothing per host, unlike [`crate::Host::install`]. Its directories' modes hide those of the tree.
    #[must_use]
    pub fn layer(mut self, dir: impl Into<PathBuf>) -> Self {
        self.layers.push(dir.into());
        self
    }

    /// Make a file or directory of the machine appear in the host.
    #[must_use]
    pub fn bind(mut self, from: impl Into<PathBuf>, to: &str) -> Self {
        self.binds.push((from.into(), to.to_owned()));
        self
    }

    /// Run this program of the host as PID 1 (`/sbin/init` of a layer with systemd).
    #[must_use]
    pub fn init(mut self, program: &str) -> Self {
        self.init = Some(program.to_owned());
        self
    }
}

/// The cgroup, below the host's own, of commands that enter a host with an init of its own.
const ENTERED: &str = "testbed";

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) lab: Arc<Switch>,
    pub(crate) name: String,
    pub(crate) cable: Cable,
    pub(crate) spec: HostSpec,
    power: Mutex<Option<Power>>,
}

#[derive(Debug)]
struct Power {
    launcher: Child,
    pid: i32,
    /// What commands that enter join.
    cgroup: PathBuf,
    root: Arc<Root>,
}

/// What a command needs to know to enter a running host.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) pid: i32,
    pub(crate) cgroup: PathBuf,
    pub(crate) root: Arc<Root>,
}

impl Machine {
    pub(crate) fn new(lab: Arc<Switch>, name: &str, cable: Cable, spec: HostSpec) -> Self {
        Self { lab, name: name.to_owned(), cable, spec, power: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Power>> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn door(&self) -> Result<Door> {
        let power = self.lock();
        let power = power.as_ref().with_context(|| format!("{} is off", self.name))?;
        Ok(Door { pid: power.pid, cgroup: power.cgroup.clone(), root: Arc::clone(&power.root) })
    }

    pub(crate) fn power_on(&self, init: Option<&str>) -> Result<()> {
        let mut power = self.lock();
        ensure!(power.is_none(), "{} is on already", self.name);
        let mut launcher = self.launcher(init)?.spawn().context("cannot start testbed init")?;
        let mut line = String::new();
        BufReader::new(launcher.stdout.take().context("init has no output")?).read_line(&mut line)?;
        let pid = line.strip_prefix("READY ").and_then(|pid| pid.trim().parse().ok());
        let pid = pid.with_context(|| format!("{} did not boot: {line:?}", self.name))?;
        let root = Arc::new(Root::open(pid)?);
        let mut cgroup = self.lab.cgroup(&self.name)?;
        if init.is_some() {
            // An init that keeps cgroups may have given controllers to those below: then none may be in the root (cgroups(7)).
            cgroup.push(ENTERED);
            std::fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        }
        *power = Some(Power { launcher, pid, cgroup, root });
        drop(power);
        self.cable.plug_in(pid)
    }

    fn launcher(&self, init: Option<&str>) -> Result<Command> {
        let mut launcher = Command::new(places::program("testbed")?);
        launcher.args(["init", "--name", &self.name, "--lab", &self.lab.pid.to_string()]);
        launcher.arg("--state").arg(self.lab.disk(&self.name)?);
        launcher.arg("--cgroup").arg(self.lab.cgroup(&self.name)?);
        for layer in self.spec.layers.iter().rev().chain([&places::tree_root()?]) {
            let plain = layer.is_absolute() && !layer.to_string_lossy().contains([':', ',', '\\']);
            ensure!(plain, "{}: overlayfs needs an absolute path without : , and \\", layer.display());
            launcher.arg("--lower").arg(layer);
        }
        for (from, to) in &self.spec.binds {
            launcher.arg("--bind").arg(format!("{}:{to}", from.display()));
        }
        if let Some(init) = init {
            launcher.args(["--exec", init]);
        }
        // Its own group: Ctrl-C at the machine's terminal is not for the hosts.
        launcher.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        Ok(launcher)
    }

    pub(crate) fn power_off(&self) -> Result<()> {
        let Some(mut power) = self.lock().take() else { return Ok(()) };
        drop(power.root);
        drop(power.launcher.stdin.take());
        let status = power.launcher.wait()?;
        ensure!(status.success(), "{} did not end cleanly: {status}", self.name);
        self.cable.pull_out()
    }

    pub(crate) fn learn_names(&self, text: &str) -> Result<()> {
        match self.door() {
            Ok(door) => door.root.write(Path::new("/etc/hosts"), text.as_bytes(), Access::root(0o644)),
            // It learns them when it boots.
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.power_off() {
            eprintln!("host {}: {error:#}", self.name);
        }
    }
}
