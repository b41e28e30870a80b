//! The proof of an enrolment for sshd: real logins to the real sshd, or everything of sshd is put back.
//!
//! In: programs and files of the host that are not as they should be. Out: what enrolment says and leaves. Threats E15, X-l.

use anyhow::{Result, ensure};
use elevate_tests::{Access, PATIENCE, eventually};

use super::site::{Site, grant};
use super::{CA, DEPLOY, OURS, PAM};

const PROGRAM: &str = "/usr/libexec/elevate/principals";
const MARK: &str = "/var/lib/elevate/sshd.unproved";
const LIST: &str = "/etc/ssh/elevate/revoked";
/// Says no in the end, and takes its time.
const SLOW: &str = "#!/bin/sh\nsleep 2\nexit 0\n";
const NOT_TRIED: &str = "cannot be tried by a login";

/// Nothing of a proof is left, and nothing that is not proved.
fn is_as_before(site: &Site, pam: &str) -> Result<bool> {
    let left = ["/run/elevate/.canary.new", "/run/elevate/principals", OURS, MARK];
    // The list stays: it harms nobody.
    Ok(!left.iter().any(|path| site.db1.exists(path))
        && site.db1.exists(LIST)
        && site.db1.read(PAM)? == pam
        && site.opens("/root/bob", "bob")?)
}

#[test]
fn e15_what_sshd_does_not_do_in_a_login_is_put_back() -> Result<()> {
    let mut site = Site::new()?;
    let (pam, ca) = (site.db1.read(PAM)?, site.db1.read(CA)?);
    let whole = site.db1.read_bytes(PROGRAM)?;
    // sshd takes all of these files, by its own word.
    for (program, why) in [
        ("#!/bin/sh\nexit 0\n", "does not get as far as Elevate's PAM line"),
        ("#!/bin/sh\necho \"elevate:$2\"\n", "whose grant is not in force was not refused"),
        ("#!/bin/sh\necho \"elevate:$2\"\nexit 1\n", "does not get as far as Elevate's PAM line"),
    ] {
        site.db1.write_as(PROGRAM, program, Access::root(0o755))?;
        let said = site.enroll()?;
        ensure!(said.contains(why) && said.contains("not set up"), "{program}: {said}");
        ensure!(is_as_before(&site, &pam)?, "{program}: something is left");
    }
    site.db1.write_as(PROGRAM, whole, Access::root(0o755))?;
    let said = site.enroll()?;
    ensure!(said.contains("certificates of grants open") && !said.contains(NOT_TRIED), "{said}");
    ensure!(
        !site.db1.exists("/run/elevate/.canary.new") && !site.db1.exists("/run/elevate/principals"),
        "left"
    );
    ensure!(site.db1.read(CA)? == ca, "nobody else is trusted");
    // Where an agent lives, its answers are not touched; what is put back is tried by plain keys.
    site.start_agent()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    site.db1.remove(OURS)?;
    let said = site.enroll()?;
    ensure!(said.contains("certificates of grants open") && !said.contains(NOT_TRIED), "{said}");
    let one = site.of_grant(1)?;
    eventually(PATIENCE, "in force again", || matches!(site.opens(&one, "deploy"), Ok(true)))
}

/// A host that lets the canary in by no key, before and after, is no reason to leave SSH alone: it is said.
#[test]
fn e15_where_nothing_can_be_tried_it_is_said_and_set_up_all_the_same() -> Result<()> {
    let mut site = Site::new()?;
    let main = "/etc/ssh/sshd_config";
    site.db1.write(main, format!("{}\nAllowUsers bob deploy\n", site.db1.read(main)?))?;
    let said = site.enroll()?;
    ensure!(
        said.contains(NOT_TRIED) && said.contains("not allowed because not listed in AllowUsers"),
        "{said}"
    );
    ensure!(said.contains("certificates of grants open") && site.db1.exists(OURS), "{said}");
    let doctor = site.db1.run("root", ["elevate-agent", "doctor"])?.stdout;
    ensure!(doctor.contains("allowusers bob, allowusers deploy"), "{doctor}");
    site.start_agent()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let one = site.of_grant(1)?;
    ensure!(site.opens(&one, "deploy")? && site.opens("/root/bob", "bob")?, "as ever");
    Ok(())
}

