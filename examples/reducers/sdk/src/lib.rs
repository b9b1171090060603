//! The notes reducer, written with SQLSync's own SDK; it does not depend on graft.

use futures::try_join;
use serde::Deserialize;
use sqlsync_reducer::{execute, init_reducer, query, types::ReducerError};

#[derive(Deserialize)]
#[serde(tag = "tag", rename_all = "lowercase")]
enum Mutation {
    Init,
    Put { key: String, value: String },
    Append { key: String, value: String },
    Take { key: String, value: String },
    Remove { key: String },
    Stamp { key: String },
    Swap { one: String, other: String },
    Panic { reason: String },
}

const PUT: &str = "INSERT INTO notes (key, value) VALUES (?, ?) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1";
const APPEND: &str = "INSERT INTO notes (key, value) VALUES (?, ?) \
    ON CONFLICT (key) DO UPDATE SET value = value || excluded.value, version = version + 1";
const STAMP: &str = "INSERT INTO notes (key, value) VALUES (?, sqlsync_actor() || ' ' || datetime() || ' ' || random()) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1";

fn refuse(reason: String) -> Result<(), ReducerError> {
    Err(ReducerError::Unknown(reason))
}

async fn reduce(bytes: Vec<u8>) -> Result<(), ReducerError> {
    match serde_json::from_slice(&bytes)? {
        Mutation::Init => {
            execute!("CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT, version INTEGER DEFAULT 1) STRICT")
                .await?;
        }
        Mutation::Put { key, value } => {
            execute!(PUT, key, value).await?;
        }
        Mutation::Append { key, value } => {
            execute!(APPEND, key, value).await?;
        }
        Mutation::Take { key, value } => {
            let found = query!("SELECT 1 FROM notes WHERE key = ?", key.as_str()).await?;
            if !found.rows.is_empty() {
                return refuse(format!("{key} is taken"));
            }
            execute!(PUT, key, value).await?;
        }
        Mutation::Remove { key } => {
            let done = execute!("DELETE FROM notes WHERE key = ?", key.as_str()).await?;
            if done.changes == 0 {
                return refuse(format!("there is no {key}"));
            }
        }
        Mutation::Stamp { key } => {
            log::info!("stamping {key}");
            execute!(STAMP, key).await?;
        }
        Mutation::Swap { one, other } => {
            // Both queries are under way at once.
            let (first, second) = try_join!(
                query!("SELECT value FROM notes WHERE key = ?", one.as_str()),
                query!("SELECT value FROM notes WHERE key = ?", other.as_str())
            )?;
            let (Some(first), Some(second)) = (first.rows.first(), second.rows.first()) else {
                return refuse(format!("{one} or {other} is missing"));
            };
            let (first, second): (String, String) = (first.get(0)?, second.get(0)?);
            try_join!(execute!(PUT, one, second), execute!(PUT, other, first))?;
        }
        Mutation::Panic { reason } => panic!("{reason}"),
    }
    Ok(())
}

init_reducer!(reduce);
