//! What rests: memory of the daemon per connected agent, memory and CPU of agent and link when nothing happens.
//!
//! In: a site, a managed host. Out: rows of the table. Runs as: root.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use elevate_tests::fleet::Managed;

use crate::crowd::Crowd;
use crate::measure::{count, cpu, proportional, resident, schedstat};
use crate::pages::Pages;
use crate::site::Site;
use crate::table::{Aim, Row};

/// How often what is measured is kept in memory.
const TOUCH: Duration = Duration::from_millis(500);

/// CPU time of agent and link from here on.
struct Spent {
    agent: f64,
    link: f64,
    clocks: f64,
}

impl Spent {
    fn by(agent: i32, link: i32) -> Result<Self> {
        Ok(Self { agent: schedstat(agent)?, link: schedstat(link)?, clocks: cpu(agent)? + cpu(link)? })
    }

    /// What is spent while something goes on for `time`, in ms of CPU for a minute of it.
    fn during(pids: (i32, i32), time: Duration, meanwhile: impl FnOnce() -> Result<()>) -> Result<Self> {
        let before = Self::by(pids.0, pids.1)?;
        meanwhile()?;
        let after = Self::by(pids.0, pids.1)?;
        let minute = 60.0 / time.as_secs_f64();
        Ok(Self {
            agent: (after.agent - before.agent) * minute,
            link: (after.link - before.link) * minute,
            clocks: (after.clocks - before.clocks) * minute,
        })
    }
}

/// Agent and link of a host with nothing to do. First as they are left, then with what they have in memory kept there: what a machine
/// takes away within seconds has to come back with each waking, and that is the machine's time.
pub(crate) fn idle(web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let agent = web1.agent.as_ref().context("no agent")?.pid();
    let link = web1.link.as_ref().context("no link")?.pid();
    let minute = Duration::from_secs(if quick { 15 } else { 60 });
    let memory = [Pages::of(agent)?, Pages::of(link)?];
    // The minute is what is measured: nothing is waited for.
    let left = Spent::during((agent, link), minute, || {
        thread::sleep(minute);
        Ok(())
    })?;
    let kept = Spent::during((agent, link), minute, || {
        let begun = Instant::now();
        while begun.elapsed() < minute {
            memory.iter().for_each(Pages::touch);
            thread::sleep(TOUCH);
        }
        Ok(())
    })?;
    let parts = [("agent", agent, kept.agent), ("link", link, kept.link)];
    let mut rows = vec![
        Row::new(
            "agent + link, idle: resident",
            (resident(agent)? + resident(link)?) / 1024.0,
            "MiB",
            Aim::AtMost(20.0),
        ),
        Row::new(
            "agent + link, idle: CPU in a minute, their memory kept present, schedstat",
            kept.agent + kept.link,
            "ms",
            Aim::AtMost(5.0),
        ),
        Row::new(
            "… the same by their process clocks, threads that ended among it",
            kept.clocks,
            "ms",
            Aim::Told,
        ),
        Row::new(
            "… in the minute before, their memory left to the machine",
            left.agent + left.link,
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