/// Whoever restarts sshd while it is tried what it does has it read our file, which is put back afterwards.
#[test]
fn x_l_an_sshd_that_read_what_was_not_proved_takes_keys_for_all_that() -> Result<()> {
    let site = Site::new()?;
    let pam = site.db1.read(PAM)?;
    site.db1.write_as(PROGRAM, SLOW, Access::root(0o755))?;
    let script = format!(
        "until [ -e {OURS} ]; do sleep 0.02; done; sleep 0.2; kill -HUP $(cat /run/sshd.pid); echo told"
    );
    let restart = site.db1.spawn("root", ["sh", "-c", &script])?;
    let said = site.enroll()?;
    restart.expect("told", PATIENCE)?;
    ensure!(said.contains("not set up") && said.contains(&format!("{LIST} stays")), "{said}");
    ensure!(is_as_before(&site, &pam)?, "something is left, or nobody is let in: {said}");
    // Once an sshd is known to have read its files without ours, nothing of it is left.
    let said = site.db1.run("root", ["elevate-agent", "unenroll", "--no-services"])?;
    ensure!(said.status.success() && !site.db1.exists(LIST), "{said}");
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    Ok(())
}

/// What was tried when an enrolment was cut off is not taken for proved.
#[test]
fn e15_an_enrolment_that_was_cut_off_is_proved_by_the_next_one() -> Result<()> {
    let site = Site::new()?;
    let whole = site.db1.read_bytes(PROGRAM)?;
    site.db1.write_as(PROGRAM, SLOW, Access::root(0o755))?;
    let cut = site.db1.spawn("root", ["elevate-agent", "enroll", "--yes", "--no-services"])?;
    eventually(PATIENCE, "our file to be tried", || site.db1.exists(OURS))?;
    cut.kill9()?;
    ensure!(site.db1.exists(OURS) && site.db1.exists(MARK), "it was not cut off");
    let doctor = site.db1.run("root", ["elevate-agent", "doctor"])?.stdout;
    ensure!(doctor.contains("enrolment was cut off"), "{doctor}");
    let said = site.enroll()?;
    ensure!(said.contains("not set up") && !site.db1.exists(OURS) && !site.db1.exists(MARK), "{said}");
    site.db1.write_as(PROGRAM, whole, Access::root(0o755))?;
    let said = site.enroll()?;
    ensure!(said.contains("certificates of grants open") && !site.db1.exists(MARK), "{said}");
    let said = site.enroll()?;
    ensure!(said.contains("Nothing was changed."), "{said}");
    Ok(())
}

/// The certificate of a try is signed by Ed25519, which the site may leave out: the real one may be taken all the same.
#[test]
fn e15_where_the_certificate_of_a_try_cannot_be_taken_that_is_said() -> Result<()> {
    let mut site = Site::new()?;
    site.client
        .run("root", ["sh", "-c", "rm /root/ca* && ssh-keygen -q -t ecdsa -N '' -C '' -f /root/ca"])?
        .success()?;
    site.db1.write(CA, site.client.read("/root/ca.pub")?)?;
    site.db1.write("/etc/ssh/sshd_config.d/approved.conf", "CASignatureAlgorithms ecdsa-sha2-nistp256\n")?;
    let said = site.enroll()?;
    ensure!(said.contains(NOT_TRIED) && said.contains("which its CASignatureAlgorithms leave out"), "{said}");
    ensure!(said.contains("certificates of grants open") && site.db1.exists(OURS), "{said}");
    site.start_agent()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let one = site.of_grant(1)?;
    ensure!(site.opens(&one, "deploy")?, "a certificate by ECDSA");
    Ok(())
}
