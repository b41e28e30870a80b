//! What an attacker does with an account on a host, a key of their own, or somebody's code. Names begin with THREATS ids.
//!
//! In: the staged build and the tree. Out: each test is one attack that comes to nothing. Runs as: root, in test hosts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_protocol::frame::encode;
use elevate_tests::fleet::{Fleet, Managed, Person};
use elevate_tests::{Access, PATIENCE, Ran, Running, Tty, eventually, places};
use serde_json::{Value, json};

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
const SOCKET: &str = "/run/elevate/agent.sock";
const SPEAKER: &str = "/usr/local/bin/testbed";

fn scene() -> Result<(Fleet, Managed)> {
    let fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    web1.host.install(places::program("testbed")?, SPEAKER, Access::root(0o755))?;
    Ok((fleet, web1))
}

fn quick(web1: &Managed) -> Result<()> {
    web1.host.run("alice", ["elevate", "web-quick", "-m", "an ordinary reason"])?.success().map(drop)
}

fn frames(messages: &[Value]) -> Result<Vec<u8>> {
    let frames = messages.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    Ok(frames.concat())
}

fn hello() -> Value {
    json!({"hello": {"versions": {"lowest": 1, "highest": 1}}})
}

/// Raw bytes at the agent's socket, as a person of the host, who then waits for the agent to hang up.
fn speak(web1: &Managed, login: &str, bytes: Vec<u8>) -> Result<Ran> {
    web1.host
        .cmd(login, [SPEAKER, "speak", "--socket", SOCKET])
        .input(bytes)
        .limit(Duration::from_secs(60))
        .run()
}

/// Resident memory of a process in kB (proc(5), status).
fn resident(running: &Running) -> Result<u64> {
    // The handle's pid is the launcher's child: the program itself, as the machine counts.
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid()))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

#[test]
fn b02_who_speaks_is_what_the_kernel_says() -> Result<()> {
    let (fleet, web1) = scene()?;
    quick(&web1)?;
    let nonce = "0".repeat(26);
    let asks = [
        json!({"ask": {"request": {"role": "web-quick", "hosts": [], "duration": null, "reason": "I am alice",
            "ticket": null, "wait": false, "person": "alice"}}}),
        json!({"ask": {"request": {"role": "web-quick", "hosts": [], "duration": null, "reason": "I am alice",
            "ticket": null, "wait": false}}}),
        json!({"ask": {"drop": {"id": null, "all": true}}}),
        json!({"ask": {"extend": {"id": null, "by": 60, "reason": null}}}),
        json!({"ask": {"admin": "person-list"}}),
        json!({"ask": {"factor-add": {"invitation": "AAAA"}}}),
        json!({"answer": {"challenge": nonce, "code": "000000"}}),
        json!({"confirm": {"challenge": nonce, "passed": true}}),
        json!({"use": {"login": "alice", "uid": 2000}}),
    ];
    for ask in asks {
        let said = speak(&web1, "mallory", frames(&[hello(), ask.clone()])?)?;
        ensure!(!said.stdout.contains("\"done\""), "{ask}: {said}");
    }
    // alice's own words, with parts that are only the agent's or the daemon's to say.
    for word in [
        json!({"confirm": {"challenge": nonce, "passed": true}}),
        json!({"answer": {"challenge": nonce, "code": "000000"}}),
        json!({"ask": {"approve": {"id": "R-7K2M", "reason": null}}}),
    ] {
        let said = speak(&web1, "alice", frames(&[hello(), word.clone()])?)?;
        ensure!(!said.stdout.contains("\"done\""), "{word}: {said}");
    }
    ensure!(web1.sudo("mallory", &["id"])?.0 == 1, "mallory has nothing");
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "alice has what she had");
    ensure!(fleet.events("grant.issued")?.len() == 1 && fleet.events("grant.ended")?.is_empty(), "no more");
    Ok(())
}

