//! Plain `ssh host true` by a certificate under a grant, beside the same by authorized_keys; and how soon a hundred open connections
//! are closed when their grant is over.
//!
//! In: a managed host with a running sshd, the real ssh on the daemon's machine. Out: rows of the table.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use elevate_protocol::message::person::{Ask, CertificateAsk, Outcome};
use elevate_protocol::message::view::State;
use elevate_protocol::name::Name;
use elevate_tests::fleet::Managed;
use elevate_tests::{Access, PATIENCE, Running};
use ssh_key::{LineEnding, PrivateKey};

use crate::measure::{millis, percentile};
use crate::people::{activation, converse, request};
use crate::runner::{Pairs, Runner, pairs};
use crate::site::{Site, fresh_key};
use crate::table::{Aim, Row};
use crate::wire::Connection;

/// The account, and its number on the host.
pub(crate) const ACCOUNT: (&str, u32) = ("deploy", 2100);
/// Connections that are open when the grant ends, by so many at a time: sshd lets in ten that have not logged in.
const OPEN: usize = 100;

/// A grant for alice, and a certificate under it for this key.
fn certificate(site: &Site, key: &PrivateKey) -> Result<String> {
    let (server, alice) = (site.server.clone(), site.alice.clone());
    let key = key.public_key().to_openssh()?;
    site.run(async move {
        let host: Name = "web1".parse()?;
        let connection = Connection::open(&server, alice.name.as_str(), &alice.key).await?;
        let view = activation(converse(&connection, request("deployer", &[&host])?).await?)?;
        ensure!(view.state == State::Active, "{:?}", view.state);
        let (role, login) = (Some("deployer".parse()?), None);
        let ask = CertificateAsk { key, grant: None, role, host: Some(host.into()), login, agentless: false };
        let outcome = converse(&connection, Ask::Certificate(ask)).await?;
        let Outcome::Certificate(view) = outcome else { bail!("no certificate: {outcome:?}") };
        connection.close().await;
        Ok(view.certificate)
    })
}

/// Writes a key where ssh on the daemon's machine finds it; the words for ssh.
fn words(site: &Site, (name, key): (&str, &PrivateKey), certificate: Option<&str>) -> Result<Vec<String>> {
    let file = format!("/root/{name}");
    let private = key.to_openssh(LineEnding::LF)?;
    site.fleet.vault.write_as(&file, private.as_bytes(), Access::root(0o600))?;
    if let Some(certificate) = certificate {
        site.fleet.vault.write(format!("{file}-cert.pub"), certificate)?;
    }
    let (account, _) = ACCOUNT;
    let options = ["-i", &file, "-oBatchMode=yes", "-oStrictHostKeyChecking=no", "-oIdentitiesOnly=yes"];
    let target = format!("{account}@web1");
    Ok(["/usr/bin/ssh"].iter().chain(&options).chain(&[target.as_str()]).map(ToString::to_string).collect())
}

fn with<'a>(words: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    words.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

/// Opens so many connections, and measures from the end of their grant until the last is closed.
fn close_all(site: &Site, words: &[String], number: usize) -> Result<f64> {
    let command = with(words, &["echo up; exec sleep 600"]);
    let mut open: Vec<Running> = Vec::new();
    for _ in 0..number {
        let one = site.fleet.vault.spawn("root", &command)?;
        one.expect("up", PATIENCE)?;
        open.push(one);
    }
    let root = site.root()?;
    let begun = Instant::now();
    site.run(async move { root.revoke_role("deployer").await })?;
    for one in &mut open {
        one.wait(PATIENCE)?;
    }
    Ok(millis(begun.elapsed()))
}

/// Measures.
pub(crate) fn measure(site: &mut Site, web1: &Managed, quick: bool) -> Result<Vec<Row>> {
    let (ours, plain) = (fresh_key()?, fresh_key()?);
    let (account, uid) = ACCOUNT;
    web1.host.make_dir(format!("/home/{account}/.ssh"), Access::of(uid, 0o700))?;
    let keys = format!("/home/{account}/.ssh/authorized_keys");
    web1.host.write_as(keys, plain.public_key().to_openssh()?, Access::of(uid, 0o600))?;
    let certificate = certificate(site, &ours)?;
    let certified = words(site, ("certified", &ours), Some(&certificate))?;
    let listed = words(site, ("listed", &plain), None)?;
    let vault = site.fleet.vault.clone();
    let mut by_certificate =
        Runner::start(site, (&vault, "certified"), "root", &with(&certified, &["true"]))?;
    let mut by_list = Runner::start(site, (&vault, "listed"), "root", &with(&listed, &["true"]))?;
    let number = if quick { 20 } else { 100 };
    let Pairs { with, without, ratios } = pairs(&mut by_certificate, &mut by_list, number)?;
    let open = if quick { 20 } else { OPEN };
    let closed = close_all(site, &certified, open)?;
    Ok(vec![
        Row::new(
            format!("ssh host true by certificate ÷ by authorized_keys, {number} pairs, median"),
            percentile(&ratios, 50.0),
            "ratio",
            Aim::AtMost(1.10),
        ),
        Row::new("… by certificate, p50", percentile(&with, 50.0), "ms", Aim::Told),
        Row::new("… by authorized_keys, p50", percentile(&without, 50.0), "ms", Aim::Told),
        Row::new(
            format!("revoked → last of {open} open SSH connections closed"),
            closed,
            "ms",
            Aim::AtMost(1000.0),
        ),
    ])
}
