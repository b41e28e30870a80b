//! Every command of a person, through both doors where it has both, as the person types it.
//!
//! In: the staged build and the tree. Out: each test is one habit. Runs as: root, in test hosts. Spec: docs/cli.md.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_protocol::paste::Paste;
use elevate_tests::fleet::{Fleet, Managed, POLICY};
use elevate_tests::{Ran, eventually};
use serde_json::Value;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const REASON: [&str; 2] = ["-m", "an ordinary reason"];

/// Roles where the code is not the point.
const MORE: &str = r#"
[roles.web-two]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "10m"
max      = "20m"
mfa      = "none"
approve  = [{ need = 2, of = ["@leads", "alice"], within = "1h" }]

[roles.web-one]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", run = [["/usr/bin/id", "-u"]] }
duration = "10m"
max      = "20m"
mfa      = "none"
approve  = [{ need = 1, of = ["bob"], within = "1h" }]

[roles.web-shell]
who      = ["alice"]
hosts    = { tier = "web" }
sudo     = { as = "root", shell = true }
duration = "10m"
max      = "20m"
mfa      = "none"
"#;

fn fleet() -> Result<Fleet> {
    Fleet::with_policy(&format!("{POLICY}{MORE}"))
}

fn scene() -> Result<(Fleet, Managed)> {
    let fleet = fleet()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    Ok((fleet, web1))
}

/// Without a second factor: a pinned daemon is enough for what only looks.
fn login(fleet: &Fleet, who: &str) -> Result<()> {
    let paste = fleet.ctl(&["person", "invite", who, "-q"])?;
    fleet.laptop.cmd(who, ["elevate", "login"]).input(paste).run()?.success().map(drop)
}

fn at_web1(web1: &Managed, args: &[&str]) -> Result<Ran> {
    web1.host.run("alice", std::iter::once("elevate").chain(args.iter().copied()))
}

fn at_laptop(fleet: &Fleet, who: &str, args: &[&str]) -> Result<Ran> {
    fleet.laptop.run(who, std::iter::once("elevate").chain(args.iter().copied()))
}

fn json(ran: Ran) -> Result<Value> {
    let text = ran.success()?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("no {name} in {value}"))
}

/// Asks for `role` and does not wait; the id of the request.
fn pending(web1: &Managed, role: &str) -> Result<String> {
    let asked = at_web1(web1, &[role, "--nowait", "--format", "json", "-m", "an ordinary reason"])?;
    let text = asked.stdout.clone();
    asked.exits(4)?;
    Ok(field(&serde_json::from_str(&text).context(text)?, "id")?.to_owned())
}

#[test]
fn what_only_looks_looks_the_same_through_both_doors() -> Result<()> {
    let (fleet, web1) = scene()?;
    login(&fleet, "alice")?;
    let granted = json(at_web1(&web1, &["web-quick", "-m", "an ordinary reason", "--format", "json"])?)?;
    let id = field(&granted, "id")?.to_owned();
    let looks: [(&[&str], &str, &str, i32); 12] = [
        (&[], "web-quick", "overview", 0),
        (&["list"], "web-quick", "activations", 0),
        (&["list", "--active"], "web-quick", "activations", 0),
        (&["list", "--eligible"], "web-root", "eligible", 0),
        (&["list", "--expired"], "", "activations", 0),
        (&["status"], "confirmed", "activations", 0),
        (&["status", &id], "confirmed", "activation", 0),
        (&["show", &id], "an ordinary reason", "activation", 0),
        (&["requests", "--mine"], "", "activations", 0),
        (&["whoami"], "alice", "account", 0),
        (&["can-i", "web-ops"], "yes", "explanation", 0),
        (&["why", "web1", "--", "/usr/bin/id", "-u"], "web-quick", "explanation", 0),
    ];
    for (args, word, schema, code) in looks {
        for door in [&web1.host, &fleet.laptop] {
            let argv = |options: &[&'static str]| {
                let words = std::iter::once("elevate").chain(options.iter().copied());
                words.chain(args.iter().copied()).map(str::to_owned).collect::<Vec<_>>()
            };
            let said = door.run("alice", argv(&[]))?.exits(code)?;
            ensure!(said.contains(word), "{} {args:?}: {said}", door.name());
            ensure!(!said.contains('\u{1b}'), "no terminal, no escape codes: {args:?} {said:?}");
            let value: Value = json(door.run("alice", argv(&["--format", "json"]))?)?;
            ensure!(field(&value, "schema")? == format!("elevate.{schema}/1"), "{args:?} {value}");
        }
    }
    let ids = at_web1(&web1, &["list", "-q"])?.success()?;
    ensure!(ids.trim() == id, "-q is ids only: {ids:?}");
    let said = web1.host.run("carol", ["elevate", "why", "--", "/usr/bin/id", "-g"])?.exits(3)?;
    ensure!(said.starts_with("no"), "{said}");
    at_web1(&web1, &["can-i", "nothing-such"])?.exits(3)?;
    let said = at_laptop(&fleet, "alice", &["mfa", "list"])?.success()?;
    ensure!(!said.contains("totp"), "nothing is enrolled: {said}");
    Ok(())
}

