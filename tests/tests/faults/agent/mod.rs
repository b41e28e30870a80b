//! The agent, struck at every change it makes to its disk (R02), with the real sudo as judge of its rules.
//!
//! In: strikes. Out: no rule without a right, no right without its rule, reports that are not lost, nothing left behind.

mod rig;
mod way;

use way::{Route, Way};

use crate::campaign;
use crate::point::{Point, Strike, points, strikes};
use crate::strace::{self, Plan};

fn record(route: Route) -> Vec<Point> {
    let mut way = Way::begin(&Plan::Record, route);
    way.walk();
    let trace = std::fs::read_to_string(way.rig.trace()).unwrap();
    let mut found = points(&trace, way.rig.base());
    found.retain(|point| {
        (point.path.starts_with("var") || point.path.starts_with("run"))
            && !point.path.ends_with("agent.sock")
    });
    found
}

fn struck(strike: &Strike, route: Route) -> bool {
    let mut way = Way::begin(&Plan::Strike(strike.clone()), route);
    way.walk();
    strace::struck(&way.rig.trace())
}

#[test]
fn r02_the_agent_struck_at_every_change_widens_nothing_and_loses_no_report() {
    let found = record(Route::Rights);
    assert!(found.len() > 60, "{} points", found.len());
    let report = campaign::run(&strikes(&found, 200), |strike| struck(strike, Route::Rights));
    eprintln!("agent: {} points, {report}", found.len());
    report.check();
}

#[test]
fn r25_the_agent_struck_at_a_new_epoch_keeps_nothing_of_the_old_log_and_takes_the_new_one() {
    let found = record(Route::Epoch);
    assert!(found.len() > 60, "{} points", found.len());
    let report = campaign::run(&strikes(&found, 40), |strike| struck(strike, Route::Epoch));
    eprintln!("agent, a new epoch: {} points, {report}", found.len());
    report.check();
}
