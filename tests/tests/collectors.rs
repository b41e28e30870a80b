//! Syslog collectors: real rsyslog on a host of its own, over UDP and TCP, stopped, killed, restarted.
//!
//! In: the staged build and the tree. Out: what rsyslog wrote, compared with the log. Runs as: root, in test hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use elevate_tests::fleet::Fleet;
use elevate_tests::{Host, PATIENCE, Running, eventually};
use serde_json::Value;

const SIGTERM: i32 = 15;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// rsyslog's own defaults for everything but where to listen and what to write.
const RSYSLOG: &str = r#"
module(load="imudp")
module(load="imtcp")
template(name="all" type="list") { property(name="structured-data") property(name="msg") constant(value="\n") }
ruleset(name="udp") { action(type="omfile" file="/var/log/udp" template="all") }
ruleset(name="tcp") { action(type="omfile" file="/var/log/tcp" template="all") }
input(type="imudp" port="514" ruleset="udp")
input(type="imtcp" port="601" ruleset="tcp")
"#;

/// A fleet whose daemon tells two collectors on one host.
struct Site {
    fleet: Fleet,
    logs: Host,
    rsyslog: Running,
}

fn rsyslog(logs: &Host) -> Result<Running> {
    let running =
        logs.spawn("root", ["rsyslogd", "-n", "-f", "/etc/collector.conf", "-i", "/run/collector.pid"])?;
    eventually(PATIENCE, "rsyslog listens", || {
        let listening = logs.run("root", ["ss", "-ltnuH"]).and_then(elevate_tests::Ran::success);
        listening.is_ok_and(|list| list.contains(":601 ") && list.contains(":514 "))
    })?;
    Ok(running)
}

impl Site {
    fn new() -> Result<Self> {
        let mut fleet = Fleet::new()?;
        let logs = fleet.lab.host("logs1")?;
        logs.write("/etc/collector.conf", RSYSLOG)?;
        let rsyslog = rsyslog(&logs)?;
        let config = fleet.vault.read("/etc/elevate/daemon.toml")?;
        let (two, one) = ("name = \"udp\"\nto = \"udp:logs1:514\"", "name = \"tcp\"\nto = \"tcp:logs1:601\"");
        let text = config
            .replace("name = \"local\"\nto = \"unix:/dev/log\"", &format!("{one}\n\n[[syslog]]\n{two}"));
        fleet.vault.write("/etc/elevate/daemon.toml", text)?;
        fleet.kill_daemon()?;
        fleet.start_daemon()?;
        Ok(Self { fleet, logs, rsyslog })
    }

    /// Every line of the log, by number.
    fn log(&self) -> Result<BTreeMap<u64, String>> {
        let lines = self.fleet.ctl(&["audit", "tail", "-n", "100000", "--format", "json"])?;
        lines.lines().map(|line| Ok((seq(&serde_json::from_str(line)?)?, line.to_owned()))).collect()
    }

    /// What rsyslog wrote of one transport: each message as its parameters and its text, in order.
    fn told(&self, transport: &str) -> Result<Vec<(BTreeMap<String, String>, String)>> {
        let path = format!("/var/log/{transport}");
        if !self.logs.exists(&path) {
            return Ok(Vec::new());
        }
        self.logs.read(path)?.lines().map(message).collect()
    }

    fn sink(&self, name: &str) -> Result<Value> {
        let listed: Value = serde_json::from_str(&self.fleet.ctl(&["sinks", "--format", "json"])?)?;
        let sinks = listed.get("sinks").and_then(Value::as_array).context("no list")?;
        let found = sinks.iter().find(|sink| sink.get("name").is_some_and(|found| found == name));
        found.cloned().with_context(|| format!("no {name} in {listed}"))
    }

    /// Waits until the collector has everything up to number `last`.
    fn wait_told(&self, transport: &str, last: u64) -> Result<()> {
        let name = format!("syslog.{transport}");
        eventually(PATIENCE.saturating_mul(6), "everything told", || {
            let next = self.sink(&name).ok().and_then(|sink| sink.get("next").and_then(Value::as_u64));
            next.is_some_and(|next| next > last)
        })?;
        // The sink knows that it was read; writing it is rsyslog's matter.
        eventually(PATIENCE, "everything written", || {
            self.told(transport).is_ok_and(|told| told.iter().any(|(fields, _)| number(fields) == Some(last)))
        })
    }

