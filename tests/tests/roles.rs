//! What a policy can say of a role, obeyed by real sudo: commands, files, accounts, tickets, times, approvers.
//!
//! In: the staged build and the tree. Out: each test is one kind of role. Runs as: root, in test hosts.
//! Spec: docs/policy.md.

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, POLICY};
use elevate_tests::{Access, PATIENCE, Ran, eventually};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const REASON: &str = "an ordinary reason";

/// A fleet whose policy has these roles as well, and web1.
fn scene(roles: &str) -> Result<(Fleet, Managed)> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{roles}"))?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    Ok((fleet, web1))
}

fn elevate(web1: &Managed, login: &str, args: &[&str]) -> Result<Ran> {
    web1.host.run(login, std::iter::once("elevate").chain(args.iter().copied()))
}

#[test]
fn alternatives_are_exactly_those_and_sudoedit_is_one_file() -> Result<()> {
    let (_fleet, web1) = scene(
        "[roles.web-page]\nwho = [\"alice\"]\nhosts = { tier = \"web\" }\nmfa = \"none\"\n\
         sudo = { as = \"root\", run = [[\"/usr/bin/ls\", [\"-l\", \"-a\"], \"/root\"], [\"/usr/bin/whoami\"]], \
         edit = [\"/srv/page.html\"] }\n",
    )?;
    web1.host.write("/srv/page.html", "before\n")?;
    web1.host.write("/srv/other.html", "before\n")?;
    elevate(&web1, "alice", &["web-page", "-m", REASON])?.success()?;
    let allowed: [&[&str]; 4] = [
        &["/usr/bin/ls", "-l", "/root"],
        &["/usr/bin/ls", "-a", "/root"],
        &["ls", "-a", "/root"],
        &["/usr/bin/whoami"],
    ];
    for argv in allowed {
        ensure!(web1.sudo("alice", argv)?.0 == 0, "{argv:?}");
    }
    let refused: [&[&str]; 8] = [
        &["/usr/bin/ls", "/root"],
        &["/usr/bin/ls", "-l"],
        &["/usr/bin/ls", "-l", "-a", "/root"],
        &["/usr/bin/ls", "-l", "/root", "/etc"],
        &["/usr/bin/ls", "-R", "/root"],
        &["/usr/bin/whoami", "--help"],
        &["-u", "bob", "/usr/bin/whoami"],
        &["-i"],
    ];
    for argv in refused {
        ensure!(web1.sudo("alice", argv)?.0 == 1, "{argv:?}");
    }
    // sudo compares arguments joined by spaces (sudoers(5)): the program then gets one odd argument, and never more.
    let (code, said) = web1.sudo("alice", &["/usr/bin/ls", "-l /root"])?;
    ensure!(code == 2 && said.contains("invalid option"), "ls itself refuses: {code} {said}");
    // An editor that appends a line.
    let editor = "#!/bin/sh\necho after >> \"$1\"\n";
    web1.host.write_as("/usr/local/bin/append", editor, Access::root(0o755))?;
    let edit = |file: &str| {
        web1.host.cmd("alice", ["sudoedit", "-n", file]).env("EDITOR", "/usr/local/bin/append").run()
    };
    edit("/srv/page.html")?.success()?;
    ensure!(web1.host.read("/srv/page.html")? == "before\nafter\n", "edited");
    ensure!(!edit("/srv/other.html")?.status.success(), "another file");
    ensure!(!edit("/srv/../srv/other.html")?.status.success(), "another way there");
    elevate(&web1, "alice", &["drop"])?.success()?;
    web1.wait_end("alice")?;
    ensure!(!edit("/srv/page.html")?.status.success(), "over");
    ensure!(web1.host.read("/srv/page.html")? == "before\nafter\n", "unchanged");
    Ok(())
}

