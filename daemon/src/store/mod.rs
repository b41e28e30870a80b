//! What the daemon remembers: SQLite through `sqlx`'s Any, one writer, everything in transactions.
//!
//! In: typed rows. Out: typed rows, and [`Change`]s after a commit. Runs as: `elevated`. Spec: docs/architecture.md "The store".
//! A state change and its event are one transaction; nothing is answered or sent before its commit.

mod accounts;
mod activation;
mod activations;
mod approvals;
mod certificates;
mod changes;
mod documents;
mod ends;
mod events;
mod failure;
mod full;
mod group;
mod host_tokens;
mod hosts;
mod keys;
mod later;
mod lock;
mod locks;
mod migrations;
mod news;
mod people;
mod readers;
mod recovery;
mod restore;
mod room;
mod row;
mod seen;
mod standing;
mod tx;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use elevate_protocol::id::{ActivationId, ClusterId, HostId};
use sqlx::AnyPool;
use sqlx::Connection as _;
use sqlx::any::AnyPoolOptions;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use group::{Inner, Writer};
use news::Teller;
use readers::Readers;
use room::Room;
use witness::Witness;

pub(crate) use activation::{Activation, Denied, HostPart};
pub(crate) use certificates::{Authority, CaRow, CertificateRow, HostCertificateRow};
pub(crate) use changes::{ChangeRow, Changed, KnownKey};
pub(crate) use documents::StoredDocument;
pub(crate) use events::{EventReader, Recorded};
pub(crate) use failure::come as failure;
pub(crate) use full::found_no_room;
pub(crate) use host_tokens::{HostToken, Waits};
pub(crate) use hosts::{HostRow, NextPlace};
pub(crate) use keys::GrantKeyRow;
pub(crate) use lock::StoreLock;
pub(crate) use locks::LockRow;
pub(crate) use news::{Heard, News};
pub(crate) use people::FailureRow;
pub(crate) use recovery::RecoverySet;
pub(crate) use restore::Glimpse;
pub(crate) use standing::{AsSeen, Standing};
pub(crate) use tx::{Tx, Voice};
pub(crate) use witness::{Older, WITNESS};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another daemon has this folder.
    #[error("another elevated works on {path}; one folder has one daemon")]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// A file cannot be made or opened.
    #[error("cannot open {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The path cannot be written as an address of a database.
    #[error("{path} cannot hold a database: its name has characters that are not plain")]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// The database refused.
    #[error("the database refused")]
    Database {
        /// What it says.
        source: sqlx::Error,
    },
    /// The store failed; nothing more is written, and the daemon is about to end.
    #[error("the store failed: {why}")]
    Failed {
        /// The error that said so.
        why: &'static str,
    },
    /// The disk is full: nothing new begins.
    #[error("the disk with {folder} is full: nothing new begins before there is room")]
    Full {
        /// Where the database is.
        folder: PathBuf,
    },
    /// The database's shape is not what this version knows.
    #[error("the database cannot be brought to this version's shape")]
    Migrate {
        /// What sqlx says.
        #[from]
        source: sqlx::migrate::MigrateError,
    },
    /// A row that does not read back as what was written.
    #[error("a row of {table} is damaged: {reason}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The commit that this change shared with others failed.
    #[error("the commit failed that this change shared with others")]
    Group {
        /// Whether it was for lack of room.
        full: bool,
    },
    /// Something cannot be written as a row.
    #[error("cannot write {what}")]
    Form {
        /// What.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<sqlx::Error> for StoreError {
    /// Every error of the database comes by here: one that is fatal ends the daemon.
    fn from(source: sqlx::Error) -> Self {
        failure::look(&source);
        Self::Database { source }
    }
}

/// What others may want to know of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// An activation is not what it was.
    Activation(ActivationId),
    /// There are new documents for a host.
    Documents(HostId),
    /// A host said which accounts it has.
    Accounts(HostId),
    /// A lock was set or is over.
    Locks,
    /// Another key signs certificates.
    Cas,
    /// Another policy is in force, or hosts came or went: offers may differ.
    Policy,
}

/// The store. One per daemon.
pub(crate) struct Store {
    writer: Writer,
    readers: Readers,
    clock: Clock,
    teller: Arc<Teller>,
    cluster: ClusterId,
    epoch: u32,
    witness: Arc<Witness>,
    older: Option<Older>,
    room: Room,
    lock: Mutex<Option<StoreLock>>,
}

/// Changes that a slow listener may fall behind; then it looks at everything again.
const CHANGES_KEPT: usize = 1024;
const READERS: u32 = 4;

