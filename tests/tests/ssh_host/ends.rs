//! The end of a grant, as those feel it who are connected under it, and those who are not.
//!
//! In: the real sshd, ssh and agent. Out: each test is one story. Threats X-m, F12, E04, E07; docs/ssh.md "The end".

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::document::EndCause;
use elevate_protocol::message::agent::{Claim, Report};
use elevate_protocol::message::session::{SshConnection, SshEnd};
use elevate_tests::{Access, PATIENCE, Running, eventually};

use crate::site::{Site, end, grant, id};

const OPEN: &str = r#"{"logins":["deploy"],"forward":["local","remote"]}"#;
/// How soon a connection is closed when its grant is over.
const SOON: Duration = Duration::from_secs(5);
/// How long a login may take that is refused, and one that does not concern us, on a machine that has much to do.
const REFUSED: Duration = Duration::from_secs(6);

impl Site {
    /// ssh that stays; returns when it has said this.
    fn stays(&self, key: &str, options: &[&str], command: &str, says: &str) -> Result<Running> {
        let argv = self.ssh(key, options, "deploy", command);
        let running = self.client.spawn("root", argv.iter().filter(|word| !word.is_empty()))?;
        running.expect(says, PATIENCE)?;
        Ok(running)
    }

    /// The connections without a shell: nothing is asked of them but to stand.
    fn tunnels(&self, key: &str) -> Result<Vec<Running>> {
        let forward = ["-L7001:127.0.0.1:22", "-R7002:127.0.0.1:22", "-D7003"];
        forward
            .iter()
            .map(|forward| {
                let options = ["-v", "-N", "-oExitOnForwardFailure=yes", forward];
                let stands = if forward.starts_with("-R") {
                    "remote forward success"
                } else {
                    "Entering interactive session"
                };
                self.stays(key, &options, "", stands)
            })
            .collect()
    }

    /// Whether something with this command line runs on the host.
    fn runs(&self, words: &str) -> Result<bool> {
        let found = self.db1.run("root", ["pgrep", "-f", "-x", words])?;
        match found.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => bail!("{found}"),
        }
    }

    /// Reads on until a report is the one.
    fn reported<T>(&mut self, what: &str, wanted: impl Fn(Report) -> Option<T>) -> Result<T> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Claim::Report { report, .. } = self.claim()?
                && let Some(found) = wanted(report)
            {
                return Ok(found);
            }
        }
        bail!("no report within {PATIENCE:?}: {what}")
    }

    fn logout(&mut self, what: &str) -> Result<(SshConnection, SshEnd)> {
        self.reported(what, |report| {
            let Report::SshLogout { connection, end, .. } = report else { return None };
            Some((connection, end))
        })
    }

    /// bob's own key opens deploy too, without any grant.
    fn plain_key_for_deploy(&self) -> Result<()> {
        self.db1.make_dir("/home/deploy/.ssh", Access::of(2100, 0o700))?;
        let key = self.client.read("/root/bob.pub")?;
        self.db1.write_as("/home/deploy/.ssh/authorized_keys", key, Access::of(2100, 0o600))
    }
}

fn all_end(connections: Vec<Running>, begin: Instant) -> Result<()> {
    for mut connection in connections {
        connection.wait(SOON.saturating_sub(begin.elapsed())).context("a connection stays")?;
    }
    Ok(())
}

