//! `approve = [{ need = 2, of = ["@dba-leads"], within = "24h" }]`.
//!
//! In: TOML. Out: [`ApprovalRule`]s. Spec: docs/policy.md "approve".

use std::num::NonZeroU32;

use elevate_protocol::time::Span;

use super::defaults::capped;
use super::members::Known;
use super::reader::{Item, Report};
use crate::policy::approval::ApprovalRule;
use crate::policy::nonempty::NonEmpty;
use crate::policy::{Member, resolve};

/// The longest that a request waits and an approval counts.
pub(super) const WAIT_MAX: Span = Span(30 * 86_400);
/// Most rules of one role.
const RULES_MAX: usize = 8;
/// Most people that one rule asks for.
const NEED_MAX: u32 = 16;
const FORM: &str = "write { need = 2, of = [\"@dba-leads\"], within = \"24h\" }";

/// Reads the rules. An empty list means that nobody is asked, as leaving it out does.
pub(super) fn approve(report: &mut Report<'_>, item: Item<'_>, known: &Known) -> Option<Vec<ApprovalRule>> {
    let items = item.list(report)?;
    if items.len() > RULES_MAX {
        report.error(
            item.place,
            format!("a role has at most {RULES_MAX} rules of approval"),
            "join some of them",
        );
        return None;
    }
    let rules: Vec<Option<ApprovalRule>> = items.into_iter().map(|item| rule(report, item, known)).collect();
    rules.into_iter().collect()
}

fn rule(report: &mut Report<'_>, item: Item<'_>, known: &Known) -> Option<ApprovalRule> {
    let table = item.table(report, &["need", "of", "within"], FORM)?;
    let need = table.need(report, "need", FORM).and_then(|item| {
        let need = item.number(report)?;
        let fits = NonZeroU32::new(need).filter(|need| need.get() <= NEED_MAX);
        if fits.is_none() {
            report.error(item.place, format!("need is 1 to {NEED_MAX}, this is {need}"), FORM);
        }
        fits
    });
    let of = table.need(report, "of", FORM).and_then(|item| {
        let items = item.filled_list(report, FORM)?;
        let mut members = Vec::new();
        for item in items {
            members.push(known.member(report, item));
        }
        NonEmpty::from_vec(members.into_iter().collect::<Option<Vec<Member>>>()?)
    });
    let within = match table.get("within") {
        None => Some(Span::DAY),
        Some(item) => capped(report, item, WAIT_MAX),
    };
    let (need, of, within) = (need?, of?, within?);
    let people = resolve(&known.members, of.iter()).len();
    if usize::try_from(need.get()).is_ok_and(|need| need > people) {
        let message =
            format!("this needs {need} people and names {people} people, so nobody could activate the role");
        report.error(item.place, message, FORM);
        return None;
    }
    Some(ApprovalRule { need, of, within })
}
