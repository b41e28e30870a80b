//! sshd's list of revoked certificates on a host: there before sshd is told of it, whole whatever happens, and gone after it.
//!
//! In: grants that end, ssh-keygen and a disk that fail. Out: what OpenSSH reads in the list, and whom sshd lets in. Threats X-l, E07.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_protocol::message::agent::{Claim, Report};
use elevate_tests::{Access, PATIENCE, eventually};

use super::site::{Site, end, grant, id};
use super::{DEPLOY, OURS};

const LIST: &str = "/etc/ssh/elevate/revoked";
const KEYGEN: &str = "/usr/bin/ssh-keygen";

/// What ssh-keygen reads in the list: its version and the key ids.
fn list(site: &Site) -> Result<(u64, Vec<String>)> {
    let said = site.db1.run("root", ["ssh-keygen", "-Q", "-l", "-f", LIST])?.success()?;
    let version = said.lines().find_map(|line| line.strip_prefix("# KRL version ")).context("no version")?;
    let ids = said.lines().filter_map(|line| line.strip_prefix("id: ")).map(ToOwned::to_owned);
    Ok((version.parse()?, ids.collect()))
}

fn wait_listed(site: &Site, number: u8) -> Result<u64> {
    let wanted = id(number).to_string();
    let has = |found: &Result<(u64, Vec<String>)>| matches!(found, Ok((_, ids)) if ids.contains(&wanted));
    eventually(PATIENCE, "the grant is on the list", || has(&list(site)))?;
    list(site).map(|(version, _)| version)
}

/// A grant that was in force and has ended, and whose certificate was shown after it.
fn ended(site: &mut Site, number: u8) -> Result<String> {
    let key = site.of_grant(number)?;
    site.enforced(grant(number, DEPLOY, 600)?)?;
    ensure!(site.opens(&key, "deploy")?, "in force");
    site.enforced(end(number))?;
    ensure!(!site.opens(&key, "deploy")?, "it has ended");
    Ok(key)
}

/// Reads on until the agent reports something that was not as it should be, with these words.
fn told(site: &mut Site, words: &str) -> Result<()> {
    loop {
        if let Claim::Report { report: Report::Tampered { what }, .. } = site.claim()?
            && what.raw().contains(words)
        {
            return Ok(());
        }
    }
}

#[test]
fn x_l_what_ended_is_revoked_for_sshd_too_and_needs_no_agent() -> Result<()> {
    let mut site = Site::ready()?;
    let (first, ids) = list(&site)?;
    ensure!(ids == ["elevate:nobody"], "{ids:?}");
    let one = site.of_grant(1)?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    ensure!(site.opens(&one, "deploy")?, "in force");
    let answer = site.db1.read("/run/elevate/principals/deploy")?;
    site.enforced(end(1))?;
    // Who shows it is told of, and from then on sshd asks nobody any more.
    ensure!(list(&site)?.0 == first && !site.opens(&one, "deploy")?, "the program refuses it");
    let second = wait_listed(&site, 1)?;
    ensure!(second > first, "{second} after {first}");
    // While the agent is dead, nobody takes away what says that the grant lives: sshd refuses it by itself.
    site.kill_agent()?;
    site.db1.write_as("/run/elevate/principals/deploy", answer, Access::root(0o644))?;
    let asked = ["/usr/libexec/elevate/principals", "deploy", &id(1).to_string()];
    ensure!(!site.db1.run("elevate-ssh", asked)?.success()?.is_empty(), "the program would let it in");
    ensure!(!site.opens(&one, "deploy")?, "it is over");
    site.sshd.expect("revoked by file /etc/ssh/elevate/revoked", PATIENCE)?;
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    // The next agent goes on with it, and what ended and was in no list yet is in its first; what a crash has left goes.
    site.start_agent()?;
    site.enforced(grant(2, DEPLOY, 600)?)?;
    site.enforced(end(2))?;
    site.kill_agent()?;
    site.db1.write("/etc/ssh/elevate/.revoked.new", "cut off")?;
    site.start_agent()?;
    let third = wait_listed(&site, 2)?;
    ensure!(third > second && list(&site)?.1.contains(&id(1).to_string()), "{:?}", list(&site)?);
    ensure!(!site.db1.exists("/etc/ssh/elevate/.revoked.new"), "a draft was left");
    // Its time is over, and so are its certificates: nothing is to be revoked.
    site.enforced(grant(3, DEPLOY, 4)?)?;
    let three = site.of_grant(3)?;
    site.wait_closed(&three, "deploy", PATIENCE)?;
    ensure!(list(&site)?.0 == third, "{:?}", list(&site)?);
    Ok(())
}

/// Without the file sshd takes no key of anybody.
#[test]
fn x_l_a_list_that_is_taken_away_or_broken_is_made_again_at_once() -> Result<()> {
    let mut site = Site::ready()?;
    ended(&mut site, 1)?;
    let mut version = wait_listed(&site, 1)?;
    for broken in [None, Some(""), Some("SSHKRL\n")] {
        match broken {
            None => site.db1.remove(LIST)?,
            Some(text) => site.db1.write(LIST, text)?,
        }
        told(&mut site, "was changed or removed")?;
        let next = wait_listed(&site, 1)?;
        ensure!(next > version && site.opens("/root/bob", "bob")?, "{next} after {version}");
        version = next;
    }
    Ok(())
}

