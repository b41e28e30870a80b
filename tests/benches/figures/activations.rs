//! Durable activations per second over door 2, beside bare SQLite commits of the same rows in the same run.
//!
//! In: a site. Out: rows of the table. A thousand people come one after the other, sixteen connections are open at any time;
//! each asks for the role on one host after the other. The hosts have told their accounts and are away, so that the answer
//! follows the commit and waits for nobody. Handshakes are part of the time.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use elevate_protocol::message::view::State;
use elevate_protocol::name::Name;

use crate::bare;
use crate::crowd::Crowd;
use crate::measure::{count, millis, percentile};
use crate::people::{Person, activation, converse, request};
use crate::site::Site;
use crate::table::{Aim, Row};
use crate::wire::{Connection, Server};

/// Connections at a time.
const OPEN: usize = 16;
/// Activations of one person, each on a host of its own.
const EACH: usize = 15;

/// One round: how many per second, and how long each took in ms.
struct Round {
    rate: f64,
    took: Vec<f64>,
}

/// Hosts that said which accounts they have, and went.
fn hosts(site: &Site) -> Result<Vec<Name>> {
    let names: Vec<String> = (0..EACH).map(|number| format!("app{number:02}")).collect();
    let enrolled = site.enrol(names.clone(), "tier", "app")?;
    let crowd = Crowd::gather(site, &enrolled)?;
    let hosts = names.iter().map(|name| name.parse()).collect::<Result<Vec<Name>, _>>()?;
    let (person, server, each) =
        (site.people.first().cloned().context("nobody")?, site.server.clone(), hosts.clone());
    // Their answers are on their way: a request waits until they are there.
    site.run(async move {
        let connection = Connection::open(&server, person.name.as_str(), &person.key).await?;
        for host in &each {
            let view = activation(converse(&connection, request("quick", &[host])?).await?)?;
            ensure!(view.state == State::Active, "{:?}", view.state);
        }
        connection.close().await;
        Ok(())
    })?;
    drop(crowd);
    let ours = |name: &Name| hosts.contains(name);
    site.wait_hosts("all hosts away", |host| !(ours(&host.name) && host.connected))?;
    Ok(hosts)
}

async fn worker(
    queue: Arc<Mutex<std::vec::IntoIter<Person>>>,
    server: Server,
    hosts: Arc<Vec<Name>>,
) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    loop {
        let person = queue.lock().ok().and_then(|mut queue| queue.next());
        let Some(person) = person else { return Ok(took) };
        let connection = Connection::open(&server, person.name.as_str(), &person.key).await?;
        for host in hosts.iter() {
            let begun = Instant::now();
            let view = activation(converse(&connection, request("quick", &[host])?).await?)?;
            ensure!(view.state == State::Active, "{:?}", view.state);
            took.push(millis(begun.elapsed()));
        }
        connection.close().await;
    }
}

fn round(site: &Site, people: &[Person], hosts: &Arc<Vec<Name>>) -> Result<Round> {
    let queue = Arc::new(Mutex::new({
        let people: Vec<Person> = people.to_vec();
        people.into_iter()
    }));
    let (server, hosts) = (site.server.clone(), Arc::clone(hosts));
    let begun = Instant::now();
    let took = site.run(async move {
        let tasks: Vec<_> = (0..OPEN)
            .map(|_| tokio::spawn(worker(Arc::clone(&queue), server.clone(), Arc::clone(&hosts))))
            .collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await??);
        }
        Ok(took)
    })?;
    Ok(Round { rate: count(took.len()) / begun.elapsed().as_secs_f64(), took })
}

/// Measures, alternating with the reference.
pub(crate) fn measure(site: &mut Site, quick: bool) -> Result<Vec<Row>> {
    let hosts = Arc::new(hosts(site)?);
    let rounds = if quick { 2 } else { 5 };
    let people: Vec<Person> = site.people.iter().skip(1).cloned().collect();
    let part = if quick { 40 } else { people.len().div_ceil(rounds) };
    let (mut rates, mut bares, mut ratios, mut took) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut template = None;
    for chunk in people.chunks(part).take(rounds) {
        let one = round(site, chunk, &hosts)?;
        let rows = match template.take() {
            Some(rows) => rows,
            None => {
                let database = bare::look(&site.disk().join("daemon/elevated.db"))?;
                bare::rows_of(&database, bare::active(&database)?)?
            }
        };
        let bare = bare::commits_per_second(&site.disk().join("bare.db"), &rows)?;
        template = Some(rows);
        rates.push(one.rate);
        bares.push(bare);
        ratios.push(one.rate / bare);
        took.extend(one.took);
    }
    let rows = template.context("no rounds")?;
    Ok(vec![
        Row::new(
            "durable activations, door 2, 1 000 people, 16 connections (median)",
            percentile(&rates, 50.0),
            "per s",
            Aim::AtLeast(1500.0),
        ),
        Row::new(
            "… ÷ bare SQLite commits of the same rows (median of rounds)",
            percentile(&ratios, 50.0),
            "ratio",
            Aim::AtLeast(0.25),
        ),
        Row::new("… bare SQLite commits of the same rows", percentile(&bares, 50.0), "per s", Aim::Told),
        Row::new("… one of 16 at a time, p50", percentile(&took, 50.0), "ms", Aim::Told),
        Row::new("… one of 16 at a time, p99", percentile(&took, 99.0), "ms", Aim::Told),
        Row::new(format!("… rows: {}", rows.told()), rows.number(), "rows", Aim::Told),
    ])
}
