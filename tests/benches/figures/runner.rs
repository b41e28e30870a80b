//! A process inside a host that starts a program when it is told to and says how long it took, so that nothing of the bed is in the time.
//!
//! In: a host, who, a command. Out: milliseconds. Runs as: whoever it is for.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet;
use elevate_tests::{Host, HostSpec, PATIENCE, Running, obtain};

use crate::site::Site;

/// This program, as the hosts see it.
const RUNNER: &str = "/opt/bench-runner";
/// The folder of the sockets, as the hosts see it.
const SOCKETS: &str = "/mnt";

/// What a host is made of in which a runner runs.
pub(crate) fn spec(site: &Site) -> Result<HostSpec> {
    inside(fleet::installed()?, site.disk())
}

/// The same, of a host that has more.
pub(crate) fn inside(spec: HostSpec, disk: &Path) -> Result<HostSpec> {
    let sockets = disk.join("sockets");
    std::fs::create_dir_all(&sockets)?;
    Ok(spec.bind(std::env::current_exe()?, RUNNER).bind(sockets, SOCKETS))
}

/// The runner's own life: for each byte it runs the command once, for each a line with its nanoseconds.
pub(crate) fn run(socket: &Path, command: &[String]) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let (program, words) = command.split_first().context("no command")?;
    let mut byte = [0u8; 1];
    while stream.read(&mut byte)? == 1 {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let status = command.status()?;
        let took = begun.elapsed().as_nanos();
        ensure!(status.success(), "{program}: {status}");
        writeln!(stream, "{took}")?;
    }
    Ok(())
}

/// A process that waits in a host.
pub(crate) struct Runner {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    _process: Running,
}

impl Runner {
    /// Starts one by this name, for this person and command.
    pub(crate) fn start(
        site: &Site,
        (host, name): (&Host, &str),
        who: &str,
        command: &[&str],
    ) -> Result<Self> {
        let name = format!("{name}.sock");
        let path = site.disk().join("sockets").join(&name);
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        let socket = format!("{SOCKETS}/{name}");
        let process = host.spawn(who, [&[RUNNER, "--runner", &socket], command].concat())?;
        listener.set_nonblocking(true)?;
        let stream = obtain(PATIENCE, "the runner", || listener.accept().ok());
        let (stream, _) = stream.with_context(|| process.log())?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { answers: BufReader::new(stream.try_clone()?), stream, _process: process })
    }

    /// Runs the command; how many ms it took.
    pub(crate) fn once(&mut self) -> Result<f64> {
        self.stream.write_all(b"!")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let nanos: f64 = line.trim().parse().context("the runner ended")?;
        Ok(nanos / 1e6)
    }
}

/// What two runners took, in ms, one beside the other.
#[derive(Default)]
pub(crate) struct Pairs {
    /// Of the one that is measured.
    pub(crate) with: Vec<f64>,
    /// Of the reference.
    pub(crate) without: Vec<f64>,
    /// One by the other.
    pub(crate) ratios: Vec<f64>,
}

/// Runs both so often, one after the other; each goes first in every other pair.
pub(crate) fn pairs(ours: &mut Runner, reference: &mut Runner, number: usize) -> Result<Pairs> {
    // The first of each find nothing in any cache.
    for _ in 0..5 {
        ours.once()?;
        reference.once()?;
    }
    let mut pairs = Pairs::default();
    for number in 0..number {
        let (first, second) = if number % 2 == 0 {
            let first = ours.once()?;
            (first, reference.once()?)
        } else {
            let second = reference.once()?;
            (ours.once()?, second)
        };
        pairs.ratios.push(first / second);
        pairs.with.push(first);
        pairs.without.push(second);
    }
    Ok(pairs)
}
