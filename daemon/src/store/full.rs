//! What the store does while the disk is full: what takes away goes on, what gives is refused.
//!
//! In: the [`Room`]. Out: refusals, tries, SQLite's own log kept short. Spec: docs/faults.md "A full disk", docs/decisions/0033.

use super::room::Room;
use super::row::Row;
use super::{Store, StoreError, failure};

/// Pages of SQLite's log before they are put into the database: of those written again and again, 16 MiB of log save most.
pub(super) const PAGES: u32 = 4096;
/// The same on a full disk: the log is written over again and again, and grows no more.
const PAGES_FULL: u32 = 64;
/// A change is tried this often: each time with a piece more of the reserve.
const TRIES: u32 = 4;

/// Whether to do something again that found no room.
pub(crate) struct Tries<'a> {
    room: &'a Room,
    seen: u64,
    left: u32,
}

impl Tries<'_> {
    /// After a change that failed: whether it may be done again, from its beginning. Nothing of it is in the store.
    pub(crate) fn again(&mut self) -> bool {
        let seen = failure::found_full();
        let full = std::mem::replace(&mut self.seen, seen) != seen;
        self.left = self.left.saturating_sub(1);
        full && self.left > 0 && self.room.give_way()
    }
}

impl StoreError {
    /// Whether there was no room for it.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Database { source } => failure::is_full(source),
            Self::InUse { .. }
            | Self::Open { .. }
            | Self::Path { .. }
            | Self::Failed { .. }
            | Self::Migrate { .. }
            | Self::Damaged { .. }
            | Self::Group
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
        Tries { room: &self.room, seen: failure::found_full(), left: TRIES }
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
