//! Revocation of one role on a thousand hosts: every agent's signed acknowledgement, and sudo on a real host among them.
//!
//! In: a site, a managed host. Out: rows of the table. The clock starts before root says `revoke`, and stops for an agent when its
//! signed acknowledgement has left it; for all of them also when the daemon has recorded the last one, durably; and for
//! the real host when the first sudo that was refused has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use elevate_protocol::message::admin::AdminAsk;
use elevate_protocol::message::person::Reply;
use elevate_protocol::message::view::{HostView, State};
use elevate_protocol::name::Name;
use elevate_tests::fleet::Managed;

use crate::agents::{Seen, Simulated};
use crate::crowd::Crowd;
use crate::measure::{millis, percentile};
use crate::people::{activation, converse, request};
use crate::site::Site;
use crate::table::{Aim, Row};
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

/// Follows the log until so many confirmations were recorded; when the last one was told.
fn recorded(site: &Site, number: usize) -> Result<impl FnOnce() -> Result<Instant>> {
    let root = site.root()?;
    let mut log = site.run(async move { root.ask(AdminAsk::AuditTail { last: 0, follow: true }).await })?;
    Ok(move || {
        site.run(async move {
            let mut left = number;
            while left > 0 {
                let reply = log.next().await?;
                if let Reply::Event(line) = &reply
                    && line.contains("\"grant.confirmed\"")
                {
                    left = left.saturating_sub(1);
                } else if let Reply::Refused(refusal) = &reply {
                    bail!("no log: {}", refusal.message);
                }
            }
            Ok(Instant::now())
        })
    })
}

fn sudo_until_refused(web1: &Managed, stop: &AtomicBool) -> Result<Instant> {
    while !stop.load(Ordering::Relaxed) {
        if web1.sudo("alice", &["/usr/bin/id", "-u"])?.0 != 0 {
            return Ok(Instant::now());
        }
    }
    bail!("sudo was never refused")
}

/// One revocation: when each agent had answered, all of it durable, and sudo was refused; in ms.
fn once(
    site: &Site,
    web1: &Managed,
    crowd: &Crowd,
    agents: &[Arc<Simulated>],
) -> Result<(Vec<f64>, f64, f64)> {
    let number = agents.len();
    grant(site, number)?;
    // Those of another figure may be away for good, with something left to send.
    let ours =
        |host: &HostView| host.name.as_str() == "web1" || agents.iter().any(|agent| agent.id == host.id);
    site.wait_hosts("every grant in force", |host| !ours(host) || host.behind == 0)?;
    web1.wait_sudo("alice", &["/usr/bin/id", "-u"], true)?;
    crowd.forget(site)?;
    let recorded = recorded(site, number.saturating_add(1))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sudo = scope.spawn(|| sudo_until_refused(web1, &stop));
        let begun = Instant::now();
        let root = site.root()?;
        let revoked = site.run(async move { root.revoke_role("sweep").await });
        let acknowledged = revoked.and_then(|_| crowd.times(site, Seen::Acknowledged));
        let durable = recorded();
        // Whatever went wrong, the thread comes to its end.
        stop.store(acknowledged.is_err(), Ordering::Relaxed);
        let refused = sudo.join().ok().context("the thread died")??;
        let since = |at: &Instant| millis(at.duration_since(begun));
        let times: Vec<f64> = acknowledged?.iter().map(since).collect();
        Ok((times, since(&durable?), since(&refused)))
    })
}

/// Measures with all simulated agents connected.
pub(crate) fn measure(site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let (number, rounds) = if quick { (100, 1) } else { (1000, 5) };
    let agents = site.agents(number)?;
    let crowd = Crowd::gather(site, &agents)?;
    let (mut halves, mut most, mut all, mut refusals) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (times, durable, refused) = once(site, web1, &crowd, &agents)?;
        halves.push(percentile(&times, 50.0));
        most.push(percentile(&times, 99.0));
        all.push(durable);
        refusals.push(refused);
    }
    let name = format!("revocation of a role → signed acknowledgement, {number} simulated agents, p99");
    Ok(vec![
        Row::new(name, percentile(&most, 50.0), "ms", Aim::AtMost(300.0)),
        Row::new("… p50", percentile(&halves, 50.0), "ms", Aim::Told),
        Row::new("… the last acknowledgement recorded, durably", percentile(&all, 50.0), "ms", Aim::Told),
        Row::new(
            "… sudo refused on the real host among them, slowest round",
            percentile(&refusals, 100.0),
            "ms",
            Aim::AtMost(300.0),
        ),
    ])
}
