//! What waits, what is lost and told, and what a crash or a disk may do to it.

use super::*;

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
    spool.acknowledge(3).unwrap();
    assert_eq!(spool.len(), 0);
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.add(Timestamp(1), report(9)).unwrap();
    assert_eq!(spool.after(0).map(|(number, _)| number).collect::<Vec<_>>(), [4]);
}

fn warned(left: u32) -> Report {
    Report::Warned { grant: ActivationId::from_random([1; 16]), left: Span(left) }
}

fn small(paths: &Paths, reports: u64) -> Spool {
    let (mut spool, _) = Spool::load(paths).unwrap();
    spool.most.reports = reports;
    spool
}

fn numbers(spool: &Spool) -> Vec<u64> {
    spool.after(0).map(|(number, _)| number).collect()
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
    let told: Vec<(u64, Report)> = spool.after(0).map(|(n, entry)| (n, entry.report.clone())).collect();
    assert_eq!(told, [(12, Report::Lost { count: 5, first: 7, last: 11 })]);
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
    let told = spool.after(0).next().map(|(_, entry)| entry.report.clone());
    assert_eq!(told, Some(Report::Lost { count: 95, first: 7, last: 103 }));
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
    let lost = spool.after(0).filter(|(_, entry)| matches!(entry.report, Report::Lost { .. })).count();
    assert_eq!(lost, 1);
}

#[test]
fn a_disk_that_takes_nothing_loses_reports_and_nothing_else() {
    let (_place, paths) = place();
    let mut spool = small(&paths, 8);
    std::fs::remove_dir(&paths.spool).unwrap();
    for left in 0..3 {
        assert!(spool.add(Timestamp(1), warned(left)).is_err());
    }
    std::fs::create_dir(&paths.spool).unwrap();
    spool.add(Timestamp(2), warned(9)).unwrap();
    let told: Vec<Report> = spool.after(0).map(|(_, entry)| entry.report.clone()).collect();
    assert_eq!(told, [Report::Lost { count: 3, first: 1, last: 3 }, warned(9)]);
}

#[test]
fn what_is_no_report_is_removed_and_named() {
    let (_place, paths) = place();
    std::fs::write(paths.spool.join("7"), "{").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", paths.spool.join("8")).unwrap();
    std::fs::write(paths.spool.join(REPORTS), "{}\n{\"acknowledged\":{\"number\":4}}\nx\n{").unwrap();
    let (mut spool, removed) = Spool::load(&paths).unwrap();
    assert_eq!((spool.len(), removed.len()), (0, 3));
    assert!(!paths.spool.join("8").is_symlink());
    spool.add(Timestamp(1), report(1)).unwrap();
    assert_eq!(numbers(&spool), [5]);
    std::fs::remove_file(paths.spool.join(REPORTS)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", paths.spool.join(REPORTS)).unwrap();
    let (spool, removed) = Spool::load(&paths).unwrap();
    assert_eq!((spool.len(), removed.len()), (0, 1));
    assert!(!paths.spool.join(REPORTS).is_symlink());
}

#[test]
fn r02_a_report_that_was_cut_off_is_none_and_the_others_stay() {
    let (_place, paths) = place();
    let (mut spool, _) = Spool::load(&paths).unwrap();
    spool.add(Timestamp(1), report(1)).unwrap();
    let first = std::fs::metadata(paths.spool.join(REPORTS)).unwrap().len();
    spool.add(Timestamp(1), report(2)).unwrap();
    let whole = std::fs::read(paths.spool.join(REPORTS)).unwrap();
    for cut in usize::try_from(first).unwrap()..whole.len() {
        std::fs::write(paths.spool.join(REPORTS), &whole[..cut]).unwrap();
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
    let (mut spool, _) = Spool::load(&paths).unwrap();
    let length = || std::fs::metadata(paths.spool.join(REPORTS)).unwrap().len();
    let (mut most, mut number) = (0, 0);
    for round in 0..40 {
        for left in 0..100 {
            spool.add(Timestamp(1), warned(left)).unwrap();
            number += 1;
        }
        most = most.max(length());
        // One is always on its way.
        spool.acknowledge(number - 1).unwrap();
        if round % 7 == 0 {
            (spool, _) = Spool::load(&paths).unwrap();
        }
        assert_eq!(numbers(&spool), [number]);
    }
    assert!(most > REST_MAX && length() < REST_MAX + 64 * 1024, "{most}, {}", length());
    let (spool, removed) = Spool::load(&paths).unwrap();
    assert_eq!((numbers(&spool), removed.len()), (vec![number], 0));
}
