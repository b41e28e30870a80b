//! What may happen next.
//!
//! In: random numbers. Out: a [`Step`]. People, hosts and requests are numbers, taken modulo how many there are.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::model::{PEOPLE, Rules};

/// What dies or stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// `kill -9` of the daemon.
    Daemon,
    /// `kill -9` of the agent on a host.
    Agent(usize),
    /// `kill -9` of the link on a host.
    Link(usize),
    /// The network of a host swallows everything.
    Network(usize),
    /// SIGSTOP for the agent on a host.
    Stopped(usize),
}

/// Something that somebody asks for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Request { who: usize, quick: bool, host: usize, seconds: i64, far: bool },
    Cancel { which: usize },
    Drop { which: usize },
    Extend { which: usize, seconds: i64 },
    RevokeGrant { which: usize },
    RevokePerson { who: usize },
    RevokeRole { quick: bool },
    Lock { which: usize },
    Unlock { which: usize },
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// And nothing else happens.
    Ask(Ask),
    /// And so many milliseconds later something dies.
    Struck(Ask, Victim, u64),
    /// An approver says yes, or no.
    Decide {
        who: usize,
        which: usize,
        yes: bool,
    },
    Policy(Rules),
    BrokenPolicy,
    Break(Victim),
    /// Whatever is broken works again.
    Mend,
    /// Until the next end of a right, or for a second.
    Wait,
}

/// So many hosts have the roles.
pub(crate) const WEBS: usize = 2;
/// So many things can be locked: people, roles, hosts.
pub(crate) const LOCKS: usize = 3 + 2 + WEBS;

fn rules() -> impl Strategy<Value = Rules> {
    let some = |least| {
        proptest::sample::subsequence(PEOPLE[..3].to_vec(), least..=3)
            .prop_map(|who| who.into_iter().collect())
    };
    (some(1), some(1), some(2), 1usize..=2).prop_map(
        |(quick, ops, leads, need): (BTreeSet<_>, BTreeSet<_>, BTreeSet<_>, usize)| Rules {
            quick,
            ops,
            leads,
            need,
        },
    )
}

fn victim() -> impl Strategy<Value = Victim> {
    let host = 0..WEBS;
    prop_oneof![
        2 => Just(Victim::Daemon),
        2 => host.clone().prop_map(Victim::Agent),
        2 => host.clone().prop_map(Victim::Link),
        2 => host.clone().prop_map(Victim::Network),
        1 => host.prop_map(Victim::Stopped),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let (who, which, seconds) = (0usize..3, 0usize..6, 5i64..30);
    prop_oneof![
        12 => (who.clone(), any::<bool>(), 0..WEBS, seconds.clone(), any::<bool>())
            .prop_map(|(who, quick, host, seconds, far)| Ask::Request { who, quick, host, seconds, far }),
        1 => which.clone().prop_map(|which| Ask::Cancel { which }),
        3 => which.clone().prop_map(|which| Ask::Drop { which }),
        2 => (which.clone(), seconds).prop_map(|(which, seconds)| Ask::Extend { which, seconds }),
        1 => which.prop_map(|which| Ask::RevokeGrant { which }),
        1 => who.prop_map(|who| Ask::RevokePerson { who }),
        1 => any::<bool>().prop_map(|quick| Ask::RevokeRole { quick }),
        1 => (0..LOCKS).prop_map(|which| Ask::Lock { which }),
        3 => (0..LOCKS).prop_map(|which| Ask::Unlock { which }),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => ask().prop_map(Step::Ask),
        4 => (ask(), victim(), 0u64..150).prop_map(|(ask, victim, after)| Step::Struck(ask, victim, after)),
        7 => (0usize..3, 0usize..6, proptest::bool::weighted(0.9))
            .prop_map(|(who, which, yes)| Step::Decide { who, which, yes }),
        2 => rules().prop_map(Step::Policy),
        1 => Just(Step::BrokenPolicy),
        4 => victim().prop_map(Step::Break),
        6 => Just(Step::Mend),
        3 => Just(Step::Wait),
    ]
}