    fn newest(&self) -> Result<u64> {
        self.log()?.last_key_value().map(|(seq, _)| *seq).context("an empty log")
    }

    fn memory(&self) -> Result<u64> {
        let daemon = self.fleet.daemon.as_ref().context("no daemon")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Every event is there, and the first time each comes is in order.
    fn check_order(&self, transport: &str, last: u64) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (fields, _) in self.told(transport)? {
            let seq = number(&fields).context("no seq")?;
            let next = seen.last().map_or(0, |newest: &u64| newest.saturating_add(1));
            ensure!(seen.contains(&seq) || seq == next, "{transport}: {seq} came when {next} was next");
            seen.insert(seq);
        }
        ensure!(seen.last() >= Some(&last), "{transport}: {} of {last}", seen.len());
        Ok(())
    }
}

fn seq(event: &Value) -> Result<u64> {
    event.get("seq").and_then(Value::as_u64).context("no seq")
}

fn number(fields: &BTreeMap<String, String>) -> Option<u64> {
    fields.get("seq")?.parse().ok()
}

/// `[elevate@32473 name="value" …] text` as RFC 5424 §6.3 has it.
fn message(line: &str) -> Result<(BTreeMap<String, String>, String)> {
    let rest = line.strip_prefix("[elevate@32473").with_context(|| format!("another element: {line}"))?;
    let mut letters = rest.chars();
    let mut fields = BTreeMap::new();
    loop {
        match letters.next() {
            Some(']') => break,
            Some(' ') => {
                let name: String = letters.by_ref().take_while(|c| *c != '=').collect();
                ensure!(letters.next() == Some('"'), "no value: {line}");
                let mut value = String::new();
                loop {
                    match letters.next() {
                        Some('\\') => value.extend(letters.next()),
                        Some('"') => break,
                        Some(c) => value.push(c),
                        None => bail!("cut in a value: {line}"),
                    }
                }
                ensure!(fields.insert(name, value).is_none(), "a field twice: {line}");
            }
            other => bail!("{other:?} in structured data: {line}"),
        }
    }
    Ok((fields, letters.as_str().trim_start_matches(' ').to_owned()))
}

/// 500 arguments that have broken log formats: line ends, other messages, other elements, invalid UTF-8, length.
fn hostile() -> Vec<Vec<u8>> {
    let seeds: [&[u8]; 20] = [
        b"a\n<13>1 2027-01-15T08:02:03Z vault1 elevated 1 0 - root did it",
        b"a\r\n<85>1 - - - - - - forged",
        b"] [elevate@32473 code=\"grant.issued\" seq=\"1\"]",
        b"\" seq=\"999999\" x=\"",
        b"\\",
        b"\\\"]\\",
        b"\xff\xfe\xfd",
        b"\xc3\x28",
        b"\xef\xbb\xbfBOM",
        b"12 <13>1 - - - - - - x 8192 ",
        b"\n\n\n",
        b"\x1b]52;c;ZXZpbA==\x07",
        "\u{202e}drowssap\u{2066}".as_bytes(),
        "\u{2028}\u{2029}\u{85}".as_bytes(),
        b"%s%n%x${jndi:ldap://x}",
        b"{\"seq\":1,\"code\":\"grant.issued\"}",
        b"\x7f\x01\x02\x03",
        b"#012#015\\u{a}",
        b"=cmd|' /C calc'!A0",
        b"",
    ];
    let mut all = Vec::new();
    for round in 0..25usize {
        for seed in seeds {
            let mut text = seed.repeat(round.saturating_mul(round).saturating_add(1));
            text.extend_from_slice(format!("#{round}").as_bytes());
            all.push(text);
        }
    }
    all
}

