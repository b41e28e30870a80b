//! What waits, what is lost and told, and what a crash or a disk may do to it.

#[path = "count_tests.rs"]
mod count;

use super::super::room::{ANYWAY, FILE, MIB, SPOOL_MAX};
use super::*;

/// Reports that may be on the way.
const WAY: u64 = 256;

fn place() -> (tempfile::TempDir, Paths) {
    let place = tempfile::tempdir().unwrap();
    let paths = Paths::below(place.path());
    std::fs::create_dir_all(&paths.spool).unwrap();
    (place, paths)
}

fn report(grants: u32) -> Report {
    Report::Started { agent: "1".into(), grants }
}

#[test]
fn reports_survive_a_restart_and_numbers_are_never_used_twice() {
    let (_place, paths) = place();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    for grants in 0..3 {
        spool.add(Timestamp(1), report(grants)).unwrap();
    }
    let (mut spool, removed) = Spool::load(&paths).unwrap();
    assert!(removed.is_empty());
    assert_eq!(spool.after(1).map(|(number, _)| number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(spool.waiting(), 3);
    spool.acknowledge(3).unwrap();
    assert_eq!(spool.waiting(), 0);
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.add(Timestamp(1), report(9)).unwrap();
    assert_eq!(spool.after(0).map(|(number, _)| number).collect::<Vec<_>>(), [4]);
}

fn warned(left: u32) -> Report {
    Report::Warned { grant: ActivationId::from_random([1; 16]), left: Span(left) }
}

/// With room for this many, each in a file of its own.
fn small(paths: &Paths, reports: u64) -> Spool {
    let (mut spool, _) = Spool::load(paths).unwrap();
    let line = Line::Report { number: 1, entry: Entry { at: Timestamp(1), report: warned(1) } }.text();
    let most = reports.saturating_mul(u64::try_from(line.len()).unwrap().saturating_add(1));
    spool.most = Limits { anyway: most, at_all: most, file: 1 };
    spool
}

/// What waits, in all files.
fn all(spool: &Spool) -> Vec<(u64, Report)> {
    let files =
        spool.files.keys().map(|first| lines::read(&spool.folder.join(name(*first)), FILE_MAX).unwrap());
    let found = files.flatten().filter_map(|line| match Line::<Entry>::of(&line) {
        Some(Line::Report { number, entry }) if number > spool.acknowledged => Some((number, entry.report)),
        Some(Line::Report { .. } | Line::Acknowledged { .. }) | None => None,
    });
    found.collect()
}

fn numbers(spool: &Spool) -> Vec<u64> {
    all(spool).into_iter().map(|(number, _)| number).collect()
}

/// Bytes of the folder.
fn length(paths: &Paths) -> u64 {
    std::fs::read_dir(&paths.spool).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_full_spool_drops_counts_and_tells_the_gap() {
    let (_place, paths) = place();
    let mut spool = small(&paths, 8);
    for left in 0..10 {
        spool.add(Timestamp(1), warned(left)).unwrap();
    }
    assert_eq!(numbers(&spool), [1, 2, 3, 4, 5, 6], "three quarters are for what people can make");
    // A restart forgets nothing of it.
    let mut spool = small(&paths, 8);
    spool.add(Timestamp(1), warned(10)).unwrap();
    spool.acknowledge(6).unwrap();
    spool.tell_lost(Timestamp(2)).unwrap();
    assert_eq!(all(&spool), [(12, Report::Lost { count: 5, first: 7, last: 11 })]);
    assert!(!paths.spool.join(LOST).exists());
    spool.add(Timestamp(3), warned(11)).unwrap();
    assert_eq!(numbers(&spool), [12, 13], "told once");
}

#[test]
fn what_is_of_weight_has_room_when_uses_have_filled_theirs() {
    let (_place, paths) = place();
    let mut spool = small(&paths, 8);
    for left in 0..100 {
        spool.add(Timestamp(1), warned(left)).unwrap();
    }
    spool.add(Timestamp(1), report(1)).unwrap();
    spool.add(Timestamp(1), report(2)).unwrap();
    spool.add(Timestamp(1), report(3)).unwrap();
    assert_eq!(numbers(&spool), [1, 2, 3, 4, 5, 6, 101, 102], "and then that is full too");
    spool.acknowledge(102).unwrap();
    spool.tell_lost(Timestamp(2)).unwrap();
    assert_eq!(all(&spool), [(104, Report::Lost { count: 95, first: 7, last: 103 })]);
}

#[test]
fn a_crash_while_the_gap_is_told_does_not_tell_it_twice() {
    let (_place, paths) = place();
    let mut spool = small(&paths, 4);
    for left in 0..5 {
        spool.add(Timestamp(1), warned(left)).unwrap();
    }
    let before = std::fs::read(paths.spool.join(LOST)).unwrap();
    spool.acknowledge(3).unwrap();
    spool.tell_lost(Timestamp(2)).unwrap();
    std::fs::write(paths.spool.join(LOST), before).unwrap();
    let mut spool = small(&paths, 4);
    spool.add(Timestamp(3), warned(9)).unwrap();
    let lost =
        |spool: &Spool| all(spool).iter().filter(|(_, told)| matches!(told, Report::Lost { .. })).count();
    assert_eq!(lost(&spool), 1);
    // Nor after the daemon has it.
    spool.acknowledge(7).unwrap();
    assert_eq!(lost(&small(&paths, 4)), 0);
}

#[test]
fn a_disk_that_takes_nothing_loses_reports_and_nothing_else() {
    let (_place, paths) = place();
    let mut spool = small(&paths, 8);
    std::fs::remove_dir_all(&paths.spool).unwrap();
    for left in 0..3 {
        assert!(spool.add(Timestamp(1), warned(left)).is_err());
    }
    std::fs::create_dir(&paths.spool).unwrap();
    spool.add(Timestamp(2), warned(9)).unwrap();
    assert_eq!(all(&spool), [(4, Report::Lost { count: 3, first: 1, last: 3 }), (5, warned(9))]);
}

#[test]
fn what_is_no_report_is_removed_and_named() {
    let (_place, paths) = place();
    std::fs::write(paths.spool.join("7"), "{").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", paths.spool.join("8")).unwrap();
    std::fs::write(paths.spool.join("reports.01"), "{").unwrap();
    let file = paths.spool.join("reports.1");
    std::fs::write(&file, "{}\n{\"acknowledged\":{\"number\":4}}\nx\n{").unwrap();
    let (mut spool, removed) = Spool::load(&paths).unwrap();
    assert_eq!((spool.waiting(), removed.len()), (0, 4));
    assert!(!paths.spool.join("8").is_symlink());
    spool.add(Timestamp(1), report(1)).unwrap();
    assert_eq!(numbers(&spool), [5]);
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    let (mut spool, removed) = Spool::load(&paths).unwrap();
    assert_eq!((spool.waiting(), removed.len()), (0, 1));
    assert!(!file.is_symlink());
    spool.add(Timestamp(1), report(1)).unwrap();
    assert!(numbers(&spool)[0] > 5, "a number was used twice");
}

#[test]
fn r02_a_report_that_was_cut_off_is_none_and_the_others_stay() {
    let (_place, paths) = place();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.add(Timestamp(1), report(1)).unwrap();
    let first = std::fs::metadata(paths.spool.join("reports.1")).unwrap().len();
    spool.add(Timestamp(1), report(2)).unwrap();
    let whole = std::fs::read(paths.spool.join("reports.1")).unwrap();
    for cut in usize::try_from(first).unwrap()..whole.len() {
        std::fs::write(paths.spool.join("reports.1"), &whole[..cut]).unwrap();
        let (mut spool, removed) = Spool::load(&paths).unwrap();
        assert_eq!((numbers(&spool), removed.len()), (vec![1], 0), "{cut}");
        spool.add(Timestamp(1), report(3)).unwrap();
        let (spool, removed) = Spool::load(&paths).unwrap();
        assert_eq!((numbers(&spool), removed.len()), (vec![1, 2], 0), "{cut}");
    }
}

#[test]
fn what_the_daemon_has_does_not_grow_for_ever() {
    let (_place, paths) = place();
    let begin = || {
        let (mut spool, removed) = Spool::load(&paths).unwrap();
        spool.most.file = 64 * 1024;
        assert!(removed.is_empty());
        spool
    };
    let (mut spool, mut most, mut number) = (begin(), 0, 0);
    for round in 0..40 {
        for left in 0..100 {
            spool.add(Timestamp(1), warned(left)).unwrap();
            number += 1;
        }
        most = most.max(length(&paths));
        // One is always on its way, or none ever.
        spool.acknowledge(if round < 20 { number - 1 } else { number }).unwrap();
        if round % 7 == 0 {
            spool = begin();
        }
        assert_eq!(numbers(&spool), if round < 20 { vec![number] } else { vec![] });
    }
    assert!(most > 64 * 1024 && most < 2 * 64 * 1024 && length(&paths) < 2 * 64 * 1024, "{most}");
    assert_eq!(begin().waiting(), 0);
}

/// As the link does: sends what is in memory, hears that the daemon has it.
fn drain(spool: &mut Spool) -> Vec<u64> {
    let mut sent = Vec::new();
    loop {
        let some: Vec<u64> =
            spool.after(sent.last().copied().unwrap_or(0)).map(|(number, _)| number).collect();
        let Some(last) = some.last() else { return sent };
        assert!(some.len() <= 12, "{} in memory", some.len());
        spool.acknowledge(*last).unwrap();
        sent.extend(some);
    }
}

#[test]
fn r10_of_what_waits_one_file_is_in_memory_and_all_of_it_is_sent_in_order() {
    let (_place, paths) = place();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.most.file = 1000;
    for left in 0..200 {
        spool.add(Timestamp(1), warned(left)).unwrap();
    }
    // As a start finds them: the daemon has some of them.
    spool.acknowledge(25).unwrap();
    assert!(spool.files.len() > 10);
    let (mut spool, removed) = Spool::load(&paths).unwrap();
    spool.most.file = 1000;
    assert_eq!(spool.welcome(0, WAY), None);
    let begin = spool.waiting();
    assert!(removed.is_empty() && (175..=190).contains(&begin), "{begin} wait");
    spool.add(Timestamp(2), report(1)).unwrap();
    assert_eq!(drain(&mut spool), (200 - begin + 1..=201).collect::<Vec<u64>>());
    assert_eq!((spool.waiting(), spool.files.len()), (0, 1));
    assert_eq!(safe::names(&paths.spool).unwrap().len(), 1);
    spool.add(Timestamp(3), report(2)).unwrap();
    assert_eq!(drain(&mut spool), [202]);
    let (spool, _) = Spool::load(&paths).unwrap();
    assert_eq!(spool.waiting(), 0);
}

#[test]
fn r10_a_file_that_cannot_be_read_is_named_and_the_others_go_on() {
    let (_place, paths) = place();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.most.file = 1000;
    for left in 0..100 {
        spool.add(Timestamp(1), warned(left)).unwrap();
    }
    let firsts: Vec<u64> = spool.files.keys().copied().collect();
    let planted = paths.spool.join(name(firsts[3]));
    std::fs::remove_file(&planted).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &planted).unwrap();
    std::fs::write(paths.spool.join(name(firsts[5])), "x\n").unwrap();
    let sent = drain(&mut spool);
    let gone =
        |number: &u64| (firsts[3]..firsts[4]).contains(number) || (firsts[5]..firsts[6]).contains(number);
    assert_eq!(sent, (1..=100).filter(|number| !gone(number)).collect::<Vec<u64>>());
    let odd = spool.oddities();
    assert!(odd.len() == 2 && odd[0].contains(&format!("from number {} on", firsts[3])), "{odd:?}");
    assert!(!planted.is_symlink() && spool.oddities().is_empty());
}

#[test]
fn r10_beyond_what_is_taken_anyway_the_spool_takes_no_more_than_it_leaves() {
    let most = Limits { anyway: ANYWAY, at_all: SPOOL_MAX, file: FILE };
    assert_eq!(most.whole(0, || 0), ANYWAY);
    assert_eq!(most.whole(12 * MIB, || 3 * MIB), ANYWAY);
    assert_eq!(most.whole(100 * MIB, || 300 * MIB), 200 * MIB);
    assert_eq!(most.whole(200 * MIB, || 200 * MIB), 200 * MIB);
    assert_eq!(most.whole(100 * MIB, || u64::MAX), SPOOL_MAX);
}
