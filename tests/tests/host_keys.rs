//! Which host it is: certificates of hosts with the real sshd and ssh, and nobody is asked anything.
//!
//! In: the staged build and the tree. Out: what people type, what they get, and what is refused. Runs as: root, in test hosts.
//! Spec: docs/ssh.md "Which host it is". Threats E02, E19, E20.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, Person, installed_host, shows_certificate, ssh_scene};
use elevate_tests::{Access, Clock, Host, PATIENCE, Ran, Running, eventually};
use serde_json::Value;

const DAY: Duration = Duration::from_secs(24 * 3600);
const CERTIFICATE: &str = "/etc/elevate/trust/ssh/ssh_host_ed25519_key-cert.pub";
const CONFIG: &str = "/home/alice/.ssh/config";
const KNOWN: &str = "/home/alice/.ssh/known_hosts";

/// On a terminal, where a question would be asked; what was on the screen, and the exit code.
fn typed(fleet: &Fleet, words: &[&str]) -> Result<(String, Option<i32>)> {
    let mut terminal = fleet.laptop.tty("alice", words)?;
    let ended = terminal.wait()?;
    Ok((terminal.screen(), ended.code()))
}

fn logs_in(fleet: &Fleet, words: &[&str]) -> Result<()> {
    let (screen, code) = typed(fleet, &[words, &["echo", "in:$USER"]].concat())?;
    ensure!(code == Some(0) && screen.contains("in:deploy"), "{code:?} {screen}");
    ensure!(!screen.contains("authenticity") && !screen.contains("yes/no"), "{screen}");
    Ok(())
}

fn is_refused(fleet: &Fleet, words: &[&str]) -> Result<()> {
    let (screen, code) = typed(fleet, &[words, &["true"]].concat())?;
    ensure!(code == Some(255) && screen.contains("Host key verification failed"), "{code:?} {screen}");
    ensure!(!screen.contains("yes/no"), "{screen}");
    Ok(())
}

const ELEVATE: [&str; 6] = ["elevate", "ssh", "deploy@web1", "-m", "an ordinary reason", "--"];
const PLAIN: [&str; 2] = ["ssh", "deploy@web1"];

/// The lines of `elevate ssh-config`, before what else alice has.
fn configured(fleet: &Fleet, alice: &Person, more: &str) -> Result<()> {
    let lines = alice.elevate(&["ssh-config"])?.success()?;
    fleet.laptop.write("/home/alice/.ssh/elevate_config", &lines)?;
    fleet.laptop.write(CONFIG, format!("Include elevate_config\n{more}"))
}

/// An sshd of somebody else's, with a key that nobody knows.
fn stranger(fleet: &Fleet) -> Result<(Host, Running)> {
    let host = fleet.lab.host("mallory")?;
    let sshd = host.sshd()?;
    Ok((host, sshd))
}

#[test]
fn e20_nobody_is_asked_whether_this_is_the_host_whatever_address_leads_there() -> Result<()> {
    let (fleet, web1, _sshd, alice) = ssh_scene()?;
    fleet.laptop.remove(CONFIG)?;
    logs_in(&fleet, &ELEVATE)?;
    // By an address and a port of the person's own settings, and by their own settings about host keys.
    let other = ["/usr/sbin/sshd", "-D", "-e", "-p", "2222", "-o", "PidFile=none"];
    let second = web1.host.spawn("root", other)?;
    second.expect("Server listening on 0.0.0.0", PATIENCE)?;
    let elsewhere = format!("Host web1\n    HostName {}\n    Port 2222\n", web1.host.address());
    fleet
        .laptop
        .write(CONFIG, format!("{elsewhere}StrictHostKeyChecking ask\nUserKnownHostsFile /dev/null\n"))?;
    logs_in(&fleet, &ELEVATE)?;
    configured(&fleet, &alice, "")?;
    logs_in(&fleet, &PLAIN)?;
    configured(&fleet, &alice, &elsewhere)?;
    logs_in(&fleet, &PLAIN)?;
    ensure!(!fleet.laptop.exists(KNOWN), "nothing is written into the person's own file");
    let events = fleet.events("host.certificate")?;
    let event = &events.first().context("no event")?["details"];
    ensure!(event["names"] == serde_json::json!(["web1"]) && event["serial"] == 1, "{event}");
    Ok(())
}

