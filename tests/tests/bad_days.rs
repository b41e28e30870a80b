//! Bad input and bad days: a clear error, nothing lost, nothing widened, everything unmanaged untouched.
//!
//! In: the staged build and the tree. Out: each test is one bad day. Runs as: root, in test hosts.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed};
use elevate_tests::{Access, PATIENCE, eventually};

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const DROP_IN: &str = "/run/elevate/sudoers.d/u2000";

fn quick(web1: &Managed) -> Result<()> {
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success().map(drop)
}

fn fleet_with_web1() -> Result<(Fleet, Managed)> {
    let fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    Ok((fleet, web1))
}

#[test]
fn wrong_input_is_refused_with_what_to_type() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let refused = |args: &[&str], code: i32, word: &str| {
        let argv = std::iter::once("elevate").chain(args.iter().copied());
        let said = web1.host.run("alice", argv)?.exits(code)?;
        ensure!(said.contains(word), "elevate {args:?} says: {said}");
        Ok(())
    };
    refused(&["web-opps", "-m", "a long enough reason", "-n"], 2, "web-ops")?;
    refused(&["web-quick", "-m", "short", "-n"], 2, "10")?;
    refused(&["web-quick", "-m", "a reason\nwith two lines", "-n"], 2, "control")?;
    refused(&["web-quick", "-m", "\u{1b}]52;c;ZXZpbA==\u{7} long enough", "-n"], 2, "control")?;
    refused(&["web-quick", "-n"], 2, "reason")?;
    refused(&["web-quick", "-d", "90", "-m", "a long enough reason"], 2, "90m")?;
    refused(&["web-quick", "-d", "2h", "-m", "a long enough reason"], 2, "1h")?;
    refused(&["show", "G-ZZZZ"], 7, "ZZZZ")?;
    refused(&["approve", "R-ZZZZ"], 3, "own key")?;
    let said =
        web1.host.run("mallory", ["elevate", "web-quick", "-m", "a long enough reason", "-n"])?.exits(3)?;
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(fleet.events("grant.issued")?.is_empty(), "nothing was issued");
    ensure!(!web1.host.exists(DROP_IN), "nothing was installed");
    Ok(())
}

#[test]
fn b11_without_a_usable_module_root_and_ordinary_rules_work() -> Result<()> {
    let (_fleet, web1) = fleet_with_web1()?;
    let rule = "bob ALL=(root) NOPASSWD: /usr/bin/whoami\n";
    web1.host.write_as("/etc/sudoers.d/local", rule, Access::root(0o440))?;
    let found = web1.host.run("root", ["sh", "-c", "find /usr/lib -name pam_elevate.so"])?.success()?;
    let module = found.lines().next().context("no module")?.to_owned();
    let whole = web1.host.read_bytes(&module)?;
    let cut = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
    let spoil: [(&str, &dyn Fn() -> Result<()>); 3] = [
        ("truncated", &|| web1.host.write_as(&module, &cut, Access::root(0o644))),
        ("unreadable garbage", &|| web1.host.write_as(&module, b"not a library", Access::root(0))),
        ("gone", &|| web1.host.remove(&module)),
    ];
    for (how, spoil) in spoil {
        spoil()?;
        ensure!(web1.sudo("root", &["true"])?.0 == 0, "root's sudo with the module {how}");
        ensure!(web1.sudo("bob", &["/usr/bin/whoami"])?.0 == 0, "an ordinary rule with the module {how}");
        let said = web1.host.run("alice", ["elevate", "web-quick", "-m", "the gate is away"])?;
        ensure!(said.status.code() == Some(9), "a grant without a gate: {said}");
        ensure!(said.to_string().contains("web1 refuses: pam_elevate.so"), "and why: {said}");
        ensure!(web1.sudo("alice", &ID)?.0 != 0, "a managed rule with the module {how}");
    }
    Ok(())
}