#[test]
fn b06_frames_that_are_none_cost_nothing_and_disturb_nobody() -> Result<()> {
    let (_fleet, web1) = scene()?;
    quick(&web1)?;
    let agent = web1.agent.as_ref().context("no agent")?;
    let before = resident(agent)?;
    let long = |body: Vec<u8>| -> Result<Vec<u8>> {
        let mut frame = u32::try_from(body.len())?.to_be_bytes().to_vec();
        frame.extend(body);
        Ok(frame)
    };
    let mut deep = vec![b'['; 100_000];
    deep.extend(vec![b']'; 100_000]);
    let mut tiny = frames(&[hello()])?;
    tiny.extend([0, 0, 0, 1, b' '].repeat(200_000));
    let mut claimed = 0xFFFF_FFFF_u32.to_be_bytes().to_vec();
    claimed.extend(vec![b'x'; 10_000_000]);
    let cases = [
        ("length 2^32-1 and ten megabytes", claimed),
        ("length 0", vec![0; 4]),
        ("half a frame", vec![0, 0, 1, 0, b'{']),
        ("half a length", vec![0, 0]),
        ("200000 tiny frames", tiny),
        ("deep", long(deep)?),
        ("a field twice", long(br#"{"hello":{"versions":{"lowest":1,"highest":1,"lowest":1}}}"#.to_vec())?),
        ("no number", long(br#"{"hello":{"versions":{"lowest":NaN,"highest":1}}}"#.to_vec())?),
        ("no UTF-8", long(vec![0xFF; 100])?),
        ("unknown", long(br#"{"hello":{"versions":{"lowest":1,"highest":1},"uid":0}}"#.to_vec())?),
        ("hello twice", frames(&[hello(), hello()])?),
        ("nothing", Vec::new()),
    ];
    // Those that are only half there are waited for: three at a time, as many as one person gets.
    let mut cases = cases.into_iter().peekable();
    while cases.peek().is_some() {
        let some: Vec<_> = cases.by_ref().take(3).collect();
        let attempt = |(case, bytes)| -> Result<()> {
            let said = speak(&web1, "mallory", bytes)?;
            ensure!(said.stdout.contains("CLOSED"), "{case}: {said}");
            ensure!(!said.stdout.contains("\"done\""), "{case}: {said}");
            Ok(())
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = some.into_iter().map(|one| scope.spawn(|| attempt(one))).collect();
            running
                .into_iter()
                .try_for_each(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panic"))))
        })?;
    }
    web1.host.run("alice", ["elevate", "status"])?.success()?;
    let after = resident(agent)?;
    ensure!(after <= before + 8 * 1024, "{before} kB before, {after} kB after");
    Ok(())
}

#[test]
fn b07_a_thousand_connections_of_one_person_leave_room_for_another() -> Result<()> {
    let (_fleet, web1) = scene()?;
    let crowd =
        web1.host.cmd("mallory", [SPEAKER, "speak", "--socket", SOCKET, "--times", "1000"]).spawn()?;
    crowd.expect("SPOKEN", PATIENCE)?;
    quick(&web1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "alice works while they are open");
    // And the same with each of them asking.
    let ask = frames(&[hello(), json!({"ask": "overview"})])?;
    let many = [SPEAKER, "speak", "--socket", SOCKET, "--times", "1000"];
    let said = web1.host.cmd("mallory", many).input(ask).limit(Duration::from_secs(60)).run()?;
    ensure!(!said.stdout.contains("web-quick"), "{said}");
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    web1.wait_end("alice")
}

/// A terminal at which the code for `web-ops` is asked for.
fn asked(web1: &Managed) -> Result<Tty> {
    let mut screen = web1.terminal("alice", &["web-ops", "--nowait", "-m", "an ordinary reason"])?;
    screen.expect("Code for")?;
    Ok(screen)
}

fn wrong_code(person: &Person) -> String {
    let last = person.last_code();
    if last == "000000" { "111111".to_owned() } else { "000000".to_owned() }
}

#[test]
fn d01_a_code_works_once_whatever_the_door() -> Result<()> {
    let (fleet, web1) = scene()?;
    let mut alice = fleet.person("alice")?;
    // Used by `mfa add` already: refused through both doors.
    let used = alice.last_code();
    let mut screen = asked(&web1)?;
    screen.line(&used)?;
    let (again, said) = screen.expect_any(&["used", "wrong", "right"])?;
    ensure!(again < 2, "{said}");
    let fresh = alice.code()?;
    screen.expect("Code")?;
    screen.line(&fresh)?;
    ensure!(screen.wait()?.code() == Some(4), "{}", screen.screen());
    // The same code at door 2, with spaces as people type them as well.
    for code in [fresh.clone(), format!("{} {}", &fresh[..3], &fresh[3..])] {
        let mut test = alice.terminal(&["mfa", "test"])?;
        test.expect("Code for")?;
        test.line(&code)?;
        test.expect("Code for")?;
        test.interrupt()?;
        ensure!(!test.wait()?.success(), "{}", test.screen());
    }
    Ok(())
}

#[test]
fn d02_wrong_codes_at_one_door_leave_the_other_open() -> Result<()> {
    let (fleet, web1) = scene()?;
    let mut alice = fleet.person("alice")?;
    let wrong = wrong_code(&alice);
    // Three codes for a challenge, five before the door makes one wait.
    let mut said = String::new();
    for _ in 0..2 {
        let mut screen = asked(&web1)?;
        for _ in 0..3 {
            screen.line(&wrong)?;
            if screen.expect_any(&["Code for", "error:"])?.0 == 1 {
                break;
            }
        }
        ensure!(screen.wait()?.code() == Some(6), "{}", screen.screen());
        said.push_str(&screen.screen());
    }
    ensure!(said.contains("too many wrong codes"), "the door makes one wait: {said}");
    let mut screen = web1.terminal("alice", &["web-ops", "--nowait", "-m", "an ordinary reason"])?;
    let now = screen.expect("too many wrong codes")?;
    ensure!(screen.wait()?.code() == Some(6), "not even a right code would be looked at: {now}");
    ensure!(!now.contains("Code for"), "so none is asked for: {now}");
    let listed = alice.elevate(&["mfa", "list", "--format", "json"])?.success()?;
    ensure!(listed.contains("totp"), "{listed}");
    let said = alice.elevate_with_code(&["mfa", "test"])?;
    ensure!(said.contains("right"), "the other door: {said}");
    ensure!(!fleet.events("factor.rejected")?.is_empty(), "it was told");
    ensure!(fleet.events("request.created")?.is_empty(), "nothing was asked");
    Ok(())
}

#[test]
fn d06_nothing_starts_without_the_code() -> Result<()> {
    let (fleet, web1) = scene()?;
    let _alice = fleet.person("alice")?;
    let ask = json!({"ask": {"request": {"role": "web-root", "hosts": [], "duration": null,
        "reason": "without a code", "ticket": null, "wait": false, "dry_run": false}}});
    let nonce = "0".repeat(26);
    for more in [
        json!({"confirm": {"challenge": nonce, "passed": true}}),
        json!({"answer": {"challenge": nonce, "code": "000000"}}),
        json!({"input": {"text": ""}}),
        json!("leave"),
    ] {
        let said = speak(&web1, "alice", frames(&[hello(), ask.clone(), more.clone()])?)?;
        ensure!(!said.stdout.contains("\"done\""), "{more}: {said}");
    }
    web1.host.run("alice", ["elevate", "web-root", "-n", "-m", "without a code"])?.exits(6)?;
    let mut screen = web1.terminal("alice", &["web-root", "-m", "without a code"])?;
    screen.expect("Code for")?;
    screen.interrupt()?;
    ensure!(screen.wait()?.code() == Some(6), "{}", screen.screen());
    ensure!(fleet.events("grant.issued")?.is_empty(), "nothing was issued");
    ensure!(web1.sudo("alice", &["id"])?.0 == 1, "no right");
    Ok(())
}

#[test]
fn h05_the_real_ssh_gets_in_with_a_key_of_the_policy_only() -> Result<()> {
    let fleet = Fleet::new()?;
    let ssh = |who: &str, user: &str, more: &[&str]| {
        let common = [
            "ssh",
            "-p",
            "7022",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-l",
            user,
        ];
        fleet.laptop.run(who, common.into_iter().chain(more.iter().copied()))
    };
    // mallory's key is in no policy, whatever name she gives.
    for user in ["mallory", "alice", "root", "elevate-agent", "elevate", "%d.x"] {
        let said = ssh("mallory", user, &["-s", "vault1", "elevate"])?.exits(255)?;
        ensure!(said.contains("Permission denied"), "{user}: {said}");
    }
    // alice's key is alice under any name, and gives a subsystem, never a shell, a command or a tunnel.
    let said = ssh("alice", "root", &["vault1", "id"])?;
    ensure!(!said.status.success() && !said.stdout.contains("uid="), "{said}");
    let said = ssh("alice", "alice", &["-s", "vault1", "sftp"])?;
    ensure!(!said.status.success(), "{said}");
    let said = ssh("alice", "alice", &["-W", "localhost:22", "vault1"])?;
    ensure!(!said.status.success(), "{said}");
    let said = ssh("alice", "elevate-agent", &["-s", "vault1", "elevate-agent"])?;
    ensure!(!said.status.success() && said.stdout.is_empty(), "a person is no host: {said}");
    // No other way in than a key.
    for method in ["password", "keyboard-interactive", "hostbased", "none"] {
        let preferred = format!("PreferredAuthentications={method}");
        let said = ssh("alice", "alice", &["-o", &preferred, "-s", "vault1", "elevate"])?.exits(255)?;
        ensure!(said.contains("Permission denied"), "{method}: {said}");
    }
    ensure!(fleet.daemon.is_some() && fleet.ctl(&["person", "list"])?.contains("alice"), "it goes on");
    Ok(())
}

#[test]
fn b14_a_hostile_environment_changes_nothing() -> Result<()> {
    let (_fleet, web1) = scene()?;
    web1.host.write_as("/tmp/sudo", "#!/bin/sh\necho stolen\n", Access::of(2000, 0o755))?;
    let hostile = [
        ("PATH", "/tmp"),
        ("LD_PRELOAD", "/tmp/none.so"),
        ("GCONV_PATH", "/tmp"),
        ("TZ", "../../../../etc/shadow"),
        ("TZ", "UTC+12"),
        ("LANG", "../../tmp"),
        ("IFS", "e"),
        ("HOME", "/nonexistent"),
        ("ELEVATE_SOCKET", "/tmp/agent.sock"),
        ("RUST_LOG", "trace"),
        ("SSL_KEYLOGFILE", "/tmp/keys"),
        ("SUDO_USER", "root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("TERM", "\u{1b}]0;x\u{7}"),
    ];
    for (key, value) in hostile {
        let run = ["/usr/bin/elevate", "run", "web-quick", "-m", "an ordinary reason", "--", ID[0], ID[1]];
        let ran = web1.host.cmd("alice", run).env(key, value).run()?;
        ensure!(ran.status.success() && ran.stdout == "0\n", "{key}={value}: {ran}");
        ensure!(!ran.stderr.contains("panicked"), "{key}={value}: {ran}");
        let refused = web1.host.cmd("mallory", ["/usr/bin/sudo", "-n", "id"]).env(key, value).run()?;
        ensure!(!refused.status.success(), "{key}={value}: {refused}");
        let refused = web1.host.cmd("mallory", ["/usr/bin/elevate", "list"]).env(key, value).run()?;
        ensure!(!refused.status.success() || !refused.stdout.contains("web-"), "{key}={value}: {refused}");
    }
    // Another daemon cannot be chosen, only one that was pinned.
    let list =
        web1.host.cmd("alice", ["/usr/bin/elevate", "list"]).env("ELEVATE_SERVER", "laptop:7022").run()?;
    ensure!(!list.status.success() && list.stderr.contains("no daemon that you know"), "{list}");
    ensure!(!web1.host.exists("/tmp/keys"), "no key log");
    Ok(())
}

#[test]
fn b01_nobody_else_can_listen_or_write_where_the_agent_does() -> Result<()> {
    let (_fleet, mut web1) = scene()?;
    // The agent is gone and its folder cannot be written by mallory.
    web1.kill_agent()?;
    let said = web1.host.run(
        "mallory",
        ["sh", "-c", "rm -f /run/elevate/agent.sock; ln -s /tmp/x /run/elevate/agent.sock"],
    )?;
    ensure!(!said.status.success(), "{said}");
    let said = web1.host.run(
        "mallory",
        ["sh", "-c", "echo '#2003 ALL=(ALL) NOPASSWD: ALL' > /run/elevate/sudoers.d/u2003"],
    )?;
    ensure!(!said.status.success(), "{said}");
    web1.host.run("alice", ["elevate", "list"])?.exits(9)?;
    Ok(())
}

#[test]
fn c13_an_approval_is_for_one_request() -> Result<()> {
    let (fleet, web1) = scene()?;
    let mut alice = fleet.person("alice")?;
    let mut bob = fleet.person("bob")?;
    let mut screen = asked(&web1)?;
    screen.line(&alice.code()?)?;
    ensure!(screen.wait()?.code() == Some(4), "{}", screen.screen());
    let first = bob.to_review("alice")?;
    web1.host.run("alice", ["elevate", "cancel", &first])?.success()?;
    let mut screen = asked(&web1)?;
    screen.line(&alice.code()?)?;
    ensure!(screen.wait()?.code() == Some(4), "{}", screen.screen());
    let second = bob.to_review("alice")?;
    ensure!(first != second, "another request");
    bob.elevate(&["approve", &first, "-n"])?.exits(7)?;
    bob.elevate_with_code(&["approve", &second])?;
    web1.wait_sudo("alice", &ID, true)?;
    // Said again, nothing happens a second time.
    bob.elevate(&["approve", &second, "-n"])?.exits(7)?;
    bob.elevate(&["deny", &second, "-n", "-m", "too late for that"])?.exits(7)?;
    ensure!(fleet.events("request.approved")?.len() == 1, "one approval");
    ensure!(fleet.events("grant.issued")?.len() == 1, "one grant");
    eventually(PATIENCE, "the host in sync", || web1.wait_connected(&fleet).is_ok())
}
