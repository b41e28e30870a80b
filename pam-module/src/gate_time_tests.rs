//! The gate and time: the clock that nobody sets, leases, and what is not known of them. With the agent dead in every case.

use elevate_protocol::document::{Act, Grant};
use elevate_protocol::time::Span;

use super::site::{BOOT, NOW, Site, UID, grant, host, id, sign};
use super::*;

fn leased(site: &Site, lease: u32) {
    let grant = Grant { lease: Some(Span(lease)), critical: vec!["sudo".into(), "lease".into()], ..grant(1) };
    site.put_grant(1, &SignedGrant::new(sign(&site.key, host(), Act::Grant(Box::new(grant)))));
}

fn overdue(verdict: &Verdict) -> Option<Overdue> {
    match verdict {
        Verdict::Closed(Closed::Overdue { source, .. }) => Some(*source),
        Verdict::Closed(_) | Verdict::Open(_) | Verdict::Unmanaged | Verdict::Moved => None,
    }
}

#[test]
fn g01_the_gate_ends_a_right_by_boottime_whatever_the_wall_clock_says() {
    let site = Site::new();
    site.put_deadlines(None, BOOT + 10_000);
    assert!(matches!(site.decide_at_boot(BOOT + 9_999), Verdict::Open(_)));
    // The wall clock stands still at a moment at which the grant is live.
    assert_eq!(overdue(&site.decide_at_boot(BOOT + 10_000)), Some(Overdue::Ended));
    assert!(!site.dropin().exists());
}

#[test]
fn a_lease_is_held_by_the_gate_alone() {
    let site = Site::new();
    leased(&site, 300);
    site.put_deadlines(Some(BOOT), BOOT + 7_200_000);
    assert!(matches!(site.decide_at_boot(BOOT + 299_999), Verdict::Open(_)));
    assert_eq!(overdue(&site.decide_at_boot(BOOT + 300_000)), Some(Overdue::NoContact(Span(300))));
    assert!(!site.dropin().exists());
}

#[test]
fn a_lease_without_a_known_contact_closes_the_gate() {
    for contact in [None, Some(BOOT + 1)] {
        let site = Site::new();
        leased(&site, 300);
        site.put_deadlines(contact, BOOT + 7_200_000);
        assert_eq!(overdue(&site.decide_at_boot(BOOT)), Some(Overdue::NoContact(Span(300))), "{contact:?}");
    }
}

#[test]
fn deadlines_that_are_not_there_not_whole_or_not_roots_close_the_gate() {
    let site = Site::new();
    std::fs::remove_file(&site.paths.deadlines).unwrap();
    assert!(matches!(site.closed(), Closed::Deadlines { source: FileError::Missing }));

    let whole = std::fs::read_to_string(&Site::new().paths.deadlines).unwrap();
    for cut in 0..whole.len() {
        let site = Site::new();
        std::fs::write(&site.paths.deadlines, &whole[..cut]).unwrap();
        assert!(matches!(site.closed(), Closed::DeadlinesForm), "{cut}");
    }

    let site = Site::new();
    super::allow_others_to_write(&site.paths.deadlines);
    assert!(matches!(site.closed(), Closed::Deadlines { source: FileError::Owner }));

    let site = Site::new();
    std::fs::write(&site.paths.deadlines, r#"{"contact":null,"ends":{}}"#).unwrap();
    assert!(
        matches!(site.closed(), Closed::Overdue { source: Overdue::Unknown, id: found } if found == id(1))
    );
}

#[test]
fn g05_odd_years_and_leap_seconds_are_seconds_like_any_other() {
    // The grant lies around the year 2096; before 1970, in 2038 and at a leap second it is not yet, in 2106 it is over.
    for early in [-1, 0, 0x7fff_ffff, 1_483_228_799, 1_483_228_800] {
        assert!(matches!(
            Site::new().closed_at(Timestamp(early)),
            Closed::NotLive { source: NotLive::NotYet, .. }
        ));
    }
    for late in [0xffff_ffff, 0x1_0000_0000, i64::MAX] {
        let why = Site::new().closed_at(Timestamp(late));
        assert!(matches!(why, Closed::NotLive { source: NotLive::Expired, .. }), "{late}: {why:?}");
    }
    assert!(matches!(Site::new().decide_at(UID, NOW), Verdict::Open(_)));
}
