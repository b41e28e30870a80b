//! The connections that look, kept between two looks.
//!
//! In: whoever wants to look. Out: [`Looking`], a connection of its own for as long. The pool of sqlx would ask each connection that comes
//! back whether it lives: a way to its thread, after every statement. SQLite's lives as long as its thread, and says so when it is asked
//! something (docs/decisions/0045).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::later::Later;

/// How long somebody waits for those before.
const PATIENCE: Duration = Duration::from_secs(30);

/// All of them.
#[derive(Clone)]
pub(super) struct Readers {
    pool: AnyPool,
    /// Those that nobody looks with; none: closed.
    idle: Arc<Mutex<Option<Vec<PoolConnection<Any>>>>>,
    places: Arc<Semaphore>,
}

/// A look. What it sees is of one moment where it began with that.
pub(super) struct Looking {
    /// None: it is over.
    connection: Option<PoolConnection<Any>>,
    /// What it is to begin with, still.
    opening: Option<&'static str>,
    /// Whether the database was sent that.
    began: bool,
    readers: Readers,
    place: Option<OwnedSemaphorePermit>,
}

impl Readers {
    /// Over a pool of so many.
    pub(super) fn over(pool: AnyPool, number: u32) -> Self {
        let idle = Arc::new(Mutex::new(Some(Vec::new())));
        Self { pool, idle, places: Arc::new(Semaphore::new(usize::try_from(number).unwrap_or(1))) }
    }

    /// A look at one moment.
    pub(super) async fn moment(&self) -> Result<Looking, sqlx::Error> {
        let mut looking = self.look().await?;
        looking.opening = Some("BEGIN");
        Ok(looking)
    }

    /// A look at one thing after the other, each as it is by then.
    pub(super) async fn look(&self) -> Result<Looking, sqlx::Error> {
        let place = timeout(PATIENCE, Arc::clone(&self.places).acquire_owned());
        let place =
            place.await.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let kept = match self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(idle) => idle.pop(),
            None => return Err(sqlx::Error::PoolClosed),
        };
        let connection = match kept {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(Looking {
            connection: Some(connection),
            opening: None,
            began: false,
            readers: self.clone(),
            place: Some(place),
        })
    }

    fn put_back(&self, connection: PoolConnection<Any>) {
        // Closed meanwhile: the pool waits for it.
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            idle.push(connection);
        }
    }

    /// Whether [`Readers::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }

    /// Waits for those who look, and closes.
    pub(super) async fn close(&self) {
        self.places.close();
        drop(self.idle.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.pool.close().await;
    }
}

impl Looking {
    /// Runs what was kept back, after what the look begins with. The rows of the question at its end.
    ///
    /// # Errors
    /// That of the first statement that fails.
    pub(super) async fn run(&mut self, mut later: Later) -> Result<Vec<AnyRow>, sqlx::Error> {
        if let Some(opening) = self.opening.take() {
            later.begin_with(opening);
            self.began = true;
        }
        match &mut self.connection {
            Some(connection) => later.run(connection).await,
            None => Err(sqlx::Error::PoolClosed),
        }
    }

    /// The connection.
    ///
    /// # Errors
    /// None while it looks.
    pub(super) fn connection(&mut self) -> Result<&mut AnyConnection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let (Some(mut connection), place) = (self.connection.take(), self.place.take()) else { return };
        if !self.began {
            return self.readers.put_back(connection);
        }
        // Without a runtime nobody looks any more.
        let Ok(runtime) = Handle::try_current() else { return };
        let readers = self.readers.clone();
        runtime.spawn(async move {
            // Else it goes on to see its one moment. One that cannot end that sees nothing else for anybody.
            match sqlx::query("ROLLBACK").execute(&mut *connection).await {
                Ok(_) => readers.put_back(connection),
                Err(_) => connection.close_on_drop(),
            }
            drop(place);
        });
    }
}
