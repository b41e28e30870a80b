//! What sshd refuses by itself is on the audit log: by sshd's own log, which systemd's journal keeps.
//!
//! In: a web1 that systemd booted, its real sshd and journald, certificates that ssh-keygen(1) signs. Out: events, each with what is known
//! of it. Runs as: root, in test hosts. Threats E02, E03, E16; docs/ssh.md "In the log".

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, PEOPLE, POLICY, Person, Service, WEB_IN, booted_host};
use elevate_tests::{Access, PATIENCE, eventually};
use serde_json::Value;

/// The daemon's key: who has it signs what they like.
const CA: &str = "/var/lib/elevated/keys/ssh_user_ca";
/// An agent reads at least once in a minute what others write all the time.
const TOLD: Duration = Duration::from_secs(100);

struct Scene {
    fleet: Fleet,
    web1: Managed,
    alice: Person,
    grant: String,
}

impl Scene {
    fn new() -> Result<Self> {
        let fleet = Fleet::with_policy(&format!("{POLICY}{WEB_IN}"))?;
        let host = booted_host(&fleet.lab, "web1")?;
        for (login, uid) in PEOPLE.into_iter().chain([("deploy", 2100)]) {
            host.add_user(login, uid)?;
        }
        ensure!(Service::new(&host, "ssh").is_running()?, "an sshd to be told");
        // Whoever is refused so often has to wait, from OpenSSH 9.8 on.
        let patient = "sshd -t -oPerSourcePenalties=no && echo PerSourcePenalties no > /etc/ssh/sshd_config.d/90-patient.conf";
        host.run("root", ["sh", "-c", &format!("if {patient}; then systemctl reload ssh; fi")])?.success()?;
        let web1 = fleet.enrol_booted(host, &["tier=web"])?;
        let alice = fleet.person("alice")?;
        fleet.laptop.write_as("/root/ca", fleet.vault.read_bytes(CA)?, Access::root(0o600))?;
        for key in ["/root/other", "/root/key"] {
            let make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key];
            fleet.laptop.run("root", make)?.success()?;
        }
        alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
        alice.elevate(&["cert", "-o", "/home/alice/web"])?.success()?;
        let issued = fleet.events("ssh.certificate")?;
        let grant = issued.first().and_then(|event| event["activation"].as_str());
        let grant = grant.context("no certificate")?.trim_start_matches("G-").to_owned();
        Ok(Self { fleet, web1, alice, grant })
    }

    /// A login with what `ssh-keygen` signs by these words.
    fn login(&self, words: &[&str]) -> Result<bool> {
        let laptop = &self.fleet.laptop;
        let principal = format!("elevate:{}", self.grant);
        let fixed = ["ssh-keygen", "-q", "-I", &self.grant, "-n", &principal];
        laptop.run("root", [&fixed[..], words, &["/root/key.pub"]].concat())?.success()?;
        let ssh =
            ["ssh", "-F", "none", "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oStrictHostKeyChecking=no"];
        let of_key = ["-i", "/root/key", "deploy@web1", "true"];
        Ok(laptop.run("root", [&ssh[..], &of_key].concat())?.status.success())
    }
}

impl Scene {
    fn journal(&self) -> Result<String> {
        self.web1.host.run("root", ["journalctl", "--no-pager", "-o", "short"])?.success()
    }

    /// Everybody may write to the log in the name of sshd, and of our program: all that is told of a refused certificate, by one process.
    fn forges(&self) -> Result<()> {
        let script = format!(
            "logger -t elevate-principals \"sshd[$$]: may a certificate of G-{} open deploy? yes\"\nexec logger -t sshd <<E\n{}\n{}\nE\n",
            self.grant,
            "error: Certificate invalid: expired",
            "Connection closed by authenticating user deploy 192.0.2.66 port 1 [preauth]",
        );
        self.web1.host.run("deploy", ["sh", "-c", &script])?.success().map(drop)
    }

    /// Waits for an event whose reason has these words in it.
    fn told(&self, why: &str) -> Result<Value> {
        let mut found = None;
        eventually(TOLD, why, || {
            let events = self.fleet.events("host.ssh-refused").unwrap_or_default();
            let said = |event: &Value| {
                event.pointer("/details/why").is_some_and(|said| said.to_string().contains(why))
            };
            found = events.into_iter().find(said);
            found.is_some()
        })
        .with_context(|| format!("{:?}\n{:?}", self.fleet.events("host.ssh-refused"), self.journal()))?;
        let event = found.context("it was there")?;
        let login = event.pointer("/details/login").and_then(Value::as_str);
        let from = event.pointer("/details/from").and_then(Value::as_str);
        ensure!((login, from) == (Some("deploy"), Some(self.fleet.laptop.address().as_str())), "{event}");
        Ok(event)
    }
}

