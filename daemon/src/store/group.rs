//! The one writer. Changes that wait for it at the same time share one transaction of the database, and its one fsync.
//!
//! In: changes, one after the other, each whole or not at all. Out: their fate, told only after the commit. Spec:
//! docs/decisions/0019. A change is a savepoint; the transaction around several is a group, and all of it has one fate. What it begins
//! and ends with goes to the database with its own statements (docs/decisions/0045).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe};
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};
use tokio::time::timeout;

use elevate_protocol::id::ClusterId;

use super::StoreError;
use super::failure;
use super::later::Later;
use super::readers::Looking;
use super::witness::{Mark, Said, Witness};

/// How long a change waits for those before it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is durable.
    Durable,
    /// Nothing of it is left, for lack of room on the disk.
    NoRoom,
    /// Nothing of it is left.
    Lost,
}

impl End {
    fn by(error: &sqlx::Error) -> Self {
        if failure::is_full(error) { Self::NoRoom } else { Self::Lost }
    }
}

/// The same, for those who wait for it.
type Fate = Arc<OnceLock<End>>;

/// Where in its group a change is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Others come: they share its commit.
    BeforeOthers,
    /// Nobody waits: it commits for all.
    Last,
}

/// How far a change brings the log.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Log {
    /// Number of the next event, where it is known.
    pub(super) next: Option<u64>,
    /// The same with its last event; none: it recorded nothing.
    pub(super) mark: Option<Mark>,
}

/// The writing connection and the transaction on it.
pub(super) struct Group {
    connection: PoolConnection<Any>,
    /// The fate of the transaction that is open; none: there is none.
    open: Option<Fate>,
    /// Changes in it that are whole.
    whole: usize,
    /// What the change that is made begins with; none: the database was sent it.
    opening: Option<&'static str>,
    /// Somebody began a change and has not said that it is whole. Found by the next one, it was dropped.
    changing: bool,
    /// A statement about the transaction itself was sent and its end not seen.
    unsure: bool,
    /// Number of the next event, as far as the group knows it.
    next: Option<u64>,
    /// How far the log will have come with this group.
    mark: Option<Mark>,
    /// Who is told of that.
    witness: Option<(Arc<Witness>, ClusterId)>,
}

/// Everybody who wants to change something comes here.
#[derive(Clone)]
pub(super) struct Writer {
    /// Of the one connection.
    pool: AnyPool,
    group: Arc<Mutex<Option<Group>>>,
    waiting: Arc<AtomicUsize>,
}

/// Counts who waits, also when the waiting is given up.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn on(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One change. Dropped without [`Change::commit`], nothing of it happens.
pub(super) struct Change {
    group: OwnedMappedMutexGuard<Option<Group>, Group>,
    writer: Writer,
    fate: Fate,
}

/// What statements run on.
pub(super) enum Inner {
    /// Looks.
    Look(Looking),
    /// Changes.
    Write(Box<Change>),
}

impl Inner {
    /// Runs what was kept back, and before it what a look or a change begins with. The rows of the question at its end.
    ///
    /// # Errors
    /// That of the first statement that fails.
    pub(super) async fn run(&mut self, later: Later) -> Result<Vec<AnyRow>, sqlx::Error> {
        match self {
            Self::Look(looking) => looking.run(later).await,
            Self::Write(change) => change.group.run(later).await,
        }
    }

    /// The connection, after that.
    ///
    /// # Errors
    /// As [`Inner::run`].
    pub(super) async fn ready(&mut self, later: Later) -> Result<&mut AnyConnection, sqlx::Error> {
        self.run(later).await?;
        match self {
            Self::Look(looking) => looking.connection(),
            Self::Write(change) => Ok(&mut change.group.connection),
        }
    }
}

impl Group {
    async fn say(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        self.unsure = true;
        let said = sqlx::query(statement).execute(&mut *self.connection).await;
        self.unsure = false;
        said.map(drop)
    }

