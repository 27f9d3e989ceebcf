//! Files to which frames are still appended.

use std::path::Path;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_files::input::{Follow, Quiet, Watch};

use crate::source::feed::beside;
use crate::source::frames::{Even, Found, Frames, Look};

/// How long `open` waits for the first frame, which says what frames are like.
const FIRST: Duration = Duration::from_secs(30);

/// What was found, and with `follow` the watch over what is still to come.
pub(crate) type Watched<'a> = (Found, Option<(Watch, &'a Follow)>);

/// Finds closed files, or with `follow` those that may still grow.
pub(crate) fn either<'a>(
    cx: &Cx,
    path: &str,
    follow: Option<&'a Follow>,
    closed: impl FnOnce() -> Result<Found>,
    growing: impl FnMut(bool) -> Result<Option<Found>>,
) -> Result<Watched<'a>> {
    let Some(follow) = follow else { return Ok((closed()?, None)) };
    let (found, watch) = first(cx, path, follow, growing)?;
    Ok((found, Some((watch, follow))))
}

/// Waits for what the first frame says, as long as the rules of `follow` allow.
///
/// `look` is told whether it is the last time that it is asked.
fn first(
    cx: &Cx,
    path: &str,
    follow: &Follow,
    mut look: impl FnMut(bool) -> Result<Option<Found>>,
) -> Result<(Found, Watch)> {
    let mut watch = Watch::new(follow, beside(path));
    let began = Instant::now();
    loop {
        cx.check()?;
        match look(false) {
            Ok(Some(found)) => {
                watch.grew();
                return Ok((found, watch));
            }
            Ok(None) => (),
            // What is not right yet may be half written.
            Err(error) if error.blame() == Blame::Data && began.elapsed() < follow.patience() => (),
            Err(error) => return Err(error),
        }
        match watch.quiet(0) {
            Quiet::Wait(pause) if began.elapsed() < FIRST => {
                std::thread::sleep(pause.min(Duration::from_millis(50)));
            }
            Quiet::Wait(_) => {
                let text = format!("{path}: no frame has come within {} s", FIRST.as_secs());
                return Err(Error::data(text).help("start the run when frames are about to be written"));
            }
            Quiet::End => {
                // What came since the last look is there all the same.
                return match look(true)? {
                    Some(found) => Ok((found, watch)),
                    None => Err(Error::data(format!("{path}: ended before the first frame came"))),
                };
            }
        }
    }
}

/// How many frames the header of a growing file says there will be; none where it does not know yet.
pub(crate) type Said = dyn Fn(&Even) -> Result<Option<u64>> + Send + Sync;

/// Frames that are appended to one file, each whole behind the other.
pub(crate) struct Appended {
    even: Even,
    path: String,
    said: Box<Said>,
    length: u64,
    frames: u64,
    torn: Option<String>,
}

impl Appended {
    /// Frames of a file that may still grow; `said` asks its header.
    pub fn new(even: Even, path: &Path, said: Box<Said>) -> Appended {
        Appended { even, path: path.display().to_string(), said, length: 0, frames: 0, torn: None }
    }
}

impl Frames for Appended {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        self.even.read(frame, out)
    }

    fn lost(&self, frame: u64) -> Option<(Reason, String)> {
        let why = self.torn.as_ref().filter(|_| frame + 1 == self.frames)?;
        Some((Reason::Corrupt, why.clone()))
    }

    fn look(&mut self, _: &Cx, last: bool) -> Result<Look> {
        let length = self.even.bytes.len()?;
        let changed = length != self.length;
        if length < self.length {
            let (path, before) = (&self.path, self.length);
            return Err(Error::data(format!("{path}: is {length} bytes long, and was {before}"))
                .help("a file that is followed must only be appended to"));
        }
        self.length = length;
        let body = length.saturating_sub(self.even.offset);
        let said = (self.said)(&self.even)?;
        let most = said.unwrap_or(u64::MAX);
        self.frames = (body / self.even.step).min(most);
        let rest = body % self.even.step;
        // The last frame may come without what stands between two of them.
        if rest >= self.even.length as u64 && self.frames < most {
            self.frames += 1;
        } else if last && rest > 0 && self.frames < most {
            self.torn = Some(format!("{}: ends within frame {}", self.path, self.frames));
            self.frames += 1;
        }
        Ok(Look { count: self.frames, changed })
    }
}