/// What nobody asks our program about, or what it says yes to before sshd looks further.
#[test]
fn e02_e03_what_sshd_refuses_by_itself_is_told_with_its_grant_and_from_where() -> Result<()> {
    let scene = Scene::new()?;
    let doctor = scene.web1.host.run("root", ["elevate-agent", "doctor"])?.stdout;
    ensure!(doctor.contains("what sshd refuses by itself is told too"), "{doctor}");
    ensure!(scene.login(&["-s", "/root/ca", "-V", "-1m:+5m"])?, "the right one");
    scene.forges()?;
    let now = ["-V", "-1m:+5m"];
    for words in [
        &["-s", "/root/ca", "-V", "-2h:-1h"][..],
        &[&["-s", "/root/ca", "-O", "source-address=192.0.2.1"], &now[..]].concat(),
        &[&["-s", "/root/other"], &now[..]].concat(),
    ] {
        ensure!(!scene.login(words)?, "{words:?}");
    }
    for (why, is_known) in [
        ("Certificate invalid: expired", true),
        ("not from a permitted source address", true),
        ("is not listed in /etc/elevate/trust/user_ca", false),
    ] {
        let event = scene.told(why)?;
        ensure!(
            (event["activation"] == scene.fleet.events("ssh.certificate")?[0]["activation"]) == is_known,
            "{event}"
        );
        ensure!(event["person"] == "alice" || !is_known, "{event}");
    }
    // What is on the list nobody asks about either.
    scene.alice.elevate(&["drop", "--all"])?.success()?;
    let list = "/etc/ssh/elevate/revoked";
    let shows = ["ssh-keygen", "-Q", "-l", "-f", list];
    eventually(TOLD, "the list", || {
        // Shown after its end, it is put on the list.
        let refused = scene.login(&["-s", "/root/ca", "-V", "-1m:+5m"]);
        matches!(refused, Ok(false))
            && scene.web1.host.run("root", shows).is_ok_and(|ran| ran.stdout.contains(&scene.grant))
    })?;
    ensure!(!scene.login(&["-s", "/root/ca", "-V", "-1m:+5m"])?, "revoked");
    scene.told("revoked by file /etc/ssh/elevate/revoked")?;
    let events = scene.fleet.events("host.ssh-refused")?;
    ensure!(events.len() == 5, "each once, and the program's own: {events:?}");
    Ok(())
}

/// What is shown while no agent runs is told by the next one; a certificate that the program does not answer for, because it is gone.
#[test]
fn e04_what_is_refused_while_no_agent_runs_is_told_by_the_next() -> Result<()> {
    let scene = Scene::new()?;
    let agent = Service::new(&scene.web1.host, "elevate-agent");
    agent.ctl("stop")?;
    ensure!(!scene.login(&["-s", "/root/ca", "-V", "-2h:-1h"])?, "over");
    let program = "/usr/libexec/elevate/principals";
    scene.web1.host.run("root", ["mv", program, "/root/"])?.success()?;
    ensure!(!scene.login(&["-s", "/root/ca", "-V", "-1m:+5m"])?, "nobody says yes");
    scene.web1.host.run("root", ["mv", "/root/principals", program])?.success()?;
    agent.ctl("start")?;
    let event = scene.told("Certificate invalid: expired")?;
    ensure!(event["person"] == "alice", "{event}");
    let event = scene.told("Certificate does not contain an authorized principal")?;
    ensure!(event["activation"].is_null(), "nobody knows of which grant: {event}");
    // Another agent goes on where that one was.
    agent.ctl("restart")?;
    ensure!(!scene.login(&["-s", "/root/other", "-V", "-1m:+5m"])?, "forged");
    scene.told("is not listed in")?;
    let events = scene.fleet.events("host.ssh-refused")?;
    ensure!(events.len() == 3, "each once: {events:?}");
    ensure!(Service::new(&scene.web1.host, "ssh").is_running()? && PATIENCE < TOLD, "as before");
    Ok(())
}