#[test]
fn x_l_where_no_list_can_be_made_the_old_one_stays_and_it_is_told() -> Result<()> {
    let mut site = Site::ready()?;
    let keygen = site.db1.read_bytes(KEYGEN)?;
    let faults: [(&str, &[&str], &[&str]); 4] = [
        ("is missing", &["mv", KEYGEN, "/root/keygen"], &["mv", "/root/keygen", KEYGEN]),
        ("is killed", &["cp", "/root/killed", KEYGEN], &["cp", "/root/whole", KEYGEN]),
        ("does not see it", &["cp", "/bin/true", KEYGEN], &["cp", "/root/whole", KEYGEN]),
        (
            "takes nothing",
            &["mount", "--bind", "-o", "ro", "/etc/ssh/elevate", "/etc/ssh/elevate"],
            &["umount", "/etc/ssh/elevate"],
        ),
    ];
    site.db1.write_as("/root/whole", keygen, Access::root(0o755))?;
    site.db1.write_as("/root/killed", "#!/bin/sh\nkill -9 $$\n", Access::root(0o755))?;
    for (number, (what, fault, over)) in (1..).zip(faults) {
        let before = site.db1.read_bytes(LIST)?;
        site.db1.run("root", fault)?.success()?;
        let one = ended(&mut site, number)?;
        told(&mut site, "goes on with the list of revoked certificates of before")?;
        ensure!(site.db1.read_bytes(LIST)? == before, "{what}: the list is another one");
        ensure!(
            !site.opens(&one, "deploy")? && site.opens("/root/bob", "bob")?,
            "{what}: it is over for all that"
        );
        let status = site.db1.run("root", ["elevate-agent", "status"])?.stdout;
        ensure!(status.contains("REVOKED    sshd's list is the one of before"), "{what}: {status}");
        let doctor = site.db1.run("root", ["elevate-agent", "doctor"])?.stdout;
        ensure!(doctor.contains("problem  sshd's list of revoked"), "{what}: {doctor}");
        site.db1.run("root", over)?.success()?;
        wait_listed(&site, number)?;
    }
    let doctor = site.db1.run("root", ["elevate-agent", "doctor"])?.stdout;
    ensure!(doctor.contains("certificates of 4 grants are revoked"), "{doctor}");
    Ok(())
}

/// Neither the program that tries the list nor sshd itself, which is asked for its keys, holds anything up where it hangs.
#[test]
fn x_l_programs_that_hang_hold_nothing_up_and_the_old_list_stays() -> Result<()> {
    let mut site = Site::ready()?;
    let before = site.db1.read_bytes(LIST)?;
    let hangs = "#!/bin/sh\n: > /tmp/tried\nexec sleep 12345\n";
    site.db1.run("root", ["cp", "-p", KEYGEN, "/root/whole"])?.success()?;
    site.db1.write_as(KEYGEN, hangs, Access::root(0o755))?;
    // sshd serves each connection by starting itself anew: only what it says of its files is late.
    let asked = "#!/bin/sh\ncase \"$*\" in -[tTV]) : > /tmp/asked; exec sleep 12345 ;; esac\nexec /usr/sbin/sshd.whole \"$@\"\n";
    site.db1.run("root", ["mv", "/usr/sbin/sshd", "/usr/sbin/sshd.whole"])?.success()?;
    site.db1.write_as("/usr/sbin/sshd", asked, Access::root(0o755))?;
    site.kill_agent()?;
    site.start_agent()?;
    eventually(PATIENCE, "sshd to be asked", || site.db1.exists("/tmp/asked"))?;
    let one = ended(&mut site, 1)?;
    eventually(PATIENCE, "the list to be tried", || site.db1.exists("/tmp/tried"))?;
    // Grants begin and end, and people are answered.
    let two = ended(&mut site, 2)?;
    site.db1.run("root", ["elevate-agent", "status"])?;
    told(&mut site, "/usr/bin/ssh-keygen did not answer within 5s")?;
    ensure!(site.db1.read_bytes(LIST)? == before, "the list is another one");
    ensure!(!site.opens(&one, "deploy")? && !site.opens(&two, "deploy")?, "they are over for all that");
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    site.db1.run("root", ["mv", "/usr/sbin/sshd.whole", "/usr/sbin/sshd"])?.success()?;
    let doctor = site.db1.run("root", ["elevate-agent", "doctor"])?.stdout;
    ensure!(
        doctor.contains("problem  sshd's list") && doctor.contains("did not answer within 5s"),
        "{doctor}"
    );
    site.db1.run("root", ["cp", "-p", "/root/whole", KEYGEN])?.success()?;
    wait_listed(&site, 1)?;
    wait_listed(&site, 2).map(drop)
}

