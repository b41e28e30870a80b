//! The daemon's listener and the way to it under attack: half-open connections, other keys, one code on many connections.
//!
//! In: the staged build and the tree. Out: each test is one attack that comes to nothing. Runs as: root, in test hosts.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::Fleet;
use elevate_tests::{Access, PATIENCE, Tty, eventually};

const ID: [&str; 2] = ["/usr/bin/id", "-u"];

#[test]
fn d04_one_code_on_many_connections_at_once_passes_once() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut alice = fleet.person("alice")?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let mut screens = Vec::new();
    for _ in 0..4 {
        screens.push(alice.terminal(&["mfa", "test"])?);
    }
    let request = ["web-root", "-m", "an ordinary reason"];
    screens.push(web1.terminal("alice", &request)?);
    for screen in &mut screens {
        screen.expect("Code for")?;
    }
    let code = alice.code()?;
    for screen in &mut screens {
        screen.line(&code)?;
    }
    let passed = |screen: &mut Tty| -> Result<bool> {
        let (which, _) = screen.expect_any(&["right", "active on", "ode for", "error:"])?;
        Ok(which < 2)
    };
    let mut count = 0;
    for screen in &mut screens {
        count += usize::from(passed(screen)?);
    }
    ensure!(count == 1, "{count} of {} passed", screens.len());
    Ok(())
}

#[test]
fn h09_connections_that_say_nothing_keep_nobody_out() -> Result<()> {
    let fleet = Fleet::new()?;
    let mallory = elevate_tests::fleet::installed_host(&fleet.lab, "outside")?;
    mallory.add_user("mallory", 2003)?;
    let script = "for i in $(seq 300); do exec {fd}<>/dev/tcp/vault1/7022; done 2>/dev/null; echo OPEN; read -r <> <(:)";
    let crowd = mallory.spawn("mallory", ["bash", "-c", script])?;
    crowd.expect("OPEN", PATIENCE)?;
    // Those who have a key come in at once, and so does a host.
    let paste = fleet.ctl(&["person", "invite", "alice", "-q"])?;
    fleet.laptop.cmd("alice", ["elevate", "login"]).input(paste).run()?.success()?;
    fleet.laptop.run("alice", ["elevate", "whoami"])?.success()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success()?;
    // Garbage instead of SSH, and a banner without an end.
    for noise in ["head -c 1000000 /dev/urandom", "yes SSH-2.0-", "printf 'GET / HTTP/1.1\\r\\n\\r\\n'"] {
        let script =
            format!("exec 3<>/dev/tcp/vault1/7022; ({noise} >&3) 2>/dev/null; cat <&3 >/dev/null; true");
        let ran = fleet.laptop.run("bob", ["bash", "-c", &script])?;
        ensure!(ran.status.code().is_some(), "{noise}: {ran}");
    }
    fleet.laptop.run("alice", ["elevate", "whoami"])?.success()?;
    Ok(())
}

#[test]
fn h06_a_host_does_not_talk_to_a_daemon_with_another_key() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    web1.kill_link()?;
    let settings = web1.host.read("/etc/elevate/agent.toml")?;
    let (before, rest) = settings.split_once("SHA256:").context("no fingerprint")?;
    let (_, after) = rest.split_once('"').context("no end of the fingerprint")?;
    let other = "A".repeat(43);
    web1.host.write("/etc/elevate/agent.toml", format!("{before}SHA256:{other}\"{after}"))?;
    web1.start_link()?;
    let link = web1.link.as_ref().context("no link")?;
    eventually(PATIENCE, "the link to say why", || link.log().contains("SHA256:"))?;
    web1.host.run("alice", ["elevate", "web-quick", "-n", "-m", "an ordinary reason"])?.exits(8)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 1, "no right");
    // Put right again it comes back by itself.
    web1.kill_link()?;
    web1.host.write_as("/etc/elevate/agent.toml", settings, Access::root(0o644))?;
    web1.start_link()?;
    web1.wait_connected(&fleet)?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success().map(drop)
}

#[test]
fn without_the_daemon_what_is_active_works_and_nothing_new_starts() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success()?;
    fleet.kill_daemon()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a grant needs no daemon");
    let said = web1.host.run("alice", ["elevate", "web-root", "-n", "-m", "an ordinary reason"])?.exits(8)?;
    ensure!(!said.contains("panicked"), "{said}");
    let said = fleet.vault.run("root", ["elevatectl", "person", "list"])?.exits(8)?;
    ensure!(said.contains("elevated"), "{said}");
    ensure!(web1.sudo("root", &["true"])?.0 == 0, "root's sudo");
    fleet.start_daemon()?;
    web1.wait_connected(&fleet)?;
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_end("alice")
}
