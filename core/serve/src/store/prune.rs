//! What is forgotten: jobs that ended long ago, and those beyond the newest so many.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::job::now;

/// What stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// The newest so many; none keeps all.
    pub jobs: Option<u64>,
    /// Those accepted within this time; none keeps all.
    pub age: Option<Duration>,
}

impl Keep {
    /// Whether anything is ever forgotten.
    pub(super) fn cuts(&self) -> bool {
        self.jobs.is_some() || self.age.is_some()
    }
}

/// Forgets some of the oldest jobs that have ended and need not stay; gives how many, and the newest among them.
///
/// The latest job always stays: ids go on from it.
pub(super) fn prune(connection: &mut Connection, keep: &Keep, most: usize) -> rusqlite::Result<(usize, u64)> {
    let end = |text: &str| {
        let row = |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?));
        connection.prepare_cached(text)?.query_row([], row).optional()
    };
    let oldest = end("SELECT id, created FROM job ORDER BY id LIMIT 1")?;
    let newest = end("SELECT id, created FROM job ORDER BY id DESC LIMIT 1")?;
    let (Some((first, created)), Some((last, _))) = (oldest, newest) else { return Ok((0, 0)) };
    let beyond = keep.jobs.map_or(i64::MIN, |n| last.saturating_sub(i64::try_from(n).unwrap_or(i64::MAX)));
    let before = keep.age.map_or(f64::NEG_INFINITY, |age| now() - age.as_secs_f64());
    // The usual case costs two rows.
    if first > beyond && created >= before {
        return Ok((0, 0));
    }
    // The oldest rows alone are looked at, and some more for those among them that have not ended.
    let ids: Vec<i64> = connection
        .prepare_cached(
            "SELECT id FROM (SELECT id, created FROM job ORDER BY id LIMIT ?1) JOIN done USING (id) \
             WHERE id < ?2 AND (id <= ?3 OR created < ?4) ORDER BY id LIMIT ?5",
        )?
        .query_map(params![2 * most as i64 + 1000, last, beyond, before, most as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if ids.is_empty() {
        return Ok((0, 0));
    }
    let transaction = connection.transaction()?;
    for table in ["job", "began", "done"] {
        let mut delete = transaction.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?;
        for id in &ids {
            delete.execute([id])?;
        }
    }
    transaction.commit()?;
    Ok((ids.len(), ids.last().map_or(0, |id| *id as u64)))
}