/// Threat I01.
#[test]
fn i01_hostile_text_is_one_message_with_equal_fields_over_udp_and_tcp() -> Result<()> {
    let site = Site::new()?;
    let mut alice = site.fleet.person("alice")?;
    let web1 = site.fleet.managed("web1", &["tier=web"])?;
    web1.activate(&mut alice, &["web-root", "-m", "to say hostile things"], || Ok(()))?;
    let texts = hostile();
    web1.host.write("/tmp/texts", texts.join(&0))?;
    let each = "xargs -0 -n 1 -a /tmp/texts sudo -n /bin/echo > /dev/null";
    web1.host.cmd("alice", ["sh", "-c", each]).limit(Duration::from_secs(240)).run()?.success()?;
    let uses = || site.fleet.events("host.used").map_or(0, |used| used.len());
    eventually(PATIENCE.saturating_mul(6), "every use told", || uses() >= texts.len())?;
    let log = site.log()?;
    let last = *log.last_key_value().context("an empty log")?.0;
    for transport in ["udp", "tcp"] {
        site.wait_told(transport, last)?;
        let mut seen = BTreeSet::new();
        for (fields, text) in site.told(transport)? {
            let seq = number(&fields).context("no seq")?;
            let Some(line) = log.get(&seq) else { continue };
            let event: Value = serde_json::from_str(line)?;
            ensure!(seen.insert(seq), "{transport}: event {seq} twice without a failure");
            for name in ["code", "person", "host", "role"] {
                let (is, was) =
                    (fields.get(name).map(String::as_str), event.get(name).and_then(Value::as_str));
                ensure!(is == was, "{transport}: {name} of {seq}: {is:?}, in the log {was:?}");
            }
            match text.split_once("… sha256:") {
                None => ensure!(text == *line, "{transport}: {seq} differs:\n{text}\n{line}"),
                Some((kept, _)) => ensure!(line.starts_with(kept), "{transport}: {seq} differs: {kept}"),
            }
        }
        ensure!(seen.len() == log.len(), "{transport}: {} of {}", seen.len(), log.len());
    }
    Ok(())
}

/// Threat I08: the receiver is stopped, then goes on.
#[test]
fn i08_a_stopped_collector_holds_up_no_activation_and_gets_everything_after() -> Result<()> {
    let site = Site::new()?;
    let web1 = site.fleet.managed("web1", &["tier=web"])?;
    site.wait_told("tcp", site.newest()?)?;
    site.rsyslog.signal(SIGSTOP)?;
    let before = site.memory()?;
    for round in 0..20 {
        web1.host
            .run("alice", ["elevate", "web-quick", "-m", &format!("round {round} of twenty")])?
            .success()?;
        web1.host.run("alice", ["elevate", "drop"])?.success()?;
    }
    let grown = site.memory()?.saturating_sub(before);
    ensure!(grown < 32 * 1024, "{grown} KiB more while a collector is stopped");
    let (sink, newest) = (site.sink("syslog.tcp")?, site.newest()?);
    ensure!(sink.get("behind").and_then(Value::as_u64) > Some(40), "{sink}, newest {newest}");
    site.rsyslog.signal(SIGCONT)?;
    site.wait_told("tcp", newest)?;
    site.check_order("tcp", newest)
}

/// Threat I18: it restarts in order, dies, is away; nothing is lost over TCP, and what comes twice has its number.
#[test]
fn i18_a_collector_that_restarts_or_dies_loses_nothing() -> Result<()> {
    let mut site = Site::new()?;
    for kill in [false, true] {
        for phase in 0..3 {
            for _ in 0..40 {
                site.fleet.ctl(&["host", "list"])?;
            }
            match (phase, kill) {
                (0, false) => {
                    site.rsyslog.signal(SIGTERM)?;
                    site.rsyslog.wait(PATIENCE)?;
                }
                (0, true) => {
                    let fresh = site.logs.spawn("root", ["true"])?;
                    std::mem::replace(&mut site.rsyslog, fresh).kill9()?;
                }
                (1, _) => site.rsyslog = rsyslog(&site.logs)?,
                _ => {}
            }
        }
    }
    let newest = site.newest()?;
    site.wait_told("tcp", newest)?;
    site.check_order("tcp", newest)?;
    let error = site.sink("syslog.tcp")?;
    ensure!(error.get("failing_since").is_some_and(Value::is_null), "{error}");
    ensure!(error.get("last_error").is_some_and(Value::is_string), "{error}");
    Ok(())
}
