//! The whole way through the real programs: request, factor, approval, grant, real sudo, end, events.
//!
//! In: the staged build and the tree. Out: each test is one story. Runs as: root, in test hosts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::Access;
use elevate_tests::fleet::Fleet;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];

#[test]
fn a_person_activates_a_role_sudo_obeys_and_it_ends() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut alice = fleet.person("alice")?;
    let mut carol = fleet.person("carol")?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let db1 = fleet.managed("db1", &["tier=db"])?;

    // No standing right, and sudo's own refusal comes after the offer.
    let said = web1.host.run("alice", ["sudo", "/usr/bin/id", "-u"])?.exits(1)?;
    ensure!(said.contains("You may activate: elevate web-ops"), "{said}");
    ensure!(said.contains("password is required"), "sudo's own refusal follows: {said}");

    let reason = ["web-ops", "-m", "INC-4211 nginx hangs"];
    let screen = web1.activate(&mut alice, &reason, || carol.approve_from("alice").map(drop))?;
    ensure!(screen.contains("active on web1"), "{screen}");

    let (code, said) = web1.sudo("alice", &ID)?;
    ensure!(code == 0 && said == "0\n", "{code} {said}");
    let (code, _) = web1.sudo("alice", &["/usr/bin/id"])?;
    ensure!(code == 1, "an argument list is exact");
    let (code, _) = web1.sudo("bob", &ID)?;
    ensure!(code == 1, "the right is alice's");
    let (code, _) = db1.sudo("alice", &ID)?;
    ensure!(code == 1, "the right is web1's");
    let refused = db1.host.run("alice", ["elevate", "web-ops", "-m", "INC-4211 nginx hangs", "-n"])?;
    let said = refused.exits(3)?;
    ensure!(said.contains("db1"), "{said}");

    // The warning comes to alice's terminal; then one extension.
    let mut shell = web1.host.cmd("alice", ["bash", "--norc"]).limit(Duration::from_secs(90)).tty()?;
    shell.expect("ends in")?;
    shell.line("elevate extend 30s -m 'a little more'")?;
    shell.expect("Code for")?;
    let code = alice.code()?;
    shell.line(&code)?;
    shell.expect("extended")?;
    let (code, said) = web1.sudo("alice", &ID)?;
    ensure!(code == 0, "{said}");

    web1.wait_end("alice")?;
    let (code, said) = web1.sudo("alice", &ID)?;
    ensure!(code == 1, "{said}");

    for code in
        ["request.created", "request.approved", "grant.issued", "grant.extended", "host.used", "grant.ended"]
    {
        elevate_tests::eventually(elevate_tests::PATIENCE, code, || {
            fleet.events(code).is_ok_and(|found| !found.is_empty())
        })?;
    }
    Ok(())
}

#[test]
fn anybody_can_check_a_grant_with_ssh_keygen() -> Result<()> {
    let fleet = Fleet::new()?;
    let alice = fleet.person("alice")?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "check the signature"])?.success()?;
    let files = web1.host.run("root", ["ls", "/var/lib/elevate/log"])?.success()?;
    let file = files.lines().find(|name| name.ends_with(".grant")).context("no grant file")?;
    let path = format!("/var/lib/elevate/log/{file}");
    let text = web1.host.read(&path)?;
    let (line, signature) = text.split_once('\n').context("a grant file has lines")?;
    web1.host.write("/tmp/GRANT.sig", signature)?;
    let verify = |body: String| {
        let argv = ["ssh-keygen", "-Y", "verify", "-f", "/etc/elevate/trust/grant_signers", "-I", "grants"];
        let argv = argv.into_iter().chain(["-n", "elevate-grant@v1", "-s", "/tmp/GRANT.sig"]);
        web1.host.cmd("root", argv).input(body).run()
    };
    verify(format!("{line}\n"))?.success()?;
    verify(format!("{}\n", line.replace("alice", "carol")))?.exits(255)?;
    drop(alice);
    Ok(())
}

#[test]
fn a_person_with_an_ordinary_rule_keeps_it_after_the_end() -> Result<()> {
    let fleet = Fleet::new()?;
    let _alice = fleet.person("alice")?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.write_as(
        "/etc/sudoers.d/local",
        "alice ALL=(root) NOPASSWD: /usr/bin/whoami\n",
        elevate_tests::Access::root(0o440),
    )?;
    let whoami = ["/usr/bin/whoami"];
    ensure!(web1.sudo("alice", &whoami)?.0 == 0, "the ordinary rule works before");
    web1.host.run("alice", ["elevate", "web-quick", "-m", "with a rule beside"])?.success()?;
    ensure!(web1.sudo("alice", &whoami)?.0 == 0 && web1.sudo("alice", &ID)?.0 == 0, "both work during");
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_sudo("alice", &ID, false)?;
    ensure!(web1.sudo("alice", &whoami)?.0 == 0, "the ordinary rule works after");
    Ok(())
}

