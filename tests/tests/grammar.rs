//! The lesser words of the command line, through the real programs: history, --dry-run, a command after --, --watch, policy diff, formats.
//!
//! In: the staged build and the tree. Out: each test is one of them. Runs as: root, in test hosts. Spec: docs/cli.md.

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, POLICY};
use elevate_tests::{PATIENCE, eventually};

fn fleet_with_web1() -> Result<(Fleet, Managed)> {
    let fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    Ok((fleet, web1))
}

/// Roles and states of a list.
fn listed(json: &str) -> Result<Vec<(String, String)>> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    let word = |one: &serde_json::Value, name: &str| {
        one.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let all = value.get("activations").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let mut found: Vec<_> = all.iter().map(|one| (word(one, "role"), word(one, "state"))).collect();
    // Two of one second have no order.
    found.sort();
    Ok(found)
}

#[test]
fn a_history_is_ones_own_and_of_others_what_one_has_decided() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let (mut alice, mut bob) = (fleet.person("alice")?, fleet.person("bob")?);
    web1.host.run("alice", ["elevate", "web-quick", "-m", "a look at the logs"])?.success()?;
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.activate(&mut alice, &["web-ops", "-m", "restart of the web tier"], || {
        bob.approve_from("alice").map(drop)
    })?;
    let history = ["elevate", "history", "--format", "json"];
    let wanted =
        vec![("web-ops".to_owned(), "active".to_owned()), ("web-quick".to_owned(), "ended".to_owned())];
    ensure!(listed(&web1.host.run("alice", history)?.success()?)? == wanted);
    ensure!(listed(&alice.elevate(&["history", "--since", "1h", "--format", "json"])?.success()?)? == wanted);
    // bob has approved one of them; alice has decided nothing of his.
    let of_alice = bob.elevate(&["history", "--person", "alice", "--format", "json"])?.success()?;
    ensure!(listed(&of_alice)? == wanted.get(..1).unwrap_or_default(), "{of_alice}");
    let of_bob = alice.elevate(&["history", "--person", "bob", "--format", "json"])?.success()?;
    ensure!(listed(&of_bob)?.is_empty(), "{of_bob}");
    // Others' history never passes through a host.
    let said = web1.host.run("bob", ["elevate", "history", "--person", "alice"])?.exits(3)?;
    ensure!(said.contains("elevate history --person alice"), "{said}");
    Ok(())
}

#[test]
fn a_dry_run_says_what_would_be_and_leaves_nothing_behind() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let _alice = fleet.person("alice")?;
    let yes = web1.host.run("alice", ["elevate", "web-ops", "--dry-run", "-m", "only to see"])?.success()?;
    ensure!(yes.contains("web-ops"), "{yes}");
    web1.host.run("bob", ["elevate", "web-root", "--dry-run", "-m", "only to see"])?.exits(3)?;
    web1.host.run("alice", ["elevate", "run", "web-quick", "--dry-run", "--", "id"])?.exits(125)?;
    for code in ["request.created", "grant.issued", "request.refused"] {
        ensure!(fleet.events(code)?.is_empty(), "{code}");
    }
    Ok(())
}

#[test]
fn an_amended_request_takes_the_place_of_the_former() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let (mut alice, mut bob) = (fleet.person("alice")?, fleet.person("bob")?);
    let asked = ["web-ops", "-m", "restart of the web tier", "--nowait", "-H", "web1"];
    let mut screen = alice.terminal(&asked)?;
    screen.expect("Code for")?;
    screen.line(&alice.code()?)?;
    ensure!(screen.wait()?.code() == Some(4), "{}", screen.screen());
    let former = bob.to_review("alice")?;
    let refused = alice.elevate(&["amend", &former])?.exits(2)?;
    ensure!(refused.contains("nothing is to be different"), "{refused}");
    let seen = web1.activate(&mut alice, &["amend", &former, "-d", "40s"], || {
        let new = bob.to_review("alice")?;
        ensure!(new != former, "a request of its own");
        let gone = bob.elevate(&["approve", &former])?.exits(7)?;
        ensure!(gone.contains("taken back") || gone.contains("withdrawn"), "{gone}");
        bob.approve_from("alice").map(drop)
    })?;
    ensure!(seen.contains("active on web1"), "{seen}");
    let created = fleet.events("request.created")?;
    let [_, second] = created.as_slice() else { anyhow::bail!("two were asked: {created:?}") };
    let second = second.to_string();
    ensure!(second.contains("\"amends\":\"") && second.contains("\"duration\":40,"), "{second}");
    Ok(())
}