#[test]
fn an_active_grant_is_used_again() -> Result<()> {
    let (fleet, web1) = scene()?;
    login(&fleet, "alice")?;
    let ask = ["web-quick", "-m", "an ordinary reason", "--format", "json"];
    let first = json(at_web1(&web1, &ask)?)?;
    let again = json(at_web1(&web1, &ask)?)?;
    let elsewhere = json(at_laptop(&fleet, "alice", &ask)?)?;
    let long = json(at_web1(
        &web1,
        &["request", "web-quick", "--justification", "another one", "--format", "json"],
    )?)?;
    for other in [&again, &elsewhere, &long] {
        ensure!(field(other, "id")? == field(&first, "id")?, "{first} {other}");
    }
    ensure!(fleet.events("grant.issued")?.len() == 1, "one grant");
    // A second role beside it: drop has to be told which.
    at_web1(&web1, &["web-shell", REASON[0], REASON[1]])?.success()?;
    let said = at_web1(&web1, &["drop"])?.exits(2)?;
    ensure!(said.contains("web-quick") && said.contains("web-shell"), "both are listed: {said}");
    let said = at_web1(&web1, &["extend", "1m"])?.exits(2)?;
    ensure!(said.contains("web-quick") && said.contains("web-shell"), "both are listed: {said}");
    at_web1(&web1, &["drop", "--all"])?.success()?;
    web1.wait_end("alice")?;
    at_web1(&web1, &["status", field(&first, "id")?])?.exits(7)?;
    at_web1(&web1, &["drop"])?.exits(7)?;
    let over = at_web1(&web1, &["list", "--expired"])?.success()?;
    ensure!(over.contains("web-quick") && over.contains("web-shell"), "{over}");
    Ok(())
}

#[test]
fn run_gives_back_and_has_the_commands_own_status() -> Result<()> {
    let (_fleet, web1) = scene()?;
    let run = |role: &str, command: &[&str]| {
        let words = ["elevate", "run", role, "-m", "an ordinary reason", "--"];
        web1.host.run("alice", words.into_iter().chain(command.iter().copied()))
    };
    ensure!(run("web-quick", &ID)?.success()? == "0\n", "stdout is the command's");
    web1.wait_end("alice")?;
    run("web-shell", &["bash", "-c", "exit 7"])?.exits(7)?;
    run("web-shell", &["bash", "-c", "kill -TERM $$"])?.exits(128 + 15)?;
    let said = run("web-quick", &["/no/such/program"])?.exits(127)?;
    ensure!(said.contains("nothing was asked for"), "{said}");
    run("web-quick", &["/etc/passwd"])?.exits(126)?;
    run("nothing-such", &ID)?.exits(125)?;
    let words = ["run", "nothing-such", "-m", "an ordinary reason", "--format", "json", "--", "id"];
    let said = at_web1(&web1, &words)?;
    let told: Value = serde_json::from_str(&said.stderr).with_context(|| said.to_string())?;
    let code = (said.status.code(), told.get("exit").and_then(Value::as_i64));
    ensure!(code == (Some(125), Some(2)) && said.stdout.is_empty(), "125, and why: {said}");
    let said = run("web-one", &ID)?.exits(125)?;
    ensure!(said.contains("pending"), "{said}");
    // One that was there before stays.
    at_web1(&web1, &["web-quick", REASON[0], REASON[1]])?.success()?;
    let said = run("web-quick", &ID)?;
    ensure!(said.stderr.contains("Stays"), "{said}");
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "still there");
    Ok(())
}