/// Who cannot be read, and who is never there when looked at: one whose name is no UTF-8, beside the connection and in it, and one who forks
/// and exits without end.
#[test]
fn x_m_odd_names_and_endless_forks_neither_hold_an_end_up_nor_outlive_it() -> Result<()> {
    let mut site = Site::ready()?;
    let one = site.of_grant(1)?;
    site.enforced(grant(1, OPEN, 600)?)?;
    let odd = r#"$0 = "\xff\xfe"; $| = 1; print "up\n"; sleep 600"#;
    let mut beside = site.db1.spawn("root", ["perl", "-e", odd])?;
    beside.expect("up", PATIENCE)?;
    let within = site.stays(&one, &["-tt"], &format!("perl -e '{odd}'"), "up")?;
    let chain = r#"setsid -f perl -e "while (1) { utime undef, undef, q(/tmp/chain); fork and exit }" > /dev/null 2>&1 < /dev/null"#;
    let chain = site.ssh(&one, &[], "deploy", &format!("touch /tmp/chain; {chain}"));
    site.client.run("root", &chain)?.success()?;
    let db1 = site.db1.clone();
    let beats = || db1.run("root", ["stat", "-c", "%.9Y", "/tmp/chain"])?.success();
    let before = beats()?;
    eventually(PATIENCE, "it forks and forks", || beats().is_ok_and(|now| now != before))?;
    let begin = Instant::now();
    site.document(end(1))?;
    all_end(vec![within], begin)?;
    eventually(PATIENCE, "the one that forks is over", || {
        // Ten programs run between the two: long enough for a thousand forks.
        let before = beats();
        let still = (0..10).all(|_| beats().is_ok());
        still && before.is_ok_and(|before| beats().is_ok_and(|now| now == before))
    })?;
    ensure!(beside.is_running(), "what has nothing to do with it goes on");
    Ok(())
}

#[test]
fn x_m_every_connection_of_a_grant_ends_with_it_and_no_other() -> Result<()> {
    let mut site = Site::ready()?;
    site.plain_key_for_deploy()?;
    let (one, two) = (site.of_grant(1)?, site.of_grant(2)?);
    site.enforced(grant(1, OPEN, 600)?)?;
    site.enforced(grant(2, OPEN, 600)?)?;
    // Under the one grant: shells with and without a terminal, tunnels, sftp, a master that others share, something left running.
    let mut of_one = vec![
        site.stays(&one, &["-tt"], "echo up; exec sleep 6001", "up")?,
        site.stays(&one, &[], "trap '' HUP TERM; echo up; sleep 6002; sleep 6003", "up")?,
    ];
    of_one.extend(site.tunnels(&one)?);
    let sftp = site.ssh(&one, &["-v", "-s"], "deploy", "sftp").join(" ");
    let sftp = site.client.spawn("root", ["sh", "-c", &format!("sleep 600 | {sftp}")])?;
    sftp.expect("Sending subsystem: sftp", PATIENCE)?;
    let master = ["-v", "-M", "-S/root/master", "-N"];
    of_one.push(site.stays(&one, &master, "", "Entering interactive session")?);
    let shared = site.ssh("/root/none", &["-S/root/master"], "deploy", "id -un");
    ensure!(site.client.run("root", &shared)?.success()?.trim() == "deploy", "over the master");
    let left = site.ssh(&one, &[], "deploy", "setsid -f sleep 6004 > /dev/null 2>&1 < /dev/null");
    site.client.run("root", &left)?.success()?;
    ensure!(site.runs("sleep 6004")?, "left running by a connection that is over");
    // Under another grant for the same account, by a plain key for the same account, and somebody else.
    let mut others = vec![
        site.stays(&two, &["-tt"], "echo up; exec sleep 6005", "up")?,
        site.stays("/root/bob", &[], "echo up; exec sleep 6006", "up")?,
    ];
    let begin = Instant::now();
    site.document(end(1))?;
    all_end(of_one, begin)?;
    let gone = || -> Result<bool> {
        let mut any = site.runs("sftp-server")? || site.runs("/usr/lib/openssh/sftp-server")?;
        for number in ["6001", "6002", "6003", "6004"] {
            any |= site.runs(&format!("sleep {number}"))?;
        }
        Ok(!any)
    };
    let left = SOON.saturating_sub(begin.elapsed());
    eventually(left, "nothing of the grant runs", || matches!(gone(), Ok(true)))?;
    drop(sftp);
    ensure!(!site.client.run("root", &shared)?.status.success(), "the master is gone");
    ensure!(!site.opens(&one, "deploy")?, "and nothing new is let in");
    ensure!(others.iter_mut().all(Running::is_running), "others go on");
    ensure!(site.runs("sleep 6005")? && site.runs("sleep 6006")?, "and what they run");
    ensure!(site.opens(&two, "deploy")?, "the other grant lives");
    site.document(end(2))?;
    let plain = others.pop().context("two")?;
    all_end(others, Instant::now())?;
    ensure!(site.runs("sleep 6006")? && site.opens("/root/bob", "deploy")?, "a plain key as ever");
    drop(plain);
    Ok(())
}

