//! The whole way of SSH: a role, a grant, a certificate, stock sshd, the end.
//!
//! In: the staged build and the tree. Out: what people type and what they get. Runs as: root, in test hosts. Spec: docs/ssh.md.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use elevate_tests::fleet::{Fleet, POLICY, Person, WEB_IN, ssh_scene};
use elevate_tests::{PATIENCE, Ran, eventually};
use serde_json::Value;

fn ssh(who: &Person, target: &str, command: &[&str]) -> Result<Ran> {
    who.elevate(&[&["ssh", target, "-m", "an ordinary reason", "--"], command].concat())
}

/// A certificate in a file, and the line that `elevate` says to type, with this command: a shell reads it.
fn certificate(alice: &Person, command: &str) -> Result<[String; 3]> {
    let said = alice.elevate(&["cert", "-o", "/home/alice/web"])?;
    ensure!(said.status.success(), "{said}");
    let line =
        said.stderr.lines().find_map(|line| line.strip_prefix("Use: ")).context("no word on its use")?;
    Ok(["sh".into(), "-c".into(), format!("exec {line} {command}")])
}

#[test]
fn one_command_asks_for_the_grant_gets_the_certificate_and_logs_in() -> Result<()> {
    let (fleet, web1, _sshd, alice) = ssh_scene()?;
    let first = ssh(&alice, "deploy@web1", &["id", "-un"])?;
    ensure!(first.status.success() && first.stdout.trim() == "deploy", "{first}");
    // sudo does not offer what is not for it.
    let offered = web1.host.read("/run/elevate/offers.json")?;
    ensure!(offered.contains("web-ops") && !offered.contains("web-in"), "{offered}");
    // The grant that is there is used again; the status is the command's; without an account it is the role's first.
    let again = ssh(&alice, "web1", &["exit", "7"])?;
    ensure!(again.status.code() == Some(7), "{again}");
    let counts = |code: &str| fleet.events(code).map(|events| events.len());
    ensure!(
        (counts("request.created")?, counts("ssh.certificate")?) == (1, 2),
        "one grant, two certificates"
    );
    let other = ssh(&alice, "root@web1", &["true"])?;
    ensure!(
        other.status.code() == Some(125) && other.stderr.contains("does not open the account root"),
        "{other}"
    );
    let bob = fleet.person("bob")?;
    let nobody = ssh(&bob, "deploy@web1", &["true"])?;
    let said = "no role of yours logs in to web1 as deploy";
    ensure!(nobody.status.code() == Some(125) && nobody.stderr.contains(said), "{nobody}");
    let nowhere = ssh(&alice, "deploy@nowhere", &["true"])?;
    let said = "no host nowhere that you may ask for\nhint:  elevate list --eligible";
    ensure!(nowhere.status.code() == Some(125) && nowhere.stderr.contains(said), "{nowhere}");
    ensure!(counts("ssh.certificate")? == 2, "nobody else got one");
    Ok(())
}

/// THREATS E07: the certificate outlives its grant by minutes, and opens nothing any more.
#[test]
fn e07_a_certificate_in_a_file_opens_the_account_until_its_grant_ends() -> Result<()> {
    let (fleet, _web1, _sshd, alice) = ssh_scene()?;
    alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    let line = certificate(&alice, "id -un")?;
    let login = || fleet.laptop.run("alice", &line);
    ensure!(login()?.success()?.trim() == "deploy", "the grant is in force");
    alice.elevate(&["drop", "--all"])?.success()?;
    eventually(
        PATIENCE,
        "the account is closed",
        || matches!(login(), Ok(ran) if ran.status.code() == Some(255) && ran.stderr.contains("Permission denied")),
    )?;
    // Who showed it is known, and a certificate that is shown again and again is told of once in a minute.
    eventually(
        PATIENCE,
        "it is told",
        || matches!(fleet.events("host.ssh-refused"), Ok(events) if !events.is_empty()),
    )?;
    login()?;
    login()?;
    let (refused, issued) = (fleet.events("host.ssh-refused")?, fleet.events("ssh.certificate")?);
    let (refused, issued) = (refused.as_slice(), issued.first().context("no certificate")?);
    let [refused] = refused else { bail!("{refused:?}") };
    ensure!(refused["activation"] == issued["activation"] && refused["person"] == "alice", "{refused}");
    ensure!(refused["details"]["login"] == "deploy", "{refused}");
    Ok(())
}