#[test]
fn a_command_after_the_role_is_run_and_the_grant_given_back() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let ran =
        web1.host.run("alice", ["elevate", "web-quick", "-m", "one command", "--", "/usr/bin/id", "-u"])?;
    ensure!(ran.status.success() && ran.stdout.lines().last() == Some("0"), "{ran}");
    ensure!(fleet.events("grant.issued")?.len() == 1);
    web1.wait_end("alice")?;
    let absent = ["elevate", "web-quick", "-m", "no such command", "--", "/no/such/program"];
    web1.host.run("alice", absent)?.exits(127)?;
    ensure!(fleet.events("grant.issued")?.len() == 1, "nothing was asked for a command that is not there");
    Ok(())
}

#[test]
fn status_is_watched_until_the_named_one_is_over() -> Result<()> {
    let (_fleet, web1) = fleet_with_web1()?;
    let all = web1.host.spawn("alice", ["elevate", "status", "--watch", "--format", "csv"])?;
    web1.host.run("alice", ["elevate", "web-quick", "-m", "to be watched"])?.success()?;
    all.expect("id,person,role,state,", PATIENCE)?;
    all.expect(",alice,web-quick,active,", PATIENCE)?;
    let id = web1.host.run("alice", ["elevate", "list", "-q"])?.success()?;
    let mut one = web1.host.spawn("alice", ["elevate", "status", id.trim(), "--watch"])?;
    one.expect("web-quick", PATIENCE)?;
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    ensure!(one.wait(PATIENCE)?.code() == Some(7), "{}", one.log());
    all.expect(",alice,web-quick,ended,", PATIENCE)?;
    ensure!(all.log().matches("id,person,").count() == 1, "one head: {}", all.log());
    Ok(())
}

#[test]
fn policy_diff_says_what_the_files_would_change_and_changes_nothing() -> Result<()> {
    let fleet = Fleet::new()?;
    ensure!(fleet.ctl(&["policy", "diff"])?.trim().is_empty());
    let before = fleet.ctl(&["policy", "show"])?;
    fleet.write_policy(&POLICY.replace("duration = \"60s\"", "duration = \"90s\""))?;
    let diff = fleet.ctl(&["policy", "diff"])?;
    ensure!(
        diff.contains("[roles.web-ops]") && diff.contains("- duration = ") && diff.contains("+ duration = "),
        "{diff}"
    );
    ensure!(!diff.contains("web-root"), "{diff}");
    ensure!(fleet.ctl(&["policy", "show"])? == before, "nothing is in force that nobody put there");
    fleet.vault.write("/etc/elevate/policy.d/main.toml", "people = 1\n")?;
    fleet.vault.run("root", ["elevatectl", "policy", "diff"])?.exits(2).map(drop)
}

#[test]
fn lists_come_as_yaml_and_csv_from_both_programs() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let csv = fleet.ctl(&["host", "list", "--format", "csv"])?;
    let mut lines = csv.lines();
    ensure!(
        lines
            .next()
            .is_some_and(|head| head.starts_with("behind,certified_until,connected,id,labels,name,names,")),
        "{csv}"
    );
    ensure!(lines.next().is_some_and(|line| line.contains(",web1,")) && lines.next().is_none(), "{csv}");
    ensure!(fleet.ctl(&["host", "list", "-q"])? == "web1\n");
    ensure!(fleet.ctl(&["person", "list", "-q"])? == "alice\nbob\ncarol\n");
    let events = fleet.ctl(&["audit", "tail", "-n", "2", "--format", "csv"])?;
    ensure!(events.lines().count() == 3 && events.starts_with("seq,at,code,"), "{events}");
    let yaml = web1.host.run("alice", ["elevate", "list", "--eligible", "--format", "yaml"])?.success()?;
    ensure!(yaml.starts_with("---\nroles:\n  -\n") && yaml.contains("role: \"web-ops\""), "{yaml}");
    let variable =
        web1.host.cmd("alice", ["elevate", "whoami"]).env("ELEVATE_FORMAT", "yaml").run()?.success()?;
    ensure!(variable.contains("person: \"alice\""), "{variable}");
    Ok(())
}

