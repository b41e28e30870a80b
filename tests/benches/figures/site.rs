//! Where the benches measure: a daemon on a host of the test bed with its data on the machine's own disk, people with keys,
//! hosts that are enrolled through the real door.
//!
//! In: the staged release build, the tree. Out: [`Site`]. Runs as: root.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};
use elevate_protocol::message::admin::{AdminAsk, AdminOutcome, RevokeWhat};
use elevate_protocol::message::person::{Ask, Outcome};
use elevate_protocol::message::view::HostView;
use elevate_protocol::name::Name;
use elevate_protocol::text::UntrustedText;
use elevate_tests::fleet::{self, Fleet};
use elevate_tests::{Lab, PATIENCE, Running, eventually, places};
use nix::sched::{CloneFlags, setns};
use ssh_key::{PrivateKey, private::Ed25519Keypair};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::agents::Simulated;
use crate::people::Person;
use crate::runner::inside;
use crate::wire::{Frames, Server};

/// People of the policy, beside alice.
pub(crate) const PEOPLE: usize = 1000;
/// Of these, those who may have the role of the simulated fleet, 50 hosts each.
pub(crate) const OPERATORS: usize = 100;
/// Of these, those who approve.
const LEADS: std::ops::Range<usize> = 500..800;
/// Connections of one address are not limited as usual: all simulated agents have the same one.
const LIMITS: &str = "
syslog = []

[limits]
unauthenticated_per_source = 256
unauthenticated = 256
";

const ROLES: &str = r#"
[roles.quick]
who      = ["@everybody"]
hosts    = { tier = "app" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "10m"
max      = "1h"
mfa      = "none"

[roles.log-in]
who      = ["@everybody"]
hosts    = { tier = "db" }
ssh      = { logins = ["deploy"] }
duration = "1h"
max      = "1h"
mfa      = "none"

[roles.deployer]
who      = ["alice"]
hosts    = { tier = "web" }
ssh      = { logins = ["deploy"] }
duration = "1h"
max      = "1h"
mfa      = "none"

[roles.reviewed]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "10m"
max      = "1h"
mfa      = "none"
approve  = [{ need = 1, of = ["@leads"], within = "1h" }]

[roles.plain]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/true"]] }
duration = "1h"
max      = "1h"
mfa      = "none"

[roles.sweep]
who      = ["alice", "@operators"]
hosts    = { fleet = "big" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "1h"
max      = "1h"
mfa      = "none"
"#;

/// A key of nobody yet.
pub(crate) fn fresh_key() -> Result<PrivateKey> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed)?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

/// The daemon and everybody around it.
pub(crate) struct Site {
    /// The daemon's machine; its laptop is the same host, nobody sits there.
    pub(crate) fleet: Fleet,
    /// The daemon's door.
    pub(crate) server: Server,
    /// `alice`.
    pub(crate) alice: Person,
    /// Everybody else.
    pub(crate) people: Vec<Person>,
    /// Simulated hosts that are enrolled so far, of the label `fleet=big`.
    pub(crate) agents: Vec<Arc<Simulated>>,
    disk: PathBuf,
    runtime: Runtime,
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.fleet.daemon.take());
        drop(fs::remove_dir_all(&self.disk));
    }
}

/// A runtime whose threads are in the network of that process.
fn runtime_in(pid: i32) -> Result<Runtime> {
    let (give, take) = mpsc::channel();
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let build = move || -> Result<Runtime> {
        setns(&network, CloneFlags::CLONE_NEWNET)?;
        Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
    };
    thread::spawn(move || drop(give.send(build()))).join().ok().context("the thread died")?;
    take.recv()?
}

fn person(name: &str) -> Result<Person> {
    Ok(Person { name: name.parse()?, key: Arc::new(fresh_key()?) })
}

fn policy(alice: &Person, people: &[Person]) -> Result<String> {
    let mut text = String::from("[people]\n");
    for one in people.iter().chain([alice]) {
        writeln!(text, "{} = {{ keys = [\"{}\"] }}", one.name, one.key.public_key().to_openssh()?)?;
    }
    let named =
        |part: &[Person]| part.iter().map(|one| format!("\"{}\"", one.name)).collect::<Vec<_>>().join(", ");
    let operators = people.get(..OPERATORS).context("too few people")?;
    let leads = people.get(LEADS).context("too few people")?;
    writeln!(text, "\n[groups]\neverybody = [{}]", named(people))?;
    writeln!(text, "operators = [{}]\nleads = [{}]", named(operators), named(leads))?;
    Ok(text + ROLES)
}

impl Site {
    /// Sets everything up and starts the daemon.
    pub(crate) fn new() -> Result<Self> {
        let disk = places::bed_dir()?.join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(disk.join("daemon"))?;
        let lab = Lab::new()?;
        let spec = inside(fleet::installed()?.bind(disk.join("daemon"), "/var/lib/elevated"), &disk)?;
        let vault = lab.host_with("vault1", spec)?;
        vault.add_user("elevated", 401)?;
        vault.run("root", ["elevated", "init", "--address", fleet::DAEMON])?.success()?;
        // The collectors have benches of their own; here they would only share the disk.
        let config = vault.read("/etc/elevate/daemon.toml")?;
        let config = config.split("[[syslog]]").next().unwrap_or_default().to_owned() + LIMITS;
        vault.write("/etc/elevate/daemon.toml", config)?;
        let alice = person("alice")?;
        let people =
            (0..PEOPLE).map(|number| person(&format!("p{number:04}"))).collect::<Result<Vec<_>>>()?;
        vault.write("/etc/elevate/policy.d/main.toml", policy(&alice, &people)?)?;
        let runtime = runtime_in(vault.pid()?)?;
        let mut fleet = Fleet { lab, laptop: vault.clone(), vault, daemon: None };
        fleet.start_daemon()?;
        let paste = fleet.ctl(&["person", "invite", "alice", "-q"])?;
        let fingerprint = paste.split(',').nth(3).context("no fingerprint in the paste string")?.to_owned();
        let server = Server { address: format!("{}:7022", fleet.vault.address()), fingerprint };
        Ok(Self { fleet, server, alice, people, agents: Vec::new(), disk, runtime })
    }

