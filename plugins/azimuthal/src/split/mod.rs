//! How pixels are shared among bins: not at all, by bounding boxes, or by their outlines.

mod cells;
mod line;
mod outline;
mod strip;

use std::f64::consts::PI;

use isard_core::error::{Error, Result};
use isard_core::prelude::{Deserialize, JsonSchema};

use crate::axis::{Axis, Limits};
use crate::camera::{Camera, Corners, Places};
use crate::matrix::Matrix;
use crate::unit::Unit;

/// How a pixel is shared among bins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Splitting {
    /// Its centre decides.
    No,
    /// Its bounding box along each axis.
    #[default]
    Bbox,
    /// Its outline, a quadrilateral.
    Full,
}

/// What a matrix is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Binning {
    /// The radial unit.
    pub unit: Unit,
    /// Radial bins.
    pub radial: usize,
    /// Azimuthal bins; none for a curve.
    pub azimuthal: Option<usize>,
    /// How pixels are shared.
    pub splitting: Splitting,
    /// Radial limits in the unit reported; else those of the pixels.
    pub radial_range: Option<[f64; 2]>,
    /// Azimuthal limits in degrees; else those of the pixels.
    pub azimuth_range: Option<[f64; 2]>,
    /// As histograms of the reference have it.
    ///
    /// Limits of curves without splitting and of maps by outlines are taken over masked pixels too, and boxes wholly below
    /// the range of a curve count nowhere; matrices credit those within a bin of it to the first one. Without a range curves
    /// of boxes begin at 0, also in units that go below it.
    pub histogram: bool,
}

/// A matrix with its axes.
#[derive(Clone, Debug)]
pub struct Shares {
    /// The shares; bins run over the radial axis first.
    pub matrix: Matrix,
    /// The radial axis in the unit's space.
    pub radial: Axis,
    /// The azimuthal axis in radians, of a map.
    pub azimuthal: Option<Axis>,
}

/// All that is known of the pixels' places, as far as a splitting needs it.
pub(crate) struct Known {
    pub(crate) centres: Vec<f64>,
    pub(crate) azimuths: Vec<f64>,
    pub(crate) extents: Vec<f64>,
    pub(crate) spreads: Vec<f64>,
    pub(crate) corners: Option<Corners>,
}

impl Known {
    fn new(camera: &Camera, binning: &Binning) -> Result<Known> {
        let Binning { unit, splitting, .. } = binning;
        let chi = binning.azimuthal.is_some() || binning.azimuth_range.is_some();
        let none = Vec::new;
        Ok(match splitting {
            Splitting::No => Known {
                centres: camera.centres(unit)?,
                azimuths: if chi { camera.azimuths() } else { none() },
                extents: none(),
                spreads: none(),
                corners: None,
            },
            Splitting::Bbox => {
                let corners = camera.corners(unit, chi)?;
                let centres = camera.centres(unit)?;
                // The reference finds azimuths last: from the table of corners, where the radial unit had it made.
                let table = Camera { places: Places::Single, ..camera.clone() };
                let azimuths = match (chi, camera.table_azimuths && !unit.is_straight()) {
                    (true, false) => camera.azimuths(),
                    (true, true) => table.azimuths(),
                    (false, _) => none(),
                };
                Known {
                    extents: corners.extents(&centres, unit.is_angle()),
                    spreads: if chi { corners.spreads(&azimuths) } else { none() },
                    centres,
                    azimuths,
                    corners: None,
                }
            }
            Splitting::Full => Known {
                centres: none(),
                azimuths: none(),
                extents: none(),
                spreads: none(),
                corners: Some(camera.corners(unit, true)?),
            },
        })
    }

    /// The stretch of a pixel along the radius (`chi` false) or the azimuth; not of outlines.
    #[inline(always)]
    fn stretch(&self, pixel: usize, chi: bool) -> (f64, f64) {
        let (centre, extent) =
            if chi { (self.azimuths[pixel], &self.spreads) } else { (self.centres[pixel], &self.extents) };
        let extent = extent.get(pixel).copied().unwrap_or(0.0);
        (centre - extent, centre + extent)
    }

    /// What the pixels that count stretch over along the radius or the azimuth.
    fn limits(&self, mask: &[u8], columns: usize, all: bool, chi: bool) -> Limits {
        let mut limits = Limits::NONE;
        let Some(corners) = &self.corners else {
            for (pixel, _) in mask.iter().enumerate().filter(|(_, m)| **m == 0 || all) {
                let (low, high) = self.stretch(pixel, chi);
                limits.see(low, high);
            }
            return limits;
        };
        let values = if chi { &corners.chi } else { &corners.radial };
        let edges =
            values.chunks_exact(corners.width).zip(values[corners.width..].chunks_exact(corners.width));
        for (mask, (top, bottom)) in mask.chunks_exact(columns).zip(edges) {
            for (column, _) in mask.iter().enumerate().filter(|(_, m)| **m == 0 || all) {
                let around = [top[column], bottom[column], bottom[column + 1], top[column + 1]];
                let low = around.iter().copied().fold(f32::INFINITY, f32::min);
                let high = around.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                limits.see(f64::from(low), f64::from(high));
            }
        }
        limits
    }
}

