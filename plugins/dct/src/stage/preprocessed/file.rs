//! The files of a preprocessed stack: parts with frames, and the master that shows them by position.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use isard_core::dispatch;
use isard_core::prelude::*;
use isard_h5::{Compression, Dtype as H5, Image, Slot, Spec, Stacked};

use super::Stored;
use crate::pixel::Pixel;
use crate::stage::number::h5;

/// The angle, the margin's mean and the factor of a frame.
pub(crate) type Told = [f64; 3];

/// The frames in a part.
const FRAMES: &str = "/entry/data/preprocessed";
/// The backgrounds in a part.
const BACKGROUNDS: &str = "/entry/process/backgrounds";

/// A part that is whole: which frames it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    first: u64,
    frames: u64,
    backgrounds: u64,
    rows: u64,
    columns: u64,
}

impl Part {
    pub(crate) fn numbers(&self) -> [u64; 5] {
        [self.first, self.frames, self.backgrounds, self.rows, self.columns]
    }

    pub(crate) fn of(n: &[u64]) -> Part {
        Part { first: n[0], frames: n[1], backgrounds: n[2], rows: n[3], columns: n[4] }
    }
}

/// A part that is being filled with frames that follow one another.
pub(crate) struct Building {
    image: Image,
    part: Part,
    packing: Compression,
    stored: Stored,
    /// Where frames and backgrounds go, once there are any.
    slots: [Option<Slot>; 2],
    bytes: usize,
}

impl Building {
    pub(crate) fn new(first: u64, packing: Compression, stored: Stored) -> Result<Building> {
        let mut image = Image::sized(16 << 20).map_err(h5)?;
        image.nexus("/entry", "NXentry").map_err(h5)?;
        image.nexus("/entry/process", "NXprocess").map_err(h5)?;
        image.nexus_data("/entry/data", "preprocessed", &[]).map_err(h5)?;
        image.nexus_default("/entry/data").map_err(h5)?;
        let part = Part { first, frames: 0, backgrounds: 0, rows: 0, columns: 0 };
        Ok(Building { image, part, packing, stored, slots: [None; 2], bytes: 0 })
    }

    /// The number after its last frame.
    pub(crate) fn end(&self) -> u64 {
        self.part.first + self.part.frames
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a frame `[y x]`.
    pub(crate) fn add(&mut self, cx: &Cx, frame: &Array) -> Result<()> {
        let bytes = match self.stored {
            Stored::F32 => bytemuck::cast_slice(&floats(frame)?).to_vec(),
            Stored::I16 => bytemuck::cast_slice(&words(frame, self.end())?).to_vec(),
        };
        self.append(cx, 0, frame, dtype(self.stored), &bytes)?;
        self.part.frames += 1;
        Ok(())
    }

    /// Adds a background.
    pub(crate) fn background(&mut self, cx: &Cx, frame: &Array) -> Result<()> {
        self.append(cx, 1, frame, H5::F32, frame.bytes())?;
        self.part.backgrounds += 1;
        Ok(())
    }

    fn append(&mut self, cx: &Cx, which: usize, frame: &Array, dtype: H5, bytes: &[u8]) -> Result<()> {
        let &[rows, columns] = frame.shape() else {
            return Err(Error::data(format!("found a frame of shape {:?}, wanted [y x]", frame.shape())));
        };
        let dims = [rows as u64, columns as u64];
        if self.part.rows * self.part.columns != 0 && dims != [self.part.rows, self.part.columns] {
            let wanted = [self.part.rows, self.part.columns];
            return Err(Error::data(format!(
                "found a frame of {dims:?} pixels, wanted {wanted:?} as before"
            )));
        }
        [self.part.rows, self.part.columns] = dims;
        let slot = match self.slots[which] {
            Some(slot) => slot,
            None => {
                let spec = Spec::new(dtype, &dims).chunk(1).compress(self.packing);
                let made = self.image.dataset([FRAMES, BACKGROUNDS][which], &spec).map_err(h5)?;
                *self.slots[which].insert(made)
            }
        };
        self.bytes += bytes.len();
        let stopped = Mutex::new(None);
        let added = self.image.append_on(slot, bytes, 1, &|n, work| {
            cx.par(n, |i| work(i).map_err(h5)).map_err(|error| {
                let told = isard_h5::Error::stopped(error.to_string());
                *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                told
            })
        });
        let stopped = stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        added.map_err(|error| stopped.unwrap_or_else(|| h5(error)))
    }

    pub(crate) fn finish(self) -> Result<(Vec<u8>, Part)> {
        Ok((self.image.into_bytes().map_err(h5)?, self.part))
    }
}

fn dtype(stored: Stored) -> H5 {
    match stored {
        Stored::F32 => H5::F32,
        Stored::I16 => H5::I16,
    }
}

fn floats(frame: &Array) -> Result<Vec<f32>> {
    dispatch!(frame.dtype(), T => {
        Ok(frame.as_slice::<T>()?.iter().map(|v| v.as_f32()).collect())
    }, complex => Err(Error::data("found complex pixels, wanted real ones")))
}

fn words(frame: &Array, number: u64) -> Result<Vec<i16>> {
    if frame.dtype() == Dtype::I16 {
        return Ok(frame.as_slice::<i16>()?.to_vec());
    }
    let word = |v: f32| {
        let word = v as i16;
        match f32::from(word) == v {
            true => Ok(word),
            false => {
                Err(Error::data(format!("frame {number}: found a pixel of {v}, which is no 16-bit integer"))
                    .help("write `preprocessed_dtype = \"f32\"`"))
            }
        }
    };
    floats(frame)?.into_iter().map(word).collect()
}

/// The file of one frame of zeros, as large as those of a part.
pub(crate) fn missing(part: &Part, stored: Stored) -> Result<Vec<u8>> {
    let mut image = Image::new().map_err(h5)?;
    let spec =
        Spec::new(dtype(stored), &[part.rows, part.columns]).chunk(1).compress(Compression::Deflate(1));
    image.nexus("/entry", "NXentry").map_err(h5)?;
    image.nexus("/entry/data", "NXdata").map_err(h5)?;
    let slot = image.dataset(FRAMES, &spec).map_err(h5)?;
    let zeros = vec![0; (part.rows * part.columns) as usize * dtype(stored).size()];
    image.append(slot, &zeros, 1).map_err(h5)?;
    image.into_bytes().map_err(h5)
}

/// A whole scan, as far as it is there.
pub(crate) struct Scan<'a> {
    pub(crate) folder: &'a str,
    pub(crate) parts: &'a [Part],
    pub(crate) told: &'a BTreeMap<u64, Told>,
    pub(crate) dark: Option<&'a Array>,
    pub(crate) end: u64,
    pub(crate) dtype: Stored,
    pub(crate) every: u64,
    pub(crate) record: String,
}

