//! `dct.difspots`: one HDF5 file for each spot, or one for all.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_h5::Image;

use super::number::{h5, write};
use super::single::{Summary, write_summary};
use super::spots::{Row, table};

/// Stands for the number of a spot until it is known where the file holds it.
const MARK: i64 = 0x5d1f_5b07_71c3_2a95;

/// Which files there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kinds {
    /// One file for each spot, and the summary.
    #[default]
    Files,
    /// One file for all.
    Single,
    /// Both.
    Both,
}

/// What the final numbers follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Numbers {
    /// Frame, row and column of the maximum.
    #[default]
    Rank,
    /// The order in which spots were decided.
    Arrival,
}

/// Writes spots as difspots, HDF5 files in the layout of the DCT pipeline.
///
/// The files count from 1. While the scan runs, spots stand in `DIR/live/000000.h5`, numbered as they are decided. At the end the final numbers
/// are given, from 0 in the order of frame, row and column of the maximum, and all files are written in one commit:
/// `DIR/000000.h5`, ... with `files`; `DIR.h5` with a group `/000000`, ... for each spot and the table `/summary`, which
/// with `files` holds the summary alone. Where the spots are more than `part_bytes`, they stand in `DIR.parts/` and the
/// groups are links to them: the memory stays bounded, and the folder may be moved as a whole. Only those are output. In the summary everything counts from 0, and `same_as`
/// names the better-ranked spot that has the very same voxels; beside it stand the `/parameters` of the run, as JSON.
///
/// Changes neither order nor count. Some 0.5 ms a spot while the scan runs, and some 0.2 ms at its end; keeps 0.3 kB a
/// spot, and with `single` a part of `part_bytes` at the end.
///
/// Source: the difspot files of the DCT pipeline, P. Reischig et al., J. Appl. Cryst. 46 (2013) 297.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Difspots {
    /// The folder, relative to the run's.
    #[serde(default = "dir")]
    #[schemars(extend("x-path" = "output"))]
    dir: String,
    /// Which files there are.
    #[serde(default)]
    output: Kinds,
    /// What the final numbers follow.
    #[serde(default)]
    id_order: Numbers,
    /// Spots of one file of all that stand in one part of it, in bytes.
    #[serde(default = "part_bytes")]
    #[schemars(range(min = 1), extend("x-unit" = "byte", "x-level" = "expert"))]
    part_bytes: u64,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn part_bytes() -> u64 {
    64 << 20
}
fn dir() -> String {
    "difspots".into()
}

#[derive(Default)]
struct State {
    out: Option<Arc<dyn Output>>,
    spots: Vec<Summary>,
    /// Spots whose drafts are safe on disk.
    safe: usize,
}

/// The input of [`Difspots`].
#[derive(Ports)]
pub struct DifspotsIn {
    /// Spots of `dct.segment`.
    #[port(
        columns = "first_frame: i64, last_frame: i64, frames: i64, row: i64, rows: i64, column: i64, columns: i64"
    )]
    spots: Table,
}

impl Stage for Difspots {
    type In = DifspotsIn;
    type Out = ();