/// The pixels of a frame that a matrix takes, and where they are kept to a sector.
pub(crate) struct Pixels<'a> {
    pub(crate) places: &'a Known,
    pub(crate) mask: &'a [u8],
    pub(crate) columns: usize,
    /// Azimuthal limits in radians.
    pub(crate) sector: Option<[f64; 2]>,
    pub(crate) cut_at_zero: bool,
    /// The sign of an outline's area is turned around by one mirror.
    pub(crate) mirrored: bool,
    /// Boxes wholly below the range count nowhere.
    pub(crate) strict: bool,
}

/// A range of azimuths in radians: the first on the side of the cut where azimuths are, the second behind it.
fn sector(range: [f64; 2], cut_at_zero: bool) -> [f64; 2] {
    let [low, mut high] = range.map(|degrees| {
        let halves = (degrees / 180.0).rem_euclid(2.0);
        PI * if halves >= 1.0 && !cut_at_zero { halves - 2.0 } else { halves }
    });
    if high <= low {
        high += crate::camera::TURN;
    }
    [low, high]
}

impl Shares {
    /// The shares of a camera's pixels; where `mask` is not 0 a pixel has none.
    pub fn new(camera: &Camera, binning: &Binning, mask: &[u8]) -> Result<Shares> {
        let columns = camera.grid.shape[1];
        if mask.len() != camera.pixels() {
            return Err(Error::data(format!("a mask of {} pixels for {:?}", mask.len(), camera.grid.shape)));
        }
        let places = Known::new(camera, binning)?;
        let all = binning.histogram
            && match binning.splitting {
                Splitting::No => binning.azimuthal.is_none(),
                Splitting::Bbox => false,
                Splitting::Full => binning.azimuthal.is_some(),
            };
        let limits = |chi: bool| {
            let limits = places.limits(mask, columns, all, chi);
            limits.found().ok_or_else(|| {
                Error::data(format!(
                    "no pixel has a finite `{}`: all are masked or none has it",
                    binning.unit
                ))
                .help("look at the mask, or give `radial_range`")
            })
        };
        let unit = &binning.unit;
        let radial = match binning.radial_range {
            Some(range) if unit.is_angle() => {
                let [low, high] = range.map(|v| (v / unit.scale).to_degrees());
                let [low, high] = sector([low, high], camera.cut_at_zero);
                Limits { low, high }
            }
            Some([low, high]) => {
                let (low, high) = (low / unit.scale, high / unit.scale);
                Limits { low: low.min(high), high: low.max(high) }
            }
            None => limits(false)?.positive(
                binning.histogram && binning.azimuthal.is_none() && binning.splitting == Splitting::Bbox,
            ),
        };
        let radial = radial.positive(unit.positive());
        if radial.high < radial.low {
            return Err(Error::data(format!(
                "`{unit}` ends at {}, below its first bin at 0",
                radial.high * unit.scale
            ))
            .help("give a `radial_range` above 0, or leave `histogram` out"));
        }
        let radial = Axis::new(radial, binning.radial);
        let sector = binning.azimuth_range.map(|[low, high]| sector([low, high], camera.cut_at_zero));
        let azimuthal = match (binning.azimuthal, sector) {
            (None, _) => None,
            (Some(n), Some([low, high])) => Some(Axis::new(Limits { low, high }, n)),
            (Some(n), None) => Some(Axis::new(limits(true)?.turn(camera.cut_at_zero), n)),
        };
        let pixels = Pixels {
            places: &places,
            mask,
            columns,
            sector,
            cut_at_zero: camera.cut_at_zero,
            mirrored: [2, 4].contains(&camera.grid.orientation.number()) && !camera.mirrored_twice,
            strict: binning.histogram,
        };
        let matrix = match (&azimuthal, binning.splitting) {
            (None, Splitting::No) => line::centres(&pixels, &radial),
            (None, Splitting::Bbox) => line::boxes(&pixels, &radial),
            (None, Splitting::Full) => outline::lines(&pixels, &radial),
            (Some(chi), Splitting::No) => cells::centres(&pixels, &radial, chi),
            (Some(chi), Splitting::Bbox) => cells::boxes(&pixels, &radial, chi),
            (Some(chi), Splitting::Full) => outline::cells(&pixels, &radial, chi),
        };
        Ok(Shares { matrix, radial, azimuthal })
    }

    /// The radial axis as it is reported.
    pub fn radial_axis(&self, unit: &Unit) -> Vec<f64> {
        self.radial.centres(unit.scale)
    }

    /// The azimuthal axis in degrees.
    pub fn azimuthal_axis(&self) -> Option<Vec<f64>> {
        self.azimuthal.map(|a| a.centres(180.0 / std::f64::consts::PI))
    }
}