impl Scan<'_> {
    /// The bytes of the master.
    pub(crate) fn master(&self) -> isard_h5::Result<Vec<u8>> {
        let mut image = Image::new()?;
        image.nexus("/entry", "NXentry")?;
        image.text("/entry/title", "preprocessed frames")?;
        image.nexus_data("/entry/data", "preprocessed", &["frame_number", ".", "."])?;
        image.nexus_default("/entry/data")?;
        image.nexus("/entry/process", "NXprocess")?;
        image.text("/entry/process/program", "isard")?;
        image.text("/entry/process/version", env!("CARGO_PKG_VERSION"))?;
        image.text("/entry/process/parameters", &self.record)?;
        let numbers: Vec<i64> = (0..self.end as i64).collect();
        self.column(&mut image, "frame_number", H5::I64, bytemuck::cast_slice(&numbers))?;
        let valid: Vec<u8> = (0..self.end).map(|k| u8::from(self.told.contains_key(&k))).collect();
        self.column(&mut image, "valid", H5::U8, &valid)?;
        for (i, name) in ["omega", "margin_mean", "factor"].into_iter().enumerate() {
            let value = |k| self.told.get(&k).map_or(f64::NAN, |told| told[i]);
            let all: Vec<f64> = (0..self.end).map(value).collect();
            self.column(&mut image, name, H5::F64, bytemuck::cast_slice(&all))?;
        }
        image.attribute("/entry/data/omega", "units", "degree")?;
        if let Some(dark) = self.dark {
            let dims: Vec<u64> = dark.shape().iter().map(|n| *n as u64).collect();
            let pixels: Vec<f32> = floats(dark).unwrap_or_default();
            let slot = image.dataset("/entry/process/dark", &Spec::new(H5::F32, &dims[1..]))?;
            image.append(slot, bytemuck::cast_slice(&pixels), dims[0])?;
        }
        if let Some(Part { rows, columns, .. }) = self.parts.first() {
            let dims = [*rows, *columns];
            image.stack(FRAMES, dtype(self.dtype), &dims, &self.frames())?;
            let (backgrounds, numbers) = self.backgrounds();
            if !numbers.is_empty() {
                image.stack(BACKGROUNDS, H5::F32, &dims, &backgrounds)?;
                let slot = image.dataset("/entry/process/background_frame", &Spec::new(H5::I64, &[]))?;
                image.append(slot, bytemuck::cast_slice(&numbers), numbers.len() as u64)?;
            }
        }
        image.into_bytes()
    }

    fn column(&self, image: &mut Image, name: &str, dtype: H5, bytes: &[u8]) -> isard_h5::Result<()> {
        let slot = image.dataset(&format!("/entry/data/{name}"), &Spec::new(dtype, &[]))?;
        image.append(slot, bytes, self.end)
    }

    /// The parts in the order of their frames, with where each stands.
    fn sorted(&self) -> Vec<(&Part, String)> {
        let file = |k: usize| format!("{}/{k:06}.h5", self.folder);
        let mut all: Vec<_> = self.parts.iter().enumerate().map(|(k, part)| (part, file(k))).collect();
        all.sort_by_key(|(part, _)| part.first);
        all
    }

    fn frames(&self) -> Vec<Stacked> {
        let gap =
            || Stacked { file: format!("{}/missing.h5", self.folder), dataset: FRAMES.into(), records: 1 };
        let (mut all, mut at) = (vec![], 0);
        for (part, file) in self.sorted() {
            all.extend((at..part.first).map(|_| gap()));
            all.push(Stacked { file, dataset: FRAMES.into(), records: part.frames });
            at = part.first + part.frames;
        }
        all.extend((at..self.end).map(|_| gap()));
        all
    }

    fn backgrounds(&self) -> (Vec<Stacked>, Vec<i64>) {
        let (mut all, mut numbers) = (vec![], vec![]);
        for (part, file) in self.sorted().into_iter().filter(|(part, _)| part.backgrounds > 0) {
            all.push(Stacked { file, dataset: BACKGROUNDS.into(), records: part.backgrounds });
            let own = part.first..part.first + part.frames;
            numbers.extend(own.filter(|k| k.is_multiple_of(self.every)).map(|k| k as i64));
        }
        (all, numbers)
    }
}