#[test]
fn with_the_agent_dead_everything_unmanaged_works() -> Result<()> {
    let (_fleet, mut web1) = fleet_with_web1()?;
    let rule = "bob ALL=(root) NOPASSWD: /usr/bin/whoami\n";
    web1.host.write_as("/etc/sudoers.d/local", rule, Access::root(0o440))?;
    web1.kill_agent()?;
    ensure!(web1.sudo("root", &["true"])?.0 == 0, "root's sudo");
    ensure!(web1.sudo("bob", &["/usr/bin/whoami"])?.0 == 0, "an ordinary rule");
    web1.host.run("root", ["su", "-c", "true", "bob"])?.success()?;
    let said = web1.host.run("alice", ["elevate"])?.exits(9)?;
    ensure!(said.contains("elevate-agent"), "{said}");
    Ok(())
}

#[test]
fn a_killed_agent_takes_up_where_it_was() -> Result<()> {
    let (fleet, mut web1) = fleet_with_web1()?;
    quick(&web1)?;
    web1.kill_agent()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "the gate needs no agent");
    web1.start_agent()?;
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "the grant is still there");
    // Ended while the agent is away: the end is the first thing after it is back.
    web1.kill_agent()?;
    fleet.ctl(&["revoke", "--person", "alice", "-m", "while the agent is dead"])?;
    web1.start_agent()?;
    web1.wait_sudo("alice", &ID, false)?;
    eventually(PATIENCE, "the drop-in to go", || !web1.host.exists(DROP_IN))
}

#[test]
fn a_daemon_killed_in_each_state_of_a_request_takes_up_where_it_was() -> Result<()> {
    let (mut fleet, web1) = fleet_with_web1()?;
    let mut alice = fleet.person("alice")?;
    let mut carol = fleet.person("carol")?;
    let mut asking = web1.terminal("alice", &["web-ops", "-m", "INC-4211 nginx hangs", "--nowait"])?;
    asking.expect("Code for")?;
    asking.line(&alice.code()?)?;
    ensure!(asking.wait()?.code() == Some(4), "pending: {}", asking.screen());

    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    web1.wait_connected(&fleet)?;
    carol.approve_from("alice")?;
    web1.wait_sudo("alice", &ID, true)?;

    fleet.kill_daemon()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "a grant needs no daemon");
    fleet.start_daemon()?;
    web1.wait_connected(&fleet)?;
    let listed = web1.host.run("alice", ["elevate", "status"])?.success()?;
    ensure!(listed.contains("web-ops"), "{listed}");
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_sudo("alice", &ID, false)
}

#[test]
fn a17_a_reboot_leaves_no_drop_in_until_the_agent_has_verified_again() -> Result<()> {
    let (fleet, mut web1) = fleet_with_web1()?;
    quick(&web1)?;
    (web1.agent, web1.link) = (None, None);
    web1.host.reboot()?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "no right after the reboot");
    web1.start_agent()?;
    web1.start_link()?;
    web1.wait_connected(&fleet)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "the grant is in force again");
    Ok(())
}

#[test]
fn a17_what_nobody_granted_is_removed_and_told() -> Result<()> {
    let (fleet, mut web1) = fleet_with_web1()?;
    web1.kill_agent()?;
    let planted = "/run/elevate/sudoers.d/u2003";
    web1.host.write_as(planted, "#2003 ALL=(root) NOPASSWD: ALL\n", Access::root(0o440))?;
    ensure!(web1.sudo("mallory", &["id"])?.0 != 0, "the gate refuses what nobody granted");
    web1.host.write_as(planted, "#2003 ALL=(root) NOPASSWD: ALL\n", Access::root(0o440))?;
    web1.start_agent()?;
    eventually(PATIENCE, "the planted drop-in to go", || !web1.host.exists(planted))?;
    eventually(PATIENCE, "the event", || fleet.events("host.tampered").is_ok_and(|found| !found.is_empty()))
}