#[test]
fn shell_is_a_root_shell_on_a_terminal_and_is_given_back() -> Result<()> {
    let (fleet, web1) = scene()?;
    let mut alice = fleet.person("alice")?;
    let mut shell = web1.terminal("alice", &["shell", "web-root", "-m", "look around as root"])?;
    shell.expect("Code for")?;
    shell.line(&alice.code()?)?;
    shell.expect("root@web1")?;
    shell.line("echo I am $(id -u) in $PWD; exit 3")?;
    shell.expect("I am 0 in /root")?;
    ensure!(shell.wait()?.code() == Some(3), "{}", shell.screen());
    web1.wait_end("alice")?;
    ensure!(web1.sudo("alice", &["-i", "true"])?.0 != 0, "given back");
    Ok(())
}

#[test]
fn two_approvers_are_two_people_and_never_the_requester() -> Result<()> {
    let (fleet, web1) = scene()?;
    let mut alice = fleet.person("alice")?;
    let mut bob = fleet.person("bob")?;
    let mut carol = fleet.person("carol")?;
    let mut asking = web1.terminal("alice", &["web-two", "-m", "an ordinary reason"])?;
    let said = asking.expect("Ctrl-C keeps it")?;
    ensure!(said.contains("2 of bob, carol") && !said.contains("of alice"), "{said}");
    let id = bob.to_review("alice")?;

    // alice stands among the approvers of the policy; her own word does not count, through neither door.
    let said = alice.elevate(&["approve", &id, "-n"])?.exits(3)?;
    ensure!(!said.contains("Code for"), "refused before a code is asked: {said}");
    ensure!(alice.elevate(&["requests", "--to-review", "-q"])?.success()?.is_empty(), "nothing for her word");
    at_web1(&web1, &["approve", &id])?.exits(3)?;

    bob.elevate_with_code(&["approve", &id, "-m", "fine"])?;
    let said = asking.expect("for 1 of carol")?;
    ensure!(said.contains("bob") && said.contains("approved"), "{said}");
    // Twice is once, and needs no code.
    let again = bob.elevate(&["approve", &id, "-n"])?.success()?;
    ensure!(again.contains("1 of carol") && !again.contains("active"), "{again}");
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "one of two");
    carol.elevate_with_code(&["approve", &id])?;
    ensure!(asking.wait()?.success(), "{}", asking.screen());
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "two of two");
    // The code of alice for the factor test, which nothing but looks at.
    let said = alice.elevate_with_code(&["mfa", "test"])?;
    ensure!(said.contains("right"), "{said}");
    Ok(())
}

#[test]
fn a_denial_reaches_the_one_who_waits_as_exit_code_5() -> Result<()> {
    let (fleet, web1) = scene()?;
    let mut bob = fleet.person("bob")?;
    let watching = fleet.laptop.spawn("bob", ["elevate", "requests", "--to-review", "--watch"])?;
    let waiting = web1.host.cmd("alice", ["elevate", "web-one", "--wait", "-m", "an ordinary reason"]);
    let mut waiting = waiting.limit(Duration::from_secs(60)).tty()?;
    waiting.expect("Ctrl-C keeps it")?;
    watching.expect("an ordinary reason", elevate_tests::PATIENCE)?;
    let id = bob.to_review("alice")?;
    let said = bob.elevate(&["deny", &id, "-n"])?.exits(2)?;
    ensure!(said.contains("reason"), "a denial has a reason: {said}");
    let said = bob.elevate(&["deny", &id, "-n", "-m", "not now"])?.exits(6)?;
    ensure!(said.contains("ode"), "a decision has a code: {said}");
    bob.elevate_with_code(&["deny", &id, "-m", "not in this window"])?;
    ensure!(waiting.wait()?.code() == Some(5), "{}", waiting.screen());
    ensure!(waiting.screen().contains("not in this window"), "{}", waiting.screen());
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "no right");
    bob.elevate(&["approve", &id, "-n"])?.exits(7)?;
    Ok(())
}

