//! `testbed`: the program that makes test hosts and runs commands in them.
//!
//! In: a subcommand. Out: a host, a command's streams, the tree.
//! Runs as: root. Spec: `testbed help`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use elevate_tests::inside::args::Args;
use elevate_tests::inside::{enter, init, security_key, shell, speak, switch, tree};

const HELP: &str = "\
testbed: hosts with their own /etc, users, processes and address on one machine

  testbed tree                    make the lower tree of all hosts (once; needs mmdebstrap), and fetch a software security key
  testbed shell [NAME [CMD…]]     a throw-away host and a root shell (or CMD) in it
  testbed switch --disks DIR      network and disks of a lab, until standard input ends
  testbed init --name N --lower DIR… --state DIR --lab PID --cgroup DIR [--bind SRC:DST]… [--exec INIT]
                                  one host, until standard input ends; says READY <pid>
  testbed exec --pid PID --cgroup DIR [--memory DIR] [--user U] [--dir D] [--env K=V]… [--pid-to SOCKET] CMD…
                                  a command in a host, with its exit status
  testbed speak --socket PATH [--times N] [--after close]
                                  standard input to a local socket, N times at once; what it answers
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::from(127)
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let command = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    let args = |known: &[&str]| Args::parse(words.clone(), known);
    match command.to_str().unwrap_or_default() {
        "tree" => {
            println!("{}", tree::make()?.display());
            println!("{}", security_key::fetch()?.display());
        }
        "shell" => return shell::run(args(&[])?.rest),
        "switch" => return switch::run(&args(&["--disks"])?),
        "init" => return init::launch(&args(init::OPTIONS)?, words),
        "init-inside" => return init::inside(&args(init::OPTIONS)?),
        "exec" => return enter::launch(&args(enter::OPTIONS)?, words),
        "exec-inside" => return enter::inside(&args(enter::OPTIONS)?),
        "speak" => speak::run(&args(speak::OPTIONS)?)?,
        "help" | "--help" => print!("{HELP}"),
        other => bail!("unknown subcommand {other:?}; see testbed help"),
    }
    Ok(ExitCode::SUCCESS)
}