/// THREATS E19: another host under the name, with a certificate of its own, and somebody's own sshd.
#[test]
fn e19_another_host_in_the_place_of_one_is_refused_without_a_question() -> Result<()> {
    let (fleet, _web1, _sshd, alice) = ssh_scene()?;
    let host = installed_host(&fleet.lab, "web2")?;
    host.add_user("deploy", 2100)?;
    let _sshd2 = host.sshd()?;
    let web2 = Managed::enrol(&fleet, host, &["tier=web"])?;
    shows_certificate(&fleet, "web2")?;
    logs_in(&fleet, &ELEVATE)?;
    let (mallory, _sshd3) = stranger(&fleet)?;
    let leads_to = |host: &Host| format!("Host web1\n    HostName {}\n", host.address());
    for other in [&web2.host, &mallory] {
        fleet.laptop.write(CONFIG, leads_to(other))?;
        is_refused(&fleet, &ELEVATE)?;
        configured(&fleet, &alice, &leads_to(other))?;
        is_refused(&fleet, &PLAIN)?;
    }
    // What the person knows by themself under the name counts: it is their own word.
    let key = mallory.read("/etc/ssh/ssh_host_ed25519_key.pub")?;
    fleet.laptop.write(KNOWN, format!("web1 {key}"))?;
    let (screen, code) = typed(&fleet, &[&PLAIN[..], &["true"]].concat())?;
    ensure!(code == Some(255) && screen.contains("Permission denied"), "the host is believed: {screen}");
    // And does not stand in the way of another key under a certificate.
    configured(&fleet, &alice, "")?;
    logs_in(&fleet, &PLAIN)
}

/// THREATS E19: the machine that was web1 goes on showing what is valid for three weeks, and the name leads to it still.
#[test]
fn e19_a_machine_that_was_replaced_is_refused_and_the_one_in_its_place_is_not() -> Result<()> {
    let (fleet, old, _sshd, alice) = ssh_scene()?;
    configured(&fleet, &alice, "")?;
    // Not by way of these lines: what plain ssh asked for would be enough for ten seconds.
    fleet.laptop.write(CONFIG, "")?;
    logs_in(&fleet, &ELEVATE)?;
    let host = installed_host(&fleet.lab, "spare1")?;
    host.add_user("deploy", 2100)?;
    let _sshd2 = host.sshd()?;
    Managed::accounts(&host)?;
    let new = Managed::enrol_as(&fleet, (host, "web1"), &["tier=web"])?;
    shows_certificate(&fleet, "spare1")?;
    ensure!(old.host.exists(CERTIFICATE), "what it had");
    is_refused(&fleet, &ELEVATE)?;
    fleet.laptop.write(CONFIG, "Include elevate_config\n")?;
    is_refused(&fleet, &PLAIN)?;
    let said = fleet.laptop.run("alice", [&PLAIN[..], &["true"]].concat())?;
    ensure!(said.stderr.contains("revoked by file /home/alice/.config/elevate/revoked_hosts."), "{said}");
    let elsewhere = format!("Host web1\n    HostName {}\n", new.host.address());
    configured(&fleet, &alice, &elsewhere)?;
    logs_in(&fleet, &ELEVATE)?;
    logs_in(&fleet, &PLAIN)?;
    // A machine that comes back by an invitation of its own, with the keys that it had.
    fleet.laptop.write(CONFIG, "")?;
    old.host.run("root", ["elevate-agent", "unenroll", "--no-services"])?;
    drop((old.agent, old.link));
    let _again = Managed::enrol_as(&fleet, (old.host, "web1"), &["tier=web"])?;
    eventually(PATIENCE, "it to be believed", || logs_in(&fleet, &ELEVATE).is_ok())?;
    fleet.laptop.write(CONFIG, elsewhere)?;
    is_refused(&fleet, &ELEVATE)
}