#[test]
fn a06_a_role_for_another_account_is_not_one_for_root() -> Result<()> {
    let (_fleet, web1) = scene(
        "[roles.as-bob]\nwho = [\"alice\"]\nhosts = { tier = \"web\" }\nmfa = \"none\"\n\
         sudo = { as = \"bob\", shell = true }\n",
    )?;
    let run = ["run", "as-bob", "-m", REASON, "--", ID[0], ID[1]];
    ensure!(elevate(&web1, "alice", &run)?.success()? == "2001\n", "run is as bob");
    elevate(&web1, "alice", &["as-bob", "-m", REASON])?.success()?;
    ensure!(web1.sudo("alice", &["-u", "bob", "id", "-u"])? == (0, "2001\n".into()), "as bob");
    for who in ["root", "#0", "#-1", "#4294967295", "carol"] {
        ensure!(web1.sudo("alice", &["-u", who, "id"])?.0 == 1, "as {who}");
    }
    ensure!(web1.sudo("alice", &["id"])?.0 == 1, "as root");
    Ok(())
}

#[test]
fn a_ticket_has_its_form_and_counts_as_a_reason() -> Result<()> {
    let (fleet, web1) = scene(
        "[roles.web-change]\nwho = [\"alice\"]\nhosts = { tier = \"web\" }\nmfa = \"none\"\n\
         sudo = { as = \"root\", run = [[\"/usr/bin/id\", \"-u\"]] }\nticket = { pattern = \"(INC|CHG)-[0-9]+\", required = true }\n",
    )?;
    for wrong in ["INC-", "xINC-1", "INC-1x", "INC-1\n", "CHG-1 INC-2"] {
        elevate(&web1, "alice", &["web-change", "-n", "-m", REASON, "-t", wrong])?.exits(2)?;
    }
    let said = elevate(&web1, "alice", &["web-change", "-n", "-m", REASON])?.exits(2)?;
    ensure!(said.contains("INC"), "says the form: {said}");
    elevate(&web1, "alice", &["web-change", "-t", "CHG-4711"])?.success()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "active");
    ensure!(
        fleet.events("request.created")?.iter().all(|event| event.to_string().contains("CHG-4711")),
        "told"
    );
    Ok(())
}

#[test]
fn until_ends_people_and_eligibilities() -> Result<()> {
    let policy = POLICY.replace("bob   = {", "bob   = { until = 2020-01-31,")
        + "[roles.web-old]\nwho = [{ group = \"web-admins\", until = 2020-01-31 }]\nhosts = { tier = \"web\" }\n\
           mfa = \"none\"\nsudo = { as = \"root\", run = [[\"/usr/bin/id\", \"-u\"]] }\n";
    let fleet = Fleet::with_policy(&policy)?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    for (who, role) in [("bob", "web-quick"), ("bob", "web-old"), ("alice", "web-old")] {
        let said = elevate(&web1, who, &[role, "-n", "-m", REASON])?.exits(3)?;
        ensure!(said.contains("ended"), "says why: {said}");
    }
    elevate(&web1, "alice", &["web-quick", "-m", REASON])?.success()?;
    // The right ends with the person.
    fleet.write_policy(&POLICY.replace("alice = {", "alice = { until = 2020-01-31,"))?;
    fleet.ctl(&["policy", "reload"])?;
    web1.wait_end("alice")
}

#[test]
fn the_login_on_hosts_may_be_another_than_the_id() -> Result<()> {
    let policy = POLICY.replace("bob   = {", "bob   = { login = \"bsmith\",");
    let fleet = Fleet::with_policy(&policy)?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    // Somebody else's account of that name is not bob, and bob has none here yet.
    elevate(&web1, "bob", &["web-quick", "-n", "-m", REASON])?.exits(3)?;
    web1.host.add_user("bsmith", 2010)?;
    let run = ["run", "web-quick", "-m", REASON, "--", ID[0], ID[1]];
    ensure!(elevate(&web1, "bsmith", &run)?.success()? == "0\n", "bob is bsmith here");
    let issued = fleet.events("grant.issued")?;
    ensure!(issued.iter().all(|event| event.to_string().contains("\"bob\"")), "{issued:?}");
    Ok(())
}

