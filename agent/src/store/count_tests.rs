//! Spools that were emptied or are old copies: what the daemon has already, and what it must not take for that. Threat R10.

use super::*;

/// As the link does: sends what waits, without an answer.
fn sent(spool: &mut Spool) -> Vec<(u64, Report)> {
    let some: Vec<_> = spool.after(0).map(|(number, entry)| (number, entry.clone())).collect();
    some.into_iter().map(|(number, entry)| (number, spool.send(number, entry).report)).collect()
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::remove_dir_all(to).unwrap();
    std::fs::create_dir(to).unwrap();
    for name in safe::names(from).unwrap() {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

/// A spool whose daemon has five reports of it, and which was emptied then.
fn emptied(paths: &Paths) {
    let (mut spool, _) = Spool::load(paths).unwrap();
    for grants in 1..=5 {
        spool.add(Timestamp(1), report(grants)).unwrap();
    }
    assert_eq!(spool.welcome(0, WAY), None);
    assert_eq!(sent(&mut spool).len(), 5);
    // A connection later the daemon has some that it did not say.
    assert_eq!(spool.welcome(3, WAY), None);
    spool.acknowledge(5).unwrap();
    std::fs::remove_dir_all(&paths.spool).unwrap();
    std::fs::create_dir(&paths.spool).unwrap();
}

#[test]
fn r10_after_an_emptied_spool_nothing_new_has_the_number_of_something_old() {
    // Fewer than the daemon has, and more.
    for new in [0, 1, 5, 6, 9] {
        let (_place, paths) = place();
        emptied(&paths);
        let reports = || (100..100 + u32::try_from(new).unwrap()).map(report);
        let (mut spool, _) = Spool::load(&paths).unwrap();
        for one in reports() {
            spool.add(Timestamp(2), one).unwrap();
        }
        // It may start again before the daemon is heard.
        let (mut spool, odd) = Spool::load(&paths).unwrap();
        let said = spool.welcome(5, WAY).unwrap();
        assert!(
            odd.is_empty() && said.contains(&format!("{new} reports since then count from 262 on")),
            "{said}"
        );
        let wanted: Vec<_> = (262..).zip(reports()).collect();
        assert_eq!(sent(&mut spool), wanted);
        assert_eq!(spool.welcome(5, WAY), None, "once");
        // A crash leaves them their numbers, with the daemon having some or none.
        let (mut spool, _) = Spool::load(&paths).unwrap();
        assert_eq!(spool.welcome(if new > 0 { 262 } else { 5 }, WAY), None);
        assert_eq!(sent(&mut spool), wanted);
        spool.acknowledge(5).unwrap();
        assert_eq!(spool.waiting(), new, "of those before");
        spool.acknowledge(261 + new).unwrap();
        assert_eq!(spool.waiting(), 0);
        let (mut spool, odd) = Spool::load(&paths).unwrap();
        spool.add(Timestamp(3), report(7)).unwrap();
        assert_eq!((sent(&mut spool), odd.len()), (vec![(262 + new, report(7))], 0));
    }
}

#[test]
fn r10_a_crash_while_the_numbers_move_moves_them_once() {
    let (place, paths) = place();
    emptied(&paths);
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.add(Timestamp(2), report(9)).unwrap();
    let before = place.path().join("before");
    std::fs::create_dir(&before).unwrap();
    copy(&paths.spool, &before);
    spool.welcome(5, WAY).unwrap();
    // All but the end of it is there.
    std::fs::copy(before.join("unsent"), paths.spool.join("unsent")).unwrap();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    assert_eq!(spool.welcome(5, WAY), None);
    assert_eq!(sent(&mut spool), [(262, report(9))]);
    assert!(!paths.spool.join("unsent").exists());
    // Nothing of it is there.
    copy(&before, &paths.spool);
    let (mut spool, _) = Spool::load(&paths).unwrap();
    assert!(spool.welcome(5, WAY).is_some());
    assert_eq!(sent(&mut spool), [(262, report(9))]);
}

#[test]
fn r10_an_old_copy_of_the_spool_tells_nothing_twice_and_hides_nothing() {
    let (place, paths) = place();
    let old = place.path().join("old");
    std::fs::create_dir(&old).unwrap();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.welcome(0, WAY);
    for grants in 1..=5 {
        spool.add(Timestamp(1), report(grants)).unwrap();
    }
    spool.acknowledge(2).unwrap();
    copy(&paths.spool, &old);
    for round in 0..2 {
        copy(&old, &paths.spool);
        let (mut spool, _) = Spool::load(&paths).unwrap();
        spool.add(Timestamp(2), report(10)).unwrap();
        // The daemon has these three, and some that the copy does not know.
        assert!(spool.welcome(8 + round, WAY).is_some());
        spool.add(Timestamp(2), report(11)).unwrap();
        let numbers: Vec<u64> = sent(&mut spool).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 4, 5, 265 + round, 266 + round]);
        spool.acknowledge(5).unwrap();
        assert_eq!(spool.waiting(), 2);
        // Another one beside it, before anything of the first was confirmed.
        let (mut spool, _) = Spool::load(&paths).unwrap();
        assert!(spool.welcome(1000, WAY).is_some());
        spool.add(Timestamp(2), report(12)).unwrap();
        let numbers: Vec<u64> = sent(&mut spool).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [265 + round, 266 + round, 1257]);
        spool.acknowledge(1000).unwrap();
        assert_eq!(spool.waiting(), 1);
    }
}

#[test]
fn what_was_dropped_is_told_by_the_numbers_that_the_daemon_knows() {
    let (_place, paths) = place();
    emptied(&paths);
    let mut spool = small(&paths, 4);
    for left in 0..5 {
        spool.add(Timestamp(1), warned(left)).unwrap();
    }
    spool.welcome(5, WAY).unwrap();
    spool.acknowledge(264).unwrap();
    spool.tell_lost(Timestamp(2)).unwrap();
    assert_eq!(sent(&mut spool), [(267, Report::Lost { count: 2, first: 265, last: 266 })]);
}

// A link that lies must not use up the numbers, nor make the host forget what it has not sent.
#[test]
fn a_number_that_nobody_counts_to_moves_nothing() {
    let (_place, paths) = place();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    for number in [u64::MAX, 1 << 52] {
        assert_eq!(spool.welcome(number, WAY), None);
    }
    for round in 0..200 {
        spool.add(Timestamp(1), report(round)).unwrap();
        spool.welcome((1 << 51) + u64::from(round) * 1000, WAY);
        assert_eq!(sent(&mut spool).len(), usize::try_from(round + 1).unwrap());
    }
    let (spool, odd) = Spool::load(&paths).unwrap();
    assert_eq!((spool.waiting(), odd.len()), (200, 0));
}
