//! The shipped units under a real systemd: what the programs need is not taken by their hardening, and what they do not need is.
//!
//! In: hosts that systemd booted, with what `make install` puts in place. Out: a fleet's life under it.
//! Runs as: root, in test hosts. Spec: packaging/systemd, docs/config.md, systemd.exec(5).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{
    Fleet, Managed, POLICY, Person, Service, booted_host, shows_certificate, wait_booted,
};
use elevate_tests::{Access, Host, PATIENCE, eventually};

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const DROP_IN: &str = "/run/elevate/sudoers.d/u2000";

const ROLES: &str = r#"
[roles.web-warned]
who      = ["carol"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "20s"
mfa      = "none"
warn     = ["18s"]

[roles.web-in]
who      = ["alice"]
hosts    = { tier = "web" }
ssh      = { logins = ["deploy"] }
duration = "10m"
max      = "1h"
mfa      = "none"
"#;

/// An enrolled web1 with an account `deploy` and an sshd that systemd runs.
fn web1(fleet: &Fleet) -> Result<Managed> {
    let host = booted_host(&fleet.lab, "web1")?;
    for (login, uid) in elevate_tests::fleet::PEOPLE.into_iter().chain([("deploy", 2100)]) {
        host.add_user(login, uid)?;
    }
    ensure!(Service::new(&host, "ssh").is_running()?, "an sshd to be told");
    fleet.enrol_booted(host, &["tier=web"])
}

/// Tries to write a file as the unit's main process would, in its own view of the files.
fn writes(host: &Host, unit: &Service, path: &str) -> Result<bool> {
    let pid = unit.pid()?.context("it does not run")?.to_string();
    let script = "touch \"$0\" && rm \"$0\"";
    Ok(host.run("root", ["nsenter", "-t", &pid, "-m", "sh", "-c", script, path])?.status.success())
}

/// What a program says when its hardening takes something that it needs.
fn no_complaint(unit: &Service) -> Result<()> {
    let journal = unit.journal()?;
    for word in ["not permitted", "ermission denied", "Read-only", "EPERM", "EACCES", "EROFS", "Failed with"]
    {
        ensure!(!journal.contains(word), "{word}:\n{journal}");
    }
    Ok(())
}

#[test]
fn everything_works_under_the_shipped_units() -> Result<()> {
    let fleet = Fleet::booted(&format!("{POLICY}{ROLES}"))?;
    let daemon = Service::new(&fleet.vault, "elevated");
    told_to_a_program(&fleet, &daemon)?;
    let web1 = web1(&fleet)?;
    let (agent, link) = (Service::new(&web1.host, "elevate-agent"), Service::new(&web1.host, "elevate-link"));
    // The certificate of the host comes when the host is connected.
    let doctor = || web1.host.run("root", ["elevate-agent", "doctor"]);
    eventually(PATIENCE, "nothing to be found", || doctor().is_ok_and(|ran| ran.status.success()))
        .with_context(|| format!("{:?}\n{:?}", doctor(), agent.journal()))?;

    // A terminal of a person is told, in the devices that the unit leaves it.
    let mut terminal = web1.host.tty("carol", ["cat"])?;
    web1.begin("carol", "web-warned")?;
    // A module of the site's that counts failures in a file of its own below /run: this one finds one at each try, and lets it be.
    let service = web1.host.read("/etc/pam.d/elevate")?;
    let counted = "auth [default=ignore] pam_faillock.so authfail deny=100\n";
    web1.host.write("/etc/pam.d/elevate", format!("{counted}{service}"))?;
    // A code, through the PAM service, which is a child of the unit; an approval; a rule; sudo.
    let (mut alice, mut bob) = (fleet.person("alice")?, fleet.person("bob")?);
    web1.activate(&mut alice, &["web-ops", "-m", "an ordinary reason"], || {
        bob.approve_from("alice").map(drop)
    })?;
    ensure!(web1.sudo("alice", &ID)? == (0, "0\n".to_owned()), "{}", agent.journal()?);
    ensure!(web1.host.exists("/run/faillock/alice"), "{}", agent.journal()?);
    // sshd, which was told of our file by enrolment and asks a program that is no child of the unit.
    fleet.laptop.write("/home/alice/.ssh/config", "StrictHostKeyChecking accept-new\nLogLevel ERROR\n")?;
    let login = alice.elevate(&["ssh", "deploy@web1", "-m", "an ordinary reason", "--", "id", "-un"])?;
    ensure!(login.status.success() && login.stdout.trim() == "deploy", "{login}\n{}", agent.journal()?);
    terminal.expect("ends in")?;
    a_connection_ends_with_its_grant(&fleet, &web1, &agent, &alice)?;

    // The keys that the daemon signs with: what it writes, and what the agent writes below /etc.
    let before = web1.host.read("/etc/elevate/trust/grant_signers")?;
    fleet.ctl(&["key", "rotate"])?;
    eventually(PATIENCE, "another key on the host", || {
        web1.host.read("/etc/elevate/trust/grant_signers").is_ok_and(|now| now != before)
    })?;
    web1.begin("bob", "web-quick")?;
    ensure!(web1.sudo("bob", &ID)?.0 == 0, "signed by the new one");

    for (host, unit) in [(&web1.host, &agent), (&web1.host, &link), (&fleet.vault, &daemon)] {
        ensure!(!writes(host, unit, "/etc/x")? && !writes(host, unit, "/usr/x")?, "{unit:?} is not held");
    }
    ensure!(writes(&web1.host, &agent, "/etc/elevate/trust/x")?, "as the unit says");
    ensure!(!writes(&web1.host, &link, "/etc/elevate/trust/x")?, "the link has nothing there");
    ensure!(!writes(&web1.host, &agent, "/etc/elevate/keys/x")?, "what enrolment wrote stays");
    for unit in [&agent, &link, &daemon] {
        no_complaint(unit)?;
    }
    Ok(())
}

/// THREATS X-l, E20: what sshd cannot do without is made again, and sshd is told of another certificate, with no more than the unit leaves.
#[test]
fn x_l_the_list_is_made_again_and_sshd_is_told_of_certificates_under_the_shipped_unit() -> Result<()> {
    let fleet = Fleet::booted(&format!("{POLICY}{ROLES}"))?;
    let web1 = web1(&fleet)?;
    let (agent, host) = (Service::new(&web1.host, "elevate-agent"), &web1.host);
    shows_certificate(&fleet, "web1")?;
    // The folder of the list too: /etc/ssh is the agent's to write, and nothing else below /etc but its own.
    let list = || host.read_bytes("/etc/ssh/elevate/revoked");
    list()?;
    // In one step: the agent is faster than rm(1) goes through a folder.
    host.run("root", ["mv", "/etc/ssh/elevate", "/root/"])?.success()?;
    eventually(PATIENCE, "the list", || list().is_ok_and(|list| list.starts_with(b"SSHKRL")))
        .with_context(|| agent.journal().unwrap_or_default())?;
    ensure!(!writes(host, &agent, "/etc/x")?, "and nothing else");
    let alice = fleet.person("alice")?;
    let login = ["ssh", "deploy@web1", "-m", "an ordinary reason", "--", "true"];
    alice.elevate(&login)?.success()?;

    // The listener begins anew where it is told, and keeps its process.
    let sshd = || host.run("root", ["sh", "-c", "cat /run/sshd.pid && stat -c %y /run/sshd.pid"])?.success();
    let (before, pid) = (sshd()?, Service::new(host, "ssh").pid()?);
    host.write("/run/elevate/sshd.stale", "")?;
    agent.ctl("restart")?;
    let is_told = || !host.exists("/run/elevate/sshd.stale") && sshd().is_ok_and(|now| now != before);
    eventually(PATIENCE, "sshd to be told", is_told).with_context(|| agent.journal().unwrap_or_default())?;
    ensure!(Service::new(host, "ssh").pid()? == pid, "told, and not started again");
    // What it shows is another certificate, whether it has to be told (from OpenSSH 9.8 on) or not.
    let shown = || fleet.laptop.run("root", ["ssh-keyscan", "-T", "1", "-c", "-t", "ed25519", "web1"]);
    let first = shown()?.success()?;
    fleet.ctl(&["host", "name", "web1", "web1.example.org"])?;
    agent.ctl("restart")?;
    eventually(PATIENCE, "another certificate", || {
        shown().is_ok_and(|now| now.stdout.contains("-cert-v01@openssh.com ") && now.stdout != first)
    })
    .with_context(|| agent.journal().unwrap_or_default())?;
    alice.elevate(&login)?.success()?;
    ensure!(!fleet.events("host.tampered")?.is_empty(), "who takes the list away is told of");
    no_complaint(&agent)
}

/// The agent finds sshd's process and what runs below it, and kills both, although it sees and may do less than root.
fn a_connection_ends_with_its_grant(
    fleet: &Fleet,
    web1: &Managed,
    agent: &Service,
    alice: &Person,
) -> Result<()> {
    // One goes to the background, out of everything but its login session.
    let command = "setsid -f sleep 1000 > /dev/null 2>&1 < /dev/null; echo in; exec sleep 1000";
    let ssh = ["elevate", "ssh", "deploy@web1", "-m", "an ordinary reason", "--", command];
    let mut open = fleet.laptop.spawn(&alice.login, ssh)?;
    open.expect("in", PATIENCE)?;
    let runs =
        || web1.host.run("root", ["pgrep", "-u", "deploy", "sleep"]).is_ok_and(|ran| ran.status.success());
    ensure!(runs(), "it is open");
    fleet.ctl(&["revoke", "--role", "web-in", "-m", "no longer needed"])?;
    eventually(PATIENCE, "the end of what ran", || !runs())
        .and_then(|()| open.wait(PATIENCE).map(drop))
        .with_context(|| agent.journal().unwrap_or_default())
}

/// A program of the site's that is told of events, under the daemon's own hardening.
fn told_to_a_program(fleet: &Fleet, daemon: &Service) -> Result<()> {
    let script = "#!/bin/sh\ncat >> /var/lib/elevated/told\n";
    fleet.vault.write_as("/usr/local/bin/tell", script, Access::root(0o755))?;
    let config = fleet.vault.read("/etc/elevate/daemon.toml")?;
    let told = config.replace("exec = []", "exec = [\"/usr/local/bin/tell\"]");
    fleet.vault.write("/etc/elevate/daemon.toml", told)?;
    daemon.ctl("restart")?;
    fleet.ctl(&["host", "list"])?;
    eventually(PATIENCE, "an event in the program's hands", || {
        fleet.vault.read("/var/lib/elevated/told").is_ok_and(|told| told.contains("admin.used"))
    })
    .with_context(|| daemon.journal().unwrap_or_default())
}

#[test]
fn units_are_reloaded_restarted_and_stopped_as_the_documents_say() -> Result<()> {
    let fleet = Fleet::booted(POLICY)?;
    let web1 = fleet.booted_managed("web1", &["tier=web"])?;
    let daemon = Service::new(&fleet.vault, "elevated");
    let (agent, link) = (Service::new(&web1.host, "elevate-agent"), Service::new(&web1.host, "elevate-link"));
    web1.begin("alice", "web-quick")?;

    let first = daemon.pid()?;
    fleet.write_policy(&POLICY.replace("web-quick", "web-swift"))?;
    daemon.ctl("reload")?;
    web1.host.run("bob", ["elevate", "web-swift", "-m", "an ordinary reason"])?.success()?;
    // Alice's role is gone.
    web1.wait_sudo("alice", &ID, false)?;
    fleet.write_policy("nothing = [")?;
    ensure!(daemon.ctl("reload").is_err(), "a policy with an error");
    ensure!(daemon.pid()? == first && daemon.is_running()?, "the one before stays in force");
    fleet.write_policy(POLICY)?;
    daemon.ctl("reload")?;
    web1.begin("alice", "web-quick")?;

    // Rights outlive a restart of the agent, and the link comes along.
    let before = link.pid()?;
    agent.ctl("restart")?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0 && link.pid()? != before, "{}", link.journal()?);
    web1.wait_connected(&fleet)?;
    daemon.ctl("restart")?;
    web1.wait_connected(&fleet)?;

    // Root's way to empty a host: the units stop at once, the gate goes on, and what is removed is gone.
    agent.ctl("stop")?;
    ensure!(agent.pid()?.is_none() && link.pid()?.is_none(), "the link goes with the agent");
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a right that is in force stays so until its end");
    web1.host.run("root", ["sh", "-c", "rm /run/elevate/sudoers.d/u*"])?.success()?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "taken away");
    // Starting the agent starts the link; what is still granted is in force again.
    agent.ctl("start")?;
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0 && link.is_running()?, "{}", agent.journal()?);

    a_child_that_will_not_go_holds_nothing_up(&web1.host, &agent)?;
    web1.wait_connected(&fleet)?;

    // Nothing of it is left when the host leaves.
    web1.host.run("root", ["elevate-agent", "unenroll"])?.success()?;
    ensure!(agent.property("UnitFileState")? == "disabled" && agent.pid()?.is_none(), "stopped and disabled");
    ensure!(link.property("UnitFileState")? == "disabled" && link.pid()?.is_none(), "the link too");
    ensure!(web1.sudo("alice", &ID)?.0 != 0 && !web1.host.exists(DROP_IN), "no right is left");
    for unit in [&agent, &link] {
        ensure!(unit.property("ActiveState")? == "inactive", "{}", unit.journal()?);
    }
    Ok(())
}

