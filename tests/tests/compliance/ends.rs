//! How a right ends, and what it leaves as it was.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::Sudo;
use elevate_tests::{Access, PATIENCE, eventually};

use crate::site::{DROP_IN, ID, Site};

/// The gate on its own: a rule that no grant stands behind.
pub(crate) fn a_rule_without_its_grant_is_refused_and_removed(sudo: Sudo) -> Result<()> {
    let mut site = Site::with(sudo)?;
    site.activate("web-quick")?;
    site.web1.kill_agent()?;
    ensure!(site.allowed(&ID)? == "0\n", "the gate needs no agent");
    let rules = site.web1.host.read(DROP_IN)?;
    // Another's rule with alice's grant, and one with a grant that is nowhere.
    let forged = rules.replace("#2000", "#2001");
    site.web1.host.write_as("/run/elevate/sudoers.d/u2001", forged, Access::root(0o440))?;
    site.refused("bob", &ID)?;
    ensure!(!site.web1.host.exists("/run/elevate/sudoers.d/u2001"), "the gate removed it");
    site.web1.host.run("root", ["sh", "-c", "rm /run/elevate/grants/u2000/*.grant"])?.success()?;
    site.refused("alice", &ID)?;
    ensure!(!site.web1.host.exists(DROP_IN), "the gate removed it");
    ensure!(site.web1.sudo("root", &["true"])?.0 == 0, "root's own sudo");
    Ok(())
}

pub(crate) fn a_right_ends_with_the_agent_dead(sudo: Sudo) -> Result<()> {
    let mut site = Site::with(sudo)?;
    let rule = "alice ALL=(root) NOPASSWD: /usr/bin/whoami\n";
    site.web1.host.write_as("/etc/sudoers.d/local", rule, Access::root(0o440))?;
    site.activate("web-short")?;
    site.web1.kill_agent()?;
    site.web1.wait_sudo("alice", &ID, false)?;
    site.refused("alice", &ID)?;
    eventually(PATIENCE, "the ordinary rule", || {
        site.web1.sudo("alice", &["/usr/bin/whoami"]).is_ok_and(|(code, _)| code == 0)
    })?;
    site.refused("alice", &ID)?;
    ensure!(site.web1.sudo("root", &["true"])?.0 == 0, "root's own sudo");
    Ok(())
}

/// Threat S01: sudo reads its rules first. Stopped in between and let go after the end, it must not run by a rule that is gone.
pub(crate) fn a_stopped_sudo_does_not_outlive_its_grant(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    site.activate("web-quick")?;
    // A module before ours waits for a file, as a slow LDAP would, while sudo holds its rules in memory.
    let pam = site.web1.host.read("/etc/pam.d/sudo")?;
    let script = "#!/bin/sh\n[ \"$PAM_TYPE\" = account ] || exit 0\ntouch /run/waits\nwhile [ ! -e /run/go ]; do sleep 0.05; done\n";
    site.web1.host.write_as("/usr/local/sbin/waits", script, Access::root(0o755))?;
    let slow = format!("account required pam_exec.so seteuid /usr/local/sbin/waits\n{pam}");
    site.web1.host.write_as("/etc/pam.d/sudo", slow, Access::root(0o644))?;
    let held =
        site.web1.host.cmd("alice", ["sudo", "-n", "/usr/bin/id", "-u"]).limit(Duration::from_secs(60));
    let mut held = held.tty()?;
    eventually(PATIENCE, "sudo to wait in PAM", || site.web1.host.exists("/run/waits"))?;
    site.web1.host.run("alice", ["elevate", "drop"])?.success()?;
    site.web1.wait_end("alice")?;
    site.web1.host.write("/run/go", "")?;
    let status = held.wait()?;
    ensure!(status.code() == Some(1), "{status} {}", held.screen());
    ensure!(!held.screen().lines().any(|line| line.trim() == "0"), "nothing ran: {}", held.screen());
    ensure!(held.screen().contains("run it again"), "and the person is told: {}", held.screen());
    Ok(())
}

pub(crate) fn ordinary_rules_are_as_before_during_and_after(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    let host = &site.web1.host;
    host.set_password("alice", "correct horse")?;
    let rules = "alice ALL=(root) NOPASSWD: /usr/bin/whoami\nalice ALL=(carol) PASSWD: /usr/bin/id -un\n";
    host.write_as("/etc/sudoers.d/local", rules, Access::root(0o440))?;
    let asks = |when: &str| -> Result<()> {
        ensure!(site.allowed(&["/usr/bin/whoami"])? == "root\n", "without a password, {when}");
        site.refused("alice", &["-u", "carol", "/usr/bin/id", "-un"])?;
        let mut screen = host.tty("alice", ["sudo", "-k", "-u", "carol", "/usr/bin/id", "-un"])?;
        screen.expect_any(&["assword", "authenticate"])?;
        screen.line("correct horse")?;
        screen.expect("carol\r\n")?;
        let status = screen.wait()?;
        ensure!(status.success(), "with a password, {when}: {status}");
        host.run("alice", ["sudo", "-K"])?.success().map(drop)
    };
    asks("before")?;
    site.activate("web-quick")?;
    ensure!(site.allowed(&ID)? == "0\n", "the managed one beside them");
    asks("during")?;
    host.run("alice", ["elevate", "drop"])?.success()?;
    site.web1.wait_sudo("alice", &ID, false)?;
    asks("after")?;
    ensure!(host.read("/etc/sudoers.d/local").context("the rule")? == rules);
    Ok(())
}
