//! A host and the daemon's machine, as those who run them meet them: enrolment, its end, policy, administration.
//!
//! In: the staged build and the tree. Out: each test is one task. Runs as: root, in test hosts. Spec: docs/config.md.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{DAEMON, Fleet, Managed, POLICY, installed_host};
use elevate_tests::{Access, PATIENCE, eventually};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const DROP_IN: &str = "/run/elevate/sudoers.d/u2000";
const MAIN: &str = "/etc/elevate/policy.d/main.toml";

fn scene() -> Result<(Fleet, Managed)> {
    let fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    Ok((fleet, web1))
}

fn quick(web1: &Managed) -> Result<()> {
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success().map(drop)
}

/// Every file below /etc by content, mode, owner and target.
fn etc(host: &elevate_tests::Host) -> Result<String> {
    let script = "cd /etc && find . -xdev \\( -type f -o -type l -o -type d \\) -printf '%p %M %U %G %l\\n' | sort; \
                  find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum";
    host.run("root", ["sh", "-c", script])?.success()
}

#[test]
fn unenroll_puts_everything_back_byte_for_byte() -> Result<()> {
    let fleet = Fleet::new()?;
    let host = installed_host(&fleet.lab, "web1")?;
    for (login, uid) in [("alice", 2000), ("elevate-link", 402)] {
        host.add_user(login, uid)?;
    }
    host.run("root", ["install", "-d", "-o", "elevate-link", "-m", "700", "/var/lib/elevate-link"])?
        .success()?;
    let before = etc(&host)?;
    // `make install` alone changes nothing in PAM or sudoers.
    host.run("root", ["grep", "-rlE", "elevate", "/etc/pam.d/sudo", "/etc/sudoers", "/etc/sudoers.d"])?
        .exits(1)?;
    let paste = fleet.ctl(&["host", "invite", "web1", "--label", "tier=web", "-q"])?;
    let enroll = |paste: &str| {
        host.cmd("root", ["elevate-agent", "enroll", "--yes", "--no-services"]).input(paste).run()
    };
    let said = enroll(&paste)?.success()?;
    ensure!(etc(&host)? != before, "something changed: {said}");
    let mut web1 = Managed { host: host.clone(), agent: None, link: None };
    web1.start_agent()?;
    web1.start_link()?;
    web1.wait_connected(&fleet)?;
    quick(&web1)?;
    let status = host.run("root", ["elevate-agent", "status", "--format", "json"])?.success()?;
    let status: Value = serde_json::from_str(&status)?;
    let held = status.get("grants").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!(status.get("connected") == Some(&Value::Bool(true)) && held == 1, "{status}");
    let said = host.run("root", ["elevate-agent", "status"])?.success()?;
    ensure!(said.contains("web-quick") && said.contains("alice"), "{said}");
    host.run("alice", ["elevate-agent", "status"])?.exits(1)?;
    let doctor = host.run("root", ["elevate-agent", "doctor"])?;
    ensure!(!doctor.stdout.contains('\u{1b}'), "{doctor}");
    ensure!(doctor.status.success(), "{doctor}");

    (web1.agent, web1.link) = (None, None);
    host.run("root", ["elevate-agent", "unenroll", "--no-services"])?.success()?;
    let after = etc(&host)?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");
    ensure!(!host.exists(DROP_IN), "the right went with it");
    ensure!(web1.sudo("alice", &ID)?.0 == 1, "no right");
    ensure!(web1.sudo("root", &["true"])?.0 == 0, "root's sudo");

    // H02: the string was for once.
    let said = enroll(&paste)?;
    ensure!(!said.status.success(), "a used string: {said}");
    ensure!(etc(&host)? == before, "and nothing was changed for it");
    Ok(())
}

