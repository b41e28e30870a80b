//! `mfa = "every-use"`: the second factor in sudo itself, also under NOPASSWD (threats D01, D13).

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, Person, Sudo};
use elevate_tests::{PATIENCE, Tty, eventually, obtain};

/// A role that asks at every use.
const POLICY: &str = r#"
[people]
alice = { keys = ["{KEY:alice}"] }

[defaults]
reason   = "optional"
duration = "20m"

[roles.web-mfa]
who   = ["alice"]
hosts = { tier = "web" }
sudo  = { as = "root", shell = true }
mfa   = "every-use"
"#;

const PROMPT: &str = "Code for alice: use web-mfa on web1: sudo";

struct Site {
    fleet: Fleet,
    web1: Managed,
    alice: Person,
}

impl Site {
    fn with(sudo: Sudo) -> Result<Self> {
        let fleet = Fleet::with_policy(POLICY)?;
        let alice = fleet.person("alice")?;
        let web1 = fleet.managed_with("web1", &["tier=web"], sudo)?;
        Ok(Self { fleet, web1, alice })
    }

    /// Alice's shell at a terminal of its own, and the terminal's name.
    fn terminal(&self) -> Result<(Tty, String)> {
        let mut shell = self.web1.host.cmd("alice", ["sh"]).tty()?;
        shell.line("PS1=; echo terminal=$(tty)=")?;
        shell.expect("terminal=/dev/")?;
        let name = shell.expect("=")?;
        Ok((shell, name))
    }

    /// The one sudo of the host has asked, and sleeps until a key is pressed.
    fn sudo_waits(&self) -> Result<()> {
        let asleep = "grep -q '^State:.S' /proc/$(pgrep -x sudo)/status";
        eventually(PATIENCE, "sudo to wait for a key", || {
            self.web1.host.run("root", ["sh", "-c", asleep]).is_ok_and(|ran| ran.status.success())
        })
    }

    fn seen(&self, code: &str, text: &str) -> Result<()> {
        eventually(PATIENCE, &format!("{code} with {text}"), || {
            self.fleet
                .events(code)
                .is_ok_and(|found| found.iter().any(|event| event.to_string().contains(text)))
        })
    }
}

pub(crate) fn a_code_is_asked_for_once_at_each_terminal(sudo: Sudo) -> Result<()> {
    let mut site = Site::with(sudo)?;
    site.web1.activate(&mut site.alice, &["web-mfa"], || Ok(()))?;
    // Looking asks for nothing; a use without a terminal has nobody to ask.
    ensure!(site.web1.sudo("alice", &["-l"])?.0 == 0, "-l");
    let (code, said) = site.web1.sudo("alice", &["/usr/bin/id", "-u"])?;
    ensure!(code == 1 && !said.lines().any(|line| line == "0"), "without a terminal: {said}");
    site.seen("host.use-refused", "takes a terminal")?;

    let (mut first, name) = site.terminal()?;
    first.line("sudo -n /usr/bin/id -u; echo refused=$?")?;
    first.expect("refused=1")?;
    first.line("sudo /usr/bin/id -u; echo status=$?")?;
    first.expect(PROMPT)?;
    // The code of the activation is used up.
    first.line(&site.alice.last_code())?;
    first.expect("used before")?;
    first.expect(PROMPT)?;
    let code = site.alice.code()?;
    first.line(&code)?;
    first.expect("\n0\r\n")?;
    first.expect("status=0")?;
    site.seen("factor.reused", "\"purpose\":\"use\"")?;
    site.seen("factor.accepted", "\"purpose\":\"use\"")?;
    // For five minutes it counts here, for a shell and a login shell as well.
    first.line(
        "sudo -n /usr/bin/id -u; sudo -n -s /usr/bin/id -u; sudo -n -i /usr/bin/id -u; echo status=$?",
    )?;
    let said = first.expect("status=0")?;
    ensure!(
        said.lines().filter(|line| line.trim() == "0").count() == 3 && !said.contains("Code for"),
        "remembered: {said}"
    );

    // Another terminal is another seat, and so is the same one after its session.
    let (mut other, other_name) = site.terminal()?;
    ensure!(other_name != name, "two terminals: {name} {other_name}");
    other.line("sudo -n /usr/bin/id -u; echo refused=$?")?;
    let said = other.expect("refused=1")?;
    ensure!(!said.contains("\n0\r\n"), "{said}");
    drop(first);
    // The lowest free number is given next, once the old terminal is wholly closed.
    let mut again = obtain(PATIENCE, "the same terminal again", || {
        site.terminal().ok().filter(|(_, same)| *same == name).map(|(shell, _)| shell)
    })?;
    again.line("sudo /usr/bin/id -u; echo refused=$?")?;
    again.expect(PROMPT)?;
    for wrong in ["000000", "000001"] {
        again.line(wrong)?;
        again.expect("not right")?;
        again.expect(PROMPT)?;
    }
    again.line("000002")?;
    let said = again.expect("refused=1")?;
    ensure!(!said.contains("\n0\r\n"), "{said}");
    site.seen("factor.rejected", "\"purpose\":\"use\"")
}