/// THREATS X-m, F12: whoever takes the grant, what was opened under it is closed, and both are in the log.
#[test]
fn f12_whichever_way_a_grant_ends_its_connection_is_closed_and_told() -> Result<()> {
    let (fleet, _web1, _sshd, alice) = ssh_scene()?;
    let drop_it = || alice.elevate(&["drop", "--all"])?.success();
    let revoke = || fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough"]);
    let lock = || fleet.ctl(&["lock", "--person", "alice", "-m", "a laptop is gone"]);
    let ways: [(&dyn Fn() -> Result<String>, &str); 3] =
        [(&drop_it, "dropped"), (&revoke, "revoked"), (&lock, "revoked")];
    for (count, (way, cause)) in ways.into_iter().enumerate() {
        alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
        let ssh = certificate(&alice, "'echo up; exec sleep 600'")?;
        let mut open = fleet.laptop.spawn("alice", ssh)?;
        open.expect("up", PATIENCE)?;
        let begin = Instant::now();
        way()?;
        open.wait(Duration::from_secs(5).saturating_sub(begin.elapsed()))?;
        eventually(
            PATIENCE,
            "the end is told",
            || matches!(fleet.events("host.ssh-logout"), Ok(events) if events.len() > count),
        )?;
        let (logins, logouts) = (fleet.events("host.ssh-login")?, fleet.events("host.ssh-logout")?);
        let (login, logout) = (logins.get(count).context("no login")?, logouts.get(count).context("no end")?);
        ensure!(login["details"]["connection"] == logout["details"]["connection"], "{login} {logout}");
        ensure!(
            login["activation"] == logout["activation"] && login["person"] == "alice",
            "{login} {logout}"
        );
        ensure!(logout["details"]["end"]["grant"]["cause"] == cause, "{logout}");
        let certificates = fleet.events("ssh.certificate")?;
        let certificate = &certificates.get(count).context("no certificate")?["details"];
        for field in ["serial", "fingerprint"] {
            ensure!(login["details"]["connection"][field] == certificate[field], "{login} {certificate}");
        }
    }
    Ok(())
}

/// What `ssh-keygen -L` says of a file on the laptop.
fn read(fleet: &Fleet, file: &str) -> Result<String> {
    fleet.laptop.run("alice", ["ssh-keygen", "-L", "-f", file])?.success()
}

