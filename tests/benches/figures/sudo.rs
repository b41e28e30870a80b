//! `sudo -n true` with our PAM lines and one live grant, beside the same without: pairs, one after the other.
//!
//! In: a managed host, a plain one with a rule of its own. Out: rows of the table. A runner in each host, as alice, starts sudo when
//! it is told to and says how long it took, so that nothing of the bed is in the time.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::view::State;
use elevate_protocol::name::Name;
use elevate_tests::fleet::{self, Managed};
use elevate_tests::{Access, Host, HostSpec, PATIENCE, Running, obtain};

use crate::measure::percentile;
use crate::people::{activation, converse, request};
use crate::site::Site;
use crate::table::{Aim, Row};
use crate::wire::Connection;

/// This program, as the hosts see it.
const RUNNER: &str = "/opt/bench-runner";
/// The folder of the sockets, as the hosts see it.
const SOCKETS: &str = "/mnt";

/// What a host of this bench is made of.
pub(crate) fn spec(site: &Site) -> Result<HostSpec> {
    let sockets = site.disk().join("sockets");
    std::fs::create_dir_all(&sockets)?;
    Ok(fleet::installed()?.bind(std::env::current_exe()?, RUNNER).bind(sockets, SOCKETS))
}

/// The runner's own life: for each byte one `sudo -n true`, for each a line with its nanoseconds.
pub(crate) fn run(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut byte = [0u8; 1];
    while stream.read(&mut byte)? == 1 {
        let mut sudo = Command::new("/usr/bin/sudo");
        sudo.args(["-n", "/usr/bin/true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let status = sudo.status()?;
        let took = begun.elapsed().as_nanos();
        ensure!(status.success(), "sudo -n true: {status}");
        writeln!(stream, "{took}")?;
    }
    Ok(())
}

struct Runner {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    _process: Running,
}

impl Runner {
    fn start(site: &Site, host: &Host) -> Result<Self> {
        let name = format!("{}.sock", host.name());
        let path = site.disk().join("sockets").join(&name);
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        let process = host.spawn("alice", [RUNNER, "--runner", &format!("{SOCKETS}/{name}")])?;
        listener.set_nonblocking(true)?;
        let stream = obtain(PATIENCE, "the runner", || listener.accept().ok());
        let (stream, _) = stream.with_context(|| process.log())?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { answers: BufReader::new(stream.try_clone()?), stream, _process: process })
    }

    fn once(&mut self) -> Result<f64> {
        self.stream.write_all(b"!")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let nanos: f64 = line.trim().parse().context("the runner ended")?;
        Ok(nanos / 1e6)
    }
}

/// Gives alice the role on the real host, or finds it given.
pub(crate) fn grant(site: &Site, web1: &Managed) -> Result<()> {
    let (server, alice) = (site.server.clone(), site.alice.clone());
    site.run(async move {
        let host: Name = "web1".parse()?;
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        let view = activation(converse(&connection, request("plain", &[&host])?).await?)?;
        ensure!(view.state == State::Active, "{:?}", view.state);
        connection.close().await;
        Ok(())
    })?;
    web1.wait_sudo("alice", &["/usr/bin/true"], true)
}

/// Gives it back, so that what is measured next finds alice without rights.
fn give_back(site: &Site, web1: &Managed) -> Result<()> {
    let (server, alice) = (site.server.clone(), site.alice.clone());
    site.run(async move {
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        converse(&connection, Ask::Drop { id: None, all: true }).await?;
        connection.close().await;
        Ok(())
    })?;
    web1.wait_sudo("alice", &["/usr/bin/true"], false)
}

/// Measures in pairs.
pub(crate) fn measure(site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let plain = site.fleet.lab.host_with("plain1", spec(site)?)?;
    plain.add_user("alice", 2000)?;
    let rule = "alice ALL=(root) NOPASSWD: /usr/bin/true\n";
    plain.write_as("/etc/sudoers.d/alice", rule, Access::root(0o440))?;
    grant(site, web1)?;
    let (mut ours, mut without) = (Runner::start(site, &web1.host)?, Runner::start(site, &plain)?);
    let pairs = if quick { 50 } else { 300 };
    // The first of each find nothing in any cache.
    for _ in 0..5 {
        ours.once()?;
        without.once()?;
    }
    let (mut ratios, mut with, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..pairs {
        // Each goes first in every other pair.
        let (first, second) = if number % 2 == 0 {
            let first = ours.once()?;
            (first, without.once()?)
        } else {
            let second = without.once()?;
            (ours.once()?, second)
        };
        ratios.push(first / second);
        with.push(first);
        bare.push(second);
    }
    give_back(site, web1)?;
    Ok(vec![
        Row::new(
            format!("sudo -n true with our PAM lines and a live grant ÷ without, {pairs} pairs, median"),
            percentile(&ratios, 50.0),
            "ratio",
            Aim::AtMost(1.10),
        ),
        Row::new("… with, p50", percentile(&with, 50.0), "ms", Aim::Told),
        Row::new("… without, p50", percentile(&bare, 50.0), "ms", Aim::Told),
        Row::new("… with, p99", percentile(&with, 99.0), "ms", Aim::Told),
        Row::new("… without, p99", percentile(&bare, 99.0), "ms", Aim::Told),
    ])
}
