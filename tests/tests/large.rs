//! Lists of a size that real fleets have, through the real programs: nothing is cut and nothing is refused for its length.
//!
//! In: the staged build and the tree. Out: each test is one size. Runs as: root, in test hosts. Spec: docs/wire.md "Long answers".

use std::fmt::Write;

use anyhow::{Result, ensure};
use elevate_tests::fleet::{Fleet, POLICY};

/// More than fits into one frame of 256 KiB, several times.
const MANY: usize = 1_000;

/// [`POLICY`] with a thousand people more, and a role for each of them and alice.
fn large() -> Result<String> {
    let (people, rest) = POLICY.split_once("\n[groups]").unwrap_or_default();
    let mut text = people.to_owned();
    for n in 0..MANY {
        writeln!(text, "operator{n:04} = {{ until = 2099-12-31 }}")?;
    }
    write!(text, "\n[groups]{rest}")?;
    for n in 0..MANY {
        write!(
            text,
            "\n[roles.service-{n:04}]\ntitle = \"Restart service {n:04} of the web tier, and nothing else there; agreed with its owners\"\nwho = [\"alice\", \"operator{n:04}\"]\n\
             hosts = {{ tier = \"web\" }}\nsudo = {{ as = \"root\", run = [[\"/usr/bin/systemctl\", \"restart\", \"service{n:04}.service\"]] }}\n"
        )?;
    }
    Ok(text)
}

fn entries(json: &str, list: &str) -> Result<usize> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    Ok(value.get(list).and_then(serde_json::Value::as_array).map_or(0, Vec::len))
}

#[test]
fn a_thousand_people_and_roles_are_listed_through_both_doors_and_shown_as_policy() -> Result<()> {
    let fleet = Fleet::new()?;
    let web1 = fleet.managed("web1", &["tier=web"])?;
    let _alice = fleet.person("alice")?;
    fleet.write_policy(&large()?)?;
    fleet.ctl(&["policy", "reload"])?;
    ensure!(entries(&fleet.ctl(&["person", "list", "--format", "json"])?, "people")? == MANY + 3);
    ensure!(fleet.ctl(&["person", "list"])?.lines().count() == MANY + 3);
    let policy = fleet.ctl(&["policy", "show", "--effective"])?;
    ensure!(policy.len() > 300_000 && policy.matches("[roles.service-").count() == MANY, "{}", policy.len());
    // Door 2: over SSH, with her own key. Door 1: through the host's agent.
    let listed = ["elevate", "list", "--eligible", "--format", "json"];
    let far = fleet.laptop.run("alice", listed)?.success()?;
    ensure!(far.len() > 300_000 && entries(&far, "roles")? == MANY + 3, "{}", far.len());
    let near = web1.host.run("alice", listed)?.success()?;
    ensure!(entries(&near, "roles")? == MANY + 3, "{}", near.len());
    // A host with so many offers stays connected.
    web1.wait_connected(&fleet)
}

#[test]
fn ten_thousand_events_are_told_one_by_one() -> Result<()> {
    let fleet = Fleet::new()?;
    for _ in 0..20 {
        fleet.ctl(&["person", "list", "-q"])?;
    }
    let all = fleet.ctl(&["audit", "tail", "-n", "10000", "--format", "json"])?;
    let numbers: Vec<u64> = all
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).map(|event| event["seq"].as_u64()))
        .collect::<Result<Option<Vec<u64>>, _>>()?
        .unwrap_or_default();
    ensure!(
        numbers.len() > 20 && numbers.iter().enumerate().all(|(place, seq)| u64::try_from(place) == Ok(*seq))
    );
    Ok(())
}
