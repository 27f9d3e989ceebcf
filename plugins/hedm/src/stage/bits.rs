//! `hedm.bits`: frames that were reduced before.

use isard_core::prelude::*;
use isard_core::stage::Pull;

use super::experiment::{Experiment, example, small};
use crate::bits::{BitReader, BitWriter, Volume};

/// Gives the lit pixels of a `SpotsInfo.bin`.
///
/// The file holds one bit for each distance, frame and pixel, Z fastest. Its length must be that of the scan.
///
/// Gives every frame of every distance once, in order. Reads the file once, when it is opened; keeps what is lit.
///
/// Source: the reduced files of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bits {
    /// The file.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
    #[serde(skip)]
    #[schemars(skip)]
    volume: Option<(Volume, u64)>,
}

/// What a frame of [`Bits`] holds.
#[derive(Ports)]
pub struct BitsOut {
    /// The lit pixels; Y and Z count against columns and rows.
    #[port(columns = "y: u32 pixel, z: u32 pixel")]
    spots: Table,
    /// How many pixels are lit.
    #[port(dtype = "u32", axes = "")]
    lit: Array,
}

impl Stage for Bits {
    type In = ();
    type Out = BitsOut;

    fn example() -> Example {
        let small = small();
        let mut volume = Volume::new(2, small.frames, small.size);
        for k in 0..2 * small.frames {
            let pixels = [[k as u32 % 128, 3], [127, k as u32 % 128]];
            volume.fill(k / small.frames, k % small.frames, &pixels).expect("pixels of the detector");
        }
        let bytes = BitWriter::new(vec![], small.size).volume(&volume).expect("memory takes every byte");
        let path = Example::file("spots_info.bin", &bytes);
        Example::new(example(&format!("path = {path:?}\n")))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        if self.path.is_empty() {
            faults.add("path", "is empty, wanted a file");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("lit", Shape::array(Dtype::U32, &[])))
    }
}

impl Source for Bits {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        let e = &self.experiment;
        let path = std::path::Path::new(&self.path);
        let told = |error: std::io::Error| Error::io("cannot read", path, &error);
        let file = std::fs::File::open(path).map_err(told)?;
        let length = file.metadata().map_err(told)?.len();
        let input = std::io::BufReader::with_capacity(1 << 20, file);
        let volume = BitReader::volume(input, length, e.distances.len(), e.frames, e.size)
            .map_err(|e| e.at(self.path.clone()))?;
        self.volume = Some((volume, from.next));
        Ok(Opened {
            frames: Some((e.distances.len() * e.frames) as u64),
            head: Dict::new(),
            shapes: self.shapes(&Shapes::default())?,
            live: false,
            scan: vec![("distance".into(), e.distances.len() as u64), ("omega".into(), e.frames as u64)],
        })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<BitsOut>) -> Result<Pull> {
        let (volume, next) = self
            .volume
            .as_mut()
            .ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let frames = volume.frames() as u64;
        let total = frames * volume.distances() as u64;
        if *next >= total {
            return Ok(Pull::End);
        }
        let end = (*next + slots.room().clamp(1, 256)).min(total);
        let (mut y, mut z, mut records, mut lit) = (vec![], vec![], vec![], vec![]);
        for number in *next..end {
            let pixels = volume.pixels((number / frames) as usize, (number % frames) as usize);
            lit.push(pixels.len() as u32);
            for [a, b] in pixels {
                y.push(a);
                z.push(b);
                records.push(number);
            }
        }
        let spots = Table::new(y.len()).with("y", &y)?.with("z", &z)?.with_records(&records)?;
        slots.put(*next, BitsOut { spots, lit: Array::from_slice(&lit) })?;
        *next = end;
        Ok(Pull::Ready)
    }
}
declare!(Source, "hedm.bits", Kind::Source, Bits);
