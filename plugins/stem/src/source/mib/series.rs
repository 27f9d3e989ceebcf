//! The frames of MIB files by their sequence numbers: closed files, and those that still appear and grow.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isard_core::prelude::*;

use crate::format::mib::Header;
use crate::source::frames::{Bytes, Frames, Look};
use crate::source::mib::files_of;

/// Headers are looked for in so many bytes.
const HEADER: usize = 64 << 10;
/// Listing a folder takes at most this share of the time.
const SHARE: u32 = 20;
/// So long the first file may come after later ones.
const SETTLE: Duration = Duration::from_millis(500);

/// One file of a series.
struct MibFile {
    path: PathBuf,
    bytes: Bytes,
    /// The header of its first frame.
    header: Header,
    length: u64,
    /// Frames that have their places.
    placed: u64,
}

impl MibFile {
    fn open(path: &Path, growing: bool) -> Result<MibFile> {
        let bytes = Bytes::open(path, growing)?;
        let header = Header::parse(&bytes.first(HEADER)?, &path.display().to_string())?;
        let length = bytes.len()?;
        Ok(MibFile { path: path.to_owned(), bytes, header, length, placed: 0 })
    }

    fn step(&self) -> u64 {
        self.header.step() as u64
    }

    /// Bytes behind the last whole frame.
    fn rest(&self) -> u64 {
        self.length % self.step()
    }

    /// The sequence number of a whole frame.
    fn sequence(&self, frame: u64) -> Result<u64> {
        let what = format!("{}: frame {frame}", self.path.display());
        let header =
            self.bytes.with(frame * self.step(), self.header.offset, |bytes| Header::parse(bytes, &what))?;
        if !header.alike(&self.header) {
            return Err(Error::data(format!("{what}: is not like the first frame of the file")));
        }
        Ok(header.sequence)
    }

    fn same(&self, like: &MibFile) -> Result<()> {
        if self.header.alike(&like.header) {
            return Ok(());
        }
        let (name, like) = (self.path.display(), like.path.display());
        Err(Error::data(format!("{name}: its frames are not like those of {like}"))
            .help("give each acquisition its own folder or pattern"))
    }
}

/// Frames of files by their numbers.
pub(super) struct Series {
    /// What is listed again and again; none of closed files.
    path: Option<String>,
    patience: Duration,
    /// Files whose frames have places, in the order of their numbers; the last may still grow.
    files: Vec<MibFile>,
    /// Files that come behind them, the next one last.
    waiting: Vec<MibFile>,
    known: HashSet<PathBuf>,
    /// A file whose header is not whole, and what is wrong with it.
    half: Option<String>,
    places: Places,
    /// A number that has not come, and since when it is waited for.
    doubt: Option<(u64, Instant)>,
    /// When the folder was listed, and how long that took.
    listed: Option<(Instant, Duration)>,
}

impl Series {
    fn new(path: Option<String>, patience: Duration, waiting: Vec<MibFile>) -> Series {
        Series {
            path,
            patience,
            files: vec![],
            waiting,
            known: HashSet::new(),
            half: None,
            places: Places::default(),
            doubt: None,
            listed: None,
        }
    }

    /// Files that are complete; one that ends within a frame is an error unless it may be `cut`.
    pub fn closed(cx: &Cx, path: &str, paths: &[PathBuf], cut: bool) -> Result<Series> {
        let mut files = vec![];
        for path in paths {
            cx.check()?;
            let file = MibFile::open(path, false)?;
            if file.rest() > 0 && !cut {
                let (length, step, n) = (file.length, file.step(), file.length / file.step());
                let text = format!("{}: is {length} bytes long, wanted a multiple of {step}", path.display());
                return Err(Error::data(format!("{text}: it ends within frame {n}"))
                    .help("`cut = \"gap\"` makes a gap of that frame"));
            }
            files.push(file);
        }
        files.sort_by_key(|f| std::cmp::Reverse(f.header.sequence));
        match files.is_empty() {
            true => Err(Error::data(format!("{path}: no MIB file"))),
            false => Ok(Series::new(None, Duration::ZERO, files)),
        }
    }

    /// Files that may still appear and grow.
    pub fn growing(path: &str, patience: Duration) -> Series {
        Series::new(Some(path.to_owned()), patience, vec![])
    }

    /// The header of the first frame; there is one once `look` has found frames.
    pub fn header(&self) -> Result<&Header> {
        let first = self.files.first().ok_or_else(|| Error::internal("a series without files"))?;
        Ok(&first.header)
    }

    /// How many frames there are so far.
    pub fn count(&self) -> u64 {
        self.places.at.len() as u64
    }