#[test]
fn c06_the_word_of_somebody_who_may_no_longer_approve_does_not_count() -> Result<()> {
    let role = "[roles.web-two]\nwho = [\"alice\"]\nhosts = { tier = \"web\" }\nmfa = \"none\"\n\
                sudo = { as = \"root\", run = [[\"/usr/bin/id\", \"-u\"]] }\n\
                approve = [{ need = 2, of = [\"@leads\"], within = \"1h\" }]\n";
    let (fleet, web1) = scene(role)?;
    let mut bob = fleet.person("bob")?;
    let mut carol = fleet.person("carol")?;
    elevate(&web1, "alice", &["web-two", "--nowait", "-m", REASON])?.exits(4)?;
    let id = bob.to_review("alice")?;
    bob.elevate_with_code(&["approve", &id])?;
    let changed = format!("{POLICY}{role}").replace("[\"bob\", \"carol\"]", "[\"carol\", \"mallory\"]");
    let changed = changed.replace("[groups]", "mallory = { keys = [\"{KEY:mallory}\"] }\n[groups]");
    fleet.write_policy(&changed)?;
    fleet.ctl(&["policy", "reload"])?;
    // Whatever carol is told: bob's word is none any more.
    let mut screen = carol.terminal(&["approve", &id])?;
    if screen.expect_any(&["Code for", "error:"])?.0 == 0 {
        screen.line(&carol.code()?)?;
    }
    screen.wait()?;
    ensure!(web1.sudo("alice", &ID)?.0 == 1, "{}", screen.screen());
    ensure!(fleet.events("grant.issued")?.is_empty(), "nothing was issued");
    Ok(())
}

#[test]
fn a_request_that_nobody_decides_lapses() -> Result<()> {
    let (fleet, web1) = scene(
        "[roles.web-brief]\nwho = [\"alice\"]\nhosts = { tier = \"web\" }\nmfa = \"none\"\n\
         sudo = { as = \"root\", run = [[\"/usr/bin/id\", \"-u\"]] }\n\
         pending = \"2s\"\napprove = [{ need = 1, of = [\"bob\"] }]\n",
    )?;
    let said = elevate(&web1, "alice", &["web-brief", "--wait", "-m", REASON])?.exits(7)?;
    ensure!(said.contains("lapsed"), "{said}");
    ensure!(!fleet.events("request.lapsed")?.is_empty(), "told");
    ensure!(web1.sudo("alice", &ID)?.0 == 1, "no right");
    Ok(())
}

#[test]
fn a_grant_that_was_tampered_with_or_truncated_is_none() -> Result<()> {
    let (fleet, mut web1) = scene("")?;
    let activate = |web1: &Managed| elevate(web1, "alice", &["web-quick", "-m", REASON])?.success().map(drop);
    activate(&web1)?;
    let name = web1.host.run("root", ["ls", "/run/elevate/grants/u2000"])?.success()?;
    let path = format!("/run/elevate/grants/u2000/{}", name.trim());
    let log = format!("/var/lib/elevate/log/{}", name.trim());
    let drop_in = "/run/elevate/sudoers.d/u2000";
    let (whole, rules) = (web1.host.read(&path)?, web1.host.read(drop_in)?);
    let half = whole.get(..whole.len() / 2).context("half")?;
    let longer = whole.replacen("\"not_after\":", "\"not_after\":9", 1);
    ensure!(longer != whole, "the grant says its end: {whole}");
    for (how, text) in [("cut", half), ("changed", longer.as_str()), ("empty", "")] {
        web1.host.write_as(&path, text, Access::root(0o400))?;
        web1.host.write_as(drop_in, &rules, Access::root(0o440))?;
        ensure!(web1.sudo("alice", &ID)?.0 == 1, "{how}");
        ensure!(!web1.host.exists(drop_in), "{how}: the gate removed the drop-in");
        ensure!(web1.sudo("root", &["true"])?.0 == 0, "{how}: root's sudo");
    }
    // The agent's own log is not believed either when its signatures do not fit.
    web1.kill_agent()?;
    let logged = web1.host.read(&log)?;
    web1.host.write_as(&log, logged.replacen("\"not_after\":", "\"not_after\":9", 1), Access::root(0o600))?;
    web1.start_agent()?;
    web1.wait_connected(&fleet)?;
    let rules = web1.host.read(drop_in).unwrap_or_default();
    ensure!(rules.lines().all(|line| !line.contains("NOTAFTER=9")), "{rules}");
    let status = elevate(&web1, "alice", &["list", "--format", "json"])?.success()?;
    let _: Value = serde_json::from_str(&status)?;
    eventually(PATIENCE, "the event", || fleet.events("host.tampered").is_ok_and(|found| !found.is_empty()))
}