#[test]
fn a_certificate_under_a_grant_is_read_by_ssh_keygen_and_without_one_there_is_none() -> Result<()> {
    let (fleet, web1, _sshd, alice) = ssh_scene()?;
    let none = alice.elevate(&["cert", "-o", "/home/alice/web", "web-in"])?.exits(7)?;
    ensure!(none.contains("no grant of yours opens SSH there") && none.contains("elevate web-in"), "{none}");
    ensure!(fleet.laptop.run("alice", ["ls", "/home/alice/web"])?.status.code() == Some(2), "a key was left");

    alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    let said = alice.elevate(&["cert", "-o", "/home/alice/web", "web-in"])?;
    ensure!(
        said.status.success() && said.stderr.contains("Use: ssh -i /home/alice/web -o HostKeyAlias=web1 "),
        "{said}"
    );
    ensure!(said.stdout.contains("(web-in) opens deploy on web1 until "), "{said}");
    let shown = read(&fleet, "/home/alice/web-cert.pub")?;
    let modes = fleet.laptop.run("alice", ["stat", "-c", "%a", "/home/alice/web"])?.success()?;
    ensure!(modes.trim() == "600", "{modes}");

    // The same key again, as a program reads it.
    let json = alice.elevate(&["cert", "-o", "/home/alice/web", "--format", "json"])?.success()?;
    let value: Value = serde_json::from_str(&json)?;
    let id = value["id"].as_str().and_then(|id| id.strip_prefix("G-")).context("no id")?.to_owned();
    ensure!(value["schema"] == "elevate.certificate/1" && value["serial"] == 2, "{value}");
    for line in [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate",
        &format!("Key ID: \"{id}\""),
        "Serial: 1",
        &format!("elevate:{id}"),
        "permit-pty",
    ] {
        ensure!(shown.lines().any(|one| one.trim() == line), "no {line:?}: {shown}");
    }
    ensure!(!shown.contains("forwarding") && !shown.contains("user-rc"), "{shown}");
    let events = fleet.events("ssh.certificate")?;
    ensure!(events.len() == 2, "{events:?}");
    for (event, serial) in events.iter().zip([1, 2]) {
        ensure!(event["details"]["serial"] == serial && event["activation"] == id.as_str(), "{event}");
        ensure!(event["details"]["fingerprint"] == value["fingerprint"], "{event}");
        ensure!(event["door"]["key"].is_object() && event["person"] == "alice", "{event}");
    }

    // A key of one's own; a weak one; through a host; after the end.
    let keygen = |kind: [&str; 4], file: &str| {
        let words = ["ssh-keygen", "-q", "-N", "", "-f", file].into_iter().chain(kind);
        fleet.laptop.run("alice", words)?.success()
    };
    keygen(["-t", "ecdsa", "-b", "384"], "/home/alice/own")?;
    let own = ["cert", "-o", "/home/alice/own-cert.pub", "--key", "/home/alice/own.pub", "web-in"];
    let said = alice.elevate(&own)?;
    ensure!(said.status.success(), "{said}");
    let line =
        said.stderr.lines().find_map(|line| line.strip_prefix("Use: ")).context("no word on its use")?;
    let login = fleet.laptop.run("alice", ["sh", "-c", &format!("exec {line} id -un")])?;
    ensure!(login.stdout.trim() == "deploy", "{line}: {login}");
    ensure!(read(&fleet, "/home/alice/own-cert.pub")?.contains("ecdsa-sha2-nistp384-cert-v01@openssh.com"));
    keygen(["-t", "rsa", "-b", "2048"], "/home/alice/weak")?;
    let weak =
        alice.elevate(&["cert", "-o", "/home/alice/weak-cert.pub", "--key", "/home/alice/weak.pub"])?;
    let weak = weak.exits(2)?;
    ensure!(weak.contains("this RSA key has 2048 bits, at least 3072 are needed"), "{weak}");
    let here = web1.host.run("alice", ["elevate", "cert", "-o", "/home/alice/web"])?.exits(3)?;
    ensure!(here.contains("elevate cert -o FILE"), "{here}");
    alice.elevate(&["drop", "--all"])?.success()?;
    alice.elevate(&["cert", "-o", "/home/alice/web", &format!("G-{id}")])?.exits(7)?;
    ensure!(fleet.events("ssh.certificate")?.len() == 3, "the one for the own key was the last");
    Ok(())
}

/// Threat E15: where sshd does not ask us, nobody types a code for nothing.
#[test]
fn e15_a_role_with_logins_is_refused_on_a_host_whose_sshd_does_not_ask() -> Result<()> {
    let fleet = Fleet::with_policy(&format!("{POLICY}{WEB_IN}"))?;
    let _web2 = fleet.managed("web2", &["tier=web"])?;
    let alice = fleet.person("alice")?;
    let said = alice.elevate(&["web-in", "-H", "web2", "-m", "an ordinary reason"])?;
    ensure!(!said.status.success() && said.stderr.contains("20-elevate.conf is not there"), "{said}");
    ensure!(fleet.events("grant.issued")?.is_empty(), "nothing was granted");
    Ok(())
}

/// The key that signs certificates changes again and again while people log in, and then without an overlap: no login fails.
#[test]
fn the_key_that_signs_is_rotated_while_people_log_in_and_no_login_fails() -> Result<()> {
    let (fleet, web1, _sshd, alice) = ssh_scene()?;
    alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    let told = |code: &str, many: usize| {
        eventually(PATIENCE, code, || matches!(fleet.events(code), Ok(all) if all.len() >= many))
    };
    let rotations = AtomicU32::new(0);
    let logins = thread::scope(|scope| -> Result<u32> {
        let logins = [1, 2].map(|_| {
            scope.spawn(|| -> Result<u32> {
                let mut done = 0_u32;
                // One more after the last of them.
                let mut last = false;
                while !last {
                    last = rotations.load(Ordering::SeqCst) == 2;
                    ssh(&alice, "deploy@web1", &["true"])?.success()?;
                    done = done.saturating_add(1);
                }
                Ok(done)
            })
        });
        for round in 1..=2 {
            fleet.ctl(&["key", "rotate", "ssh-user-ca"])?;
            told("key.trusted", round)?;
            rotations.fetch_add(1, Ordering::SeqCst);
        }
        let done: Result<Vec<u32>> =
            logins.into_iter().map(|one| one.join().expect("a login panicked")).collect();
        Ok(done?.iter().sum())
    })?;
    ensure!(logins >= 4, "{logins}");
    ensure!(web1.host.read("/etc/elevate/trust/user_ca")?.lines().count() == 3);
    let before = certificate(&alice, "true")?;
    fleet.ctl(&["key", "rotate", "ssh-user-ca", "--overlap", "1s"])?;
    told("key.trusted", 4)?;
    ensure!(fleet.events("key.over")?.len() == 1);
    // The key before is not trusted, those before it are: their time is not over.
    let before = fleet.laptop.run("alice", before)?;
    ensure!(before.status.code() == Some(255) && before.stderr.contains("Permission denied"), "{before}");
    ssh(&alice, "deploy@web1", &["true"])?.success()?;
    Ok(())
}

