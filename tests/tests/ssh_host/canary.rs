//! The proof of an enrolment for sshd: real logins to the real sshd, or everything of sshd is put back.
//!
//! In: programs and files of the host that are not as they should be. Out: what enrolment says and leaves. Threats E15, X-l.

use anyhow::{Result, ensure};
use elevate_tests::Access;

use super::site::{Site, grant};
use super::{CA, DEPLOY, OURS, PAM};

const PROGRAM: &str = "/usr/libexec/elevate/principals";
const LIST: &str = "/etc/ssh/elevate/revoked";
const NOT_TRIED: &str = "cannot be tried by a login";

/// Nothing of a proof is left, and nothing that is not proved.
fn is_as_before(site: &Site, pam: &str) -> Result<bool> {
    let left = ["/run/elevate/.canary.new", "/run/elevate/principals", OURS, LIST];
    Ok(!left.iter().any(|path| site.db1.exists(path))
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
    elevate_tests::eventually(elevate_tests::PATIENCE, "in force again", || {
        matches!(site.opens(&one, "deploy"), Ok(true))
    })
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
    site.start_agent()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let one = site.of_grant(1)?;
    ensure!(site.opens(&one, "deploy")? && site.opens("/root/bob", "bob")?, "as ever");
    Ok(())
}
