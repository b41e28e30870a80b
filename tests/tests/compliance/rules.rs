//! What a role allows, and what it does not.

use anyhow::{Result, ensure};
use elevate_tests::Access;
use elevate_tests::fleet::Sudo;

use crate::site::{DROP_IN, ID, Site};

pub(crate) fn a_rule_allows_exactly_what_it_says(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    let web2 = site.fleet.managed_with("web2", &["tier=web"], sudo)?;
    site.refused("alice", &ID)?;
    site.activate("web-quick")?;
    ensure!(site.allowed(&ID)? == "0\n", "the command itself");
    ensure!(site.allowed(&["/usr/bin/printf", "a=b:c,d"])? == "a=b:c,d", "letters that sudoers knows");
    ensure!(site.allowed(&["/usr/bin/true"])?.is_empty(), "no arguments");
    let others: [&[&str]; 7] = [
        &["/usr/bin/id"],
        &["/usr/bin/id", "-u", "-r"],
        &["/usr/bin/id", "-un"],
        &["/usr/bin/true", "x"],
        &["/usr/bin/printf", "a=b:c,e"],
        &["/usr/bin/whoami"],
        &["-u", "carol", "/usr/bin/id", "-u"],
    ];
    for other in others {
        site.refused("alice", other)?;
    }
    site.refused("bob", &ID)?;
    ensure!(web2.sudo("alice", &ID)?.0 == 1, "the right is web1's");
    ensure!(
        web2.sudo("root", &["true"])?.0 == 0 && site.web1.sudo("root", &["true"])?.0 == 0,
        "root's own sudo"
    );
    let rules = site.web1.host.read(DROP_IN)?;
    ensure!(
        rules.contains("NOTAFTER=") == (sudo == Sudo::Classic),
        "the rule is written for this sudo: {rules}"
    );
    Ok(())
}

pub(crate) fn run_as_is_the_one_account_of_the_role(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    site.activate("web-deploy")?;
    ensure!(site.allowed(&["-u", "carol", "/usr/bin/id", "-un"])? == "carol\n");
    site.refused("alice", &["/usr/bin/id", "-un"])?;
    site.refused("alice", &["-u", "root", "/usr/bin/id", "-un"])?;
    site.refused("alice", &["-u", "bob", "/usr/bin/id", "-un"])?;
    site.refused("alice", &["-u", "#0", "/usr/bin/id", "-un"])?;
    site.refused("alice", &["-g", "root", "/usr/bin/id", "-un"])
}

pub(crate) fn a_shell_is_a_shell_and_a_command_is_none(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    site.activate("web-quick")?;
    for shell in [&["-i"][..], &["-s"], &["-i", "/usr/bin/whoami"], &["-s", "/usr/bin/whoami"], &["/bin/sh"]]
    {
        site.refused("alice", shell)?;
    }
    site.activate("web-root")?;
    ensure!(site.allowed(&["-i", "/usr/bin/id", "-u"])? == "0\n", "sudo -i");
    ensure!(site.allowed(&["-s", "/usr/bin/id", "-u"])? == "0\n", "sudo -s");
    ensure!(site.allowed(&["/usr/bin/whoami"])? == "root\n", "anything");
    site.refused("alice", &["-u", "carol", "/usr/bin/whoami"])
}

pub(crate) fn what_is_listed_is_what_is_allowed(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    site.activate("web-quick")?;
    let list = site.allowed(&["-l"])?;
    ensure!(
        list.contains("(root)") && list.contains("NOPASSWD") && list.contains("/usr/bin/id -u"),
        "{list}"
    );
    ensure!(site.allowed(&["-l", "/usr/bin/id", "-u"])?.contains("/usr/bin/id"), "one command");
    let other = site.web1.host.run("alice", ["sudo", "-n", "-l", "/usr/bin/whoami"])?;
    ensure!(other.status.code() == Some(1), "another command: {other}");
    site.web1.host.run("alice", ["elevate", "drop"])?.success()?;
    let after = site.web1.host.run("alice", ["sudo", "-n", "-l"])?;
    ensure!(!after.stdout.contains("/usr/bin/id -u"), "after the end: {after}");
    Ok(())
}

/// An editor that asks nobody.
const EDITOR: &str = "#!/bin/sh\nfor file; do echo changed >> \"$file\"; done\n";

pub(crate) fn only_the_file_of_the_role_can_be_edited(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    let host = &site.web1.host;
    for file in ["/etc/motd", "/etc/issue.net"] {
        host.write(file, "as it was\n")?;
    }
    if lacks_edit(&site)? {
        // What a flavour cannot do is refused before anything else, and not offered.
        let said = host.run("alice", ["elevate", "web-edit"])?.exits(9)?;
        ensure!(said.contains("sudoedit"), "{said}");
        let listed = host.run("alice", ["elevate", "list", "--eligible"])?.success()?;
        ensure!(!listed.contains("web-edit") && listed.contains("web-quick"), "{listed}");
        return Ok(());
    }
    host.write_as("/usr/local/bin/editor", EDITOR, Access::root(0o755))?;
    site.activate("web-edit")?;
    let edit = |argv: &[&str]| host.cmd("alice", argv).env("SUDO_EDITOR", "/usr/local/bin/editor").run();
    edit(&["sudoedit", "-n", "/etc/motd"])?.success()?;
    ensure!(host.read("/etc/motd")? == "as it was\nchanged\n", "{}", host.read("/etc/motd")?);
    edit(&["sudo", "-n", "-e", "/etc/motd"])?.success()?;
    ensure!(host.read("/etc/motd")? == "as it was\nchanged\nchanged\n", "sudo -e is the same");
    let other = edit(&["sudoedit", "-n", "/etc/issue.net"])?;
    ensure!(other.status.code() == Some(1) && host.read("/etc/issue.net")? == "as it was\n", "{other}");
    site.refused("alice", &["/usr/bin/cat", "/etc/motd"])?;
    // Its uses are seen, also where sudo opens no session for them.
    let edits = || -> Vec<String> {
        let found = site.fleet.events("host.used").unwrap_or_default();
        found.iter().map(ToString::to_string).filter(|event| event.contains("/etc/motd")).collect()
    };
    let seen =
        elevate_tests::eventually(elevate_tests::PATIENCE, "two edits in the log", || edits().len() >= 2);
    ensure!(seen.is_ok() && edits().len() == 2, "{:?}", site.fleet.events("host.used")?);
    Ok(())
}

fn lacks_edit(site: &Site) -> Result<bool> {
    let line = site.web1.host.run("root", ["sudo", "-V"])?.exits(0)?;
    let old = |minor: &str| minor.trim().parse::<u32>().is_ok_and(|minor| minor < 14);
    Ok(line.lines().next().and_then(|line| line.strip_prefix("sudo-rs 0.2.")).is_some_and(old))
}
