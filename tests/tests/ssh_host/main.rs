//! A host's side of SSH certificates with the real sshd and ssh: what opens an account, what does not, and until when.
//!
//! In: the staged build and the tree. Out: each test is one story. Runs as: root, in test hosts. Threats E05, E07, E08, E10, E12, E15, R21.

mod canary;
mod ends;
mod forged;
mod revoked;
mod site;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_protocol::flavour::SshEnforcement;
use elevate_protocol::message::agent::Applied;
use elevate_tests::{Access, PATIENCE};
use site::{Site, end, grant, id};

const DEPLOY: &str = r#"{"logins":["deploy"]}"#;
const CA: &str = "/etc/elevate/trust/user_ca";
const PAM: &str = "/etc/pam.d/sshd";
const OURS: &str = "/etc/ssh/sshd_config.d/20-elevate.conf";

#[test]
fn e07_e08_a_certificate_opens_the_accounts_of_its_grant_while_that_lives() -> Result<()> {
    let mut site = Site::ready()?;
    let (one, two) = (site.of_grant(1)?, site.of_grant(2)?);
    ensure!(!site.opens(&one, "deploy")?, "no grant, no login");
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    site.enforced(grant(1, DEPLOY, 600)?)?;
    ensure!(site.opens(&one, "deploy")?, "the grant is in force");
    for login in ["alice", "bob", "root"] {
        ensure!(!site.opens(&one, login)?, "{login} is not named by the role");
    }
    ensure!(!site.opens(&two, "deploy")?, "another grant's certificate");
    // Two grants for one account do not open each other's door.
    site.enforced(grant(2, r#"{"logins":["deploy","root"]}"#, 600)?)?;
    ensure!(site.opens(&one, "deploy")? && site.opens(&two, "deploy")? && site.opens(&two, "root")?, "both");
    ensure!(!site.opens(&one, "root")?, "root is named by the other role");
    let (first, second) = (id(1).to_string(), format!("elevate:{}", id(2)));
    let crossed = site.certificate("crossed", &first, &second)?;
    ensure!(!site.opens(&crossed, "root")?, "the key id is of one grant and the principal of another");
    site.enforced(end(1))?;
    ensure!(!site.opens(&one, "deploy")? && site.opens(&two, "deploy")?, "one has ended, the other not");
    site.enforced(end(2))?;
    ensure!(!site.opens(&two, "root")? && !site.opens(&two, "deploy")?, "both have ended");
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    Ok(())
}

/// What the test's CA may sign that ours never does.
#[test]
fn e05_certificates_with_other_principals_or_key_ids_open_nothing() -> Result<()> {
    let mut site = Site::ready()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let id = id(1).to_string();
    for (name, key_id, principals) in [
        ("none", id.as_str(), ""),
        ("star", &id, "*"),
        ("login", &id, "deploy"),
        ("list", &id, "root,deploy"),
        ("lower", &id, &format!("elevate:{}", id.to_lowercase())),
        ("control", &format!("{id}\n{id}"), &format!("elevate:{id}")),
        ("words", "somebody else", &format!("elevate:{id}")),
        ("empty", "", &format!("elevate:{id}")),
    ] {
        let key = site.certificate(name, key_id, principals)?;
        ensure!(!site.opens(&key, "deploy")?, "{name}");
    }
    ensure!(site.opens(&site.of_grant(1)?, "deploy")?, "and ours does");
    Ok(())
}

#[test]
fn r21_an_end_needs_no_agent_and_a_reboot_leaves_nothing_open() -> Result<()> {
    let mut site = Site::ready()?;
    let (brief, long) = (site.of_grant(1)?, site.of_grant(2)?);
    site.enforced(grant(2, DEPLOY, 600)?)?;
    site.enforced(grant(1, DEPLOY, 10)?)?;
    let db1 = site.db1.clone();
    let answer = |number| {
        let ask = ["/usr/libexec/elevate/principals", "deploy", &id(number).to_string()];
        db1.run("elevate-ssh", ask)?.success()
    };
    ensure!(!answer(1)?.is_empty(), "in force");
    site.kill_agent()?;
    elevate_tests::eventually(
        PATIENCE,
        "it ends by its clocks",
        || matches!(answer(1), Ok(said) if said.is_empty()),
    )?;
    ensure!(!answer(2)?.is_empty(), "and the other one lives");
    ensure!(!site.opens(&long, "deploy")?, "nobody logs in under it while nobody could close the connection");
    // An agent that is started again goes on; one that lies down with the host leaves nothing.
    site.start_agent()?;
    ensure!(site.opens(&long, "deploy")? && !site.opens(&brief, "deploy")?, "as before");
    site.kill_agent()?;
    site.db1.reboot()?;
    site.sshd = site.db1.sshd()?;
    // The host has another hardware address now.
    site.client.run("root", ["ip", "neigh", "flush", "all"])?.success()?;
    ensure!(!site.opens(&long, "deploy")?, "nothing is open without the agent");
    ensure!(site.opens("/root/bob", "bob")?, "a plain key as ever");
    Ok(())
}

/// What the grant does not name is forbidden by the host too, whatever the certificate says.
#[test]
fn e10_a_connection_can_do_what_the_grant_names_and_no_more() -> Result<()> {
    let mut site = Site::ready()?;
    let (plain, local, bare) = (site.of_grant(1)?, site.of_grant(2)?, site.of_grant(3)?);
    site.enforced(grant(1, DEPLOY, 600)?)?;
    site.enforced(grant(2, r#"{"logins":["deploy"],"forward":["local"]}"#, 600)?)?;
    site.enforced(grant(3, r#"{"logins":["deploy"],"pty":false}"#, 600)?)?;
    // -W is what -L does, without a listener: sshd's own banner comes through, or the channel is refused.
    let through = |key: &str| -> Result<String> {
        let argv = site.ssh(key, &["-W", "127.0.0.1:22"], "deploy", "");
        let ran = site.client.run("root", argv.iter().filter(|word| !word.is_empty()))?;
        Ok(format!("{}{}", ran.stdout, ran.stderr))
    };
    ensure!(through(&local)?.contains("SSH-2.0-"), "{}", through(&local)?);
    ensure!(through(&plain)?.contains("stdio forwarding failed"), "{}", through(&plain)?);
    let back = |key: &str| -> Result<bool> {
        let options = ["-oExitOnForwardFailure=yes", "-R", "127.0.0.1:7777:127.0.0.1:22"];
        Ok(site.client.run("root", site.ssh(key, &options, "deploy", "true"))?.status.success())
    };
    ensure!(!back(&local)? && !back(&plain)?, "no listener on the host");
    let terminal = |key: &str| -> Result<bool> {
        Ok(site.client.run("root", site.ssh(key, &["-tt"], "deploy", "tty"))?.stdout.contains("/dev/pts"))
    };
    ensure!(terminal(&plain)? && !terminal(&bare)?, "a terminal only where the grant has one");
    Ok(())
}

#[test]
fn e15_an_sshd_that_cannot_be_set_up_is_left_alone_and_grants_are_refused() -> Result<()> {
    let mut site = Site::new()?;
    let main = "/etc/ssh/sshd_config";
    let stock = site.db1.read(main)?;
    let without = stock.replace("Include /etc/ssh/sshd_config.d/*.conf", "");
    for (text, why) in [
        (without.as_str(), "add it as its first line"),
        (&format!("{stock}\nAuthorizedPrincipalsFile /etc/ssh/p/%u\n"), "stands there already"),
        (&format!("{stock}\nMatch User bob\n  TrustedUserCAKeys /etc/ssh/ca.pub\n"), "stands there already"),
        (&stock.replace("UsePAM yes", "UsePAM no"), "is to say `UsePAM yes`"),
        (&format!("{stock}\nNoSuchKeyword yes\n"), "sshd does not take its own files as they are"),
    ] {
        site.db1.write(main, text)?;
        let said = site.enroll()?;
        ensure!(said.contains(why) && said.contains("not set up"), "{said}");
        ensure!(!site.db1.exists(OURS) && site.db1.read(main)? == text, "{text}");
    }
    // Rules of the site in files that are not followed: its own certificates go on opening accounts.
    let nested = "/etc/ssh/sshd_config.d/50-site.conf";
    site.db1.make_dir("/etc/ssh/site", Access::root(0o755))?;
    site.db1.write("/etc/ssh/site/ca.conf", "TrustedUserCAKeys /etc/ssh/site/ca.pub\n")?;
    let by_site = site.certificate("site", "bob", "bob")?;
    site.db1.write("/etc/ssh/site/ca.pub", site.client.read("/root/ca.pub")?)?;
    for (file, text) in [
        (main, format!("{stock}\nInclude /etc/ssh/site/*.conf\n")),
        (nested, "Include /etc/ssh/site/ca.conf\n".to_owned()),
    ] {
        site.db1.write(main, &stock)?;
        site.db1.write(file, text)?;
        site.sshd.signal(1)?;
        elevate_tests::eventually(PATIENCE, "the site's CA", || {
            matches!(site.opens(&by_site, "bob"), Ok(true))
        })?;
        let said = site.enroll()?;
        ensure!(
            said.contains(file) && said.contains("does not follow") && said.contains("not set up"),
            "{said}"
        );
        ensure!(!site.db1.exists(OURS) && site.opens(&by_site, "bob")?, "the site's certificates count on");
    }
    site.db1.remove(nested)?;
    // A CA that this host was never told of opens nothing.
    let ca = site.db1.read(CA)?;
    site.db1.write(CA, "")?;
    let said = site.enroll()?;
    ensure!(said.contains("knows no key that signs certificates") && site.db1.exists(OURS), "{said}");
    site.start_agent()?;
    let told = site.hello.as_ref().map(|hello| hello.ssh.clone());
    ensure!(matches!(told, Some(SshEnforcement::None { .. })), "{told:?}");
    let refused = site.document(grant(1, DEPLOY, 600)?)?;
    ensure!(matches!(refused, Applied::Refused { .. }), "{refused:?}");
    // The CA comes, and the host is set up; then ours is changed behind the agent's back.
    site.db1.write(CA, ca)?;
    let said = site.enroll()?;
    ensure!(said.contains("Nothing was changed."), "{said}");
    site.hears("sshd asks", |found| *found == SshEnforcement::Asks)?;
    site.enforced(grant(2, DEPLOY, 600)?)?;
    let two = site.of_grant(2)?;
    ensure!(site.opens(&two, "deploy")?, "in force");
    for (file, ours, theirs) in
        [(OURS, "elevate-ssh", "root"), (PAM, "session  [success", "session  optional [success")]
    {
        let stood = site.db1.read(file)?;
        site.db1.write(file, stood.replacen(ours, theirs, 1))?;
        site.hears("sshd asks no more", |found| matches!(found, SshEnforcement::None { .. }))?;
        site.wait_closed(&two, "deploy", Duration::from_secs(10))?;
        site.db1.write(file, stood)?;
        elevate_tests::eventually(PATIENCE, "it opens again", || {
            matches!(site.opens(&two, "deploy"), Ok(true))
        })?;
    }
    // A package that has replaced the file, or a host that was enrolled before there was such a line.
    let with_line = site.db1.read(PAM)?;
    let (_, without) = with_line.split_once("# elevate end\n").context("our line")?;
    site.db1.write(PAM, without)?;
    site.hears("no line", |found| matches!(found, SshEnforcement::None { .. }))?;
    let said = site.enroll()?;
    ensure!(said.contains("sshd: certificates of grants open") && site.db1.read(PAM)? == with_line, "{said}");
    site.hears("sshd asks again", |found| *found == SshEnforcement::Asks)?;
    elevate_tests::eventually(PATIENCE, "it opens again", || matches!(site.opens(&two, "deploy"), Ok(true)))
}

#[test]
fn unenrolling_takes_sshd_back_to_what_it_was() -> Result<()> {
    let mut site = Site::new()?;
    let stock = site.db1.read(PAM)?;
    let said = site.enroll()?;
    ensure!(said.contains("sshd: certificates of grants open") && site.db1.read(PAM)? != stock, "{said}");
    site.start_agent()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let one = site.of_grant(1)?;
    let argv = site.ssh(&one, &[], "deploy", "echo up; exec sleep 600");
    let mut open = site.client.spawn("root", &argv)?;
    open.expect("up", PATIENCE)?;
    site.kill_agent()?;
    site.db1.run("root", ["elevate-agent", "unenroll", "--no-services"])?.success()?;
    open.wait(Duration::from_secs(5))?;
    ensure!(site.db1.read(PAM)? == stock, "sshd's PAM service is as it was");
    ensure!(
        !site.db1.exists(OURS) && !site.db1.exists("/etc/elevate/trust/user_ca"),
        "nothing of ours is left"
    );
    ensure!(!site.db1.exists("/etc/ssh/elevate/revoked"), "this sshd was told, and nobody else reads it");
    site.wait_closed(&one, "deploy", PATIENCE)?;
    ensure!(
        site.sshd.is_running() && site.opens("/root/bob", "bob")?,
        "sshd goes on, and plain keys with it"
    );
    let effective = site.db1.run("root", ["/usr/sbin/sshd", "-T"])?.success()?;
    ensure!(effective.contains("trustedusercakeys none"), "{effective}");
    Ok(())
}

/// Whoever unenrols a host over a connection under a grant loses that last, and leaves nothing half done.
#[test]
fn a17_unenrolling_over_a_connection_of_a_grant_is_done_to_its_end() -> Result<()> {
    for options in [&["-tt"][..], &[]] {
        let mut site = Site::new()?;
        let stock = site.db1.read(PAM)?;
        site.enroll()?;
        site.start_agent()?;
        site.enforced(grant(1, r#"{"logins":["root"]}"#, 600)?)?;
        site.db1.run("root", ["mkfifo", "/run/go"])?.success()?;
        let command = "echo up; read -r _ < /run/go; elevate-agent unenroll --no-services; sleep 600";
        let one = site.of_grant(1)?;
        let mut open = site.client.spawn("root", site.ssh(&one, options, "root", command))?;
        open.expect("up", PATIENCE)?;
        // An agent that runs would go on writing into its folder.
        site.kill_agent()?;
        site.db1.run("root", ["sh", "-c", "echo > /run/go"])?.success()?;
        open.wait(PATIENCE)?;
        let look = || -> Result<String> {
            let ran = site.db1.run(
                "root",
                ["find", "/run/elevate", "/etc/elevate", "-mindepth", "1", "!", "-name", "policy.d"],
            )?;
            Ok(format!("{}{}", ran.stdout, site.db1.read(PAM)?))
        };
        let is_done = || matches!(look(), Ok(left) if left == stock);
        elevate_tests::eventually(PATIENCE, "nothing of ours is left", is_done)
            .with_context(|| format!("{:?}", look()))?;
        let unheard = "exec elevate-agent unenroll --no-services 2> /dev/full";
        site.db1.run("root", ["sh", "-c", unheard])?.success()?;
    }
    Ok(())
}

/// Somebody else on the host reads nothing of who may log in as whom, and the program answers nobody but for its own account.
#[test]
fn e12_what_opens_accounts_is_for_the_program_alone_and_nothing_planted_stays() -> Result<()> {
    let mut site = Site::ready()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let ask =
        |user: &str| site.db1.run(user, ["/usr/libexec/elevate/principals", "deploy", &id(1).to_string()]);
    ensure!(ask("elevate-ssh")?.success()? == format!("restrict,pty elevate:{}\n", id(1)), "the answer");
    ensure!(ask("bob")?.success()?.is_empty(), "bob is told nothing");
    site.db1.write_as("/run/elevate/principals/root", "planted", Access::root(0o644))?;
    elevate_tests::eventually(Duration::from_secs(60), "what nobody granted goes", || {
        !site.db1.exists("/run/elevate/principals/root")
    })
}

/// An sshd that no pid file names is not told, and that is said; where none runs there is nothing to tell.
#[test]
fn e15_an_sshd_that_is_not_told_is_for_the_person_to_restart() -> Result<()> {
    let mut site = Site::new()?;
    let main = "/etc/ssh/sshd_config";
    site.db1.write(main, format!("{}\nPidFile none\n", site.db1.read(main)?))?;
    let said = site.enroll()?;
    ensure!(said.contains("restart it"), "{said}");
    ensure!(!said.contains("certificates of grants open the accounts"), "{said}");
    site.start_agent()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let one = site.of_grant(1)?;
    ensure!(!site.opens(&one, "deploy")?, "sshd has not read its files anew");
    site.sshd.signal(1)?;
    elevate_tests::eventually(PATIENCE, "sshd to read them", || {
        matches!(site.opens(&one, "deploy"), Ok(true))
    })?;
    site.kill_agent()?;
    site.db1.remove(OURS)?;
    let said = site.enroll()?;
    ensure!(said.contains("restart it") && said.contains("Nothing else was changed."), "{said}");
    site.sshd.signal(15)?;
    site.sshd.wait(PATIENCE)?;
    let said = site.db1.run("root", ["elevate-agent", "unenroll", "--no-services"])?.success()?;
    ensure!(!said.contains("restart"), "{said}");
    Ok(())
}

/// An end that finds no room for what is left takes the account's file, and the next account is seen to.
#[test]
fn r05_an_end_that_finds_no_room_opens_nothing() -> Result<()> {
    let mut site = Site::ready()?;
    let folder = "/run/elevate/principals";
    let (one, two) = (site.of_grant(1)?, site.of_grant(2)?);
    let both = r#"{"logins":["alice","deploy"]}"#;
    site.enforced(grant(1, both, 600)?)?;
    site.db1.run("root", ["mount", "-t", "tmpfs", "-o", "size=64k,mode=750", "tmpfs", folder])?.success()?;
    site.enforced(grant(2, both, 600)?)?;
    for login in ["alice", "deploy"] {
        ensure!(site.opens(&one, login)? && site.opens(&two, login)?, "{login}: both are in force");
    }
    // A file without a name: what stood there by one would go.
    let script = format!(
        "cd {folder}; cat /dev/zero 2> /dev/null > .x.new; exec 3< .x.new; rm .x.new; echo full; exec sleep 600"
    );
    let ballast = site.db1.spawn("root", ["sh", "-c", &script])?;
    ballast.expect("full", PATIENCE)?;
    site.document(end(1))?;
    for login in ["alice", "deploy"] {
        ensure!(!site.opens(&one, login)?, "{login}: the grant has ended");
    }
    ensure!(site.opens(&two, "deploy")?, "the next account has the room of the first");
    elevate_tests::eventually(Duration::from_secs(60), "there is room", || {
        matches!(site.opens(&two, "alice"), Ok(true))
    })
}

/// Without a descriptor nothing can be listed; what the agent wrote goes all the same, and comes back.
#[test]
fn r07_without_descriptors_nothing_opens() -> Result<()> {
    let mut site = Site::ready()?;
    site.enforced(grant(1, DEPLOY, 600)?)?;
    let one = site.of_grant(1)?;
    let argv = site.ssh(&one, &[], "deploy", "echo up; exec sleep 600");
    let mut open = site.client.spawn("root", &argv)?;
    open.expect("up", PATIENCE)?;
    let pid = site.agent_pid()?;
    let limit = |most: &str| {
        let done = Command::new("prlimit").args(["--pid", &pid, most]).status()?;
        ensure!(done.success(), "prlimit {most}");
        Ok(())
    };
    limit("--nofile=3:1024")?;
    site.wait_closed(&one, "deploy", PATIENCE)?;
    limit("--nofile=1024:1024")?;
    elevate_tests::eventually(Duration::from_secs(60), "it opens again", || {
        matches!(site.opens(&one, "deploy"), Ok(true))
    })?;
    // What was open is not forgotten meanwhile.
    ensure!(open.is_running(), "it goes on");
    site.document(end(1))?;
    open.wait(Duration::from_secs(5)).map(drop)
}
