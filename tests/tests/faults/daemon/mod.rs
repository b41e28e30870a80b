//! The daemon, struck at every change it makes to its disk (R01, R04).
//!
//! In: strikes. Out: every oracle holds after each of them.

mod oracle;
mod peer;
mod syslog;
mod talk;
mod template;
mod vault;
mod way;

use std::collections::BTreeSet;

use template::Template;
use way::Way;

use crate::point::{Mode, Point, Strike, points, strikes};
use crate::strace::{self, Plan};

/// The points of a clean run.
fn record(template: &Template) -> Vec<Point> {
    let mut way = Way::begin(template, &Plan::Record);
    way.walk();
    oracle::judge(&mut way);
    let trace = std::fs::read_to_string(way.vault.trace()).unwrap();
    let mut found = points(&trace, way.vault.base());
    found.retain(|point| point.path.starts_with("lib") || point.path.starts_with("run"));
    found
}

/// One run with one fault; whether the fault was met.
fn struck(template: &Template, strike: &Strike) -> bool {
    let mut way = Way::begin(template, &Plan::Strike(strike.clone()));
    way.walk();
    oracle::judge(&mut way);
    let met = strace::struck(&way.vault.trace());
    let killed = matches!(strike.mode, Mode::Before | Mode::After);
    if met && killed {
        assert!(way.deaths.iter().any(|(code, _)| code.is_none()), "nobody was killed");
    }
    met
}

#[test]
fn r01_one_clean_run() {
    let template = Template::new();
    let begin = std::time::Instant::now();
    let found = record(&template);
    let by: BTreeSet<_> = found.iter().map(|one| (one.call.clone(), one.path.clone())).collect();
    for (call, path) in by {
        let most = found.iter().filter(|one| one.call == call && one.path == path).count();
        eprintln!("{most:5} {call} {}", path.display());
    }
    eprintln!("{} points, {:?}", found.len(), begin.elapsed());
    let begin = std::time::Instant::now();
    for strike in strikes(&found).iter().step_by(found.len() / 8) {
        let met = struck(&template, strike);
        eprintln!("{strike}: {met} {:?}", begin.elapsed());
    }
}
