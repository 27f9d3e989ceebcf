//! NeXus files of entries: each call adds one, `entry_0000`, `entry_0001`, ...

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::store::utc_now;
use isard_h5::{Attr, Dtype as H5, Image, Slot, Spec, Stacked};

use crate::frames::h5;
use crate::paths::{stem, write};

/// Jobs of this process add to files one after the other.
static APPEND: Mutex<()> = Mutex::new(());
/// Bytes of frames that stand in a file itself; more stand in parts beside it.
const INSIDE: u64 = 1 << 30;
/// Bytes of frames in a part.
const PART: u64 = 512 << 20;

/// What stands at the head of an entry.
pub(crate) struct About<'a> {
    pub title: &'a str,
    /// The plugin as its users call it.
    pub plugin: &'a str,
    /// The input of the job as JSON.
    pub input: &'a str,
    /// When the work began.
    pub begun: &'a str,
}

/// Adds an entry to a file, or makes the file; what stands in it stays.
pub(crate) fn append(
    path: &Path,
    about: &About,
    fill: impl FnOnce(&mut Image, &str) -> Result<()>,
) -> Result<()> {
    let _one_at_a_time = APPEND.lock().unwrap_or_else(PoisonError::into_inner);
    let mut image = Image::new().map_err(h5)?;
    let mut names = vec![];
    match std::fs::read(path) {
        Ok(bytes) => {
            names = image.adopt_all(&bytes).map_err(|e| {
                h5(e).at(path.display().to_string()).help("name another file: this one is no HDF5 file")
            })?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
        Err(error) => return Err(Error::io("cannot read", path, &error)),
    }
    let free = (0..=names.len()).map(|k| format!("entry_{k:04}")).find(|name| !names.contains(name));
    let entry = format!("/{}", free.ok_or_else(|| Error::internal("more entries than names"))?);
    head(&mut image, path, &entry, about).map_err(h5)?;
    fill(&mut image, &entry)?;
    image.text(&format!("{entry}/end_time"), &utc_now()).map_err(h5)?;
    write(path, &image.into_bytes().map_err(h5)?)
}

fn head(image: &mut Image, path: &Path, entry: &str, about: &About) -> isard_h5::Result<()> {
    let program = concat!("isard ", env!("CARGO_PKG_VERSION"));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    image.attribute("/", "NX_class", "NXroot")?;
    image.attribute("/", "creator", "isard")?;
    image.attribute("/", "file_name", name)?;
    image.attribute("/", "file_time", utc_now())?;
    image.nexus(entry, "NXentry")?;
    image.text(&format!("{entry}/title"), about.title)?;
    // Readers look for the name of the older server; the version says who it was.
    image.text(&format!("{entry}/program_name"), "dahu")?;
    image.attribute(&format!("{entry}/program_name"), "version", program)?;
    image.text(&format!("{entry}/plugin_name"), about.plugin)?;
    image.attribute(&format!("{entry}/plugin_name"), "version", program)?;
    image.text(&format!("{entry}/input"), about.input)?;
    image.attribute(&format!("{entry}/input"), "format", "json")?;
    image.text(&format!("{entry}/start_time"), about.begun)
}

/// Makes the group of a process with what it says of itself.
pub(crate) fn process(image: &mut Image, path: &str, kind: &str) -> isard_h5::Result<()> {
    image.nexus(path, "NXprocess")?;
    image.text(&format!("{path}/program"), "isard")?;
    image.text(&format!("{path}/version"), env!("CARGO_PKG_VERSION"))?;
    image.text(&format!("{path}/date"), &utc_now())?;
    image.text(&format!("{path}/processing_type"), kind)
}

/// Numbers of one shape, all records at once.
pub(crate) fn column(image: &mut Image, path: &str, record: &[u64], values: &[f32]) -> isard_h5::Result<()> {
    let each = record.iter().product::<u64>().max(1);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let slot = image.dataset(path, &Spec::new(H5::F32, record))?;
    image.append(slot, &bytes, values.len() as u64 / each)
}

/// An axis in double precision.
pub(crate) fn axis(image: &mut Image, path: &str, values: &[f64]) -> isard_h5::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let slot = image.dataset(path, &Spec::new(H5::F64, &[]))?;
    image.append(slot, &bytes, values.len() as u64)
}

/// Frames on their way into a file: in it, or in parts beside it when they are many.
pub(crate) struct Stack {
    file: PathBuf,
    spec: Spec,
    dtype: H5,
    record: Vec<u64>,
    bytes: u64,
    inside: bool,
    /// Frames of a small stack, until there is a file to put them in.
    kept: Vec<u8>,
    count: u64,
    open: Option<(Image, Slot, u64)>,
    parts: Vec<Stacked>,
}

impl Stack {
    /// For `total` frames that will be shown in `file`, one in a chunk.
    pub(crate) fn new(
        file: &Path,
        dtype: H5,
        shape: [usize; 2],
        total: u64,
        spec: impl Fn(Spec) -> Spec,
    ) -> Stack {
        let record: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
        let bytes = record.iter().product::<u64>() * dtype.size() as u64;
        Stack {
            file: file.to_owned(),
            spec: spec(Spec::new(dtype, &record).chunk(1)),
            dtype,
            record,
            bytes,
            inside: bytes.saturating_mul(total) <= INSIDE,
            kept: vec![],
            count: 0,
            open: None,
            parts: vec![],
        }
    }

    /// Adds frames in native byte order.
    pub(crate) fn push(&mut self, frames: &[u8]) -> Result<()> {
        let records = frames.len() as u64 / self.bytes;
        self.count += records;
        if self.inside {
            self.kept.extend_from_slice(frames);
            return Ok(());
        }
        let (image, slot, held) = match &mut self.open {
            Some(open) => open,
            none => {
                let mut image = Image::new().map_err(h5)?;
                let slot = image.dataset("/data", &self.spec).map_err(h5)?;
                none.insert((image, slot, 0))
            }
        };
        image.append(*slot, frames, records).map_err(h5)?;
        *held += records;
        if *held * self.bytes >= PART {
            self.part()?;
        }
        Ok(())
    }

    fn part(&mut self) -> Result<()> {
        let Some((image, _, records)) = self.open.take() else { return Ok(()) };
        // Names of their own for every call: the parts of earlier entries stay.
        let time = utc_now().replace([':', '.'], "-");
        let name = format!("{}_{time}_{:06}.h5", stem(&self.file), self.parts.len() + 1);
        write(&self.file.with_file_name(&name), &image.into_bytes().map_err(h5)?)?;
        self.parts.push(Stacked { file: name, dataset: "/data".into(), records });
        Ok(())
    }

    /// Shows all frames in a file at a path.
    pub(crate) fn close(mut self, image: &mut Image, path: &str) -> Result<()> {
        if self.inside {
            let slot = image.dataset(path, &self.spec).map_err(h5)?;
            return image.append(slot, &self.kept, self.count).map_err(h5);
        }
        self.part()?;
        image.stack(path, self.dtype, &self.record, &self.parts).map_err(h5)
    }
}

/// The attributes that plotting programs look for on a signal.
pub(crate) fn shown(image: &mut Image, path: &str, what: &str) -> isard_h5::Result<()> {
    image.attribute(path, "interpretation", what)?;
    image.attribute(path, "signal", Attr::Int(1))
}
