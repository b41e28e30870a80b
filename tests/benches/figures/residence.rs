//! What rests: memory of the daemon per connected agent, memory and CPU of agent and link when nothing happens.
//!
//! In: a site, a managed host. Out: rows of the table. Runs as: root.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use elevate_tests::fleet::Managed;

use crate::crowd::Crowd;
use crate::measure::{count, cpu, proportional, resident, schedstat};
use crate::site::Site;
use crate::table::{Aim, Row};

/// Agent and link of a host with nothing to do.
pub(crate) fn idle(web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let agent = web1.agent.as_ref().context("no agent")?.pid();
    let link = web1.link.as_ref().context("no link")?.pid();
    let minute = Duration::from_secs(if quick { 15 } else { 60 });
    let used = || anyhow::Ok((schedstat(agent)?, schedstat(link)?, cpu(agent)? + cpu(link)?));
    let before = used()?;
    // The minute is what is measured: nothing is waited for.
    thread::sleep(minute);
    let after = used()?;
    let per_minute = 60.0 / minute.as_secs_f64();
    let parts = [
        ("agent", agent, (after.0 - before.0) * per_minute),
        ("link", link, (after.1 - before.1) * per_minute),
    ];
    let mut rows = vec![
        Row::new(
            "agent + link, idle: resident",
            (resident(agent)? + resident(link)?) / 1024.0,
            "MiB",
            Aim::AtMost(20.0),
        ),
        Row::new(
            "agent + link, idle: CPU in a minute, schedstat of all threads",
            parts.iter().map(|(_, _, spent)| spent).sum(),
            "ms",
            Aim::AtMost(5.0),
        ),
        Row::new(
            "… the same by their process clocks, threads that ended among it",
            (after.2 - before.2) * per_minute,
            "ms",
            Aim::Told,
        ),
    ];
    for (name, pid, spent) in parts {
        rows.push(Row::new(format!("… {name}: CPU in a minute"), spent, "ms", Aim::Told));
        rows.push(Row::new(format!("… {name}: resident"), resident(pid)? / 1024.0, "MiB", Aim::Told));
        rows.push(Row::new(
            format!("… {name}: proportional share"),
            proportional(pid)? / 1024.0,
            "MiB",
            Aim::Told,
        ));
    }
    Ok(rows)
}

/// Memory of the daemon per connected agent: from before the first to after the last of them.
pub(crate) fn per_agent(site: &mut Site, quick: bool) -> Result<Vec<Row>> {
    let numbers = if quick { [50, 200] } else { [1000, 5000] };
    let mut rows = Vec::new();
    for number in numbers {
        let agents = site.agents(number)?;
        // A fresh daemon: what others left in its memory is not counted for or against the agents.
        site.fleet.kill_daemon()?;
        site.fleet.start_daemon()?;
        let before = resident(site.daemon()?)?;
        let crowd = Crowd::gather(site, &agents)?;
        site.wait_hosts("every agent connected", |host| {
            host.connected || !agents.iter().any(|agent| agent.id == host.id)
        })?;
        let after = resident(site.daemon()?)?;
        let name = format!("daemon: resident memory per connected agent, {number} agents");
        rows.push(Row::new(name, (after - before) / count(number), "KiB", Aim::AtMost(64.0)));
        rows.push(Row::new("… in all", after / 1024.0, "MiB", Aim::Told));
        drop(crowd);
    }
    Ok(rows)
}