    /// Runs what a change kept back.
    async fn run(&mut self, mut later: Later) -> Result<Vec<AnyRow>, sqlx::Error> {
        let Some(opening) = self.opening.take() else { return later.run(&mut self.connection).await };
        later.begin_with(opening);
        // Whoever drops this meanwhile leaves no doubt: the database is through with a text, or has stopped in it, before it hears the
        // next. What a group began with is rolled back with the group; a savepoint is there, or rolling back to it fails.
        self.changing = true;
        later.run(&mut self.connection).await
    }

    /// Gives the whole group up. Those who wait for its fate hear it.
    async fn fail(&mut self, end: End) {
        // Where there is no transaction any more there is nothing to take back.
        drop(self.say("ROLLBACK").await);
        self.close(end);
        (self.next, self.mark) = (None, None);
    }

    fn close(&mut self, end: End) {
        if let Some(fate) = self.open.take() {
            fate.get_or_init(|| end);
        }
        (self.whole, self.changing, self.opening) = (0, false, None);
    }

    /// Takes back what somebody began and dropped.
    async fn tidy(&mut self) {
        // SQLite ends a transaction by itself when the disk is full or fails; then there is no savepoint, and no group. When it fails
        // this process ends.
        self.take_back(End::NoRoom).await;
    }

    /// Takes back what the change did that is being made; `end` is what becomes of the group when it has no savepoint any more.
    async fn take_back(&mut self, end: End) {
        if self.unsure || (self.changing && self.whole == 0) {
            return self.fail(if self.unsure { End::Lost } else { end }).await;
        }
        // The database never heard of it, and of a group without another change neither.
        if self.opening.take().is_some() && self.whole == 0 {
            self.close(End::Lost);
        }
        if self.changing {
            let back = match self.say("ROLLBACK TO change").await {
                Ok(()) => self.say("RELEASE change").await,
                Err(error) => Err(error),
            };
            match back {
                Ok(()) => self.changing = false,
                Err(_) => self.fail(end).await,
            }
        }
    }

    /// Begins a change. The database hears of it with its first statement.
    async fn begin(&mut self) -> Fate {
        self.tidy().await;
        self.opening = Some(if self.open.is_some() { "SAVEPOINT change" } else { "BEGIN IMMEDIATE" });
        Arc::clone(self.open.get_or_insert_default())
    }

    /// The change is whole with what it kept back: with the others of its group it waits for the commit, or is the last of them and
    /// commits for all.
    async fn keep(&mut self, log: Log, mut later: Later, turn: Turn) -> Result<(), sqlx::Error> {
        if self.whole > 0 {
            later.add("RELEASE change", []);
        }
        if turn == Turn::Last {
            later.add("COMMIT", []);
        }
        self.unsure = true;
        let sent = self.run(later).await;
        self.unsure = false;
        if let Err(error) = sent {
            // Of this change nothing stays; what others of the group did is before its savepoint, unless it was their commit that failed.
            self.take_back(End::by(&error)).await;
            return Err(error);
        }
        self.changing = false;
        self.whole = self.whole.saturating_add(1);
        self.next = log.next.or(self.next);
        self.mark = log.mark.or(self.mark);
        if turn == Turn::Last {
            self.committed();
        }
        Ok(())
    }