    fn example() -> Example {
        let spots = super::overview::spots().and_then(|blobs| table(&blobs));
        Example::new("").frames("spots", spots.expect("four spots make a table"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.dir.trim_matches('/').is_empty() {
            faults.add("dir", "found no name, wanted a folder such as \"difspots\"");
        }
        if self.part_bytes == 0 {
            faults.add("part_bytes", "is 0, wanted at least 1");
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost { memory: 64 << 20, seconds_per_record: 7e-4, disk_per_record: 200_000, ..Cost::default() }
    }
}

impl Writer for Difspots {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.state = State { out: Some(out), ..State::default() };
        let Some(kept) = committed else { return Ok(()) };
        let (Value::Array(numbers), Value::Array(rest)) = (kept.need("numbers")?, kept.need("rest")?) else {
            return Err(Error::internal("the summary of spots was saved as other values"));
        };
        let columns = Row::names().count();
        let rows =
            numbers.as_slice::<f64>()?.chunks_exact(columns).zip(rest.as_slice::<u64>()?.chunks_exact(4));
        self.state.spots = rows
            .map(|(numbers, rest)| Summary {
                draft: rest[0],
                numbers: numbers.to_vec(),
                voxels: rest[1],
                number_at: rest[2],
                bytes: rest[3],
            })
            .collect();
        self.state.safe = self.state.spots.len();
        Ok(())
    }

    fn write(&mut self, cx: &Cx, span: &Span, input: DifspotsIn) -> Result<()> {
        let out = self.out()?;
        let rows: Vec<Row> = Row::all(&input.spots).collect();
        for (k, row) in rows.into_iter().enumerate() {
            cx.check()?;
            let draft = span.start + k as u64;
            // A write that is tried again brings what is here already.
            if draft < self.state.spots.len() as u64 {
                continue;
            }
            let mut image = Image::sized(1 << 18).map_err(h5)?;
            write(&mut image, "", &row, MARK)?;
            let mut bytes = image.into_bytes().map_err(h5)?;
            let at = bytes.windows(8).position(|w| w == MARK.to_ne_bytes());
            let at = at.ok_or_else(|| Error::internal("a spot's file does not hold its number"))?;
            bytes[at..at + 8].copy_from_slice(&(draft as i64).to_ne_bytes());
            out.draft(&self.draft(draft), &bytes)?;
            let mut hasher = DefaultHasher::new();
            (row.whole("first_frame")?, row.whole("row")?, row.whole("column")?).hash(&mut hasher);
            (row.size()?, row.voxels::<u8>("mask")?).hash(&mut hasher);
            let (numbers, voxels) = (row.numbers()?, hasher.finish());
            let (number_at, bytes) = (at as u64, bytes.len() as u64);
            self.state.spots.push(Summary { draft, numbers, voxels, number_at, bytes });
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        let fresh: Vec<String> =
            self.state.spots[self.state.safe..].iter().map(|s| self.draft(s.draft)).collect();
        self.out()?.commit_drafts(&fresh)?;
        self.state.safe = self.state.spots.len();
        let numbers: Vec<f64> = self.state.spots.iter().flat_map(|s| s.numbers.clone()).collect();
        let rest = self.state.spots.iter().flat_map(|s| [s.draft, s.voxels, s.number_at, s.bytes]);
        let rest: Vec<u64> = rest.collect();
        Ok(Dict::new().with("numbers", Array::from_slice(&numbers)).with("rest", Array::from_slice(&rest)))
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        let out = self.out()?;
        let drafts: Vec<String> = self.state.spots.iter().map(|s| self.draft(s.draft)).collect();
        if self.id_order == Numbers::Rank {
            self.state.spots.sort_by_key(|s| (s.place(), s.draft));
        }
        let spots = &self.state.spots;
        let dir = self.dir.trim_matches('/');
        let numbered = |id: usize, spot: &Summary| -> Result<Vec<u8>> {
            cx.check()?;
            let name = self.draft(spot.draft);
            let mut bytes = out.drafted(&name)?;
            let at = spot.number_at as usize;
            let place = bytes
                .get_mut(at..at + 8)
                .ok_or_else(|| Error::data(format!("`{name}` is shorter than it was written")))?;
            place.copy_from_slice(&(id as i64).to_ne_bytes());
            Ok(bytes)
        };
        let file = |(id, spot): (usize, &Summary)| Ok((format!("{dir}/{id:06}.h5"), numbered(id, spot)?));
        // What goes into the file of all spots, and into each of its parts.
        let shared = if self.output == Kinds::Files { &spots[..0] } else { &spots[..] };
        let parts = parts(shared, self.part_bytes);
        let several = parts.len() > 1;
        let part = |range: &Range<usize>, image: &mut Image| -> Result<()> {
            let all = range.clone().zip(&spots[range.clone()]);
            for (id, spot) in all {
                image.adopt(&format!("/{id:06}"), &numbered(id, spot)?).map_err(h5)?;
            }
            Ok(())
        };
        let place = |k: usize| format!("{dir}.parts/{k:06}.h5");
        let apart = |(k, range): (usize, &Range<usize>)| -> Result<(String, Vec<u8>)> {
            let mut image = Image::new().map_err(h5)?;
            part(range, &mut image)?;
            Ok((place(k), image.into_bytes().map_err(h5)?))
        };
        let all = || -> Result<(String, Vec<u8>)> {
            let mut image = Image::new().map_err(h5)?;
            for (k, range) in parts.iter().enumerate() {
                if !several {
                    part(range, &mut image)?;
                    continue;
                }
                // Links are relative to the folder of the file that holds them.
                let file = format!("{}.parts/{k:06}.h5", dir.rsplit('/').next().unwrap_or(dir));
                for id in range.clone() {
                    image.link(&format!("/{id:06}"), &file, &format!("/{id:06}")).map_err(h5)?;
                }
            }
            write_summary(&mut image, spots)?;
            image.text("/parameters", &out.record()).map_err(h5)?;
            Ok((format!("{dir}.h5"), image.into_bytes().map_err(h5)?))
        };
        let each = match self.output {
            Kinds::Single => spots[..0].iter(),
            _ => spots.iter(),
        };
        let own = parts[..if several { parts.len() } else { 0 }].iter().enumerate();
        out.seal_all(&mut each.enumerate().map(file).chain(own.map(apart)).chain(std::iter::once_with(all)))?;
        out.end_drafts(&drafts)
    }
}
declare!(Writer, "dct.difspots", Kind::Writer, Difspots);

impl Difspots {
    fn out(&self) -> Result<Arc<dyn Output>> {
        self.state.out.clone().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    fn draft(&self, number: u64) -> String {
        format!("{}/live/{number:06}.h5", self.dir.trim_matches('/'))
    }
}

/// Spots in parts of so many bytes at most, in order; a spot that is larger has one of its own.
fn parts(spots: &[Summary], most: u64) -> Vec<Range<usize>> {
    let (mut parts, mut begun, mut bytes): (Vec<Range<usize>>, usize, u64) = (vec![], 0, 0);
    for (k, spot) in spots.iter().enumerate() {
        if k > begun && bytes + spot.bytes > most {
            parts.push(begun..k);
            (begun, bytes) = (k, 0);
        }
        bytes += spot.bytes;
    }
    if begun < spots.len() {
        parts.push(begun..spots.len());
    }
    parts
}