#[test]
fn h02_a_string_is_for_one_host_once() -> Result<()> {
    let (fleet, web1) = scene()?;
    let paste = fleet.ctl(&["host", "invite", "web2", "--label", "tier=web", "-q"])?;
    let web2 = installed_host(&fleet.lab, "web2")?;
    web2.add_user("elevate-link", 402)?;
    web2.run("root", ["install", "-d", "-o", "elevate-link", "-m", "700", "/var/lib/elevate-link"])?
        .success()?;
    let enroll = |text: &str| {
        web2.cmd("root", ["elevate-agent", "enroll", "--yes", "--no-services"]).input(text).run()
    };
    let before = etc(&web2)?;
    // One letter of the token changed; cut; a person's string; nothing at all.
    let cut = paste.get(..paste.len() / 2).unwrap_or_default().to_owned();
    let person = fleet.ctl(&["person", "invite", "bob", "-q"])?;
    for wrong in [cut.as_str(), person.as_str(), "", "elevate1,host\n"] {
        let said = enroll(wrong)?;
        ensure!(!said.status.success() && !said.stderr.contains("panicked"), "{wrong:?}: {said}");
        ensure!(etc(&web2)? == before, "{wrong:?} changed something");
    }
    enroll(&paste)?.success()?;
    // Used up: on a third host, and on one that is enrolled already nothing happens.
    let web3 = installed_host(&fleet.lab, "web3")?;
    web3.add_user("elevate-link", 402)?;
    web3.run("root", ["install", "-d", "-o", "elevate-link", "-m", "700", "/var/lib/elevate-link"])?
        .success()?;
    let before = [etc(&web3)?, etc(&web1.host)?];
    let enroll = ["elevate-agent", "enroll", "--yes", "--no-services"];
    let said = web3.cmd("root", enroll).input(paste.clone()).run()?;
    ensure!(!said.status.success(), "on another host: {said}");
    let said = web1.host.cmd("root", enroll).input(paste.clone()).run()?.exits(1)?;
    ensure!(said.contains("this host is enrolled already as web1"), "{said}");
    ensure!([etc(&web3)?, etc(&web1.host)?] == before, "something was changed");
    let listed = fleet.ctl(&["host", "list"])?;
    ensure!(listed.lines().filter(|line| line.contains("web2")).count() == 1, "{listed}");
    // The token is in no event and in no log.
    let token = paste.split(',').nth(4).context("no token")?.to_owned();
    let log = fleet.daemon.as_ref().map(elevate_tests::Running::log).unwrap_or_default();
    let events = fleet.ctl(&["audit", "tail", "-n", "1000", "--format", "json"])?;
    ensure!(!log.contains(&token) && !events.contains(&token), "the token is told");
    Ok(())
}

#[test]
fn a_second_daemon_and_a_second_agent_are_refused() -> Result<()> {
    let (fleet, web1) = scene()?;
    let said = fleet.vault.run("elevated", ["/usr/sbin/elevated", "run"])?;
    ensure!(said.status.code() == Some(1) || said.status.code() == Some(2), "{said}");
    ensure!(said.stderr.contains("another") || said.stderr.contains("in use"), "says why: {said}");
    let said = fleet.vault.run("root", ["elevated", "init", "--address", DAEMON])?.exits(2)?;
    ensure!(said.contains("/etc/elevate/daemon.toml"), "names what is there: {said}");
    let said = web1.host.run("root", ["/usr/sbin/elevate-agent", "run"])?;
    ensure!(!said.status.success() && !said.stderr.contains("panicked"), "{said}");
    quick(&web1)
}

#[test]
fn a_bad_policy_is_refused_with_its_place_and_the_old_one_stays() -> Result<()> {
    let (fleet, web1) = scene()?;
    let daemon = fleet.daemon.as_ref().context("no daemon")?;
    fleet.write_policy(&POLICY.replace("[roles.web-quick]", "[roles.web-quick]\nmax_hots = 3"))?;
    for verb in ["check", "reload"] {
        let said = fleet.vault.run("root", ["elevatectl", "policy", verb])?.exits(2)?;
        let place = said.split_once("main.toml:").context(said.clone())?.1;
        let mut numbers = place.split(|c: char| !c.is_ascii_digit());
        ensure!(numbers.next().is_some_and(|line| line.parse::<u32>().is_ok()), "a line: {said}");
        ensure!(numbers.next().is_some_and(|column| column.parse::<u32>().is_ok()), "a column: {said}");
        ensure!(said.contains("max_hots"), "{said}");
    }
    daemon.signal(1)?;
    eventually(PATIENCE, "the refusal in the log", || daemon.log().contains("max_hots"))?;
    for role in ["web-quick", "web-root", "web-ops"] {
        let shown = fleet.ctl(&["policy", "show", "--effective"])?;
        ensure!(shown.contains(&format!("[roles.{role}]")), "the old one stays: {shown}");
    }
    quick(&web1)?;
    // A key that a later issue brings is not accepted and then ignored.
    fleet.write_policy(&POLICY.replace("[roles.web-quick]", "[roles.web-quick]\nrecord = \"output\""))?;
    fleet.vault.run("root", ["elevatectl", "policy", "reload"])?.exits(2)?;
    fleet.vault.run("root", ["elevated", "--check-config"])?.exits(2)?;
    fleet.write_policy(POLICY)?;
    fleet.ctl(&["policy", "check"])?;
    fleet.vault.run("root", ["elevated", "--check-config"])?.success()?;
    Ok(())
}

