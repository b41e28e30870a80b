use super::*;

#[test]
fn r05_the_reserve_is_really_on_the_disk_and_nobody_elses() {
    let place = tempfile::tempdir().unwrap();
    let room = Room::of(place.path());
    assert!(!room.is_short());
    let meta = std::fs::metadata(place.path().join(NAME)).unwrap();
    assert_eq!((meta.len(), meta.mode() & 0o7777), (RESERVE, 0o600));
    assert!(meta.blocks() * BLOCK >= RESERVE, "{} blocks", meta.blocks());
}

/// A copy of a folder, as a backup is, has a file of the same length that takes no room.
#[test]
fn r05_a_reserve_of_holes_is_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(NAME);
    File::create(&path).unwrap().set_len(RESERVE).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().blocks(), 0);
    assert!(!Room::of(place.path()).is_short());
    assert!(std::fs::metadata(&path).unwrap().blocks() * BLOCK >= RESERVE);
}

#[test]
fn r05_pieces_are_given_up_until_nothing_is_left_and_come_back() {
    let place = tempfile::tempdir().unwrap();
    let room = Room::of(place.path());
    let length = || std::fs::metadata(place.path().join(NAME)).unwrap().len();
    for left in (0..RESERVE / PIECE).rev() {
        assert!(room.give_way() && room.is_short());
        assert_eq!(length(), left * PIECE);
    }
    assert!(!room.give_way(), "nothing is left");
    assert!(!room.look() && !room.is_short(), "this disk has room");
    assert_eq!(length(), RESERVE);
}

#[test]
fn r05_what_is_planted_in_its_place_is_not_written_to() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    std::fs::write(&target, "mine").unwrap();
    std::os::unix::fs::symlink(&target, place.path().join(NAME)).unwrap();
    assert!(Room::of(place.path()).is_short());
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
}
