//! `make bench`: measures what the documents promise, with the real programs on hosts of the test bed.
//!
//! In: the staged release build and the tree; `--quick` for small numbers, words for some of the figures. Out: a table on standard
//! output, one line a figure; what is going on, on standard error. Exit code 0 when everything could be measured, `short` or not.
//! Runs as: root. Spec: docs/performance.md.
#![forbid(unsafe_code)]

mod activations;
mod agents;
mod approval;
mod bare;
mod certificates;
mod crowd;
mod measure;
mod pages;
mod people;
mod residence;
mod restart;
mod revocation;
mod runner;
mod site;
mod ssh;
mod sudo;
mod table;
mod watch;
mod wire;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use elevate_tests::Running;
use elevate_tests::fleet::Managed;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use site::Site;
use table::Row;

/// What can be measured, in this order.
const FIGURES: [&str; 10] = [
    "activations",
    "certificates",
    "idle",
    "sudo",
    "ssh",
    "approval",
    "revocation",
    "reconnect",
    "memory",
    "history",
];
/// Sockets of 5 000 agents, at both ends.
const FILES: u64 = 32_768;

struct Wish {
    quick: bool,
    figures: Vec<&'static str>,
}

fn wish(words: &[String]) -> Result<Wish> {
    let mut wish = Wish { quick: false, figures: Vec::new() };
    for word in words {
        match word.as_str() {
            // cargo says this to every bench.
            "--bench" => {}
            "--quick" => wish.quick = true,
            name => match FIGURES.iter().find(|known| **known == name) {
                Some(known) => wish.figures.push(known),
                None => bail!("no figure {name}; there are {}", FIGURES.join(", ")),
            },
        }
    }
    if wish.figures.is_empty() {
        wish.figures = FIGURES.to_vec();
    }
    Ok(wish)
}

/// The real host, whose agent has its state on the machine's own disk, and its sshd.
fn web1(site: &Site) -> Result<(Managed, Running)> {
    let state = site.disk().join("agent");
    std::fs::create_dir_all(&state)?;
    let host = site.fleet.lab.host_with("web1", runner::spec(site)?.bind(state, "/var/lib/elevate"))?;
    let (account, uid) = ssh::ACCOUNT;
    host.add_user(account, uid)?;
    // Before the enrolment: it tries its file on this sshd.
    let sshd = host.sshd()?;
    Ok((Managed::enrol(&site.fleet, host, &["tier=web", "fleet=big"])?, sshd))
}

fn figure(name: &str, site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    match name {
        "activations" => activations::measure(site, quick),
        "certificates" => certificates::measure(site, quick),
        "idle" => residence::idle(web1, quick),
        "sudo" => sudo::measure(site, web1, quick),
        "ssh" => ssh::measure(site, web1, quick),
        "approval" => approval::measure(site, web1, quick),
        "revocation" => revocation::measure(site, web1, quick),
        "reconnect" => restart::reconnect(site, quick),
        "memory" => residence::per_agent(site, quick),
        "history" => restart::history(site, web1, quick),
        other => bail!("no figure {other}"),
    }
}

fn all(wish: &Wish) -> Result<ExitCode> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, FILES.min(most.max(1)), most)?;
    let begun = Instant::now();
    let mut site = Site::new()?;
    let (web1, _sshd) = web1(&site)?;
    let mut code = ExitCode::SUCCESS;
    println!("{}", table::head());
    for name in &wish.figures {
        eprintln!("[{:>4} s] {name} …", begun.elapsed().as_secs());
        match figure(name, &mut site, &web1, wish.quick) {
            Ok(rows) => rows.iter().for_each(|row| println!("{row}")),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                println!("| {name:<88} | {:>8} | {:<11} | {:>8} | {:<5} |", "–", "", "", "failed");
                code = ExitCode::FAILURE;
            }
        }
    }
    eprintln!("[{:>4} s] done", begun.elapsed().as_secs());
    Ok(code)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [mode, socket, command @ ..] if mode == "--runner" => {
            runner::run(Path::new(socket), command).map(|()| ExitCode::SUCCESS)
        }
        words => wish(words).and_then(|wish| all(&wish)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}
