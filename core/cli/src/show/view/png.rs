//! The live picture as a file, where the output is no terminal.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use isard_core::Value;
use isard_core::run::{Sight, Viewer};
use isard_core::store;
use isard_draw::{Curve, DrawError, Limits, Picture, Plot, Sheet};

use super::panel::{Form, ends, scale_words, values};
use super::{Newest, caption, shape};
use crate::show::style;

/// Writes the picture into the folder of the run, each time in one step.
pub struct File {
    folder: Arc<OnceLock<PathBuf>>,
    newest: Newest,
    said: bool,
    broken: bool,
}

impl File {
    /// A picture in a folder that will be known when the run begins.
    pub fn new(folder: Arc<OnceLock<PathBuf>>, newest: Newest) -> File {
        File { folder, newest, said: false, broken: false }
    }
}

impl Viewer for File {
    fn see(&mut self, news: &[Sight]) {
        let Some(folder) = self.folder.get() else { return };
        if self.broken || !self.newest.take(news) {
            return;
        }
        let path = folder.join(store::VIEW);
        match sheet(&self.newest.shown()).map_err(|e| e.to_string()).and_then(|png| replace(folder, &png)) {
            Ok(()) if !self.said => {
                self.said = true;
                style::note(&format!("view: {}, replaced while the run goes on", path.display()));
            }
            Ok(()) => (),
            Err(why) => {
                self.broken = true;
                style::note(&format!("no view: {}: {why}", path.display()));
            }
        }
    }
}

/// Whoever opens the picture at any time finds a whole one.
fn replace(folder: &Path, png: &[u8]) -> Result<(), String> {
    let beside = folder.join(store::INNER).join(store::VIEW);
    let write = || {
        std::fs::write(&beside, png)?;
        std::fs::rename(&beside, folder.join(store::VIEW))
    };
    write().map_err(|e: std::io::Error| e.to_string())
}

/// All values on one sheet.
fn sheet(shown: &[&Sight]) -> Result<Vec<u8>, DrawError> {
    let mut sheet = Sheet::new();
    for sight in shown {
        let Value::Array(array) = &sight.value else { continue };
        let values = values(array);
        let title = format!("{}  {}", caption(sight), shape(array));
        match Form::of(&sight.value) {
            Some(Form::Image(size)) => {
                let scale = ends(&values);
                let title = format!("{title}  {}", scale_words(scale));
                let [low, high] = scale.0;
                let picture = Picture::new(&values, size)?.limits(Limits::Fixed(low, high));
                sheet = sheet.picture(&picture.largest(800).bar("").title(&title))?;
            }
            Some(Form::Curve(points)) => {
                let x: Vec<f32> = (0..points).map(|i| i as f32).collect();
                sheet =
                    sheet.plot(&Plot::new().size([320, 480]).curve(Curve::new(&x, &values)).title(&title))?;
            }
            None => (),
        }
    }
    sheet.png()
}