    /// Finds files that have appeared; says whether there are any.
    fn list(&mut self, last: bool) -> Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        if let Some((when, took)) = self.listed
            && when.elapsed() < took * SHARE
            && !last
        {
            return Ok(false);
        }
        let began = Instant::now();
        let (mut new, mut half) = (false, None);
        // Nothing there yet is no fault.
        for path in files_of(path).unwrap_or_default() {
            if self.known.contains(&path) {
                continue;
            }
            match MibFile::open(&path, true) {
                Ok(file) => {
                    self.known.insert(path);
                    self.waiting.push(file);
                    new = true;
                }
                // Not even its header is whole.
                Err(error) if error.blame() == Blame::Data => half = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        self.waiting.sort_by_key(|f| std::cmp::Reverse(f.header.sequence));
        self.half = half;
        self.listed = Some((began, began.elapsed()));
        Ok(new)
    }

    /// Gives the new frames of the last file their places; says whether it has grown.
    fn grow(&mut self, cx: &Cx) -> Result<bool> {
        let Some(index) = self.files.len().checked_sub(1) else { return Ok(false) };
        let file = &mut self.files[index];
        let (length, name) = (file.bytes.len()?, file.path.display().to_string());
        if length < file.length {
            return Err(Error::data(format!("{name}: is {length} bytes long, and was {}", file.length))
                .help("a file that is followed must only be appended to"));
        }
        let changed = length != file.length;
        file.length = length;
        let (from, to) = (file.placed, length / file.step());
        if from < to {
            // The numbers are those between the first and the last, unless some were lost.
            let (first, last) = (file.sequence(from)?, file.sequence(to - 1)?);
            let even = last.checked_sub(first) == Some(to - 1 - from);
            for frame in from..to {
                let sequence = match even {
                    true => first + (frame - from),
                    false => {
                        cx.check()?;
                        file.sequence(frame)?
                    }
                };
                self.places.put(index as u32, frame as u32, sequence, &name)?;
            }
            file.placed = to;
        }
        Ok(changed)
    }

    /// Goes on to the file that comes next, if it is its turn.
    fn advance(&mut self, last: bool) -> Result<bool> {
        let Some(number) = self.waiting.last().map(|f| f.header.sequence) else { return Ok(false) };
        let wanted = self.places.next();
        // Numbers in between may be in a file that is still to come, or in the rest of this one.
        let limit = if self.files.is_empty() { SETTLE.min(self.patience) } else { self.patience };
        if number > wanted && !last && !self.waited(wanted, limit) {
            return Ok(false);
        }
        self.settle(Some(number));
        let Some(file) = self.waiting.pop() else { return Ok(false) };
        if let Some(first) = self.files.first() {
            file.same(first)?;
        }
        self.files.push(file);
        Ok(true)
    }

    /// Whether a number has been waited for long enough.
    fn waited(&mut self, number: u64, limit: Duration) -> bool {
        match self.doubt {
            Some((known, since)) if known == number => since.elapsed() >= limit,
            _ => {
                self.doubt = Some((number, Instant::now()));
                limit.is_zero()
            }
        }
    }

    /// Gives up the frame within which the last file ends, when `next` or nothing comes behind it.
    fn settle(&mut self, next: Option<u64>) {
        let Some(file) = self.files.last().filter(|f| f.rest() > 0) else { return };
        let (name, frame) = (file.path.display(), file.placed);
        if next.is_some_and(|next| next <= self.places.next()) {
            tracing::warn!(file = %name, bytes = file.rest(), "Bytes behind the last frame of a file were left out.");
            return;
        }
        let why = format!("{name}: ends within frame {frame}");
        self.places.lose(Reason::Corrupt, why);
    }
}

impl Frames for Series {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        let place = self.places.at.get(frame as usize).copied().flatten();
        let (file, inside) = place.ok_or_else(|| Error::internal("a lost frame was read"))?;
        let file = &self.files[file as usize];
        let header = &file.header;
        file.bytes.with(u64::from(inside) * file.step(), header.step(), |own| {
            if !own.starts_with(b"MQ1,") {
                let name = file.path.display();
                return Err(Error::data(format!(
                    "{name}: frame {inside} does not begin with a Merlin header"
                )));
            }
            header.decode(&own[header.offset..], out);
            Ok(())
        })
    }

    fn lost(&self, frame: u64) -> Option<(Reason, String)> {
        let at = self.places.lost.binary_search_by_key(&frame, |(n, ..)| *n).ok()?;
        let (_, reason, why) = &self.places.lost[at];
        Some((*reason, why.clone()))
    }

    fn look(&mut self, cx: &Cx, last: bool) -> Result<Look> {
        let mut changed = self.list(last)?;
        loop {
            cx.check()?;
            changed |= self.grow(cx)?;
            if !self.advance(last)? {
                break;
            }
        }
        if last {
            self.settle(None);
            if let Some(why) = self.half.take().filter(|_| !self.files.is_empty()) {
                self.places.lose(Reason::Corrupt, why);
            }
        }
        Ok(Look { count: self.count(), changed })
    }
}

/// For each number of a series the file and the frame in it, and why one is not there.
#[derive(Default)]
struct Places {
    /// The first number.
    begin: Option<u64>,
    at: Vec<Option<(u32, u32)>>,
    lost: Vec<(u64, Reason, String)>,
}

impl Places {
    /// The number that comes next; of none so far that with which acquisitions begin.
    fn next(&self) -> u64 {
        self.begin.unwrap_or(1) + self.at.len() as u64
    }

    /// Notes where a number is; those that were passed over are lost.
    fn put(&mut self, file: u32, frame: u32, sequence: u64, name: &str) -> Result<()> {
        self.begin.get_or_insert(sequence);
        let wanted = self.next();
        let same = |what: String| {
            Error::data(what).help("files of two acquisitions, perhaps: give each its own folder or pattern")
        };
        if sequence < wanted {
            return Err(same(format!("{name}: frame {frame} has number {sequence}, wanted {wanted}")));
        }
        if sequence - wanted > 1 << 28 {
            let text = format!("{name}: {} frames before number {sequence} are missing", sequence - wanted);
            return Err(same(text));
        }
        for number in wanted..sequence {
            self.lose(Reason::Missing, format!("{name}: no frame has sequence number {number}"));
        }
        self.at.push(Some((file, frame)));
        Ok(())
    }

    /// Gives up the next number.
    fn lose(&mut self, reason: Reason, why: String) {
        self.begin.get_or_insert(1);
        self.lost.push((self.at.len() as u64, reason, why));
        self.at.push(None);
    }
}
