//! Keys behind a real ssh-agent and in a real PKCS#11 token, and their rotation, with real sudo and real ssh-keygen.
//!
//! In: the staged build and the tree; softhsm2 and opensc of the machine. Out: who is let in meanwhile. Runs as: root, in test hosts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, POLICY, installed};
use elevate_tests::{PATIENCE, Running, eventually};

#[path = "key_places/token.rs"]
mod token;

use token::Token;

const ID: [&str; 2] = ["/usr/bin/id", "-u"];
/// Where docs/config.md has it: `/run/elevated` goes with each stop of the daemon's unit.
const FOLDER: &str = "/run/elevated-keys";
const SOCKET: &str = "/run/elevated-keys/agent.sock";
const QUICK: [&str; 4] = ["elevate", "web-quick", "-m", "an ordinary reason"];
const SIGNERS: &str = "/etc/elevate/trust/grant_signers";

fn quick(web1: &Managed, login: &str) -> Result<()> {
    web1.host.run(login, QUICK)?.success()?;
    ensure!(web1.sudo(login, &ID)?.0 == 0, "sudo works with it");
    Ok(())
}

/// What an auditor does: `ssh-keygen -Y verify` of the grants in force, with one signers file and with the other.
fn verified_by_hand(fleet: &Fleet, web1: &Managed) -> Result<()> {
    let signers = fleet.ctl(&["key", "signers"])?;
    web1.host.write("/tmp/signers", &signers)?;
    let script = format!(
        "for grant in /run/elevate/grants/u2000/*.grant; do
        head -n 1 \"$grant\" > /tmp/body; tail -n +2 \"$grant\" > /tmp/sig
        for signers in /tmp/signers {SIGNERS}; do
            ssh-keygen -Y verify -f \"$signers\" -I grants -n elevate-grant@v1 -s /tmp/sig < /tmp/body || exit 1
        done; done"
    );
    let said = web1.host.run("root", ["sh", "-c", &script])?.success()?;
    ensure!(said.matches("Good \"elevate-grant@v1\" signature").count() >= 2, "{said}");
    Ok(())
}

fn trusted(fleet: &Fleet, times: usize) -> Result<()> {
    came(fleet, "key.trusted", times)
}

fn came(fleet: &Fleet, code: &str, times: usize) -> Result<()> {
    eventually(PATIENCE, code, || fleet.events(code).is_ok_and(|events| events.len() >= times))
}

/// Threat K05, with a grant of each key in force at once.
#[test]
fn k05_a_grant_of_the_key_before_and_one_of_the_next_are_both_good_through_sudo() -> Result<()> {
    let fleet = Fleet::new()?;
    let mut alice = fleet.person("alice")?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    quick(&web1, "alice")?;
    verified_by_hand(&fleet, &web1)?;
    let keep = "cd /tmp && cp /run/elevate/grants/u2000/*.grant old && head -n 1 old > old.body && tail -n +2 old > old.sig";
    web1.host.run("root", ["sh", "-c", keep])?.success()?;
    let listed = fleet.ctl(&["key", "rotate"])?;
    ensure!(listed.contains("replaced") && listed.contains("signs"), "{listed}");
    trusted(&fleet, 1)?;
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "what the key before signed is good");
    web1.activate(&mut alice, &["web-root", "-m", "signed by the next key"], || Ok(()))?;
    ensure!(web1.sudo("alice", &["/bin/true"])?.0 == 0, "and what the next key signed");
    verified_by_hand(&fleet, &web1)?;
    let signers = web1.host.read(SIGNERS)?;
    ensure!(signers.lines().count() == 2 && signers.contains("valid-before="), "{signers}");
    // After the overlap nobody believes the key before: ssh-keygen is asked about a time then.
    let verify = format!("ssh-keygen -Y verify -f {SIGNERS} -I grants -n elevate-grant@v1 -s /tmp/old.sig");
    for (option, good) in [("", true), ("-O verify-time=20990101", false)] {
        let ran = web1.host.run("root", ["sh", "-c", &format!("{verify} {option} < /tmp/old.body")])?;
        ensure!(ran.status.success() == good, "{option}: {ran}");
    }
    let refused = fleet.vault.run("root", ["elevatectl", "key", "rotate", "--overlap", "1m"])?.exits(2)?;
    ensure!(refused.contains("--overlap"), "{refused}");
    Ok(())
}

