//! Gatan DM3 and DM4 as frames.

use std::path::Path;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::value::map_file;

use crate::format::dm::{self, Image, Tag};
use crate::source::axes::{Axes, Axis};
use crate::source::feed::{Held, ScanOut};
use crate::source::frames::{Found, Frames, plain, swap};
use crate::source::placed::Placed;

/// Frames of a Gatan file, DM3 or DM4, of two, three or four axes.
///
/// The scan, steps and units are those of the file. Data whose scan is fastest in the file, as the tag `Data Order Swapped`
/// tells, are brought in order while they are read. The head holds `axes` (sizes, steps and units, for stages and writers
/// behind), `unused_frames`, and what the file says of the microscope: `voltage` and `stem_camera_length` where they are.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. Frames that lie in order and aligned are handed out without a copy, others are copied once.
///
/// Source: the format as described by C. Boothroyd; the rules for 4-D data as files show them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DmImage {
    /// The file; it must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".dm3", ".dm4"]))]
    path: String,
    #[serde(flatten)]
    placed: Placed,
    #[serde(skip)]
    #[schemars(skip)]
    feed: Held,
}

impl Stage for DmImage {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        Example::new(format!("path = {:?}", Example::file("image.dm3", &dm::small(3, 2, 6))))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check(&self.path, faults);
    }
}

impl Source for DmImage {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        self.feed.open(&self.path, (find(&self.path)?, None), self.placed, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        self.feed.pull(cx, slots)
    }
}
declare!(Source, "stem.dm", Kind::Source, DmImage);

fn find(path: &str) -> Result<Found> {
    let map = map_file(Path::new(path))?;
    let (tree, image) = dm::parse(&map, path)?;
    let Image { dtype, big, offset, shape, axes: calibrated, scan_fastest } = image;
    let swap = swap(dtype, big);
    // In order: scan y, scan x, detector y, detector x.
    let order: Vec<usize> = match (shape.len(), scan_fastest) {
        (2, _) => vec![0, 1],
        (3, false) => vec![0, 1, 2],
        (3, true) => vec![2, 0, 1],
        (4, false) => vec![0, 1, 2, 3],
        (4, true) => vec![2, 3, 0, 1],
        (n, _) => {
            return Err(Error::data(format!("{path}: has {n} axes {shape:?}, wanted 2, 3 or 4")));
        }
    };
    let sizes: Vec<u64> = order.iter().map(|i| shape[*i]).collect();
    let dims = [sizes[sizes.len() - 2] as usize, sizes[sizes.len() - 1] as usize];
    let count = sizes[..sizes.len() - 2].iter().product::<u64>();
    let scan = (sizes.len() == 4).then(|| [sizes[0], sizes[1]]);
    let mut axes = Axes::default();
    for (place, from) in order.iter().enumerate() {
        let (step, origin, unit) = &calibrated[*from];
        // Position = (index - origin) * scale.
        axes.axes[place + 4 - order.len()] = Axis { step: *step, start: -origin * step, unit: unit.clone() };
    }
    let pixels = dims[0] * dims[1];
    let frames: Box<dyn Frames> = match scan_fastest {
        true => Box::new(Strided {
            map,
            offset: offset as usize,
            count: count as usize,
            size: dtype.size(),
            swap,
        }),
        false => {
            let step = pixels * dtype.size();
            plain(map, [offset as usize, step, swap], dtype, [count as usize, dims[0], dims[1]])?
        }
    };
    Ok(Found { frames, dtype, dims, count, scan, axes, head: head(&tree) })
}

fn head(tree: &Tag) -> Dict {
    let mut head = Dict::new();
    let Some(Tag::Group(list)) = tree.get("ImageList") else { return head };
    for (_, entry) in list {
        for (name, tag) in [("voltage", "Voltage"), ("stem_camera_length", "STEM Camera Length")] {
            if let Some(x) = entry.number(&format!("ImageTags.Microscope Info.{tag}")) {
                head.set(name, x);
            }
        }
    }
    head
}

/// Frames whose pixels lie far apart: all frames of one pixel come together.
struct Strided {
    map: memmap2::Mmap,
    offset: usize,
    count: usize,
    size: usize,
    swap: usize,
}

impl Frames for Strided {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        let size = self.size;
        for (pixel, out) in out.chunks_exact_mut(size).enumerate() {
            let at = self.offset + (pixel * self.count + frame as usize) * size;
            out.copy_from_slice(&self.map[at..at + size]);
        }
        if self.swap > 1 {
            out.chunks_exact_mut(self.swap).for_each(<[u8]>::reverse);
        }
        Ok(())
    }
}
