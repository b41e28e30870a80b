//! What people call a host: each name that an administrator gave it, with the real sshd and ssh.
//!
//! In: the staged build and the tree. Out: what people type, what they get, and what is refused. Runs as: root, in test hosts.
//! Spec: docs/ssh.md "Which host it is". Threat E19.

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, Person, ssh_scene};
use elevate_tests::{Host, PATIENCE, Ran, eventually};

const CONFIG: &str = "/home/alice/.ssh/config";

fn elevate(alice: &Person, target: &str) -> Result<Ran> {
    alice.elevate(&["ssh", target, "-m", "an ordinary reason", "--", "id", "-un"])
}

fn plain(fleet: &Fleet, target: &str) -> Result<Ran> {
    fleet.laptop.run("alice", ["ssh", target, "id", "-un"])
}

/// Where a name of DNS leads, before or after the lines of `elevate ssh-config`.
fn leads_to(fleet: &Fleet, alice: &Person, host: &Host) -> Result<()> {
    let lines = alice.elevate(&["ssh-config"])?.success()?;
    fleet.laptop.write("/home/alice/.ssh/elevate_config", &lines)?;
    let leads = format!("Host web1.example.org\n    HostName {}\n", host.address());
    fleet.laptop.write(CONFIG, format!("Include elevate_config\n{leads}"))
}

/// THREATS E19: ssh goes by the managed name, whatever the person calls the host.
#[test]
fn e19_a_host_is_asked_for_and_reached_by_each_name_that_an_administrator_gave_it() -> Result<()> {
    let (fleet, web1, _sshd, alice) = ssh_scene()?;
    let by_address = format!("deploy@{}", web1.host.address());
    fleet.ctl(&["host", "name", "web1", "web1.example.org", &web1.host.address()])?;
    // The host connects anew, and gets a certificate that says so.
    eventually(
        PATIENCE,
        "another certificate",
        || matches!(fleet.events("host.certificate"), Ok(events) if events.len() == 2),
    )?;
    leads_to(&fleet, &alice, &web1.host)?;
    // Without a grant, and with the one that is there.
    for target in [by_address.as_str(), "deploy@web1.example.org", "deploy@web1"] {
        ensure!(elevate(&alice, target)?.success()?.trim() == "deploy", "{target}");
    }
    ensure!(fleet.events("request.created")?.len() == 1, "one grant, whatever the host is called");
    alice.elevate(&["drop", "--all"])?.success()?;
    alice.elevate(&["web-in", "-H", "web1.example.org", "-m", "an ordinary reason"])?.success()?;
    for target in [by_address.as_str(), "deploy@web1.example.org", "web1.example.org", "deploy@web1"] {
        ensure!(plain(&fleet, target)?.success()?.trim() == "deploy", "{target}");
    }
    // The name leads elsewhere: to a host that is not web1.
    let mallory = fleet.lab.host("mallory")?;
    let _sshd2 = mallory.sshd()?;
    leads_to(&fleet, &alice, &mallory)?;
    let target = "deploy@web1.example.org";
    for refused in [plain(&fleet, target)?, elevate(&alice, target)?] {
        ensure!(refused.stderr.contains("Host key verification failed"), "{refused}");
    }
    // And is nobody's once it is taken away.
    fleet.ctl(&["host", "name", "web1", "web1.example.org-"])?;
    let gone = elevate(&alice, target)?;
    ensure!(gone.stderr.contains("no host web1.example.org that you may ask for"), "{gone}");
    Ok(())
}
