//! The reference of durable activations: the same rows in the same tables, one commit each, by SQLite and nothing else.
//!
//! In: a daemon's database to take rows from. Out: commits per second, in WAL mode with synchronous=FULL on the same disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use crate::measure::count;

/// How long one round commits.
const ROUND: Duration = Duration::from_secs(2);
/// The tables that an activation writes into, with the column that names it.
const TABLES: [(&str, &str); 4] = [
    ("activations", "id"),
    ("activation_hosts", "activation"),
    ("documents", "activation"),
    ("events", "activation"),
];

/// The rows of one activation, by table, and the statements that made the tables.
pub(crate) struct Rows {
    id: String,
    schema: Vec<String>,
    host: (Vec<String>, Vec<Vec<Value>>),
    tables: Vec<Table>,
}

struct Table {
    name: &'static str,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    insert: String,
}

impl Rows {
    /// How many rows.
    pub(crate) fn number(&self) -> f64 {
        // One row more: the host's, whose last place is moved on.
        count(self.tables.iter().map(|table| table.rows.len()).sum::<usize>().saturating_add(1))
    }

    /// Which rows.
    pub(crate) fn told(&self) -> String {
        let parts: Vec<String> =
            self.tables.iter().map(|table| format!("{} {}", table.rows.len(), table.name)).collect();
        format!("{}, 1 hosts", parts.join(", "))
    }

    /// Writes them as those of another activation; `number` goes on from row to row.
    pub(crate) fn write(&self, database: &Connection, fresh: &str, number: &mut i64) -> rusqlite::Result<()> {
        for table in &self.tables {
            let mut statement = database.prepare_cached(&table.insert)?;
            for row in &table.rows {
                *number = number.saturating_add(1);
                let row = renamed(row, &table.columns, (&self.id, fresh), *number);
                statement.execute(params_from_iter(row))?;
            }
        }
        Ok(())
    }
}

fn select(
    database: &Connection,
    table: &str,
    column: &str,
    id: &str,
) -> Result<(Vec<String>, Vec<Vec<Value>>)> {
    let mut statement =
        database.prepare(&format!("SELECT * FROM {table} WHERE {column} = ?1 ORDER BY rowid"))?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let width = columns.len();
    let rows = statement
        .query_map([id], |row| (0..width).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>, _>>())?
        .collect::<Result<Vec<_>, _>>()?;
    Ok((columns, rows))
}

/// The latest activation that is active.
pub(crate) fn active(database: &Connection) -> Result<String> {
    let newest = "SELECT id FROM activations WHERE phase = 'active' ORDER BY asked_at DESC LIMIT 1";
    Ok(database.query_row(newest, [], |row| row.get(0))?)
}

/// The rows of an activation, from a daemon's database.
pub(crate) fn rows_of(database: &Connection, id: String) -> Result<Rows> {
    let mut schema = database.prepare(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'",
    )?;
    let schema = schema.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let mut tables = Vec::new();
    for (table, column) in TABLES {
        let (columns, rows) = select(database, table, column, &id)?;
        tables.push(Table { name: table, insert: insert(table, &columns), columns, rows });
    }
    let host = "SELECT host FROM activation_hosts WHERE activation = ?1";
    let named: String = database.query_row(host, [&id], |row| row.get(0))?;
    let host = select(database, "hosts", "id", &named)?;
    Ok(Rows { id, schema, host, tables })
}

/// A daemon's database, to look at while it runs.
pub(crate) fn look(path: &Path) -> Result<Connection> {
    Ok(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

/// The same row for another activation: its id in every text, its own number where numbers have to differ.
fn renamed(row: &[Value], columns: &[String], (from, to): (&str, &str), number: i64) -> Vec<Value> {
    let each = |(column, value): (&String, &Value)| match value {
        Value::Text(text) => Value::Text(text.replace(from, to)),
        Value::Integer(_) if column == "seq" => Value::Integer(number),
        Value::Null | Value::Integer(_) | Value::Real(_) | Value::Blob(_) => value.clone(),
    };
    columns.iter().zip(row).map(each).collect()
}

/// The statement that writes a row of a table.
fn insert(table: &str, columns: &[String]) -> String {
    let marks: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
    format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), marks.join(", "))
}

/// An id of the form that activations have.
pub(crate) fn id(number: i64) -> String {
    format!("{number:0>26}")
}

/// Commits for a while; how many per second.
pub(crate) fn commits_per_second(path: &Path, rows: &Rows) -> Result<f64> {
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{suffix}", path.display())));
    }
    let mut database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "wal_autocheckpoint", 4096)?;
    // The same tables and indexes; nothing to refer to is needed.
    database.pragma_update(None, "foreign_keys", "OFF")?;
    for statement in &rows.schema {
        database.execute_batch(statement)?;
    }
    let (columns, hosts) = &rows.host;
    let host = hosts.first().context("no host")?;
    database.execute(&insert("hosts", columns), params_from_iter(host.clone()))?;
    let host = host.first().context("a host without id")?;
    let (mut done, mut number) = (0usize, 0i64);
    let begun = Instant::now();
    while begun.elapsed() < ROUND {
        let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        rows.write(&transaction, &id(i64::try_from(done)?), &mut number)?;
        transaction.prepare_cached("UPDATE hosts SET issued = issued + 1 WHERE id = ?1")?.execute([host])?;
        transaction.commit()?;
        done = done.saturating_add(1);
    }
    let rate = count(done) / begun.elapsed().as_secs_f64();
    database.close().map_err(|(_, error)| error).context("the reference's database")?;
    Ok(rate)
}