#[test]
fn c07_who_is_no_longer_eligible_loses_what_is_active() -> Result<()> {
    let (fleet, web1) = scene()?;
    let gone = POLICY.replace("[\"alice\", \"bob\"]", "[\"bob\"]");
    quick(&web1)?;
    fleet.write_policy(&gone)?;
    fleet.ctl(&["policy", "reload"])?;
    web1.wait_end("alice")?;
    ensure!(web1.sudo("alice", &ID)?.0 == 1, "the right is gone");
    let ended = fleet.events("grant.ended")?;
    ensure!(ended.iter().any(|event| event.to_string().contains("not-eligible")), "{ended:?}");
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.exits(3)?;

    // The same by SIGHUP.
    fleet.write_policy(POLICY)?;
    fleet.ctl(&["policy", "reload"])?;
    quick(&web1)?;
    fleet.write_policy(&gone)?;
    fleet.daemon.as_ref().context("no daemon")?.signal(1)?;
    web1.wait_end("alice")
}

#[test]
fn revoke_ends_by_grant_person_host_and_role() -> Result<()> {
    let (fleet, web1) = scene()?;
    for by in [&["--person", "alice"][..], &["--host", "web1"], &["--role", "web-quick"], &[]] {
        quick(&web1)?;
        let id = web1.host.run("alice", ["elevate", "list", "-q"])?.success()?;
        let which = if by.is_empty() { vec![id.trim()] } else { by.to_vec() };
        let revoke: Vec<&str> = ["revoke", "-m", "for the test"].into_iter().chain(which).collect();
        fleet.ctl(&revoke)?;
        web1.wait_end("alice")?;
        web1.host.run("alice", ["elevate", "status", id.trim()])?.exits(7)?;
    }
    fleet.vault.run("root", ["elevatectl", "revoke", "G-ZZZZ", "-m", "for the test"])?.exits(7)?;
    fleet.vault.run("root", ["elevatectl", "revoke", "-m", "for the test"])?.exits(2)?;
    ensure!(fleet.events("grant.ended")?.len() == 4, "four ends");
    Ok(())
}

#[test]
fn audit_tail_follows_and_lists_say_who_and_where() -> Result<()> {
    let (fleet, web1) = scene()?;
    let tail =
        fleet.vault.spawn("root", ["elevatectl", "audit", "tail", "-n", "1", "-f", "--format", "json"])?;
    // It has told the last event, so it follows from here on.
    tail.expect("\"seq\":", PATIENCE)?;
    quick(&web1)?;
    tail.expect("grant.issued", PATIENCE)?;
    let people = fleet.ctl(&["person", "list"])?;
    ensure!(["alice", "bob", "carol"].iter().all(|who| people.contains(who)), "{people}");
    let hosts = fleet.ctl(&["host", "list"])?;
    ensure!(hosts.contains("web1") && hosts.contains("tier=web") && hosts.contains("connected"), "{hosts}");
    ensure!(!people.contains('\u{1b}') && !hosts.contains('\u{1b}'), "no escape codes");
    // The socket is root's and the daemon's.
    fleet.vault.add_user("mallory", 2003)?;
    let said = fleet.vault.run("mallory", ["elevatectl", "person", "list"])?;
    ensure!(!said.status.success() && said.stdout.is_empty(), "{said}");
    // The numbers are dense.
    let lines = fleet.ctl(&["audit", "tail", "-n", "10000", "--format", "json"])?;
    let events = lines.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    for (place, event) in events.iter().enumerate() {
        ensure!(event.get("seq").and_then(Value::as_u64) == u64::try_from(place).ok(), "{event} at {place}");
    }
    Ok(())
}

#[test]
fn notify_exec_gets_each_event_as_json() -> Result<()> {
    let mut fleet = Fleet::new()?;
    fleet.kill_daemon()?;
    let config = fleet.vault.read("/etc/elevate/daemon.toml")?;
    let hook = "#!/bin/sh\ncat >> /var/lib/elevated/told\n";
    fleet.vault.write_as("/usr/local/bin/tell", hook, Access::root(0o755))?;
    ensure!(config.contains("exec = []"), "{config}");
    let config = config.replace("exec = []", "exec = [\"/usr/local/bin/tell\"]");
    fleet.vault.write("/etc/elevate/daemon.toml", config)?;
    fleet.start_daemon()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let mut alice = fleet.person("alice")?;
    let mut asking = web1.terminal("alice", &["web-ops", "-m", "with 'quotes' and $(id)", "--nowait"])?;
    asking.expect("Code for")?;
    asking.line(&alice.code()?)?;
    ensure!(asking.wait()?.code() == Some(4), "{}", asking.screen());
    eventually(PATIENCE, "the request at the hook", || {
        fleet.vault.read("/var/lib/elevated/told").is_ok_and(|told| {
            told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|event| {
                event.get("code").is_some_and(|code| code == "request.created")
                    && event.to_string().contains("$(id)")
            })
        })
    })
}