/// THREATS E02: what is for hosts opens no account, and what is for people makes no host.
#[test]
fn e02_a_certificate_of_a_host_is_none_of_a_person_and_the_other_way_round() -> Result<()> {
    let (fleet, web1, _sshd, alice) = ssh_scene()?;
    logs_in(&fleet, &ELEVATE)?;
    alice.elevate(&["cert", "-o", "/home/alice/web"])?.success()?;
    let by = |key: &str, certificate: &str| -> Result<Ran> {
        let certificate = format!("CertificateFile={certificate}");
        let unasked =
            ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes", &certificate];
        let options = unasked.iter().flat_map(|option| ["-o", *option]);
        let words = ["ssh", "-F", "none"].into_iter().chain(options);
        fleet.laptop.run("alice", words.chain(["-i", key, "deploy@web1", "true"]))
    };
    by("/home/alice/web", "/home/alice/web-cert.pub")?.success()?;
    let (key, certificate) = ("/home/alice/host", "/home/alice/host-cert.pub");
    let theirs = Access::of(2000, 0o600);
    fleet.laptop.write_as(key, web1.host.read("/etc/ssh/ssh_host_ed25519_key")?, theirs)?;
    fleet.laptop.write_as(certificate, web1.host.read(CERTIFICATE)?, theirs)?;
    let offered = by(key, certificate)?;
    ensure!(offered.status.code() == Some(255) && offered.stderr.contains("Permission denied"), "{offered}");
    // A person's certificate of the host's own key, in the place of the host's.
    fleet.laptop.write_as(
        "/home/alice/own.pub",
        web1.host.read("/etc/ssh/ssh_host_ed25519_key.pub")?,
        theirs,
    )?;
    alice.elevate(&["cert", "-o", "/home/alice/own-cert.pub", "--key", "/home/alice/own.pub"])?.success()?;
    web1.host.write(CERTIFICATE, fleet.laptop.read("/home/alice/own-cert.pub")?)?;
    fleet.laptop.remove(CONFIG)?;
    // From OpenSSH 9.8 on certificates are read when it starts, or is told.
    web1.host.run("root", ["pkill", "-HUP", "-o", "-x", "sshd"])?.success()?;
    eventually(PATIENCE, "the host to be refused", || is_refused(&fleet, &ELEVATE).is_ok())
}

