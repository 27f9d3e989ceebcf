//! From raw frames to diffraction images: centre, crop and pad, orientation, bins.

use isard_core::{Error, Result};

use crate::geometry::Centre;

/// A number that survives preparation in its own type, or as a real one.
pub trait Count: Copy + Default + Send + Sync {
    /// The number.
    fn wide(self) -> f64;
}

macro_rules! counts {
    ($($t:ty),*) => { $(impl Count for $t {
        fn wide(self) -> f64 {
            self as f64
        }
    })* };
}
counts!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

/// A frame, or the weights of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid<X> {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Pixels, row by row.
    pub data: Vec<X>,
}

impl<X: Count> Grid<X> {
    /// Crops or pads to a shape around a centre; new pixels are 0. Gives the centre afterwards.
    pub fn cut(&self, shape: [usize; 2], centre: [f64; 2]) -> (Grid<X>, [f64; 2]) {
        let low = [0, 1].map(|k| (shape[k] / 2) as i64 - centre[k].round_ties_even() as i64);
        let mut data = vec![X::default(); shape[0] * shape[1]];
        let [rows, columns] = self.shape;
        for y in 0..shape[0] {
            let from = y as i64 - low[0];
            if from < 0 || from >= rows as i64 {
                continue;
            }
            let first = low[1].max(0) as usize;
            let last = (columns as i64 + low[1]).clamp(0, shape[1] as i64) as usize;
            if first < last {
                let start = from as usize * columns + (first as i64 - low[1]) as usize;
                data[y * shape[1] + first..y * shape[1] + last]
                    .copy_from_slice(&self.data[start..start + last - first]);
            }
        }
        (Grid { shape, data }, shape.map(|s| (s / 2) as f64))
    }

    /// Transposes, then mirrors rows, then mirrors columns.
    pub fn turn(&self, how: Orientation) -> Grid<X> {
        let [r, c] = self.shape;
        let shape = if how.transpose { [c, r] } else { [r, c] };
        let mut data = Vec::with_capacity(r * c);
        for y in 0..shape[0] {
            let y = if how.rows { shape[0] - 1 - y } else { y };
            for x in 0..shape[1] {
                let x = if how.columns { shape[1] - 1 - x } else { x };
                data.push(if how.transpose { self.data[x * c + y] } else { self.data[y * c + x] });
            }
        }
        Grid { shape, data }
    }

    /// Sums of bins of `bin` by `bin` pixels.
    pub fn bins(&self, bin: usize) -> Grid<f64> {
        let shape = self.shape.map(|n| n / bin);
        let mut data = vec![0.0; shape[0] * shape[1]];
        for y in 0..shape[0] * bin {
            for x in 0..shape[1] * bin {
                data[y / bin * shape[1] + x / bin] += self.data[y * self.shape[1] + x].wide();
            }
        }
        Grid { shape, data }
    }

    /// Values as real numbers.
    pub fn real(&self) -> Grid<f64> {
        Grid { shape: self.shape, data: self.data.iter().map(|x| x.wide()).collect() }
    }
}

/// One of the eight orientations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Rows and columns are exchanged first.
    pub transpose: bool,
    /// Then rows are mirrored, up to down.
    pub rows: bool,
    /// Then columns are mirrored, left to right.
    pub columns: bool,
}

impl Orientation {
    /// The orientation of a number from 0 to 7.
    pub fn numbered(n: u8) -> Orientation {
        Orientation { transpose: n & 4 != 0, rows: n & 2 != 0, columns: n & 1 != 0 }
    }

    /// Where a point goes in a frame of this shape.
    pub fn point(self, shape: [usize; 2], [y, x]: [f64; 2]) -> [f64; 2] {
        let (shape, [y, x]) = if self.transpose { ([shape[1], shape[0]], [x, y]) } else { (shape, [y, x]) };
        [
            if self.rows { shape[0] as f64 - 1.0 - y } else { y },
            if self.columns { shape[1] as f64 - 1.0 - x } else { x },
        ]
    }
}

/// What becomes of the pixels of a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RebinMode {
    /// Their mean, as other programs have it; counts are no counts any more.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// What preparation is asked for.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Rows and columns to cut; none for all.
    pub shape: Option<[usize; 2]>,
    /// The optical axis in raw pixels; none if not given.
    pub centre: Option<[Centre; 2]>,
    /// Whether an axis that is not given is found from the frames; none is yes.
    pub auto_centre: Option<bool>,
    /// Whether an axis from the frames goes before a given one.
    pub force_auto: bool,
    /// How frames are turned.
    pub orientation: Orientation,
    /// Pixels of a bin along each axis.
    pub rebin: usize,
    /// What becomes of the pixels of a bin.
    pub mode: RebinMode,
    /// The edge of a raw pixel, m.
    pub psize: [f64; 2],
}

/// Preparation with everything known: the first chunk decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Rows and columns of raw frames.
    pub raw: [usize; 2],
    /// Rows and columns that are cut.
    pub cut: [usize; 2],
    /// The optical axis in raw pixels.
    pub raw_centre: [f64; 2],
    /// The optical axis in prepared frames.
    pub centre: [f64; 2],
    /// Rows and columns of prepared frames.
    pub shape: [usize; 2],
    /// The edge of a prepared pixel, m.
    pub psize: [f64; 2],
    /// Whether cutting pads.
    pub pads: bool,
}

