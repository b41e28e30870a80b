//! What is seen of a use, and what is said before one.

use anyhow::{Result, ensure};
use elevate_tests::fleet::Sudo;
use elevate_tests::{Access, PATIENCE, eventually};
use serde_json::Value;

use crate::site::{ID, Site};

fn arguments(event: &Value) -> String {
    let argv = event.pointer("/details/used/argv").and_then(Value::as_array);
    let words = argv.into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

pub(crate) fn every_use_is_an_event(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    site.activate("web-root")?;
    let uses: [&[&str]; 4] =
        [&ID, &["-i", "/usr/bin/true"], &["-s", "/usr/bin/true"], &["--", "/usr/bin/printf", "x"]];
    for used in uses {
        site.allowed(used)?;
    }
    // Looking is no use, and neither is what was refused.
    site.allowed(&["-l"])?;
    site.refused("alice", &["-u", "carol", "/usr/bin/id"])?;
    site.refused("bob", &ID)?;
    let seen = || -> Vec<Value> { site.fleet.events("host.used").unwrap_or_default() };
    eventually(PATIENCE, "every use in the log", || seen().len() >= uses.len())?;
    let found = seen();
    ensure!(found.len() == uses.len(), "{found:?}");
    for (event, used) in found.iter().zip(uses) {
        let argv = arguments(event);
        ensure!(argv == format!("sudo -n {}", used.join(" ")), "{argv}");
        let detail =
            |name: &str| event.pointer(&format!("/details/used/{name}")).cloned().unwrap_or_default();
        ensure!(detail("uid") == 2000 && detail("run_as") == "root", "{event}");
        ensure!(detail("service").as_str().is_some_and(|service| service.starts_with("sudo")), "{event}");
        ensure!(event.get("person").is_some_and(|person| person == "alice"), "{event}");
        ensure!(event.get("role").is_some_and(|role| role == "web-root"), "{event}");
    }
    Ok(())
}

/// Where sudo asks PAM for a password, the module says first what could be activated. sudo-rs asks PAM nothing for a person
/// without any rule, so there is nothing to say it through: `elevate-agent doctor` says that.
pub(crate) fn an_offer_stands_before_the_password(sudo: Sudo) -> Result<()> {
    let site = Site::with(sudo)?;
    let host = &site.web1.host;
    host.set_password("alice", "correct horse")?;
    host.write_as("/etc/sudoers.d/local", "alice ALL=(root) PASSWD: /usr/bin/whoami\n", Access::root(0o440))?;
    let mut screen = host.tty("alice", ["sudo", "/usr/bin/whoami"])?;
    screen.expect("You may activate: ")?;
    screen.expect("elevate web-quick")?;
    screen.expect_any(&["assword", "authenticate"])?;
    screen.line("correct horse")?;
    screen.expect("root\r\n")?;
    ensure!(screen.wait()?.success(), "{}", screen.screen());
    let bare = host.run("alice", ["sudo", "/usr/bin/id"])?;
    ensure!(bare.status.code() == Some(1), "{bare}");
    let doctor = host.run("root", ["elevate-agent", "doctor"])?;
    ensure!(doctor.stdout.contains("offers no roles") == (sudo == Sudo::Rs), "{doctor}");
    Ok(())
}
