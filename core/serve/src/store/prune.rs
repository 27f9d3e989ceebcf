//! What is forgotten: jobs that ended long ago, and those beyond the newest so many.

use std::time::Duration;

use rusqlite::{Connection, params};

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
    let ends = "SELECT min(id), max(id) FROM job";
    let pair = |row: &rusqlite::Row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
    let (Some(first), Some(last)) = connection.prepare_cached(ends)?.query_row([], pair)? else {
        return Ok((0, 0));
    };
    let beyond = keep.jobs.map_or(i64::MIN, |n| last.saturating_sub(i64::try_from(n).unwrap_or(i64::MAX)));
    let before = keep.age.map_or(f64::NEG_INFINITY, |age| now() - age.as_secs_f64());
    // A window, so that nothing but the oldest rows is ever looked at.
    let window = first.saturating_add(4 * most as i64).min(last - 1);
    let ids: Vec<i64> = connection
        .prepare_cached(
            "SELECT job.id FROM job JOIN done USING (id) \
             WHERE job.id <= ?1 AND (job.id <= ?2 OR job.created < ?3) ORDER BY job.id LIMIT ?4",
        )?
        .query_map(params![window, beyond, before, most as i64], |row| row.get(0))?
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
