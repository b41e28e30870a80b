//! What the store does while the disk is full: what takes away goes on, what gives is refused.
//!
//! In: the [`Room`]. Out: refusals, tries, SQLite's own log kept short. Spec: docs/faults.md "A full disk", docs/decisions/0033.

use std::error::Error;

use super::room::{PIECES, Room};
use super::row::Row;
use super::{Store, StoreError, failure};

/// Pages of SQLite's log before they are put into the database: of those written again and again, 16 MiB of log save most.
pub(super) const PAGES: u32 = 4096;
/// The same on a full disk: the log is written over again and again, and grows no more.
const PAGES_FULL: u32 = 64;
/// Whether to do something again that found no room.
pub(crate) struct Tries<'a> {
    room: &'a Room,
    /// As often as there are pieces of the reserve: each time with one more.
    left: u64,
}

impl Tries<'_> {
    /// After a change that failed: whether it may be done again, from its beginning. Nothing of it is in the store.
    pub(crate) fn again(&mut self, fault: &(dyn Error + 'static)) -> bool {
        if self.left == 0 || !found_no_room(fault) {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.room.give_way()
    }
}

/// Whether it was for lack of room, whoever else says that it failed.
pub(crate) fn found_no_room(fault: &(dyn Error + 'static)) -> bool {
    let full = fault.downcast_ref::<StoreError>().is_some_and(StoreError::is_full);
    full || fault.source().is_some_and(found_no_room)
}

impl StoreError {
    /// Whether there was no room for it.
    fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Group { full: true } => true,
            Self::Database { source } => failure::is_full(source),
            Self::InUse { .. }
            | Self::Open { .. }
            | Self::Path { .. }
            | Self::Failed { .. }
            | Self::Migrate { .. }
            | Self::Damaged { .. }
            | Self::Group { full: false }
            | Self::Form { .. } => false,
        }
    }
}

impl Store {
    /// Refuses what is new while the disk is full.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    pub(crate) fn admit(&self) -> Result<(), StoreError> {
        if self.room.look() {
            return Err(StoreError::Full { folder: self.room.folder().to_owned() });
        }
        Ok(())
    }

    /// For a change that has to be made, however full the disk is.
    pub(crate) fn tries(&self) -> Tries<'_> {
        Tries { room: &self.room, left: PIECES }
    }

    /// The room that is kept.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Keeps SQLite's own log from growing on a full disk, as far as what is in it has room in the database.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub(crate) async fn save_room(&self, full: bool) -> Result<(), StoreError> {
        let pages = match full {
            false => PAGES,
            // Half put down it would have taken the room of what is still to come.
            true if self.grows_by().await? > self.room.left() / 2 => 0,
            true => PAGES_FULL,
        };
        Ok(self.writer.put_down_after(pages).await?)
    }

    /// Bytes that the database grows by with what is in its log.
    async fn grows_by(&self) -> Result<u64, StoreError> {
        let mut tx = self.glance().await?;
        let size = "SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size";
        let row = sqlx::query(size).fetch_one(tx.ready().await?).await?;
        let whole: u64 = Row("the database", &row).number("bytes")?;
        let there = std::fs::metadata(self.room.folder().join("elevated.db")).map_or(0, |meta| meta.len());
        Ok(whole.saturating_sub(there))
    }
}

#[cfg(test)]
impl Store {
    /// As on a disk with room for this many pages, and at least for those that there are.
    pub(crate) async fn has_room_for(&self, pages: u32) {
        let mut tx = self.write().await.unwrap();
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(pragma).execute(tx.ready().await.unwrap()).await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use elevate_protocol::id::ClusterId;

    use super::*;
    use crate::clock::Clock;
    use crate::core::Fault;

    /// More than its page has room for.
    async fn grow(store: &Store) -> Result<(), StoreError> {
        let mut tx = store.write().await?;
        tx.set_meta("x", &"x".repeat(20_000)).await?;
        tx.commit().await
    }

    #[tokio::test]
    async fn r05_a_change_is_done_again_for_its_own_lack_of_room_only_and_with_every_piece() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_800_000_000);
        let store = Store::open(folder.path(), clock, ClusterId::from_random([1; 16])).await.unwrap();
        store.has_room_for(1).await;
        let (mut tries, mut others) = (store.tries(), store.tries());
        for _ in 0..PIECES {
            assert!(tries.again(&Fault::from(grow(&store).await.unwrap_err())));
            // Somebody else's, at the same time.
            assert!(!others.again(&Fault::Broken { what: "a thing" }));
            assert!(!others.again(&StoreError::Group { full: false }));
        }
        assert_eq!(std::fs::metadata(folder.path().join("reserve")).unwrap().len(), 0);
        assert!(!tries.again(&Fault::from(grow(&store).await.unwrap_err())), "there is nothing left");
        store.has_room_for(1_000_000).await;
        grow(&store).await.unwrap();
    }
}