/// Each layer of expiry with the others off: first NOTAFTER alone, then the gate alone.
#[test]
fn an_expired_grant_is_refused_by_notafter_and_by_the_gate_with_the_agent_dead() -> Result<()> {
    let policy = elevate_tests::fleet::POLICY.replace("duration = \"10m\"", "duration = \"5s\"");
    let fleet = Fleet::with_policy(&policy)?;
    let _alice = fleet.person("alice")?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "the agent will die"])?.success()?;
    web1.kill_agent()?;
    let drop_in = "/run/elevate/sudoers.d/u2000";
    let rules = web1.host.read(drop_in)?;
    let (before, after) = rules.split_once("NOTAFTER=").context("a rule has its end")?;
    let (end, after) = after.split_once(' ').context("and something follows")?;
    // A sudo that reads its rules a moment before the end comes to the gate a moment after it.
    elevate_tests::eventually(Duration::from_secs(30), "the end", || {
        web1.host.run("root", ["date", "-u", "+%Y%m%d%H%M%SZ"]).is_ok_and(|now| now.stdout.trim() > end)
    })?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "the end has passed");
    ensure!(web1.host.exists(drop_in), "NOTAFTER alone refused: sudo never came to the gate");

    web1.host.write_as(drop_in, format!("{before}{after}"), elevate_tests::Access::root(0o440))?;
    let (code, said) = web1.sudo("alice", &ID)?;
    ensure!(code == 1 && said.contains("grant ended"), "the gate alone refuses: {code} {said}");
    ensure!(!web1.host.exists(drop_in), "the gate removed the drop-in");
    // Root's own sudo and console do not care.
    web1.host.run("root", ["sudo", "-n", "true"])?.success()?;
    Ok(())
}

#[test]
fn rsyslog_gets_every_event_as_rfc_5424() -> Result<()> {
    let fleet = Fleet::new()?;
    let config = "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"/dev/log\" UseSpecialParser=\"off\" ParseHostname=\"on\")\n\
                  template(name=\"all\" type=\"list\") { property(name=\"app-name\") constant(value=\" \") property(name=\"structured-data\") constant(value=\"\\n\") }\n\
                  action(type=\"omfile\" file=\"/var/log/elevate\" template=\"all\")\n";
    fleet.vault.write("/etc/r.conf", config)?;
    let _collector =
        fleet.vault.spawn("root", ["rsyslogd", "-n", "-f", "/etc/r.conf", "-i", "/run/r.pid"])?;
    let _alice = fleet.person("alice")?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "for the collector"])?.success()?;
    let limit = Duration::from_secs(30);
    elevate_tests::eventually(limit, "the grant at the collector", || {
        fleet.vault.read("/var/log/elevate").is_ok_and(|log| {
            log.lines().any(|line| {
                line.starts_with("elevated ")
                    && ["grant.issued", "person=\"alice\"", "role=\"web-quick\"", "host=\"web1\""]
                        .iter()
                        .all(|part| line.contains(part))
            })
        })
    })
}

#[test]
fn an_approver_may_sit_on_a_managed_host() -> Result<()> {
    let fleet = Fleet::new()?;
    let (mut alice, mut carol) = (fleet.person("alice")?, fleet.person("carol")?);
    let web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.run("carol", ["sh", "-c", "umask 077; mkdir -p ~/.ssh ~/.config/elevate"])?.success()?;
    for file in [".ssh/id_ed25519", ".config/elevate/client.toml"] {
        let path = format!("/home/carol/{file}");
        web1.host.write_as(&path, fleet.laptop.read(&path)?, Access::of(2002, 0o600))?;
    }
    web1.activate(&mut alice, &["web-ops", "-m", "INC-4211 nginx hangs"], || {
        let id = carol.to_review("alice")?;
        let seen = web1.activate(&mut carol, &["approve", &id, "-m", "from here"], || Ok(()))?;
        ensure!(seen.contains("INC-4211"), "what is approved is shown: {seen}");
        Ok(())
    })?;
    ensure!(web1.sudo("alice", &["/usr/bin/id", "-u"])?.0 == 0, "the right is in force");
    Ok(())
}