impl Store {
    /// Opens the store in `folder`, makes it at the first time. `fresh` becomes the cluster's id then.
    ///
    /// # Errors
    /// A [`StoreError`]; [`StoreError::InUse`] when another process has it open.
    pub(crate) async fn open(folder: &Path, clock: Clock, fresh: ClusterId) -> Result<Self, StoreError> {
        let lock = StoreLock::take(folder)?;
        sqlx::any::install_default_drivers();
        let room = Room::of(folder);
        let path = folder.join("elevated.db");
        lock::private(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let address = address_of(&path, "rwc")?;
        let writer = pool(&address, 1).await?;
        migrations::migrator().run(&writer).await?;
        let witness = Arc::new(Witness::open(folder)?);
        let writer = Writer::over(&writer).await?;
        let readers = Readers::over(pool(&address, READERS).await?, READERS);
        let mut store = Self {
            writer,
            readers,
            clock,
            teller: Arc::new(Teller::new(CHANGES_KEPT)),
            cluster: fresh,
            epoch: 1,
            witness,
            older: None,
            room,
            lock: Mutex::new(Some(lock)),
        };
        store.take_up(fresh).await?;
        Ok(store)
    }

    async fn take_up(&mut self, fresh: ClusterId) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let damaged = |reason: String| StoreError::Damaged { table: "meta", reason };
        let cluster = tx.meta_or("cluster", &fresh.to_string()).await?;
        let epoch = tx.meta_or("epoch", "1").await?;
        let head = tx.next_seq().await?;
        self.cluster = cluster.parse().map_err(|_| damaged(format!("cluster {cluster:?}")))?;
        self.older = restore::compare(&mut tx, &self.witness, self.cluster).await?;
        tx.commit().await?;
        self.witness.hold(self.older.is_some());
        self.writer.tell(Arc::clone(&self.witness), self.cluster).await?;
        self.epoch = epoch.parse().map_err(|_| damaged(format!("epoch {epoch:?}")))?;
        self.teller.grown(head);
        Ok(())
    }

    /// Begins to change something. There is one writer: whoever comes second waits, and shares its commit.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Failed`].
    pub(crate) async fn write(&self) -> Result<Tx, StoreError> {
        self.room.before_a_change();
        let inner = Inner::Write(Box::new(self.writer.begin().await?));
        // After the wait: whoever was before us may have seen the store fail.
        if let Some(why) = failure::come_already() {
            return Err(StoreError::Failed { why });
        }
        Ok(Tx::new(inner, self.clock.now(), Arc::clone(&self.teller)))
    }

    /// Returns when changes go on and something can be looked at. Changes nothing.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub(crate) async fn works(&self) -> Result<(), StoreError> {
        self.writer.turn().await?;
        if let Some(why) = failure::come_already() {
            return Err(StoreError::Failed { why });
        }
        drop(self.readers.look().await?);
        Ok(())
    }

    /// Begins to look at something, as of one moment. It is never committed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn read(&self) -> Result<Tx, StoreError> {
        let inner = Inner::Look(self.readers.moment().await?);
        Ok(Tx::new(inner, self.clock.now(), Arc::clone(&self.teller)))
    }

    /// Looks with one statement: that needs no transaction around it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn glance(&self) -> Result<Tx, StoreError> {
        let inner = Inner::Look(self.readers.look().await?);
        Ok(Tx::new(inner, self.clock.now(), Arc::clone(&self.teller)))
    }

    /// Tells of commits from this call on, but of documents: those are told to their host.
    #[must_use]
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.teller.changes()
    }

    /// What concerns a host, from this call on.
    #[must_use]
    pub(crate) fn news_of(&self, host: HostId) -> News {
        News::of(&self.teller, host)
    }

    /// Tells of something that is no commit's own.
    pub(crate) fn tell(&self, change: Change) {
        self.teller.tell(change);
    }

    /// The number of the next event, as it grows.
    #[must_use]
    pub(crate) fn head(&self) -> watch::Receiver<u64> {
        self.teller.head()
    }

    /// The cluster.
    #[must_use]
    pub(crate) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Counts restores of this store.
    #[must_use]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether [`Store::close`] was called. The readers close first.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.readers.is_closed()
    }

    /// Closes the database and gives the folder up. Everything asked of the store afterwards is an error.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// `sqlite:///var/lib/elevated/elevated.db?mode=rwc`. Characters with a meaning in an address are refused.
fn address_of(path: &Path, mode: &str) -> Result<String, StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    match path.to_str() {
        Some(text) if path.is_absolute() && text.chars().all(plain) => {
            Ok(format!("sqlite://{text}?mode={mode}"))
        }
        _ => Err(StoreError::Path { path: path.to_owned() }),
    }
}

async fn pool(address: &str, connections: u32) -> Result<AnyPool, StoreError> {
    let connecting = AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // SQLite ends a transaction by itself when the disk is full or fails, and sqlx goes on counting it: such a connection is
        // closed, or every change after it would be refused.
        .before_acquire(|connection, _| {
            let free = !connection.is_in_transaction();
            Box::pin(async move { Ok(free) })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                // https://sqlite.org/pragma.html: FULL makes a commit durable before it returns, in WAL mode too.
                for pragma in [
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    // Pages: of those written again and again, 16 MiB of log save most; replayed in some ms after a crash.
                    "PRAGMA wal_autocheckpoint = 4096",
                    "PRAGMA foreign_keys = ON",
                    "PRAGMA busy_timeout = 10000",
                    "PRAGMA trusted_schema = OFF",
                ] {
                    let done = sqlx::query(pragma).execute(&mut *connection).await;
                    done.inspect_err(failure::look)?;
                }
                Ok(())
            })
        })
        .connect(address);
    // The pool tries again what fails here, for all of its timeout.
    tokio::select! {
        pool = connecting => Ok(pool?),
        why = failure::come() => Err(StoreError::Failed { why }),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