/// Threat K05: a daemon of yesterday, with the key that was replaced since, in the place of the daemon and with its host key. The host
/// takes nothing of it, not even the word that its log begins anew, which root on the host could be talked into.
#[test]
fn k05_a_stolen_backup_with_the_key_before_gives_nobody_a_right() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let copy = |from: &str, to: &str| format!("rm -rf {to} && cp -a {from} {to}");
    fleet.kill_daemon()?;
    fleet.vault.run("root", ["sh", "-c", &copy("/var/lib/elevated", "/root/stolen")])?.success()?;
    fleet.start_daemon()?;
    web1.wait_connected(&fleet)?;
    fleet.ctl(&["key", "rotate"])?;
    trusted(&fleet, 1)?;
    quick(&web1, "alice")?;
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    fleet.kill_daemon()?;
    fleet.vault.run("root", ["sh", "-c", &copy("/root/stolen", "/var/lib/elevated")])?.success()?;
    fleet.start_daemon()?;
    let agent = web1.agent.as_ref().context("no agent")?;
    agent.expect("signed by a key that was replaced", PATIENCE)?;
    web1.host.run("root", ["elevate-agent", "confirm-epoch", "2"])?.exits(2)?;
    ensure!(!web1.host.run("alice", QUICK)?.status.success(), "no daemon is there for the host");
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "no right came of it");
    Ok(())
}

fn holder(fleet: &Fleet) -> Result<Running> {
    fleet.vault.run("root", ["install", "-d", "-o", "elevated", "-m", "700", FOLDER])?.success()?;
    let running = fleet.vault.spawn("elevated", ["ssh-agent", "-D", "-a", SOCKET])?;
    let ask = |what: &str| fleet.vault.cmd("elevated", ["ssh-add", what]).env("SSH_AUTH_SOCK", SOCKET);
    // It lists no keys with 1, and says 2 where nobody listens: the socket is there before that.
    eventually(PATIENCE, "the agent", || {
        ask("-l").run().is_ok_and(|listed| listed.status.code().is_some_and(|code| code < 2))
    })?;
    ask("/tmp/token").limit(Duration::from_secs(20)).run()?.success()?;
    Ok(running)
}

/// Names the key of an agent in `daemon.toml`, and lets it sign.
fn rotate_to(fleet: &mut Fleet, web1: &Managed, (socket, public): (&str, &str)) -> Result<()> {
    let config = fleet.vault.read("/etc/elevate/daemon.toml")?;
    let key = format!("\n[keys]\ngrant = {{ agent = \"{socket}\", key = \"{}\" }}\n", public.trim());
    fleet.vault.write("/etc/elevate/daemon.toml", config + &key)?;
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    web1.wait_connected(fleet)?;
    let listed = fleet.ctl(&["key", "list"])?;
    ensure!(listed.contains("next") && listed.contains(socket), "{listed}");
    fleet.ctl(&["key", "rotate"])?;
    trusted(fleet, 1)
}

fn cannot_sign(web1: &Managed, login: &str) -> Result<()> {
    let ran = web1.host.run(login, QUICK)?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(!ran.status.success() && said.contains("cannot sign grants"), "{said}");
    ensure!(web1.sudo(login, &ID)?.0 != 0, "nothing is in force");
    Ok(())
}

/// Threat K07. The key is in the agent and nowhere else. While the agent hangs nothing starts and everything else goes on; what is
/// ended meanwhile is ended in the log at once and on the host when the agent goes on. Dead and back, the same.
#[test]
fn k07_without_its_agent_the_daemon_starts_nothing_and_ends_come_when_it_is_back() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    fleet
        .vault
        .run("elevated", ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "/tmp/token"])?
        .success()?;
    let agent = holder(&fleet)?;
    let public = fleet.vault.read("/tmp/token.pub")?;
    rotate_to(&mut fleet, &web1, (SOCKET, &public))?;
    quick(&web1, "alice")?;
    verified_by_hand(&fleet, &web1)?;

    agent.signal(nix::libc::SIGSTOP)?;
    let issued = fleet.events("grant.issued")?.len();
    cannot_sign(&web1, "bob")?;
    ensure!(fleet.events("grant.issued")?.len() == issued, "nothing was issued");
    came(&fleet, "key.away", 1)?;
    fleet.ctl(&["person", "invite", "carol"])?;
    let revoked = fleet.ctl(&["revoke", "--person", "alice", "-m", "it is enough", "--format", "json"])?;
    ensure!(revoked.contains("\"unsigned\""), "{revoked}");
    ensure!(fleet.events("grant.ended")?.len() == 1, "it is ended here");
    ensure!(web1.sudo("alice", &ID)?.0 == 0, "the host cannot know of it: docs/threats.md says so");
    let listed = fleet.ctl(&["key", "list"])?;
    ensure!(listed.contains("no answer within 3 s"), "{listed}");
    agent.signal(nix::libc::SIGCONT)?;
    web1.wait_end("alice")?;
    ensure!(web1.sudo("alice", &ID)?.0 != 0, "and ended there");
    came(&fleet, "key.back", 1)?;
    quick(&web1, "bob")?;
    web1.host.run("bob", ["elevate", "drop"])?.success()?;

    agent.kill9()?;
    fleet.vault.remove(SOCKET)?;
    cannot_sign(&web1, "alice")?;
    // The daemon starts without it and says so.
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    let log = fleet.daemon.as_ref().context("no daemon")?.log();
    ensure!(log.contains("no grant can be signed"), "{log}");
    let _agent = holder(&fleet)?;
    web1.wait_connected(&fleet)?;
    quick(&web1, "alice")
}