#[test]
fn each_login_and_its_end_is_told_with_its_grant() -> Result<()> {
    let mut site = Site::ready()?;
    let one = site.of_grant(1)?;
    site.enforced(grant(1, OPEN, 600)?)?;
    site.client.run("root", site.ssh(&one, &[], "deploy", "true"))?.success()?;
    let (of, login) = site.reported("the login", |report| {
        let Report::SshLogin { grant, connection } = report else { return None };
        Some((grant, connection))
    })?;
    let from = login.from.as_ref().context("no address")?.raw().to_owned();
    ensure!((of, login.login.as_str(), login.serial) == (id(1), "deploy", 7), "{login:?}");
    ensure!(from == site.client.address(), "{from}");
    let shown = site.client.run("root", ["ssh-keygen", "-lf", "/root/alice.pub"])?.success()?;
    ensure!(shown.contains(login.fingerprint.raw()), "{shown} {login:?}");
    ensure!(site.logout("its end")? == (login, SshEnd::Closed));
    let stays = site.stays(&one, &[], "echo up; exec sleep 6001", "up")?;
    site.document(end(1))?;
    all_end(vec![stays], Instant::now())?;
    let (_, how) = site.logout("the end with the grant")?;
    let SshEnd::Grant { cause: Some(EndCause::Revoked), killed } = how else { bail!("{how:?}") };
    ensure!(killed >= 2, "sshd and what ran in it: {how:?}");
    Ok(())
}