    /// The daemon's process.
    pub(crate) fn daemon(&self) -> Result<i32> {
        self.fleet.daemon.as_ref().map(Running::pid).context("the daemon is not running")
    }

    /// A folder of the machine's own disk.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    /// The local socket, as root of the machine reaches it.
    pub(crate) fn root(&self) -> Result<Root> {
        Ok(Root(PathBuf::from(format!("/proc/{}/root/run/elevated/admin.sock", self.fleet.vault.pid()?))))
    }

    /// Runs a task in the daemon's network to its end.
    pub(crate) fn run<T, F>(&self, task: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let running = self.runtime.spawn(task);
        self.runtime.block_on(running)?
    }

    /// Enrols simulated hosts until there are so many: all over the real door, 16 at a time.
    pub(crate) fn agents(&mut self, number: usize) -> Result<Vec<Arc<Simulated>>> {
        let from = self.agents.len();
        let names = (from..number).map(|number| format!("sim{number:05}")).collect();
        let fresh = self.enrol(names, "fleet", "big")?;
        self.agents.extend(fresh);
        Ok(self.agents.iter().take(number).cloned().collect())
    }

    /// Enrols simulated hosts with these names and one label.
    pub(crate) fn enrol(
        &self,
        names: Vec<String>,
        label: &'static str,
        value: &'static str,
    ) -> Result<Vec<Arc<Simulated>>> {
        let (root, server) = (self.root()?, self.server.clone());
        self.run(async move {
            let names = Arc::new(std::sync::Mutex::new(names.into_iter()));
            let mut tasks = Vec::new();
            for _ in 0..16 {
                let (names, root, server) = (Arc::clone(&names), root.clone(), server.clone());
                tasks.push(tokio::spawn(async move {
                    let mut enrolled = Vec::new();
                    loop {
                        let name = names.lock().ok().and_then(|mut names| names.next());
                        let Some(name) = name else { return anyhow::Ok(enrolled) };
                        let paste = root.invite_host(&name, label, value).await?;
                        enrolled.push(Arc::new(Simulated::enrol(&server, &paste).await?));
                    }
                }));
            }
            let mut all = Vec::new();
            for task in tasks {
                all.extend(task.await??);
            }
            Ok(all)
        })
    }
}

impl Site {
    /// Waits until every enrolled host is as wanted.
    pub(crate) fn wait_hosts(&self, what: &str, holds: impl Fn(&HostView) -> bool) -> Result<()> {
        let root = self.root()?;
        eventually(PATIENCE.saturating_mul(3), what, || {
            let root = root.clone();
            self.run(async move { root.hosts().await }).is_ok_and(|hosts| hosts.iter().all(&holds))
        })
    }
}

/// Root's conversations on the daemon's machine.
#[derive(Debug, Clone)]
pub(crate) struct Root(PathBuf);

impl Root {
    /// A conversation with one ask.
    pub(crate) async fn ask(&self, ask: AdminAsk) -> Result<Frames<UnixStream>> {
        let mut frames = Frames::over(UnixStream::connect(&self.0).await?);
        frames.ask(Ask::Admin(ask)).await?;
        Ok(frames)
    }

    async fn paste(&self, ask: AdminAsk) -> Result<String> {
        let said = self.ask(ask).await?.outcome(|_| ()).await?;
        let Outcome::Admin(AdminOutcome::Paste { line, .. }) = said else {
            bail!("no paste string: {said:?}")
        };
        Ok(line.expose().to_owned())
    }

    async fn invite_host(&self, name: &str, label: &str, value: &str) -> Result<String> {
        let labels = [(label.parse()?, value.parse()?)].into();
        self.paste(AdminAsk::HostInvite { name: name.parse()?, labels, names: vec![], valid: None }).await
    }

    /// An invitation to enrol a factor.
    pub(crate) async fn invite_person(&self, person: &Name) -> Result<String> {
        self.paste(AdminAsk::PersonInvite { person: person.clone(), valid: None }).await
    }

    /// Every host that is enrolled.
    pub(crate) async fn hosts(&self) -> Result<Vec<HostView>> {
        let said = self.ask(AdminAsk::HostList).await?.outcome(|_| ()).await?;
        let Outcome::Admin(AdminOutcome::Hosts(hosts)) = said else { bail!("no hosts: {said:?}") };
        Ok(hosts)
    }

    /// Ends every grant of a role.
    pub(crate) async fn revoke_role(&self, role: &str) -> Result<Outcome> {
        let reason = UntrustedText::lossy("measured by the benches");
        let ask = AdminAsk::Revoke { what: RevokeWhat::Role(role.parse()?), reason };
        self.ask(ask).await?.outcome(|_| ()).await
    }
}

/// The names of people who approve.
pub(crate) fn leads(site: &Site) -> Vec<Person> {
    site.people.get(LEADS).unwrap_or_default().to_vec()
}
