//! From an approval that is committed to the drop-in in force on a real host, with 1 and with 1 000 simulated agents beside it.
//!
//! In: a site, a managed host. Out: rows of the table. The clock starts with the last write of the commit into the daemon's
//! write-ahead log, *before* its fsync, and stops when the drop-in is renamed into place. Between the two: the daemon's fsync of
//! the approval, the grant and their events; the agent's checks, its fsync of the grant and of the folder that it is in.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::view::State;
use elevate_protocol::name::Name;
use elevate_tests::fleet::Managed;

use crate::crowd::Crowd;
use crate::measure::{millis, percentile};
use crate::people::{Approver, activation, converse, request};
use crate::site::{Site, leads};
use crate::table::{Aim, Row};
use crate::watch::{Touched, Watch};
use crate::wire::Connection;

/// alice on every managed host.
pub(crate) const DROP_IN: &str = "u2000";

/// Samples in ms: from the commit, and from the code that the approver typed.
#[derive(Default)]
struct Samples {
    committed: Vec<f64>,
    said: Vec<f64>,
}

/// Where the drop-ins of a host are, as the machine sees them.
pub(crate) fn drop_ins(web1: &Managed) -> Result<PathBuf> {
    Ok(PathBuf::from(format!("/proc/{}/root/run/elevate/sudoers.d", web1.host.pid()?)))
}

fn approvers(site: &Site, number: usize) -> Result<Vec<Approver>> {
    let (root, server, people) = (site.root()?, site.server.clone(), leads(site));
    site.run(async move {
        let mut ready = Vec::new();
        for person in people.into_iter().take(number) {
            let paste = root.invite_person(&person.name).await?;
            ready.push(Approver::enrol(&server, person, &paste).await?);
        }
        Ok(ready)
    })
}

fn once(site: &Site, watch: &Watch, mut approver: Approver, samples: &mut Samples) -> Result<Approver> {
    let (server, alice) = (site.server.clone(), site.alice.clone());
    let web1: Name = "web1".parse()?;
    let id = site.run(async move {
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        let view = activation(converse(&connection, request("reviewed", &[&web1])?).await?)?;
        ensure!(view.state == State::Pending, "{:?}", view.state);
        connection.close().await;
        Ok(view.id)
    })?;
    watch.forget();
    let (server, prefix) = (site.server.clone(), id.to_string().parse()?);
    let (approver, said) = site.run(async move {
        let (said, _) = approver.approve(&server, &prefix).await?;
        Ok((approver, said))
    })?;
    let (written, placed) = watch.until(&Touched::Placed(DROP_IN.to_owned()))?;
    let written = written.context("a drop-in without a commit")?;
    samples.committed.push(millis(placed.duration_since(written)));
    samples.said.push(millis(placed.duration_since(said)));
    let (server, alice, prefix) = (site.server.clone(), site.alice.clone(), id.to_string().parse()?);
    site.run(async move {
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        converse(&connection, Ask::Drop { id: Some(prefix), all: false }).await?;
        connection.close().await;
        Ok(())
    })?;
    watch.until(&Touched::Gone(DROP_IN.to_owned()))?;
    Ok(approver)
}

/// Measures with the agents that are connected beside the real one.
pub(crate) fn measure(site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let each = if quick { 20 } else { 120 };
    let crowds = if quick { [1, 100] } else { [1, 1000] };
    let mut ready = approvers(site, each)?;
    let log = site.disk().join("daemon/elevated.db-wal");
    let watch = Watch::over(&drop_ins(web1)?, Some(&log))?;
    let mut rows = Vec::new();
    for number in crowds {
        let agents = site.agents(number)?;
        let crowd = Crowd::gather(site, &agents)?;
        let mut samples = Samples::default();
        let mut used = Vec::new();
        for approver in ready {
            ensure!(approver.has_code(), "an approver without a code");
            used.push(once(site, &watch, approver, &mut samples)?);
        }
        ready = used;
        drop(crowd);
        let beside = format!("{number} simulated agents");
        for (part, aim) in [(50.0, 2.0), (99.0, 10.0)] {
            let name = format!("approval committed → drop-in in force, {beside}, p{part:.0}");
            rows.push(Row::new(name, percentile(&samples.committed, part), "ms", Aim::AtMost(aim)));
        }
        let name = format!("… code of the approver sent → drop-in in force, {beside}, p50");
        rows.push(Row::new(name, percentile(&samples.said, 50.0), "ms", Aim::Told));
    }
    Ok(rows)
}