/// The agent dies, and what a module of the site's started lives on and takes no SIGTERM.
fn a_child_that_will_not_go_holds_nothing_up(host: &Host, agent: &Service) -> Result<()> {
    let group = "/sys/fs/cgroup/system.slice/elevate-agent.service/cgroup.procs";
    let script = format!("trap '' TERM && echo $$ > {group} && echo there && exec sleep 1000");
    let child = host.spawn("root", ["sh", "-c", &script])?;
    child.expect("there", PATIENCE)?;
    let (before, begin) = (agent.pid()?, Instant::now());
    agent.signal("KILL")?;
    eventually(PATIENCE.saturating_mul(3), "another agent", || {
        agent.pid().is_ok_and(|pid| pid.is_some() && pid != before) && agent.is_running().unwrap_or(false)
    })?;
    ensure!(begin.elapsed() < Duration::from_secs(30), "{:?}:\n{}", begin.elapsed(), agent.journal()?);
    Ok(())
}

/// THREATS R21, where systemd starts what starts at a boot.
#[test]
fn r21_after_a_reboot_systemd_starts_everything_and_until_then_nothing_is_open() -> Result<()> {
    let fleet = Fleet::booted(POLICY)?;
    let web1 = fleet.booted_managed("web1", &["tier=web"])?;
    web1.begin("alice", "web-quick")?;
    web1.host.run("root", ["systemctl", "disable", "elevate-agent", "elevate-link"])?.success()?;
    web1.host.reboot()?;
    wait_booted(&web1.host)?;
    let agent = Service::new(&web1.host, "elevate-agent");
    ensure!(agent.pid()?.is_none() && !web1.host.exists(DROP_IN), "the agent was not to start");
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "nothing is open before it has verified again");
    ensure!(web1.sudo("root", &["true"])?.0 == 0, "root's own sudo");
    web1.host.run("root", ["systemctl", "enable", "--now", "elevate-agent", "elevate-link"])?.success()?;
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "the grant is in force again");

    // The daemon's machine and the host lose power together, and nobody types anything.
    fleet.vault.power_off()?;
    web1.host.reboot()?;
    wait_booted(&web1.host)?;
    fleet.vault.power_on()?;
    wait_booted(&fleet.vault)?;
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "it is in force without anybody");
    fleet.ctl(&["revoke", "--role", "web-quick", "-m", "no longer needed"])?;
    web1.wait_sudo("alice", &ID, false)
}