/// sshd reads one list only, and the site's is not for us to replace.
#[test]
fn x_l_a_list_of_the_sites_goes_before_ours() -> Result<()> {
    let mut site = Site::new()?;
    let theirs = "/etc/ssh/sshd_config.d/50-site.conf";
    site.db1.run("root", ["ssh-keygen", "-k", "-f", "/etc/ssh/site_revoked"])?.success()?;
    site.db1.write(theirs, "RevokedKeys /etc/ssh/site_revoked\n")?;
    let said = site.enroll()?;
    ensure!(
        said.contains("50-site.conf:1 names a list") && said.contains("certificates of grants open"),
        "{said}"
    );
    let counts =
        |site: &Site| -> Result<String> { site.db1.run("root", ["/usr/sbin/sshd", "-T"])?.success() };
    ensure!(counts(&site)?.contains("revokedkeys /etc/ssh/site_revoked") && !site.db1.exists(LIST));
    site.start_agent()?;
    let one = site.of_grant(1)?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    ensure!(site.opens(&one, "deploy")?, "grants open accounts all the same");
    site.enforced(end(1))?;
    ensure!(!site.opens(&one, "deploy")? && !site.db1.exists(LIST), "no list of ours");
    // Without theirs, ours is put in place; with theirs again, it hides theirs until somebody enrols.
    site.db1.remove(theirs)?;
    site.enroll()?;
    ensure!(counts(&site)?.contains(&format!("revokedkeys {LIST}")), "{}", counts(&site)?);
    wait_listed(&site, 1)?;
    site.db1.write(theirs, "RevokedKeys /etc/ssh/site_revoked\n")?;
    let hides = |found: &elevate_protocol::flavour::SshEnforcement| {
        format!("{found:?}").contains("only one list of revoked keys")
    };
    site.hears("the site's list does not count", hides)?;
    site.enroll()?;
    ensure!(counts(&site)?.contains("revokedkeys /etc/ssh/site_revoked"), "{}", counts(&site)?);
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    Ok(())
}

/// The line goes before the file that it names.
#[test]
fn x_l_unenrolling_leaves_no_sshd_without_its_list() -> Result<()> {
    let mut site = Site::new()?;
    let main = "/etc/ssh/sshd_config";
    site.db1.write(main, format!("{}\nPidFile none\n", site.db1.read(main)?))?;
    site.enroll()?;
    // The listener is told by hand, since no pid file names it.
    site.sshd.signal(1)?;
    let one = site.of_grant(1)?;
    site.start_agent()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    eventually(PATIENCE, "sshd has read its files", || matches!(site.opens(&one, "deploy"), Ok(true)))?;
    site.kill_agent()?;
    let said = site.db1.run("root", ["elevate-agent", "unenroll", "--no-services"])?;
    ensure!(said.status.success() && format!("{said}").contains(LIST), "{said}");
    ensure!(!site.db1.exists(OURS) && site.db1.exists(LIST), "this sshd reads it still");
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    site.wait_closed(&one, "deploy", Duration::from_secs(5))
}

/// One sshd of two is told; a login that has begun by then goes on as it began.
#[test]
fn x_l_the_list_stays_while_another_sshd_or_a_login_that_has_begun_reads_it() -> Result<()> {
    let site = Site::new()?;
    let unenroll = || site.db1.run("root", ["elevate-agent", "unenroll", "--no-services"]);
    let said = site.enroll()?;
    ensure!(said.contains("certificates of grants open"), "{said}");
    // From another place, as some sites have it: it reads the same files.
    site.db1.make_dir("/opt/ssh", Access::root(0o755))?;
    site.db1.run("root", ["cp", "/usr/sbin/sshd", "/opt/ssh/sshd"])?.success()?;
    let words = ["/opt/ssh/sshd", "-D", "-e", "-p", "2222", "-oPidFile=/run/sshd2.pid"];
    let mut other = site.db1.spawn("root", words)?;
    other.expect("Server listening on 0.0.0.0", PATIENCE)?;
    let said = unenroll()?;
    ensure!(said.status.success() && format!("{said}").contains(&format!("{LIST} stays")), "{said}");
    ensure!(!site.db1.exists(OURS) && site.db1.exists(LIST), "the other sshd reads it still");
    let argv = site.ssh("/root/bob", &["-p", "2222"], "bob", "id -un");
    let ran = site.client.run("root", argv)?;
    ensure!(ran.stdout.trim() == "bob", "{ran}");
    other.signal(15)?;
    other.wait(PATIENCE)?;
    // Somebody who has connected and not logged in yet.
    let reach =
        format!("exec 3<>/dev/tcp/{}/22; read -r line <&3; echo \"$line\"; sleep 600", site.db1.address());
    let begun = site.client.spawn("root", ["bash", "-c", &reach])?;
    begun.expect("SSH-2.0", PATIENCE)?;
    let said = unenroll()?;
    ensure!(said.status.success() && site.db1.exists(LIST), "a login has begun: {said}");
    begun.kill9()?;
    let said = unenroll()?;
    ensure!(said.status.success() && !site.db1.exists(LIST), "nobody reads it any more: {said}");
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    Ok(())
}