/// The centre of mass of a frame where its weight is positive; none for an empty frame.
pub fn mass_centre<X: Count>(frame: &Grid<X>, good: impl Fn(usize) -> bool) -> Option<[f64; 2]> {
    let (mut sum, mut at) = (0.0, [0.0; 2]);
    for (k, value) in frame.data.iter().enumerate().filter(|(k, _)| good(*k)) {
        let value = value.wide();
        sum += value;
        at[0] += (k / frame.shape[1]) as f64 * value;
        at[1] += (k % frame.shape[1]) as f64 * value;
    }
    (sum != 0.0 && sum.is_finite()).then(|| at.map(|a| a / sum))
}

impl Preparation {
    /// Settles shape and centre for raw frames of a shape; `automatic` is the centre found from the first chunk.
    pub fn resolve(&self, raw: [usize; 2], automatic: impl FnOnce() -> Result<[f64; 2]>) -> Result<Resolved> {
        let given = || self.centre.map(|c| [c[0].pixel(raw[0]), c[1].pixel(raw[1])]);
        let raw_centre = match (given(), self.auto_centre) {
            (Some(_), Some(true)) if self.force_auto => automatic()?,
            (Some(centre), _) => centre,
            (None, Some(false)) => raw.map(|n| (n / 2) as f64),
            (None, _) => automatic()?,
        };
        self.resolve_at(raw, raw_centre)
    }

    /// Settles everything for raw frames of a shape and a centre.
    pub fn resolve_at(&self, raw: [usize; 2], raw_centre: [f64; 2]) -> Result<Resolved> {
        let wanted = self.shape.unwrap_or(raw);
        let side = wanted[0].min(wanted[1]);
        let cut = [side; 2];
        for k in 0..2 {
            if !(raw_centre[k] > 0.0 && raw_centre[k] < raw[k] as f64) {
                let [y, x] = raw_centre;
                return Err(Error::data(format!(
                    "the optical axis ({y}, {x}) is outside raw frames of {} x {}",
                    raw[0], raw[1]
                ))
                .help("set `center` in pixels of the raw frames"));
            }
        }
        let r = self.rebin.max(1);
        if side == 0 || !side.is_multiple_of(r) {
            return Err(Error::recipe(format!("{side} rows and columns do not make bins of {r}"))
                .help("choose a `shape` that `rebin` divides"));
        }
        let cuts = cut != raw || self.shape.is_some();
        let after = if cuts { cut.map(|s| (s / 2) as f64) } else { raw_centre };
        let turned = self.orientation.point(cut, after);
        let low = [0, 1].map(|k| (cut[k] / 2) as i64 - raw_centre[k].round_ties_even() as i64);
        let high = [0, 1]
            .map(|k| cut[k].div_ceil(2) as i64 + raw_centre[k].round_ties_even() as i64 - raw[k] as i64);
        Ok(Resolved {
            raw,
            cut,
            raw_centre,
            centre: turned.map(|c| c / r as f64),
            shape: cut.map(|n| n / r),
            psize: self.psize.map(|p| p * r as f64),
            pads: cuts && (low.iter().any(|l| *l > 0) || high.iter().any(|h| *h > 0)),
        })
    }

    /// Whether prepared frames keep the type of raw ones.
    pub fn keeps_type(&self, to: &Resolved) -> bool {
        !to.pads && self.rebin <= 1
    }

    /// One frame cut and turned, not yet in bins.
    pub fn place<X: Count>(&self, frame: &Grid<X>, to: &Resolved) -> Grid<X> {
        let cut;
        let frame = if to.cut != to.raw || self.shape.is_some() {
            cut = frame.cut(to.cut, to.raw_centre).0;
            &cut
        } else {
            frame
        };
        if self.orientation == Orientation::default() { frame.clone() } else { frame.turn(self.orientation) }
    }

    /// One frame in bins, after [`Preparation::place`].
    pub fn bin<X: Count>(&self, frame: &Grid<X>) -> Grid<f64> {
        let r = self.rebin.max(1);
        if r == 1 {
            return frame.real();
        }
        let mut out = frame.bins(r);
        if self.mode == RebinMode::Mean {
            out.data.iter_mut().for_each(|x| *x /= (r * r) as f64);
        }
        out
    }

    /// The weights of a frame; a bin counts only if all its pixels do.
    pub fn weights(&self, weights: &Grid<f64>, to: &Resolved) -> Grid<f64> {
        // Weights of another shape than the frames are cut around their own middle.
        let own = Resolved {
            raw: weights.shape,
            raw_centre: if weights.shape == to.raw {
                to.raw_centre
            } else {
                weights.shape.map(|n| (n / 2) as f64)
            },
            ..to.clone()
        };
        let placed = self.place(weights, &own);
        let r = self.rebin.max(1);
        if r == 1 {
            return placed;
        }
        let good = Grid {
            shape: placed.shape,
            data: placed.data.iter().map(|w| u8::from(*w > 0.0)).collect::<Vec<u8>>(),
        };
        let mut bins = good.bins(r);
        bins.data.iter_mut().for_each(|x| *x = f64::from(u8::from(*x == (r * r) as f64)));
        bins
    }
}
