//! The steps by which a database of an older daemon becomes one of this.
//!
//! In: the files of `migrations/`. Out: what sqlx runs at the start.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Every migration there is, in order. An old one is never changed: its checksum is in the database.
pub(super) fn migrator() -> Migrator {
    let files = [
        (1, "begin", include_str!("../../migrations/0001_begin.sql")),
        (2, "locks", include_str!("../../migrations/0002_locks.sql")),
        (3, "live", include_str!("../../migrations/0003_live.sql")),
        (4, "recovery", include_str!("../../migrations/0004_recovery.sql")),
        (5, "changes", include_str!("../../migrations/0005_changes.sql")),
        (6, "heads", include_str!("../../migrations/0006_heads.sql")),
        (7, "ends", include_str!("../../migrations/0007_ends.sql")),
        (8, "restored", include_str!("../../migrations/0008_restored.sql")),
        (9, "replacements", include_str!("../../migrations/0009_replacements.sql")),
        (10, "certificates", include_str!("../../migrations/0010_certificates.sql")),
        (11, "ssh", include_str!("../../migrations/0011_ssh.sql")),
        (12, "user_cas", include_str!("../../migrations/0012_user_cas.sql")),
        (13, "host_cas", include_str!("../../migrations/0013_host_cas.sql")),
        (14, "retired", include_str!("../../migrations/0014_retired.sql")),
    ];
    let migration = |(number, name, text): (i64, &'static str, &'static str)| {
        Migration::new(number, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(files.into_iter().map(migration).collect())
}