/// What `elevated --check-config` says as root, and its exit code.
fn checked(fleet: &Fleet) -> Result<(Option<i32>, String)> {
    let ran = fleet.vault.run("root", ["elevated", "--check-config"])?;
    Ok((ran.status.code(), ran.stderr))
}

/// The way of a key that was a file: into an agent, and replaced there by the next one. The check says beforehand what a start would.
#[test]
fn a_key_that_moved_into_an_agent_is_replaced_there_and_the_check_knows_what_a_start_refuses() -> Result<()> {
    let mut fleet = Fleet::new()?;
    fleet
        .vault
        .run("elevated", ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "/tmp/token"])?
        .success()?;
    let _agent = holder(&fleet)?;
    let file = "/var/lib/elevated/keys/ssh_user_ca";
    let add = fleet.vault.cmd("elevated", ["ssh-add", file]).env("SSH_AUTH_SOCK", SOCKET);
    add.run()?.success()?;
    let moved = fleet.vault.run("elevated", ["ssh-keygen", "-y", "-f", file])?.success()?;
    let next = fleet.vault.read("/tmp/token.pub")?;
    let plain = fleet.vault.read("/etc/elevate/daemon.toml")?;
    let name = |fleet: &Fleet, key: &str| {
        let place = format!("{{ agent = \"{SOCKET}\", key = \"{}\" }}", key.trim());
        fleet.vault.write("/etc/elevate/daemon.toml", format!("{plain}\n[keys]\nssh_user_ca = {place}\n"))
    };
    let listed = |fleet: &Fleet| -> Result<String> {
        let all = fleet.ctl(&["key", "list"])?;
        Ok(all.lines().filter(|line| line.contains("ssh-user-ca")).collect::<Vec<_>>().join("\n"))
    };
    fleet.vault.remove(file)?;
    // The next one is named before anybody has said where the moved one is.
    name(&fleet, &next)?;
    let (code, said) = checked(&fleet)?;
    ensure!(code == Some(2) && said.contains("for SSH certificates of people cannot be used"), "{said}");
    ensure!(said.contains("hint: ") && said.contains("keys.ssh_user_ca"), "{said}");
    let ran = fleet.vault.run("nobody", ["elevated", "--check-config"])?;
    ensure!(ran.status.success() && ran.stderr.contains("note: the keys were not all looked at"), "{ran}");
    for key in [&moved, &next] {
        name(&fleet, key)?;
        ensure!(checked(&fleet)?.0 == Some(0), "{:?}", checked(&fleet)?);
        fleet.kill_daemon()?;
        fleet.start_daemon()?;
        ensure!(listed(&fleet)?.contains(SOCKET), "{}", listed(&fleet)?);
    }
    fleet.ctl(&["key", "rotate", "ssh-user-ca"])?;
    let both = listed(&fleet)?;
    ensure!(both.matches(SOCKET).count() == 2 && both.contains("replaced"), "{both}");
    fleet.kill_daemon()?;
    fleet.start_daemon()?;
    ensure!(listed(&fleet)? == both, "{}", listed(&fleet)?);
    Ok(())
}

/// A key that never leaves its token, made there: what stands in an HSM works as this does.
#[test]
fn a_key_in_a_pkcs11_token_signs_grants_and_its_loss_is_a_clear_refusal() -> Result<()> {
    let token = Token::new()?;
    let mut fleet = Fleet::with_vault(installed()?.bind(token.folder(), token::PLACE), POLICY)?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let shown = token.public_keys()?;
    // The Ed25519 key beside it may or may not be shown: OpenSSH 9.2 passes it over (docs/decisions/0029).
    ensure!(token.has_ed25519()?, "the token can do Ed25519");
    let p256 = shown.iter().find(|key| key.starts_with("ecdsa-sha2-nistp256 "));
    let public = p256.context("the token shows no P-256 key")?;
    let agent = token.agent()?;
    let socket = format!("{}/agent.sock", token::PLACE);
    rotate_to(&mut fleet, &web1, (&socket, public))?;
    quick(&web1, "alice")?;
    verified_by_hand(&fleet, &web1)?;
    web1.host.run("alice", ["elevate", "drop"])?.success()?;
    token.take_out()?;
    cannot_sign(&web1, "alice")?;
    token.put_in()?;
    quick(&web1, "alice")?;
    drop(agent);
    Ok(())
}