#[test]
fn a14_a_foreign_time_zone_does_not_bring_an_ended_right_back() -> Result<()> {
    let (_fleet, web1) = fleet_with_web1()?;
    quick(&web1)?;
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_sudo("alice", &ID, false)?;
    for zone in ["UTC+12", "right/UTC", "Pacific/Honolulu"] {
        let ran = web1.host.cmd("alice", ["sudo", "-n", "id", "-u"]).env("TZ", zone).run()?;
        ensure!(!ran.status.success(), "TZ={zone}");
    }
    Ok(())
}

#[test]
fn a16_a_right_on_one_host_is_none_on_another() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let web2 = fleet.managed("web2", &["tier=web"])?;
    quick(&web1)?;
    ensure!(web2.sudo("alice", &ID)?.0 != 0, "web2 has no grant");
    ensure!(web2.sudo("alice", &["-h", "web1", "/usr/bin/id", "-u"])?.0 != 0, "sudo -h");
    let drop_in = web1.host.read(DROP_IN)?;
    ensure!(drop_in.lines().skip(1).all(|line| line.starts_with("#2000 ALL=(root) ")), "{drop_in}");

    // C10: the same blobs on another host are refused by its gate.
    let names = web1.host.run("root", ["ls", "/run/elevate/grants/u2000"])?.success()?;
    let name = names.lines().next().context("no grant file")?;
    let path = format!("/run/elevate/grants/u2000/{name}");
    let text = web1.host.read(&path)?;
    web2.host.run("root", ["install", "-d", "-m", "700", "/run/elevate/grants/u2000"])?.success()?;
    web2.host.write_as(&path, text, Access::root(0o400))?;
    web2.host.write_as(DROP_IN, drop_in, Access::root(0o440))?;
    ensure!(web2.sudo("alice", &ID)?.0 != 0, "a copied grant");
    ensure!(!web2.host.exists(DROP_IN), "the gate removed the copied drop-in");
    Ok(())
}

#[test]
fn a18_other_peoples_sudo_is_the_same_before_and_after() -> Result<()> {
    let (_fleet, web1) = fleet_with_web1()?;
    let rule = "bob ALL=(root) NOPASSWD: /usr/bin/whoami\n";
    web1.host.write_as("/etc/sudoers.d/local", rule, Access::root(0o440))?;
    let seen = || Ok::<_, anyhow::Error>((web1.sudo("bob", &["-l"])?, web1.sudo("root", &["-V"])?));
    let before = seen()?;
    quick(&web1)?;
    ensure!(seen()? == before, "{before:?}");
    Ok(())
}

#[test]
fn c11_an_account_made_again_under_another_uid_gets_nothing() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    quick(&web1)?;
    let passwd = web1.host.read("/etc/passwd")?;
    web1.host.write("/etc/passwd", passwd.replace("alice:x:2000:2000:", "alice:x:2009:2009:"))?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "another uid");
    let said = web1.host.run("alice", ["elevate", "web-quick", "-m", "I am somebody else"])?;
    let drop_in = web1.host.exists("/run/elevate/sudoers.d/u2009");
    ensure!(said.status.success() == drop_in, "said and done differ: {said}");
    drop(fleet);
    Ok(())
}

#[test]
fn d12_no_seed_and_no_token_is_on_a_host_or_in_the_open() -> Result<()> {
    let fleet = Fleet::new()?;
    let alice = fleet.person("alice")?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let seed = alice.seed();
    for (host, dirs) in [
        (&fleet.vault, "/var/lib/elevated /etc/elevate /run/elevated"),
        (&web1.host, "/var/lib/elevate /etc/elevate /run/elevate"),
    ] {
        let script = format!("grep -rlaF -- \"$SEED\" {dirs}");
        let found = host.cmd("root", ["sh", "-c", &script]).env("SEED", &seed).run()?;
        ensure!(found.status.code() == Some(1), "the seed stands in {found}");
    }
    Ok(())
}