#[test]
fn ctrl_c_keeps_the_request_and_says_how_to_resume() -> Result<()> {
    let (fleet, web1) = scene()?;
    let mut bob = fleet.person("bob")?;
    let mut waiting = web1.terminal("alice", &["web-one", "-m", "an ordinary reason"])?;
    waiting.expect("Ctrl-C keeps it")?;
    waiting.interrupt()?;
    let said = waiting.expect("Resume: elevate R-")?;
    ensure!(waiting.wait()?.code() == Some(4), "{said}");
    let id = bob.to_review("alice")?;
    let listed = at_web1(&web1, &["requests", "--mine", "-q"])?.success()?;
    ensure!(listed.trim().contains(&id), "{listed} {id}");
    // The same ask is the same request.
    ensure!(pending(&web1, "web-one")? == id, "no second request");
    let said = at_web1(&web1, &[&id, "--wait=1s"])?;
    ensure!(said.status.code() == Some(2) || said.status.code() == Some(4), "{said}");

    let mut again = web1.terminal("alice", &[&id])?;
    again.expect("Needs 1 of bob")?;
    bob.elevate_with_code(&["approve", &id])?;
    ensure!(again.wait()?.success(), "{}", again.screen());
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "resumed and active");
    Ok(())
}

#[test]
fn waiting_has_a_limit_and_a_request_can_be_taken_back() -> Result<()> {
    let (fleet, web1) = scene()?;
    login(&fleet, "alice")?;
    at_web1(&web1, &["web-one", "--wait=1s", REASON[0], REASON[1]])?.exits(4)?;
    // Not a terminal: nobody would see it wait.
    let id = pending(&web1, "web-one")?;
    let (one, two) = (
        pending(&web1, "web-two")?,
        field(&json(at_laptop(&fleet, "alice", &["show", &id, "--format", "json"])?)?, "state")?.to_owned(),
    );
    ensure!(two == "pending" && one != id, "{one} {two}");
    at_laptop(&fleet, "alice", &["cancel", &one])?.success()?;
    at_web1(&web1, &["cancel", &id])?.success()?;
    at_web1(&web1, &["cancel", &id])?.exits(7)?;
    at_web1(&web1, &[&id])?.exits(7)?;
    // Somebody else's request is none of bob's business unless he decides it.
    let other = pending(&web1, "web-one")?;
    web1.host.run("mallory", ["elevate", "cancel", &other])?.exits(3)?;
    let bobs = web1.host.run("bob", ["elevate", "cancel", &other])?;
    ensure!(bobs.status.code() == Some(7) || bobs.status.code() == Some(3), "{bobs}");
    ensure!(pending(&web1, "web-one")? == other, "still pending");
    Ok(())
}

#[test]
fn extending_stays_within_the_maximum() -> Result<()> {
    let (fleet, web1) = scene()?;
    login(&fleet, "alice")?;
    let before = json(at_web1(&web1, &["web-shell", "-m", "an ordinary reason", "--format", "json"])?)?;
    let id = field(&before, "id")?;
    let after = json(at_web1(&web1, &["extend", "5m", "--format", "json"])?)?;
    ensure!(field(&before, "ends_at")? < field(&after, "ends_at")?, "{before} {after}");
    let said = at_web1(&web1, &["extend", id, "30m"])?.exits(2)?;
    ensure!(said.contains("elevate extend 5m"), "says what would do: {said}");
    at_web1(&web1, &["extend", "0s"])?.exits(2)?;
    at_web1(&web1, &["extend", "18446744073709551616h"])?.exits(2)?;
    at_laptop(&fleet, "alice", &["extend", id, "4m"])?.success()?;
    at_laptop(&fleet, "alice", &["extend", id, "4m"])?.exits(2)?;
    let shown = json(at_web1(&web1, &["show", id, "--format", "json"])?)?;
    ensure!(shown.get("extensions").and_then(Value::as_u64) == Some(2), "{shown}");
    Ok(())
}