#[test]
fn a_prompt_says_what_is_in_force_and_only_to_its_person() -> Result<()> {
    let (_fleet, mut web1) = fleet_with_web1()?;
    let prompt = |host: &elevate_tests::Host, login: &str| {
        host.run(login, ["elevate", "status", "--prompt"])?.success()
    };
    ensure!(prompt(&web1.host, "alice")?.is_empty());
    web1.host.run("alice", ["elevate", "web-quick", "-m", "a look at the logs"])?.success()?;
    eventually(PATIENCE, "the word", || {
        prompt(&web1.host, "alice").is_ok_and(|word| word == "web-quick:9m\n")
    })?;
    ensure!(prompt(&web1.host, "bob")?.is_empty());
    ensure!(
        !web1.host.run("bob", ["cat", "/run/elevate/mine/u2000"])?.status.success(),
        "bob reads what alice has"
    );
    ensure!(
        !web1.host.run("bob", ["ls", "/run/elevate/mine"])?.status.success(),
        "bob lists who has something"
    );
    // Nobody is asked for it, and a new agent writes it anew.
    web1.kill_agent()?;
    ensure!(prompt(&web1.host, "alice")? == "web-quick:9m\n");
    web1.host.write("/run/elevate/mine/u2003", "web-root 99999999999\n")?;
    web1.start_agent()?;
    eventually(PATIENCE, "what nobody granted to go", || !web1.host.exists("/run/elevate/mine/u2003"))?;
    ensure!(prompt(&web1.host, "alice")? == "web-quick:9m\n");
    let gone = || -> Result<()> { web1.host.run("alice", ["elevate", "drop"])?.success().map(drop) };
    eventually(PATIENCE, "the daemon to be reached again", || gone().is_ok())?;
    eventually(PATIENCE, "the word to go", || prompt(&web1.host, "alice").is_ok_and(|word| word.is_empty()))
}

#[test]
fn c07_a_grant_goes_when_its_host_gets_another_label() -> Result<()> {
    let (fleet, web1) = fleet_with_web1()?;
    let quick = || web1.host.run("alice", ["elevate", "web-quick", "-m", "a look at the logs"]);
    quick()?.success()?;
    let labelled = fleet.ctl(&["host", "label", "web1", "site=east"])?;
    ensure!(labelled.contains("site=east,tier=web"), "{labelled}");
    web1.wait_connected(&fleet)?;
    ensure!(
        web1.sudo("alice", &["/usr/bin/id", "-u"])?.0 == 0,
        "a label that no role asks for changes nothing"
    );
    fleet.ctl(&["host", "label", "web1", "tier=db", "site-"])?;
    web1.wait_end("alice")?;
    let ended = fleet.events("grant.ended")?;
    ensure!(
        ended.len() == 1 && ended.iter().all(|event| event.to_string().contains("not-eligible")),
        "{ended:?}"
    );
    eventually(PATIENCE, "the role to be refused", || quick().is_ok_and(|ran| ran.status.code() == Some(3)))?;
    fleet.ctl(&["host", "label", "web1", "tier=web"])?;
    eventually(PATIENCE, "the role to be given again", || quick().is_ok_and(|ran| ran.status.success()))?;
    let refused = |args: &[&str]| {
        let argv = ["elevatectl", "host", "label"].into_iter().chain(args.iter().copied());
        fleet.vault.run("root", argv)?.exits(2)
    };
    ensure!(refused(&["web1", "site-"])?.contains("web1 has no label site"));
    ensure!(refused(&["web9", "a=b"])?.contains("web9 is not enrolled"));
    ensure!(refused(&["web1", "TIER=web"])?.contains("error:"));
    ensure!(fleet.events("host.labelled")?.len() == 3);
    Ok(())
}

#[test]
fn a_role_for_few_hosts_at_once_refuses_more() -> Result<()> {
    let fleet =
        Fleet::with_policy(&POLICY.replace("[roles.web-quick]\n", "[roles.web-quick]\nmax_hosts = 1\n"))?;
    let hosts = ["web1", "web2"].map(|name| fleet.managed(name, &["tier=web"]));
    let _hosts = hosts.into_iter().collect::<Result<Vec<_>>>()?;
    let alice = fleet.person("alice")?;
    let both = ["web-quick", "-m", "a look at both", "-H", "web1", "-H", "web2", "-n"];
    let said = alice.elevate(&both)?.exits(3)?;
    ensure!(said.contains("at most 1 hosts at once, this names 2"), "{said}");
    alice.elevate(&["web-quick", "-m", "a look at one", "-H", "web1", "-n"])?.success().map(drop)
}
