//! Certificates for SSH per second over door 2: asked for, signed, durable, on the log; beside `ssh-keygen -s` in the same run.
//!
//! In: a site. Out: rows of the table. Sixteen people have a grant and a connection that is open; each asks again and again for a
//! certificate of a key of theirs, as often as one person may in a minute, on one stream. The host is away: nobody waits for it.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::message::SUBSYSTEM_PERSON;
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome};
use elevate_protocol::message::view::State;
use elevate_protocol::name::Name;
use ssh_key::LineEnding;

use crate::crowd::Crowd;
use crate::measure::{count, millis, percentile};
use crate::people::{Person, activation, converse, request};
use crate::site::{Site, fresh_key};
use crate::table::{Aim, Row};
use crate::wire::{Connection, Server};

/// Connections at a time.
const OPEN: usize = 16;
/// Certificates of one person: fewer than the daemon signs for one in a minute.
const EACH: usize = 100;
/// Runs of `ssh-keygen -s` beside each round.
const KEYGEN: usize = 50;

/// Somebody with a grant, a connection and a key.
struct Ready {
    connection: Connection,
    key: String,
}

async fn ready(server: &Server, person: &Person, host: &Name) -> Result<Ready> {
    let connection = Connection::open(server, person.name.as_str(), &person.key).await?;
    let view = activation(converse(&connection, request("log-in", &[host])?).await?)?;
    ensure!(view.state == State::Active, "{:?}", view.state);
    Ok(Ready { connection, key: fresh_key()?.public_key().to_openssh()? })
}

/// How long each of them took, in ms.
async fn ask(ready: Arc<Ready>) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut frames = ready.connection.subsystem(SUBSYSTEM_PERSON).await?;
    for number in 0..EACH {
        let key = ready.key.clone();
        let ask = Ask::Certificate(CertificateAsk {
            agentless: false,
            key,
            grant: None,
            role: None,
            host: None,
            login: None,
        });
        let begun = Instant::now();
        match number {
            0 => frames.ask(ask).await?,
            _ => frames.ask_again(ask).await?,
        }
        let outcome = frames.outcome(|_| ()).await?;
        took.push(millis(begun.elapsed()));
        let Outcome::Certificate(_) = outcome else { bail!("no certificate: {outcome:?}") };
    }
    Ok(took)
}

/// One round with so many at a time: certificates per second, and how long each took.
fn round(site: &Site, people: &[Person], host: &Name) -> Result<(f64, Vec<f64>)> {
    let (server, people, host) = (site.server.clone(), people.to_vec(), host.clone());
    site.run(async move {
        let mut all = Vec::new();
        for person in &people {
            all.push(Arc::new(ready(&server, person, &host).await?));
        }
        let begun = Instant::now();
        let tasks: Vec<_> = all.iter().map(|one| tokio::spawn(ask(Arc::clone(one)))).collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await??);
        }
        let rate = count(took.len()) / begun.elapsed().as_secs_f64();
        for one in all {
            if let Some(one) = Arc::into_inner(one) {
                one.connection.close().await;
            }
        }
        Ok((rate, took))
    })
}

/// `ssh-keygen -s`, one after the other: certificates per second, kept by nobody.
fn keygen(folder: &std::path::Path) -> Result<f64> {
    let (ca, person) = (folder.join("ca"), folder.join("person.pub"));
    if !ca.exists() {
        let mut private = fresh_key()?.to_openssh(LineEnding::LF)?.to_string();
        private.push('\n');
        std::fs::write(&ca, private)?;
        std::fs::set_permissions(&ca, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        std::fs::write(&person, fresh_key()?.public_key().to_openssh()?)?;
    }
    let begun = Instant::now();
    for serial in 0..KEYGEN {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-s"]).arg(&ca).args(["-I", "measured", "-n", "deploy", "-V", "+15m", "-z"]);
        let done = command
            .arg(serial.to_string())
            .arg(&person)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        ensure!(done.success(), "ssh-keygen: {done}");
    }
    Ok(count(KEYGEN) / begun.elapsed().as_secs_f64())
}

/// Measures, alternating with the reference.
pub(crate) fn measure(site: &mut Site, quick: bool) -> Result<Vec<Row>> {
    let enrolled = site.enrol(vec!["store00".into()], "tier", "db")?;
    let crowd = Crowd::gather(site, &enrolled)?;
    let host: Name = "store00".parse()?;
    let folder = site.disk().join("keygen");
    std::fs::create_dir_all(&folder)?;
    let mut people = site.people.clone().into_iter();
    let mut some = |number: usize| -> Vec<Person> { people.by_ref().take(number).collect() };
    // The first request waits until the host has told its accounts.
    round(site, &some(1), &host)?;
    drop(crowd);
    site.wait_hosts("the host away", |one| !(one.name == host && one.connected))?;
    let (mut rates, mut reference, mut many, mut alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if quick { 2 } else { 7 } {
        let (rate, took) = round(site, &some(OPEN), &host)?;
        rates.push(rate);
        many.extend(took);
        alone.extend(round(site, &some(1), &host)?.1);
        alone.extend(round(site, &some(1), &host)?.1);
        reference.push(keygen(&folder)?);
    }
    reference.first().context("no rounds")?;
    Ok(vec![
        Row::new(
            "SSH certificates, door 2, durable, 16 connections (median)",
            percentile(&rates, 50.0),
            "per s",
            Aim::AtLeast(4000.0),
        ),
        Row::new("… one at a time, p50", percentile(&alone, 50.0), "ms", Aim::AtMost(0.7)),
        Row::new("… one at a time, p99", percentile(&alone, 99.0), "ms", Aim::AtMost(1.5)),
        Row::new("… one of 16 at a time, p50", percentile(&many, 50.0), "ms", Aim::Told),
        Row::new("… one of 16 at a time, p99", percentile(&many, 99.0), "ms", Aim::Told),
        Row::new("… ssh-keygen -s, one after the other", percentile(&reference, 50.0), "per s", Aim::Told),
    ])
}
