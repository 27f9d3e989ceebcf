//! What a run came to, kept whole: whoever started it may be gone when it ends.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::run::index;
use crate::store::{Files, Folder, INNER, MANIFEST, Provenance};
use crate::value::Dict;

/// The file, below the folder of kept streams; no step can be called so.
const RESULTS: &str = "run.results";

/// The results that the recipe of a run names, as its report gave them; none while the run is not done.
///
/// Fails where the record or the results cannot be read, or are not what was written.
pub fn results(files: &dyn Files, root: &Path) -> Result<Option<Dict>> {
    // A run that was cut off between its record and its manifest is not over.
    if !files.exists(&root.join(MANIFEST)).unwrap_or(false) || Provenance::read(files, root)?.status != "done"
    {
        return Ok(None);
    }
    let path = root.join(format!("{INNER}/streams/{RESULTS}"));
    match files.exists(&path).unwrap_or(true) {
        true => index::open(files, &path).map(Some),
        false => Ok(Some(Dict::new())),
    }
}

/// Leaves the results of a run that is done, if its recipe names any.
pub(super) fn leave(folder: &Arc<Folder>, results: &Dict) -> Result<()> {
    if results.is_empty() {
        return Ok(());
    }
    folder.inner("isard").seal(RESULTS, &index::seal(results))
}