#[test]
fn a11_what_is_planted_under_a_drop_ins_name_is_not_followed() -> Result<()> {
    let (fleet, mut web1) = scene()?;
    let shadow = web1.host.read("/etc/shadow")?;
    let plant = |script: &str| web1.host.run("root", ["sh", "-c", script])?.success().map(drop);
    // While the agent runs.
    plant(&format!("ln -s /etc/shadow {DROP_IN}"))?;
    quick(&web1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "the grant took the name");
    ensure!(web1.host.read("/etc/shadow")? == shadow, "the target is untouched");
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_end("alice")?;
    // While it is away: a link, a FIFO, a hard link, a directory.
    let names = [
        "ln -s /etc/shadow /run/elevate/sudoers.d/u2000",
        "mkfifo /run/elevate/sudoers.d/u2000",
        "cp /etc/passwd /run/elevate/copy && ln /run/elevate/copy /run/elevate/sudoers.d/u2000",
        "mkdir /run/elevate/sudoers.d/u2000",
        "ln -s /etc/shadow /run/elevate/sudoers.d/.u2000.new",
    ];
    for name in names {
        web1.kill_agent()?;
        plant_at(&web1, name)?;
        web1.start_agent()?;
        web1.wait_connected(&fleet)?;
        quick(&web1).with_context(|| name.to_owned())?;
        ensure!(web1.sudo("alice", &ID)?.0 == 0, "{name}: the grant works");
        ensure!(web1.host.read("/etc/shadow")? == shadow, "{name}: the target is untouched");
        ensure!(web1.sudo("mallory", &["id"])?.0 == 1 && web1.sudo("root", &["true"])?.0 == 0, "{name}");
        web1.host.run("alice", ["elevate", "drop"])?.success()?;
        web1.wait_end("alice")?;
    }
    ensure!(!fleet.events("host.tampered")?.is_empty(), "it was told");
    ensure!(fleet.vault.exists(MAIN), "the fleet is whole");
    Ok(())
}

#[test]
fn a13_modes_are_right_whatever_the_umask_and_secrets_are_nobodys() -> Result<()> {
    let (fleet, mut web1) = scene()?;
    let mut alice = fleet.person("alice")?;
    web1.kill_agent()?;
    let agent = web1.host.spawn("root", ["sh", "-c", "umask 0; exec /usr/sbin/elevate-agent run"])?;
    agent.expect("ready", PATIENCE)?;
    web1.agent = Some(agent);
    web1.wait_connected(&fleet)?;
    web1.activate(&mut alice, &["web-root", "-m", "an ordinary reason"], || Ok(()))?;
    let script = "cd / && find run/elevate var/lib/elevate etc/elevate -printf '%m %u:%g %y %p\\n'";
    let listed = web1.host.run("root", ["sh", "-c", script])?.success()?;
    ensure!(listed.contains("440 root:root f run/elevate/sudoers.d/u2000"), "{listed}");
    ensure!(listed.contains("755 root:root d run/elevate/sudoers.d\n"), "{listed}");
    for line in listed.lines().filter(|line| !line.contains(" s ") && !line.contains(" l ")) {
        let mode = line.split(' ').next().unwrap_or_default();
        let mode = u32::from_str_radix(mode, 8).with_context(|| line.to_owned())?;
        ensure!(mode & 0o022 == 0, "others may write: {line}");
    }
    // mallory reads neither keys nor grants nor what others may activate.
    for secret in [
        "/etc/elevate/keys/vouch",
        "/var/lib/elevate-link/key",
        "/run/elevate/grants/u2000",
        "/run/elevate/offers.json",
        "/var/lib/elevate/log",
        DROP_IN,
    ] {
        ensure!(web1.host.exists(secret), "{secret} is there");
        let said = web1.host.run("mallory", ["ls", secret])?;
        let read = web1.host.run("mallory", ["cat", secret])?;
        ensure!(!read.status.success(), "{secret}: {read} {said}");
    }
    ensure!(web1.sudo("alice", &["-i", "true"])?.0 == 0, "and it works");
    Ok(())
}

fn plant_at(web1: &Managed, script: &str) -> Result<()> {
    web1.host.run("root", ["sh", "-c", script])?.success().map(drop)
}
