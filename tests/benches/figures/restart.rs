//! Restarts of the daemon: until every agent is back in sync, and with a long history.
//!
//! In: a site. Out: rows of the table. Runs as: root.

use std::time::Instant;

use anyhow::{Context, Result};
use elevate_tests::fleet::Managed;
use rusqlite::Connection;

use crate::agents::Seen;
use crate::bare::{self, Rows};
use crate::crowd::Crowd;
use crate::measure::{millis, percentile};
use crate::site::Site;
use crate::sudo;
use crate::table::{Aim, Row};

/// All agents back in sync after `kill -9` of the daemon, from the kill on.
pub(crate) fn reconnect(site: &mut Site, quick: bool) -> Result<Vec<Row>> {
    let (number, rounds) = if quick { (100, 1) } else { (1000, 3) };
    let agents = site.agents(number)?;
    let crowd = Crowd::gather(site, &agents)?;
    let (mut last, mut median) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        crowd.forget(site)?;
        let begun = Instant::now();
        site.fleet.kill_daemon()?;
        site.fleet.start_daemon()?;
        let times = crowd.times(site, Seen::InSync)?;
        let times: Vec<f64> = times.iter().map(|at| millis(at.duration_since(begun))).collect();
        last.push(percentile(&times, 100.0) / 1000.0);
        median.push(percentile(&times, 50.0) / 1000.0);
        let ours = |id| agents.iter().any(|agent| agent.id == id);
        site.wait_hosts("all connected, nothing left to send", |host| {
            !ours(host.id) || (host.connected && host.behind == 0)
        })?;
    }
    let name = format!("kill -9 and start of the daemon → all of {number} agents back in sync");
    Ok(vec![
        Row::new(name, percentile(&last, 50.0), "s", Aim::AtMost(5.0)),
        Row::new("… p50 of the agents", percentile(&median, 50.0), "s", Aim::Told),
    ])
}

/// Ends everything in a daemon's database as the clock does.
fn end_all(database: &Connection) -> Result<()> {
    let over = r#"{"ended":{"cause":"expired","at":1700000000}}"#;
    database.execute(
        "UPDATE activations SET phase = 'over', deadline = NULL, body = json_set(body, '$.state', json(?1)) WHERE phase <> 'over'",
        [over],
    )?;
    Ok(())
}

/// Puts grants that are over into a daemon's database: the rows of a real one, again and again, for the bench only.
fn import(database: &mut Connection, rows: &Rows, number: i64) -> Result<()> {
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "cache_size", -512_000)?;
    // Far above what the daemon has counted itself; the last of them is where it goes on.
    let mut at = 1_000_000_000i64;
    let transaction = database.transaction()?;
    for grant in 0..number {
        rows.write(&transaction, &bare::id(grant), &mut at)?;
    }
    transaction.execute(
        "UPDATE hosts SET issued = (SELECT MAX(seq) FROM documents WHERE host = hosts.id)
         WHERE id IN (SELECT host FROM documents WHERE seq > 1000000000)",
        [],
    )?;
    transaction.commit()?;
    database.pragma_update(None, "synchronous", "FULL")?;
    Ok(())
}

/// From the start of the process until it is ready, with so many grants in its history, after `kill -9`.
pub(crate) fn history(site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let number = if quick { 10_000 } else { 1_000_000 };
    let path = site.disk().join("daemon/elevated.db");
    sudo::grant(site, web1)?;
    site.fleet.kill_daemon()?;
    let mut database = Connection::open(&path)?;
    let one = bare::active(&database)?;
    end_all(&database)?;
    let rows = bare::rows_of(&database, one)?;
    import(&mut database, &rows, number)?;
    let size: i64 = database.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        [],
        |row| row.get(0),
    )?;
    database.close().map_err(|(_, error)| error).context("the daemon's database")?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        site.fleet.start_daemon()?;
        times.push(begun.elapsed().as_secs_f64());
        site.fleet.kill_daemon()?;
    }
    site.fleet.start_daemon()?;
    let mib = f64::from(u32::try_from(size.div_euclid(1024 * 1024)).unwrap_or(u32::MAX));
    let name = format!("start of the daemon with {number} grants in its history");
    Ok(vec![
        Row::new(name, percentile(&times, 50.0), "s", Aim::AtMost(2.0)),
        Row::new("… its database", mib, "MiB", Aim::Told),
    ])
}
