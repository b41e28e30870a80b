//! Wrong codes and old factors, through the real programs, with a clock that is moved: locks of doors, and what a factor is worth later.
//!
//! In: the staged build and the tree. Out: each test is one rule. Runs as: root, in test hosts.
//! Spec: docs/architecture.md "The second factor"; threat D02.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, Person};
use elevate_tests::{Tty, eventually};

/// Longer than any delay between wrong codes, shorter than a lock.
const DELAY: Duration = Duration::from_secs(200);
const LOCK: Duration = Duration::from_secs(15 * 60 + 1);

/// Gives wrong codes for as long as they are asked for; what the screen said.
fn guess(person: &Person, mut screen: Tty) -> Result<String> {
    loop {
        let (which, said) = screen.expect_any(&["Code for", "too many wrong codes", "no code was right"])?;
        if which > 0 {
            let status = screen.wait()?;
            ensure!(status.code() == Some(6), "{status}: {said}");
            return Ok(screen.screen());
        }
        screen.line(&person.wrong_code()?)?;
    }
}

/// Guesses until the door is locked; how many codes were looked at.
fn lock(
    fleet: &Fleet,
    person: &Person,
    begin: impl Fn() -> Result<Tty>,
    pause: impl Fn() -> Result<()>,
) -> Result<usize> {
    let before = fleet.events("factor.rejected")?.len();
    for _ in 0..10 {
        let said = guess(person, begin()?)?;
        if said.contains("this door is locked") {
            return Ok(fleet.events("factor.rejected")?.len().saturating_sub(before));
        }
        pause()?;
    }
    Ok(usize::MAX)
}

fn test(person: &Person) -> Result<Tty> {
    person.terminal(&["mfa", "test"])
}

/// What a door that is locked says; no code is asked for.
fn is_locked(mut screen: Tty) -> Result<()> {
    let status = screen.wait()?;
    let said = screen.screen();
    ensure!(status.code() == Some(6) && said.contains("too many wrong codes: this door is locked"), "{said}");
    ensure!(!said.contains("Code for"), "{said}");
    Ok(())
}

fn start(host: &Managed) -> Result<Tty> {
    host.terminal("alice", &["web-root", "-m", "guessing at a door"])
}

#[test]
fn d02_ten_wrong_codes_lock_the_door_for_a_quarter_of_an_hour_and_no_other() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let clock = fleet.own_clock()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let mut alice = fleet.person("alice")?;
    let mut bob = fleet.person("bob")?;
    alice.keeps_time_with(&clock);
    bob.keeps_time_with(&clock);
    // At the tenth the door is locked; the prompt after it is refused.
    let wrong = lock(&fleet, &alice, || test(&alice), || clock.advance(DELAY))?;
    ensure!(wrong == 10, "locked after {wrong}");
    ensure!(fleet.events("factor.locked")?.len() == 1, "{:?}", fleet.events("factor.locked")?);
    is_locked(test(&alice)?)?;
    // A host's door still asks; so does everybody else's own key.
    let mut screen = start(&web1)?;
    screen.expect("Code for")?;
    screen.interrupt()?;
    screen.wait()?;
    bob.elevate_with_code(&["mfa", "test"])?;
    // A restart of the daemon forgets none of it.
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    is_locked(test(&alice)?)?;
    clock.advance(LOCK)?;
    alice.elevate_with_code(&["mfa", "test"])?;
    Ok(())
}

#[test]
fn d02_thirty_wrong_codes_at_three_doors_lock_all_of_them() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let clock = fleet.own_clock()?;
    let mut hosts = Vec::new();
    for name in ["web1", "web2", "web3"] {
        let mut host = fleet.managed(name, &["tier=web"])?;
        let own = host.own_clock(&fleet)?;
        hosts.push((RefCell::new(host), own));
    }
    let mut alice = fleet.person("alice")?;
    alice.keeps_time_with(&clock);
    let all = || {
        clock.advance(DELAY)?;
        hosts.iter().try_for_each(|(_, own)| own.advance(DELAY))
    };
    for (place, (host, _)) in hosts.iter().enumerate() {
        let mut open = test(&alice)?;
        open.expect("Code for")?;
        open.interrupt()?;
        open.wait()?;
        // The clocks go on while the link is away, so that no connection ends in the middle of a guess.
        let pause = || host.borrow_mut().cut_off(&fleet, all);
        host.borrow_mut().cut_off(&fleet, || Ok(()))?;
        let wrong = lock(&fleet, &alice, || start(&host.borrow()), pause)?;
        ensure!(wrong == 10, "host {place} locked after {wrong}");
    }
    // Nobody has given a wrong code with her own key, and that door is locked all the same.
    is_locked(test(&alice)?)?;
    let locked = fleet.events("factor.locked")?;
    ensure!(
        locked.len() == 3 && locked.iter().any(|event| event.to_string().contains("all-doors")),
        "{locked:?}"
    );
    clock.advance(LOCK)?;
    alice.elevate_with_code(&["mfa", "test"])?;
    Ok(())
}

#[test]
fn an_approval_that_comes_after_ten_minutes_finds_the_factor_too_old_and_the_start_asks_again() -> Result<()>
{
    let mut fleet = Fleet::new()?;
    let mut web1 = fleet.managed("web1", &["tier=web"])?;
    let (clock, host) = (fleet.own_clock()?, web1.own_clock(&fleet)?);
    let (mut alice, mut bob) = (fleet.person("alice")?, fleet.person("bob")?);
    alice.keeps_time_with(&clock);
    bob.keeps_time_with(&clock);
    let mut screen = web1.terminal("alice", &["web-ops", "-m", "the approver is at lunch", "--nowait"])?;
    screen.expect("Code for")?;
    screen.line(&alice.code()?)?;
    ensure!(screen.wait()?.code() == Some(4), "{}", screen.screen());
    let later = Duration::from_secs(601);
    web1.cut_off(&fleet, || clock.advance(later).and_then(|()| host.advance(later)))?;
    bob.approve_from("alice")?;
    let id = || -> Result<String> {
        let listed = web1.host.run("alice", ["elevate", "list", "--format", "json"])?.success()?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        let one = &listed["activations"][0];
        ensure!(one["state"] == "approved", "{one}");
        Ok(one["id"].as_str().unwrap_or_default().to_owned())
    };
    let id = id()?;
    ensure!(fleet.events("grant.issued")?.is_empty(), "nothing is in force on a factor that is too old");
    // Without a code nothing starts, and the approval is not lost by that.
    let said = web1.host.run("alice", ["elevate", id.as_str(), "-n"])?.exits(6)?;
    ensure!(said.contains("code"), "{said}");
    let mut screen = web1.terminal("alice", &[id.as_str()])?;
    screen.expect("Code for")?;
    screen.line(&alice.code()?)?;
    ensure!(screen.wait()?.success(), "{}", screen.screen());
    web1.wait_sudo("alice", &["/usr/bin/id", "-u"], true)?;
    eventually(elevate_tests::PATIENCE, "one grant", || {
        fleet.events("grant.issued").is_ok_and(|events| events.len() == 1)
    })
}