pub(crate) fn without_daemon_or_agent_no_use_passes(sudo: Sudo) -> Result<()> {
    let mut site = Site::with(sudo)?;
    site.web1.activate(&mut site.alice, &["web-mfa"], || Ok(()))?;
    let (mut shell, _) = site.terminal()?;
    site.web1.kill_link()?;
    let cut = || {
        site.web1.host.read("/run/elevate/status.json").is_ok_and(|text| text.contains("\"connected\":false"))
    };
    eventually(PATIENCE, "the agent to notice", cut)?;
    shell.line("sudo /usr/bin/id -u; echo refused=$?")?;
    let said = shell.expect("refused=1")?;
    ensure!(
        said.contains("daemon that looks at codes cannot be reached") && !said.contains("\n0\r\n"),
        "{said}"
    );
    site.web1.start_link()?;
    site.web1.wait_connected(&site.fleet)?;
    shell.line("sudo /usr/bin/id -u; echo status=$?")?;
    shell.expect(PROMPT)?;
    let code = site.alice.code()?;
    shell.line(&code)?;
    shell.expect("\n0\r\n")?;
    shell.expect("status=0")?;
    // What counts for five minutes is the agent's to know: without it nothing counts.
    site.web1.kill_agent()?;
    shell.line("sudo /usr/bin/id -u; echo refused=$?")?;
    let said = shell.expect("refused=1")?;
    ensure!(said.contains("elevate-agent does not answer") && !said.contains("\n0\r\n"), "{said}");
    ensure!(site.web1.sudo("root", &["true"])?.0 == 0, "root's own sudo");
    Ok(())
}

/// Ctrl-C at the prompt ends the call: nothing runs, nothing is left, and the next call asks anew.
///
/// Both sudos lose a Ctrl-C that comes between their prompt and their wait for keys: the classic one notes the signal and then
/// waits all the same, sudo-rs besides may die with the echo off, since it catches signals only after it has asked. That is
/// a moment that a program meets and a person does not; here sudo waits already.
pub(crate) fn ctrl_c_at_the_prompt_ends_the_call(sudo: Sudo) -> Result<()> {
    let mut site = Site::with(sudo)?;
    site.web1.activate(&mut site.alice, &["web-mfa"], || Ok(()))?;
    let mut screen = site.web1.host.tty("alice", ["sudo", "/usr/bin/id", "-u"])?;
    screen.expect(PROMPT)?;
    site.sudo_waits()?;
    screen.interrupt()?;
    let status = screen.wait()?;
    // sudo-rs dies of the signal, so that a shell gives up what it was doing; the classic sudo is refused.
    ensure!(status.code() == if sudo == Sudo::Rs { None } else { Some(1) }, "{status} {}", screen.screen());
    ensure!(!screen.screen().contains("\n0\r\n"), "{}", screen.screen());

    let (mut shell, _) = site.terminal()?;
    shell.line("stty -g > before; sudo /usr/bin/id -u")?;
    shell.expect(PROMPT)?;
    site.sudo_waits()?;
    shell.interrupt()?;
    let gone =
        || site.web1.host.run("root", ["pgrep", "-x", "sudo"]).is_ok_and(|ran| ran.status.code() == Some(1));
    eventually(PATIENCE, "the end of sudo", gone)?;
    shell.line("stty -g | cmp - before && echo as=before")?;
    shell.expect("as=before\r\n")?;
    shell.line("sudo /usr/bin/id -u; echo status=$?")?;
    shell.expect(PROMPT)?;
    let code = site.alice.code()?;
    shell.line(&code)?;
    shell.expect("\n0\r\n")?;
    shell.expect("status=0")?;
    Ok(())
}

/// `elevate run` at a terminal leaves the question to sudo.
#[test]
fn a_command_through_elevate_run_asks_for_its_code() -> Result<()> {
    let mut site = Site::with(Sudo::Classic)?;
    let argv = ["elevate", "run", "web-mfa", "--", "/usr/bin/id", "-u"];
    let mut screen = site.web1.host.tty("alice", argv)?;
    screen.expect("Code for alice: start web-mfa on web1")?;
    let code = site.alice.code()?;
    screen.line(&code)?;
    screen.expect("Code for alice: use web-mfa on web1")?;
    let code = site.alice.code()?;
    screen.line(&code)?;
    screen.expect("\n0\r\n")?;
    let status = screen.wait()?;
    ensure!(status.success(), "{status} {}", screen.screen());
    Ok(())
}