    /// The group is durable.
    fn committed(&mut self) {
        self.close(End::Durable);
        // After the commit: a witness that is ahead is the sign of an older database.
        if let (Some(mark), Some((witness, cluster))) = (self.mark.take(), &self.witness) {
            witness.note(Said { cluster: *cluster, mark });
        }
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.tidy().await;
        if self.open.is_none() {
            return Ok(());
        }
        match self.say("COMMIT").await {
            Ok(()) => self.committed(),
            Err(error) => {
                self.fail(End::by(&error)).await;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Writer {
    /// Over the one connection of a pool.
    pub(super) async fn over(pool: &AnyPool) -> Result<Self, sqlx::Error> {
        let connection = pool.acquire().await?;
        let group = Group {
            connection,
            open: None,
            whole: 0,
            opening: None,
            changing: false,
            unsure: false,
            next: None,
            mark: None,
            witness: None,
        };
        Ok(Self { pool: pool.clone(), group: Arc::new(Mutex::new(Some(group))), waiting: Arc::default() })
    }

    async fn group(&self) -> Result<OwnedMappedMutexGuard<Option<Group>, Group>, sqlx::Error> {
        let locked = Arc::clone(&self.group).lock_owned().await;
        OwnedMutexGuard::try_map(locked, Option::as_mut).map_err(|_| sqlx::Error::PoolClosed)
    }

    /// Waits for its turn like a change, and lets the next one go on. That it returns says that the one before us was no dead end.
    pub(super) async fn turn(&self) -> Result<(), sqlx::Error> {
        timeout(PATIENCE, self.group()).await.map_err(|_| sqlx::Error::PoolTimedOut)?.map(drop)
    }

    /// Begins a change: whoever comes second waits.
    pub(super) async fn begin(&self) -> Result<Change, sqlx::Error> {
        let waiting = Waiting::on(&self.waiting);
        let mut group = timeout(PATIENCE, self.group()).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        drop(waiting);
        let fate = group.begin().await;
        Ok(Change { group, writer: self.clone(), fate })
    }

    /// Tells the witness of each commit from now on.
    pub(super) async fn tell(&self, witness: Arc<Witness>, cluster: ClusterId) -> Result<(), sqlx::Error> {
        self.group().await?.witness = Some((witness, cluster));
        Ok(())
    }

    /// Says how many pages of its log SQLite lets stand before it puts them into the database; 0: it does not by itself.
    pub(super) async fn put_down_after(&self, pages: u32) -> Result<(), sqlx::Error> {
        let mut group = timeout(PATIENCE, self.group()).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        let pragma = format!("PRAGMA wal_autocheckpoint = {pages}");
        sqlx::query(AssertSqlSafe(pragma)).execute(&mut *group.connection).await.map(drop)
    }

    /// Waits for whoever changes something, and closes.
    pub(super) async fn close(&self) {
        let mut group = self.group.lock().await;
        if let Some(open) = group.as_mut()
            && open.whole > 0
        {
            // Those who wait for it hear what became of it.
            drop(open.commit().await);
        }
        // First, or it makes itself another connection in the place of the one that is closed.
        let closed = self.pool.close();
        if let Some(group) = group.take() {
            drop(group.connection.close().await);
        }
        closed.await;
    }
}

impl Change {
    /// The number of the next event, where the group knows it.
    pub(super) fn next(&self) -> Option<u64> {
        self.group.next
    }

    /// Returns when the change is durable. Nobody can cancel this half way: a task of its own does it.
    pub(super) async fn commit(self, log: Log, later: Later) -> Result<(), StoreError> {
        match tokio::spawn(self.settle(log, later)).await {
            Ok(settled) => settled,
            Err(_) => Err(StoreError::Group { full: false }),
        }
    }

    async fn settle(mut self, log: Log, later: Later) -> Result<(), StoreError> {
        // Whoever waits joins the group; who comes later finds this one before it in the queue.
        let turn =
            if self.writer.waiting.load(Ordering::SeqCst) == 0 { Turn::Last } else { Turn::BeforeOthers };
        self.group.keep(log, later, turn).await?;
        if turn == Turn::BeforeOthers {
            let Self { group, writer, fate } = self;
            drop(group);
            let mut group = writer.group().await.ok();
            if fate.get().is_none()
                && let Some(group) = &mut group
            {
                group.commit().await?;
            }
            return match fate.get() {
                Some(End::Durable) => Ok(()),
                end => Err(StoreError::Group { full: end == Some(&End::NoRoom) }),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