/// Threat E15: a site whose sshd takes no certificate that an ECDSA key has signed, as hardening guides have it.
#[test]
fn e15_an_sshd_that_does_not_take_what_the_key_signs_is_known_before_anybody_types_a_code() -> Result<()> {
    let (fleet, web1, sshd, alice) = ssh_scene()?;
    alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?.success()?;
    let login = certificate(&alice, "true")?;
    fleet.laptop.run("alice", &login)?.success()?;
    let strict = "/etc/ssh/sshd_config.d/hardened.conf";
    web1.host.write(strict, "CASignatureAlgorithms ssh-ed25519,rsa-sha2-512,rsa-sha2-256\n")?;
    web1.host.run("root", ["pkill", "-HUP", "-o", "-x", "sshd"])?.success()?;
    eventually(PATIENCE, "sshd's own refusal", || {
        fleet.laptop.run("alice", &login).is_ok_and(|ran| ran.status.code() == Some(255))
            && sshd.log().contains("certificate signature algorithm ecdsa-sha2-nistp256")
    })?;
    alice.elevate(&["drop", "--all"])?.success()?;
    let said = "hardened.conf:1: by this line sshd takes no certificate signed by ecdsa-sha2-nistp256; add that there, or for all hosts: \
                elevatectl key rotate ssh-user-ca --type ed25519";
    let refused = alice.elevate(&["web-in", "-H", "web1", "-m", "an ordinary reason"])?;
    ensure!(!refused.status.success() && refused.stderr.contains(said), "{refused}");
    let doctor = web1.host.run("root", ["elevate-agent", "doctor"])?;
    let problem = format!("problem  /etc/ssh/sshd_config.d/{said}");
    ensure!(doctor.status.code() == Some(1) && doctor.stdout.contains(&problem), "{doctor}");
    ensure!(fleet.events("grant.issued")?.len() == 1, "nothing else was granted");
    fleet.ctl(&["key", "rotate", "ssh-user-ca", "--type", "ed25519"])?;
    eventually(
        PATIENCE,
        "a login",
        || matches!(ssh(&alice, "deploy@web1", &["true"]), Ok(ran) if ran.status.success()),
    )
}

/// A host that is managed may be where somebody works: what is asked there of other hosts goes by the person's own key.
#[test]
fn from_a_managed_host_one_logs_in_to_another_one() -> Result<()> {
    let (fleet, _web1, _sshd, alice) = ssh_scene()?;
    let jump = fleet.managed("db1", &["tier=db"])?;
    let home = fleet.laptop.run("root", ["sh", "-c", "tar -C /home/alice -c . | base64"])?.success()?;
    jump.host.write("/root/home", home)?;
    jump.host.run("root", ["sh", "-c", "base64 -d < /root/home | tar -C /home/alice -x"])?.success()?;
    let login = ["elevate", "ssh", "deploy@web1", "-m", "an ordinary reason", "--", "id", "-un"];
    let said = jump.host.run("alice", login)?;
    ensure!(said.status.success() && said.stdout.trim() == "deploy", "{said}");
    // So what the role of another host wants to know is asked for.
    alice.elevate(&["drop", "--all"])?.success()?;
    let mut screen = jump.host.tty("alice", ["elevate", "web-in", "-H", "web1"])?;
    screen.expect("Reason")?;
    screen.line("an ordinary reason")?;
    ensure!(screen.wait()?.success(), "{}", screen.screen());
    Ok(())
}