/// A login of somebody's own is theirs, also where the sshd that serves it was started under a grant.
#[test]
fn f12_a_plain_login_by_an_sshd_that_was_started_under_a_grant_goes_on() -> Result<()> {
    let mut site = Site::ready()?;
    let one = site.of_grant(1)?;
    site.enforced(grant(1, r#"{"logins":["root"]}"#, 600)?)?;
    let listens = "exec /usr/sbin/sshd -D -e -p 2222 -o PidFile=none";
    let by_hand = site.client.spawn("root", site.ssh(&one, &[], "root", listens))?;
    by_hand.expect("Server listening on 0.0.0.0 port 2222", PATIENCE)?;
    let argv = site.ssh("/root/bob", &["-p2222"], "bob", "echo up; exec sleep 6008");
    let mut plain = site.client.spawn("root", &argv)?;
    plain.expect("up", PATIENCE)?;
    site.document(end(1))?;
    all_end(vec![by_hand], Instant::now())?;
    let (_, how) = site.logout("the end of the one")?;
    ensure!(matches!(how, SshEnd::Grant { .. }), "{how:?}");
    ensure!(!site.runs(&listens.replacen("exec ", "", 1))?, "the sshd that was started has ended");
    ensure!(plain.is_running() && site.runs("sleep 6008")?, "who had come by it goes on");
    Ok(())
}

/// What is open is known to the agent that comes after; what ended meanwhile is closed by it.
#[test]
fn f12_an_agent_that_starts_again_knows_what_is_open_and_closes_what_is_over() -> Result<()> {
    let mut site = Site::ready()?;
    let (one, two) = (site.of_grant(1)?, site.of_grant(2)?);
    site.enforced(grant(1, OPEN, 15)?)?;
    site.enforced(grant(2, OPEN, 600)?)?;
    let brief = site.stays(&one, &["-N", "-v"], "", "Entering interactive session")?;
    let mut long = site.stays(&two, &[], "echo up; exec sleep 6002", "up")?;
    let over = site.stays(&two, &[], "echo up; exec sleep 6003", "up")?;
    site.kill_agent()?;
    drop(over);
    // The daemon is away too: nothing but time ends it.
    let ask = ["/usr/libexec/elevate/principals", "deploy", &id(1).to_string()];
    let is_over = || matches!(site.db1.run("elevate-ssh", ask), Ok(ran) if ran.status.success() && ran.stdout.is_empty());
    eventually(PATIENCE + Duration::from_secs(15), "the grant to be over", is_over)?;
    ensure!(long.is_running(), "nothing is lost with the agent");
    let begin = Instant::now();
    site.start_agent()?;
    all_end(vec![brief], begin)?;
    ensure!(long.is_running(), "the other grant lives");
    let (_, unseen) = site.logout("what ended while nobody looked")?;
    ensure!(unseen == SshEnd::Unseen, "{unseen:?}");
    site.document(end(2))?;
    all_end(vec![long], Instant::now())?;
    Ok(())
}

/// THREATS E04: certificates open nothing without the agent, and nobody else waits for it.
#[test]
fn e04_without_the_agent_certificates_are_refused_soon_and_plain_keys_are_as_fast_as_ever() -> Result<()> {
    let mut site = Site::ready()?;
    let one = site.of_grant(1)?;
    site.enforced(grant(1, OPEN, 600)?)?;
    let timed = |site: &Site, key: &str, login: &str| -> Result<(bool, Duration)> {
        let begin = Instant::now();
        Ok((site.opens(key, login)?, begin.elapsed()))
    };
    // The fastest of some: a machine that has much to do delays one or the other.
    let fastest = |site: &Site| -> Result<Duration> {
        let mut fastest = Duration::MAX;
        for _ in 0..4 {
            let (opened, took) = timed(site, "/root/bob", "bob")?;
            ensure!(opened, "a plain key as ever");
            fastest = fastest.min(took);
        }
        Ok(fastest)
    };
    let normal = fastest(&site)?;
    ensure!(site.opens(&one, "deploy")?, "both open");
    let pid = site.agent_pid()?;
    for state in ["stands still", "is dead"] {
        if state == "stands still" {
            ensure!(std::process::Command::new("kill").args(["-STOP", &pid]).status()?.success());
        } else {
            site.kill_agent()?;
        }
        let (opened, took) = timed(&site, &one, "deploy")?;
        ensure!(!opened && took < REFUSED, "an agent that {state}: {opened} {took:?}");
        let tunnel = ["-v", "-N", "-oExitOnForwardFailure=yes", "-R7002:127.0.0.1:22"];
        let argv = site.ssh(&one, &tunnel, "deploy", "");
        let ran = site.client.run("root", argv.iter().filter(|word| !word.is_empty()))?;
        ensure!(ran.stderr.contains("remote port forwarding failed"), "an agent that {state}: {ran}");
        // Whoever asked an agent that stands still would wait for a second.
        let took = fastest(&site)?;
        ensure!(
            took < normal + Duration::from_millis(800),
            "an agent that {state}: {took:?}, else {normal:?}"
        );
    }
    Ok(())
}

/// THREATS E04: what sshd takes of another CA is none of ours, also where our reader would not take it.
#[test]
fn e04_certificates_of_another_ca_never_come_to_the_agent() -> Result<()> {
    let mut site = Site::ready()?;
    let sign = "set -e; cd /root; ssh-keygen -q -t ed25519 -N '' -C '' -f other; cp alice theirs; cp alice.pub theirs.pub; \
        ssh-keygen -q -s other -I \"$(printf 'b\\377b')\" -n bob -V -1m:+10m theirs.pub; cat other.pub";
    let ca = site.client.run("root", ["sh", "-c", sign])?.success()?;
    let keys = format!("cert-authority {ca}");
    site.db1.write_as("/home/bob/.ssh/authorized_keys", keys, Access::of(2001, 0o600))?;
    ensure!(site.opens("/root/theirs", "bob")?, "beside an agent that runs");
    site.kill_agent()?;
    ensure!(site.opens("/root/theirs", "bob")?, "beside one that is dead");
    Ok(())
}
