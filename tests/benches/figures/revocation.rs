//! Revocation of one role on a thousand hosts: every agent's signed acknowledgement, and sudo on a real host among them.
//!
//! In: a site, a managed host. Out: rows of the table. The clock starts before root says `revoke`, and stops for an agent when its
//! signed acknowledgement has left it; for all of them also when the daemon has recorded the last one, durably; and for
//! the real host when a sudo was refused that began as its drop-in went.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::message::admin::AdminAsk;
use elevate_protocol::message::person::Reply;
use elevate_protocol::message::view::{HostView, State};
use elevate_protocol::name::Name;
use elevate_tests::fleet::Managed;

use crate::agents::{Seen, Simulated};
use crate::approval::{DROP_IN, drop_ins};
use crate::crowd::Crowd;
use crate::measure::{cpu, millis, percentile};
use crate::people::{activation, converse, request};
use crate::site::Site;
use crate::table::{Aim, Row};
use crate::watch::{Touched, Watch};
use crate::wire::Connection;

/// Hosts of one activation.
const EACH: usize = 50;

/// Grants the role on every simulated host and on the real one.
fn grant(site: &Site, number: usize) -> Result<()> {
    let (server, people, alice) = (site.server.clone(), site.people.clone(), site.alice.clone());
    site.run(async move {
        let names = (0..number).map(|at| format!("sim{at:05}").parse()).collect::<Result<Vec<Name>, _>>()?;
        for (person, part) in people.iter().zip(names.chunks(EACH)) {
            let connection = Connection::open(&server, person.name.as_str(), &person.key).await?;
            let hosts: Vec<&Name> = part.iter().collect();
            let view = activation(converse(&connection, request("sweep", &hosts)?).await?)?;
            ensure!(view.state == State::Active, "{:?}", view.state);
            connection.close().await;
        }
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        let web1: Name = "web1".parse()?;
        let view = activation(converse(&connection, request("sweep", &[&web1])?).await?)?;
        ensure!(view.state == State::Active, "{:?}", view.state);
        connection.close().await;
        Ok(())
    })
}

/// The number of an event, which is its place in the log.
fn number_of(line: &str) -> Result<u64> {
    let event: serde_json::Value = serde_json::from_str(line)?;
    event.get("seq").and_then(serde_json::Value::as_u64).context("an event without a number")
}

/// The last event of the log.
fn last_event(site: &Site) -> Result<u64> {
    let root = site.root()?;
    site.run(async move {
        let mut log = root.ask(AdminAsk::AuditTail { last: 1, follow: false }).await?;
        loop {
            let reply = log.next().await?;
            if let Reply::Event(line) = &reply {
                return number_of(line);
            } else if let Reply::Refused(refusal) = &reply {
                bail!("no log: {}", refusal.message);
            }
        }
    })
}

/// Reads the log until so many confirmations after an event are recorded. Only then is it read at all: a thousand changes that
/// are followed one by one would take from the processors what is measured.
fn recorded(site: &Site, after: u64, number: usize) -> Result<Instant> {
    let root = site.root()?;
    let last = u32::try_from(number)?.saturating_mul(2);
    site.run(async move {
        let mut log = root.ask(AdminAsk::AuditTail { last, follow: true }).await?;
        let mut left = number;
        while left > 0 {
            let reply = log.next().await?;
            if let Reply::Event(line) = &reply
                && line.contains("\"grant.confirmed\"")
                && number_of(line)? > after
            {
                left = left.saturating_sub(1);
            } else if let Reply::Refused(refusal) = &reply {
                bail!("no log: {}", refusal.message);
            }
        }
        Ok(Instant::now())
    })
}

/// Sudo is not tried before: the processors that it would take are those of the thousand agents.
fn refused(web1: &Managed, watch: &Watch) -> Result<Instant> {
    watch.until(&Touched::Gone(DROP_IN.to_owned()))?;
    let (status, said) = web1.sudo("alice", &["/usr/bin/id", "-u"])?;
    let now = Instant::now();
    ensure!(status != 0, "sudo let alice in: {said}");
    Ok(now)
}

/// One revocation: when each agent had answered, all of it durable, and sudo was refused; and what it took until all had
/// answered. All in ms.
struct Round {
    times: Vec<f64>,
    durable: f64,
    refused: f64,
    daemon: f64,
    crowd: f64,
}

fn once(site: &Site, web1: &Managed, crowd: &Crowd, agents: &[Arc<Simulated>]) -> Result<Round> {
    let number = agents.len();
    grant(site, number)?;
    // Those of another figure may be away for good, with something left to send.
    let ours =
        |host: &HostView| host.name.as_str() == "web1" || agents.iter().any(|agent| agent.id == host.id);
    site.wait_hosts("every grant in force", |host| !ours(host) || host.behind == 0)?;
    web1.wait_sudo("alice", &["/usr/bin/id", "-u"], true)?;
    crowd.forget(site)?;
    let last = last_event(site)?;
    let watch = Watch::over(&drop_ins(web1)?, None)?;
    let spent = || anyhow::Ok((cpu(site.daemon()?)?, cpu(nix::unistd::getpid().as_raw())?));
    let before = spent()?;
    thread::scope(|scope| {
        let sudo = scope.spawn(move || refused(web1, &watch));
        let begun = Instant::now();
        let root = site.root()?;
        let revoked = site.run(async move { root.revoke_role("sweep").await });
        let acknowledged = revoked.and_then(|_| crowd.times(site, Seen::Acknowledged));
        let after = spent();
        let durable = recorded(site, last, number.saturating_add(1));
        let refused = sudo.join().ok().context("the thread died")??;
        let since = |at: &Instant| millis(at.duration_since(begun));
        let times: Vec<f64> = acknowledged?.iter().map(since).collect();
        let (daemon, crowd) = after?;
        Ok(Round {
            times,
            durable: since(&durable?),
            refused: since(&refused),
            daemon: daemon - before.0,
            crowd: crowd - before.1,
        })
    })
}

/// Measures with all simulated agents connected.
pub(crate) fn measure(site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let (number, rounds) = if quick { (100, 1) } else { (1000, 5) };
    let agents = site.agents(number)?;
    let crowd = Crowd::gather(site, &agents)?;
    let rounds = (0..rounds).map(|_| once(site, web1, &crowd, &agents)).collect::<Result<Vec<Round>>>()?;
    let of = |part: &dyn Fn(&Round) -> f64| rounds.iter().map(part).collect::<Vec<f64>>();
    let median = |part: &dyn Fn(&Round) -> f64| percentile(&of(part), 50.0);
    let name = format!("revocation of a role → signed acknowledgement, {number} simulated agents, p99");
    let told = |name: &str, value: f64| Row::new(name, value, "ms", Aim::Told);
    Ok(vec![
        Row::new(name, median(&|round| percentile(&round.times, 99.0)), "ms", Aim::AtMost(300.0)),
        told("… p50", median(&|round| percentile(&round.times, 50.0))),
        told("… first", median(&|round| percentile(&round.times, 0.0))),
        told("… CPU of the daemon until the last", median(&|round| round.daemon)),
        told("… CPU of the simulated agents until the last", median(&|round| round.crowd)),
        told("… the last acknowledgement recorded, durably", median(&|round| round.durable)),
        Row::new(
            "… sudo refused on the real host among them, slowest round",
            percentile(&of(&|round| round.refused), 100.0),
            "ms",
            Aim::AtMost(300.0),
        ),
    ])
}