#[test]
fn one_request_from_the_laptop_is_in_force_on_two_hosts() -> Result<()> {
    let (fleet, web1) = scene()?;
    login(&fleet, "alice")?;
    let mut web2 = fleet.managed("web2", &["tier=web"])?;
    let db1 = fleet.managed("db1", &["tier=db"])?;
    let both = ["web-quick", "-H", "web1", "-H", "web2", "-m", "an ordinary reason"];
    let said = at_laptop(&fleet, "alice", &both)?.success()?;
    ensure!(said.contains("active on web1,web2"), "{said}");
    for (host, allowed) in [(&web1, true), (&web2, true), (&db1, false)] {
        ensure!((host.sudo("alice", &ID)?.0 == 0) == allowed, "{}", host.host.name());
    }
    at_laptop(&fleet, "alice", &["web-quick", "-H", "db1", "-m", "an ordinary reason"])?.exits(3)?;
    // Through a host's own door only for that host; it says where to type it.
    let said = at_web1(&web1, &["web-shell", "-H", "web2", "-m", "an ordinary reason"])?.exits(3)?;
    ensure!(said.contains("own key"), "{said}");
    at_laptop(&fleet, "alice", &["drop"])?.success()?;
    web1.wait_end("alice")?;
    web2.wait_end("alice")?;
    // One that is away does not hold up the other, and gets the grant when it is back.
    web2.kill_link()?;
    let offline = || fleet.ctl(&["host", "list"]).is_ok_and(|listed| listed.contains("offline"));
    eventually(elevate_tests::PATIENCE, "web2 offline", offline)?;
    let said = at_laptop(&fleet, "alice", &both)?.success()?;
    ensure!(said.contains("active on web1; web2 offline, pending"), "{said}");
    ensure!(web1.sudo("alice", &ID)?.0 == 0 && web2.sudo("alice", &ID)?.0 != 0, "one of two");
    web2.start_link()?;
    web2.wait_connected(&fleet)?;
    ensure!(web2.sudo("alice", &ID)?.0 == 0, "delivered first thing");
    Ok(())
}

#[test]
fn what_is_missing_is_asked_for_at_a_terminal_only() -> Result<()> {
    let (_fleet, web1) = scene()?;
    let mut screen = web1.terminal("alice", &["web-quick"])?;
    screen.expect("Reason")?;
    screen.line("typed at the terminal")?;
    ensure!(screen.wait()?.success(), "{}", screen.screen());
    let shown = at_web1(&web1, &["list"])?.success()?;
    ensure!(shown.contains("typed at the terminal"), "{shown}");
    at_web1(&web1, &["web-shell"])?.exits(2)?;
    Ok(())
}

#[test]
fn h06_a_pinned_daemon_is_not_exchanged_for_another() -> Result<()> {
    let fleet = fleet()?;
    login(&fleet, "alice")?;
    let paste = fleet.ctl(&["person", "invite", "alice", "-q"])?;
    // The same address with another key, as somebody in the middle would like it.
    let other =
        fleet.laptop.run("alice", ["ssh-keygen", "-l", "-f", "/home/alice/.ssh/id_ed25519"])?.success()?;
    let other = other.split_whitespace().nth(1).context("no fingerprint")?.to_owned();
    let known = fleet.laptop.run("alice", ["elevate", "login", paste.trim(), "--format", "json"])?;
    let known = json(known)?;
    let mut forged: Paste = paste.trim().parse()?;
    forged.fingerprint.clone_from(&other);
    let said = at_laptop(&fleet, "alice", &["login", forged.to_line().expose()])?.exits(10)?;
    ensure!(said.contains("another key"), "{said}");
    at_laptop(&fleet, "alice", &["whoami"])?.success()?;

    // And a daemon that shows another key than the pinned one hears nothing.
    let settings = fleet.laptop.run("alice", ["sh", "-c", "grep -rl SHA256: ~/.config"])?.success()?;
    let text = fleet.laptop.read(settings.trim())?;
    let access = elevate_tests::Access::of(2000, 0o600);
    fleet.laptop.write_as(settings.trim(), text.replace(field(&known, "fingerprint")?, &other), access)?;
    at_laptop(&fleet, "alice", &["whoami"])?.exits(10)?;
    eventually(elevate_tests::PATIENCE, "the daemon to go on", || fleet.ctl(&["person", "list"]).is_ok())
}