/// A line of the site's that came after the enrolment: sshd shows one certificate of a key, and the last that it reads is theirs.
#[test]
fn e20_a_certificate_of_the_sites_that_hides_ours_is_told_and_enrolling_leaves_it_to_the_site() -> Result<()>
{
    let (fleet, mut web1, _sshd, _alice) = ssh_scene()?;
    let host = web1.host.clone();
    let root = |words: &[&str]| host.run("root", words);
    fleet.laptop.remove(CONFIG)?;
    logs_in(&fleet, &ELEVATE)?;
    let doctor = || root(&["elevate-agent", "doctor"]);
    ensure!(doctor()?.status.success(), "{}", doctor()?);
    root(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/site"])?.success()?;
    root(&["cp", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/site.pub"])?.success()?;
    root(&["ssh-keygen", "-q", "-s", "/root/site", "-h", "-I", "site", "-n", "web1", "/etc/ssh/site.pub"])?
        .success()?;
    // What sshd reads before ours is hidden by it.
    let first = "/etc/ssh/sshd_config.d/00-site.conf";
    host.write(first, "HostCertificate /etc/ssh/site-cert.pub\n")?;
    root(&["pkill", "-HUP", "-o", "-x", "sshd"])?.success()?;
    eventually(PATIENCE, "the host to be believed", || logs_in(&fleet, &ELEVATE).is_ok())?;
    ensure!(doctor()?.status.success(), "{}", doctor()?);
    host.remove(first)?;
    let main = host.read("/etc/ssh/sshd_config")?;
    host.write("/etc/ssh/sshd_config", format!("{main}\nHostCertificate /etc/ssh/site-cert.pub\n"))?;
    root(&["pkill", "-HUP", "-o", "-x", "sshd"])?.success()?;
    eventually(PATIENCE, "the host to be refused", || is_refused(&fleet, &ELEVATE).is_ok())?;
    let found = doctor()?;
    ensure!(found.stdout.contains("problem  sshd is told of /etc/ssh/site-cert.pub after ours"), "{found}");
    // With its next look, which a new agent begins with.
    web1.kill_agent()?;
    web1.start_agent()?;
    let told = "/etc/ssh/site-cert.pub after ours";
    eventually(PATIENCE, "status to say so", || {
        root(&["elevate-agent", "status"]).is_ok_and(|said| said.stdout.contains(told))
    })?;
    let said = root(&["elevate-agent", "enroll", "--no-services"])?.exits(0)?;
    ensure!(said.contains("Elevate adds none of its own"), "{said}");
    ensure!(!doctor()?.stdout.contains("problem  "), "{}", doctor()?);
    // And back.
    host.write("/etc/ssh/sshd_config", main)?;
    root(&["elevate-agent", "enroll", "--no-services"])?.exits(0)?;
    eventually(PATIENCE, "the host to be believed", || logs_in(&fleet, &ELEVATE).is_ok())
}

#[test]
fn a_certificate_that_is_on_its_way_is_told_from_one_that_does_not_come() -> Result<()> {
    let (_fleet, mut web1, _sshd, _alice) = ssh_scene()?;
    let host = web1.host.clone();
    let said = |what: &str| host.run("root", ["elevate-agent", what]).map(|ran| ran.stdout);
    // As after an enrolment: the agent has begun, and no daemon has said anything yet.
    web1.kill_link()?;
    web1.kill_agent()?;
    host.remove(CERTIFICATE)?;
    web1.start_agent()?;
    eventually(PATIENCE, "status to say so", || {
        said("status").is_ok_and(|said| said.contains("on the way"))
    })?;
    let doctor = said("doctor")?;
    ensure!(doctor.contains(&format!("note     {CERTIFICATE} is on its way")), "{doctor}");
    // As if that had been long ago; an agent that runs writes it down anew.
    web1.kill_agent()?;
    let file = "/run/elevate/status.json";
    let mut status: Value = serde_json::from_str(&host.read(file)?)?;
    let since = status.get_mut("host_certificates_since").context("no such field")?;
    *since = since.as_u64().context("no time")?.saturating_sub(60_000).into();
    host.write_as(file, status.to_string(), Access::root(0o600))?;
    let doctor = said("doctor")?;
    ensure!(doctor.contains(&format!("problem  {CERTIFICATE} is no certificate")), "{doctor}");
    ensure!(said("status")?.contains("NOT ALL CERTIFIED"), "{}", said("status")?);
    web1.start_agent()?;
    web1.start_link()?;
    let doctor = || host.run("root", ["elevate-agent", "doctor"]);
    eventually(PATIENCE, "nothing to be found", || doctor().is_ok_and(|ran| ran.status.success()))
}

/// The three clocks that certificates are looked at by.
fn clocks(fleet: &mut Fleet, web1: &mut Managed) -> Result<[Clock; 3]> {
    let of_daemon = fleet.own_clock()?;
    Ok([of_daemon, web1.own_clock(fleet)?, fleet.laptop.clock()?])
}

fn advance(clocks: &[Clock], days: u32) -> Result<()> {
    clocks.iter().try_for_each(|clock| clock.advance(DAY.saturating_mul(days)))
}

/// A way in of alice's own, which no grant opens.
fn own_way(fleet: &Fleet, web1: &Managed) -> Result<()> {
    web1.host.make_dir("/home/deploy/.ssh", Access::of(2100, 0o700))?;
    let key = fleet.laptop.read("/home/alice/.ssh/id_ed25519.pub")?;
    web1.host.write_as("/home/deploy/.ssh/authorized_keys", key, Access::of(2100, 0o600))
}

/// THREATS E20: plain keys are shown as ever, and nobody who trusts one is locked out.
#[test]
fn e20_a_host_whose_certificate_is_over_is_believed_by_its_plain_key_alone() -> Result<()> {
    let (fleet, mut web1, _sshd, alice) = ssh_scene()?;
    own_way(&fleet, &web1)?;
    configured(&fleet, &alice, "")?;
    logs_in(&fleet, &PLAIN)?;
    web1.kill_link()?;
    let later = [fleet.laptop.clock()?];
    advance(&later, 20)?;
    logs_in(&fleet, &PLAIN)?;
    advance(&later, 2)?;
    is_refused(&fleet, &PLAIN)?;
    let key = web1.host.read("/etc/ssh/ssh_host_ed25519_key.pub")?;
    fleet.laptop.write(KNOWN, format!("web1 {key}"))?;
    logs_in(&fleet, &PLAIN)
}

#[test]
fn a_host_that_was_away_for_more_than_a_week_gets_another_certificate_and_open_connections_go_on()
-> Result<()> {
    let (mut fleet, mut web1, _sshd, alice) = ssh_scene()?;
    let clocks = clocks(&mut fleet, &mut web1)?;
    own_way(&fleet, &web1)?;
    configured(&fleet, &alice, "")?;
    let mut open = fleet.laptop.spawn("alice", ["ssh", "deploy@web1", "echo up; exec sleep 600"])?;
    open.expect("up", PATIENCE)?;
    let first = web1.host.read(CERTIFICATE)?;
    web1.cut_off(&fleet, || advance(&clocks, 6))?;
    logs_in(&fleet, &ELEVATE)?;
    ensure!(web1.host.read(CERTIFICATE)? == first, "it is good for longer");
    web1.cut_off(&fleet, || advance(&clocks, 8))?;
    eventually(
        PATIENCE,
        "another certificate",
        || matches!(web1.host.read(CERTIFICATE), Ok(now) if now != first),
    )?;
    ensure!(fleet.events("host.certificate")?.len() == 2, "one for each");
    logs_in(&fleet, &ELEVATE)?;
    ensure!(open.is_running(), "the connection goes on");
    let status = web1.host.run("root", ["elevate-agent", "status"])?;
    ensure!(status.stdout.contains("1 certified as web1 for 2"), "{status}");
    let found = web1.host.run("root", ["elevate-agent", "doctor"])?;
    ensure!(found.stdout.contains(&format!("ok       {CERTIFICATE}: for web1, 2")), "{found}");
    Ok(())
}

/// The key that signs for hosts changes while people log in, both ways: no login fails.
#[test]
fn the_key_of_hosts_is_rotated_while_people_log_in_and_no_login_fails() -> Result<()> {
    let (mut fleet, mut web1, _sshd, alice) = ssh_scene()?;
    let clocks = clocks(&mut fleet, &mut web1)?;
    configured(&fleet, &alice, "")?;
    alice.elevate(&["web-in", "-H", "web1", "-d", "1h", "-m", "an ordinary reason"])?.success()?;
    let first = web1.host.read(CERTIFICATE)?;
    // Clocks are not moved under a login: one after the other they would not agree.
    let (moving, over) = (RwLock::new(()), AtomicBool::new(false));
    let logins = thread::scope(|scope| -> Result<u32> {
        let login = |words: &'static [&'static str]| {
            let (fleet, moving, over) = (&fleet, &moving, &over);
            scope.spawn(move || -> Result<u32> {
                let mut done = 0_u32;
                // One more after the last.
                let mut last = false;
                while !last {
                    last = over.load(Ordering::SeqCst);
                    let still = moving.read().expect("a login panicked");
                    fleet.laptop.run("alice", [words, &["true"]].concat())?.success()?;
                    drop(still);
                    done = done.saturating_add(1);
                }
                Ok(done)
            })
        };
        let threads = [login(&ELEVATE), login(&PLAIN)];
        let rotated = (|| -> Result<()> {
            fleet.ctl(&["key", "rotate", "ssh-host-ca"])?;
            eventually(
                PATIENCE,
                "the host knows the next key",
                || matches!(fleet.events("key.trusted"), Ok(all) if !all.is_empty()),
            )?;
            ensure!(web1.host.read("/etc/elevate/trust/host_ca")?.lines().count() == 2);
            ensure!(web1.host.read(CERTIFICATE)? == first, "people are to hear of it first");
            let still = moving.write().expect("a login panicked");
            clocks.iter().try_for_each(|clock| clock.advance(Duration::from_secs(21 * 60)))?;
            drop(still);
            eventually(
                PATIENCE,
                "a certificate by the next key",
                || matches!(web1.host.read(CERTIFICATE), Ok(now) if now != first),
            )
        })();
        over.store(true, Ordering::SeqCst);
        let done: Result<Vec<u32>> =
            threads.into_iter().map(|one| one.join().expect("a login panicked")).collect();
        rotated.and(done).map(|done| done.iter().sum())
    })?;
    ensure!(logins >= 4, "{logins}");
    Ok(())
}

/// `unenroll` takes all of it away, and sshd shows its plain key as before.
#[test]
fn unenrol_leaves_the_plain_keys_alone() -> Result<()> {
    let (fleet, web1, _sshd, _alice) = ssh_scene()?;
    web1.host.run("root", ["elevate-agent", "unenroll", "--no-services"])?;
    ensure!(!web1.host.exists("/etc/elevate/trust"), "something stays");
    let shown = |options: &[&str]| -> Result<String> {
        let words = [&["ssh-keyscan", "-T", "5"], options, &["web1"]].concat();
        Ok(fleet.laptop.run("root", words)?.stdout)
    };
    // sshd has been told, and begins anew.
    eventually(PATIENCE, "the plain key", || {
        shown(&[]).is_ok_and(|found| found.contains("web1 ssh-ed25519 "))
    })?;
    ensure!(!shown(&["-c"])?.contains("-cert-v01"), "a certificate is shown");
    Ok(())
}
