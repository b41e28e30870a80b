//! `make demo`: the whole story with the real programs and their real output, in throw-away hosts.
//!
//! In: the staged release build and the tree. Out: a transcript; on a terminal a shell as alice on web1 at the end.
//! Exit status: 0, or 1 with the step that failed. Runs as: root. Spec: README.md "See it".
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use elevate_tests::fleet::{Fleet, Managed, Person, ssh_scene};
use elevate_tests::{Host, Running, Tty};

/// Until the warning of a role of 60 s that warns at 20 s, on a slow machine.
const LONGEST_WAIT: Duration = Duration::from_secs(90);

/// A scene: its title, and what is played.
type Scene = (&'static str, fn(&mut Stage) -> Result<()>);

/// What the scenes play on.
struct Stage {
    fleet: Fleet,
    web1: Managed,
    db1: Managed,
    alice: Person,
    carol: Person,
    _sshd: Running,
    out: std::io::Stdout,
    begun: Instant,
}

fn main() -> ExitCode {
    let mut step = "set up the fleet";
    match play(&mut step) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\ndemo: the step \"{step}\" failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(step: &mut &'static str) -> Result<ExitCode> {
    let mut stage = Stage::set()?;
    let scenes: [Scene; 8] = [
        ("sudo is refused, with the offer", Stage::refusal),
        ("alice asks, carol approves from her laptop with her own key and factor", Stage::activation),
        ("sudo obeys, exactly", Stage::use_of_the_right),
        ("anybody can check the grant", Stage::proof),
        ("the warning, and one extension", Stage::extension),
        ("the end", Stage::end),
        ("the same by SSH: plain ssh under a grant, and what is open ends with it", Stage::ssh),
        ("what the log says", Stage::log),
    ];
    for (title, scene) in scenes {
        *step = title;
        stage.say(&format!("\n== {title} ({}s)\n", stage.begun.elapsed().as_secs()))?;
        scene(&mut stage)?;
    }
    *step = "leave you on web1";
    stage.say(&format!("\nThe whole story took {}s.\n", stage.begun.elapsed().as_secs()))?;
    stage.leave()
}

/// A program on a terminal of its own, in colour only where the demo itself is read on one.
fn on_screen(host: &Host, user: &str, argv: &[&str]) -> Result<Tty> {
    let cmd = host.cmd(user, argv).limit(LONGEST_WAIT);
    if std::io::stdout().is_terminal() {
        cmd.tty()
    } else {
        cmd.env("NO_COLOR", "1").env("TERM", "dumb").tty()
    }
}

impl Stage {
    fn set() -> Result<Self> {
        let begun = Instant::now();
        println!(
            "Setting up: a daemon on vault1, a laptop, and the hosts web1 (tier=web) and db1 (tier=db) …"
        );
        let (fleet, web1, sshd, alice) = ssh_scene()?;
        let carol = fleet.person("carol")?;
        fleet.person("bob")?;
        let db1 = fleet.managed("db1", &["tier=db"])?;
        Ok(Self { fleet, web1, db1, alice, carol, _sshd: sshd, out: std::io::stdout(), begun })
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.replace('\r', "").as_bytes())?;
        self.out.flush().context("standard output is closed")
    }

    /// Runs a command, shows it with its output, and holds it to its exit status.
    fn show(&mut self, host: &Host, user: &str, argv: &[&str], code: i32) -> Result<String> {
        self.prompt(host, user, argv)?;
        let ran = host.run(user, argv)?;
        self.say(&ran.stdout)?;
        self.say(&ran.stderr)?;
        let found = ran.status.code();
        ensure!(found == Some(code), "{argv:?} exited with {found:?}, not {code}");
        Ok(ran.stdout + &ran.stderr)
    }

    fn prompt(&mut self, host: &Host, user: &str, argv: &[&str]) -> Result<()> {
        let sign = if user == "root" { '#' } else { '$' };
        let words = argv
            .iter()
            .map(|word| if word.contains([' ', '{']) { format!("'{word}'") } else { (*word).to_owned() });
        // What a shell runs is shown as it is typed.
        let line = if let ["sh", "-c", script] = argv {
            (*script).to_owned()
        } else {
            words.collect::<Vec<_>>().join(" ")
        };
        self.say(&format!("{user}@{}{sign} {line}\n", host.name()))
    }

    /// Types a code at the prompt that comes, and shows all that was said until then.
    fn give_code(&mut self, screen: &mut Tty, code: &str) -> Result<()> {
        let said = screen.expect("Code for")?;
        self.say(&said)?;
        screen.line(code)
    }

    /// Shows the rest of what a program says, and holds it to success.
    fn finish(&mut self, mut screen: Tty, shown: usize) -> Result<()> {
        let status = screen.wait()?;
        let rest = screen.screen().get(shown..).unwrap_or_default().to_owned();
        self.say(&rest)?;
        ensure!(status.success(), "it exited with {status}");
        Ok(())
    }

    fn refusal(&mut self) -> Result<()> {
        let host = self.web1.host.clone();
        self.prompt(&host, "alice", &["sudo", "id", "-u"])?;
        let mut screen = on_screen(&host, "alice", &["sudo", "id", "-u"])?;
        screen.expect("You may activate: elevate web-ops")?;
        screen.expect("password")?;
        screen.interrupt()?;
        let status = screen.wait()?;
        self.say(&screen.screen())?;
        ensure!(!status.success(), "sudo did not refuse");
        self.show(&host, "alice", &["elevate"], 0).map(drop)
    }

    fn activation(&mut self) -> Result<()> {
        let (web1, laptop) = (self.web1.host.clone(), self.fleet.laptop.clone());
        let ask = ["elevate", "web-ops", "-m", "INC-4211 nginx hangs"];
        self.prompt(&web1, "alice", &ask)?;
        let mut asking = on_screen(&web1, "alice", &ask)?;
        let code = self.alice.code()?;
        self.give_code(&mut asking, &code)?;
        let mut said = asking.expect("resume:")?;
        said.push_str(&asking.expect("\n")?);
        self.say(&said)?;
        let shown = asking.screen().len();

        let id = self.carol.to_review("alice")?;
        self.show(&laptop, "carol", &["elevate", "requests", "--to-review"], 0)?;
        let short = id.get(.."R-7K2M9Q".len()).unwrap_or(&id);
        let approve = ["elevate", "approve", short, "-m", "go ahead"];
        self.prompt(&laptop, "carol", &approve)?;
        let mut approving = on_screen(&laptop, "carol", &approve)?;
        approving.expect("Code for")?;
        approving.line(&self.carol.code()?)?;
        self.finish(approving, 0)?;

        self.say("and alice's terminal goes on:\n")?;
        self.finish(asking, shown)
    }

    fn use_of_the_right(&mut self) -> Result<()> {
        let (web1, db1) = (self.web1.host.clone(), self.db1.host.clone());
        self.show(&web1, "alice", &["sudo", "-n", "id", "-u"], 0)?;
        self.show(&web1, "alice", &["sudo", "-n", "id"], 1)?;
        self.show(&web1, "alice", &["sudo", "-n", "cat", "/etc/shadow"], 1)?;
        self.show(&db1, "alice", &["sudo", "-n", "id", "-u"], 1)?;
        self.show(&web1, "alice", &["elevate", "status"], 0).map(drop)
    }

    fn proof(&mut self) -> Result<()> {
        let web1 = self.web1.host.clone();
        let names = web1.run("root", ["ls", "/var/lib/elevate/log"])?.success()?;
        let name = names.lines().find(|name| name.ends_with(".grant")).context("no grant file")?;
        let grant = format!("/var/lib/elevate/log/{name}");
        self.show(&web1, "root", &["sh", "-c", &format!("head -n 1 {grant} > /tmp/GRANT.json")], 0)?;
        let cut = format!("sed -n '2,/END SSH SIGNATURE/p' {grant} > /tmp/GRANT.sig");
        self.show(&web1, "root", &["sh", "-c", &cut], 0)?;
        let verify = "ssh-keygen -Y verify -f /etc/elevate/trust/grant_signers -I grants -n elevate-grant@v1 \
                      -s /tmp/GRANT.sig < /tmp/GRANT.json";
        let said = self.show(&web1, "root", &["sh", "-c", verify], 0)?;
        ensure!(said.contains("Good"), "ssh-keygen did not say that it is good");
        Ok(())
    }

    fn extension(&mut self) -> Result<()> {
        let web1 = self.web1.host.clone();
        self.say("alice's shell on web1, until the agent writes to her terminal:\n")?;
        let mut shell = on_screen(&web1, "alice", &["bash", "--norc"])?;
        let mut said = shell.expect("ends in")?;
        said.push_str(&shell.expect("\n")?);
        self.say(&said)?;
        shell.line("elevate extend 30s -m 'still at it'")?;
        let code = self.alice.code()?;
        self.give_code(&mut shell, &code)?;
        let mut said = shell.expect("xtended")?;
        said.push_str(&shell.expect("\n")?);
        self.say(&said)?;
        self.show(&web1, "alice", &["sudo", "-n", "id", "-u"], 0).map(drop)
    }

    fn end(&mut self) -> Result<()> {
        let web1 = self.web1.host.clone();
        self.web1.wait_end("alice")?;
        self.show(&web1, "alice", &["sudo", "-n", "id", "-u"], 1)?;
        self.show(&web1, "alice", &["elevate", "list", "--expired"], 0)?;
        self.show(&web1, "root", &["ls", "-A", "/run/elevate/sudoers.d"], 0).map(drop)
    }

    fn ssh(&mut self) -> Result<()> {
        let laptop = self.fleet.laptop.clone();
        let refused = ["elevate", "ssh", "root@web1", "-m", "INC-4212 disk", "--", "id", "-un"];
        self.show(&laptop, "alice", &refused, 125)?;
        let first = ["elevate", "ssh", "deploy@web1", "-m", "INC-4212 disk", "--", "id", "-un"];
        self.show(&laptop, "alice", &first, 0)?;
        self.say("nobody was asked about a fingerprint: web1 shows a certificate of its own\n")?;
        let shown =
            "ssh-keyscan -c -t ed25519 web1 2> /dev/null | grep -o 'ssh-ed25519-cert.*' | ssh-keygen -L -f -";
        let shown = self.show(&laptop, "alice", &["sh", "-c", shown], 0)?;
        ensure!(shown.contains("host certificate"), "web1 shows no certificate");
        let lines = "elevate ssh-config > ~/.ssh/elevate_config";
        self.show(&laptop, "alice", &["sh", "-c", lines], 0)?;
        let include = "sed -i '1i Include elevate_config' ~/.ssh/config";
        self.show(&laptop, "alice", &["sh", "-c", include], 0)?;
        self.prompt(&laptop, "alice", &["ssh", "-t", "web1"])?;
        let mut open = on_screen(&laptop, "alice", &["ssh", "-t", "web1"])?;
        open.expect("$ ")?;
        open.line("id -un; echo I am $((40 + 2))")?;
        let said = open.expect("I am 42")?;
        self.say(&said)?;
        let shown = open.screen().len();
        self.say("\nand while that is open:\n")?;
        self.show(&laptop, "alice", &["elevate", "drop", "--all"], 0)?;
        self.say("the open connection:\n")?;
        let status = open.wait()?;
        let rest = open.screen().get(shown..).unwrap_or_default().to_owned();
        self.say(&rest)?;
        ensure!(!status.success(), "the connection ended by itself");
        let after = self.show(&laptop, "alice", &["ssh", "web1", "true"], 255)?;
        ensure!(after.contains("elevate ssh deploy@web1"), "nobody says what to type");
        Ok(())
    }

    fn log(&mut self) -> Result<()> {
        let vault = self.fleet.vault.clone();
        let said = self.show(&vault, "root", &["elevatectl", "audit", "tail", "-n", "70"], 0)?;
        let ssh = ["ssh.certificate", "host.ssh-login", "host.ssh-logout"];
        let sudo = ["request.created", "request.approved", "grant.issued", "grant.extended", "grant.ended"];
        for code in sudo.into_iter().chain(ssh) {
            ensure!(said.contains(code), "the log does not tell of {code}");
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<ExitCode> {
        if !std::io::stdin().is_terminal() {
            return Ok(ExitCode::SUCCESS);
        }
        self.say(
            "\nYou are alice on web1 now. Try:  sudo id -u   elevate   elevate web-quick -m 'just trying'   sudo id -u\n\
             web-quick needs no code and no approval. `exit` ends the demo, and the hosts with it.\n\n",
        )?;
        self.web1.host.cmd("alice", ["bash", "-l"]).interactive()?;
        Ok(ExitCode::SUCCESS)
    }
}
