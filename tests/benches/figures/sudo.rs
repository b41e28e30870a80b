//! `sudo -n true` with our PAM lines and one live grant, beside the same without: pairs, one after the other.
//!
//! In: a managed host, a plain one with a rule of its own. Out: rows of the table. A runner in each host, as alice, starts sudo.

use anyhow::{Result, ensure};
use elevate_protocol::message::person::Ask;
use elevate_protocol::message::view::State;
use elevate_protocol::name::Name;
use elevate_tests::Access;
use elevate_tests::fleet::Managed;

use crate::measure::percentile;
use crate::people::{activation, converse, request};
use crate::runner::{Pairs, Runner, pairs, spec};
use crate::site::Site;
use crate::table::{Aim, Row};
use crate::wire::Connection;

/// Gives alice the role on the real host, or finds it given.
pub(crate) fn grant(site: &Site, web1: &Managed) -> Result<()> {
    let (server, alice) = (site.server.clone(), site.alice.clone());
    site.run(async move {
        let host: Name = "web1".parse()?;
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        let view = activation(converse(&connection, request("plain", &[&host])?).await?)?;
        ensure!(view.state == State::Active, "{:?}", view.state);
        connection.close().await;
        Ok(())
    })?;
    web1.wait_sudo("alice", &["/usr/bin/true"], true)
}

/// Gives it back, so that what is measured next finds alice without rights.
fn give_back(site: &Site, web1: &Managed) -> Result<()> {
    let (server, alice) = (site.server.clone(), site.alice.clone());
    site.run(async move {
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        converse(&connection, Ask::Drop { id: None, all: true }).await?;
        connection.close().await;
        Ok(())
    })?;
    web1.wait_sudo("alice", &["/usr/bin/true"], false)
}

/// Measures in pairs.
pub(crate) fn measure(site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let plain = site.fleet.lab.host_with("plain1", spec(site)?)?;
    plain.add_user("alice", 2000)?;
    let rule = "alice ALL=(root) NOPASSWD: /usr/bin/true\n";
    plain.write_as("/etc/sudoers.d/alice", rule, Access::root(0o440))?;
    grant(site, web1)?;
    let command = ["/usr/bin/sudo", "-n", "/usr/bin/true"];
    let mut ours = Runner::start(site, (&web1.host, "with"), "alice", &command)?;
    let mut without = Runner::start(site, (&plain, "without"), "alice", &command)?;
    let number = if quick { 50 } else { 300 };
    let Pairs { with, without: bare, ratios } = pairs(&mut ours, &mut without, number)?;
    give_back(site, web1)?;
    Ok(vec![
        Row::new(
            format!("sudo -n true with our PAM lines and a live grant ÷ without, {number} pairs, median"),
            percentile(&ratios, 50.0),
            "ratio",
            Aim::AtMost(1.10),
        ),
        Row::new("… with, p50", percentile(&with, 50.0), "ms", Aim::Told),
        Row::new("… without, p50", percentile(&bare, 50.0), "ms", Aim::Told),
        Row::new("… with, p99", percentile(&with, 99.0), "ms", Aim::Told),
        Row::new("… without, p99", percentile(&bare, 99.0), "ms", Aim::Told),
    ])
}
