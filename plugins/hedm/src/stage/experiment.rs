//! `[shared.experiment]`: detector, scan and crystal, as stages take them.

use isard_core::prelude::*;
use isard_core::{schemars, serde};
use isard_orientation::{Cell, SpaceGroup, Symmetry};

use crate::model::{
    Detector, Predictor, Projector, Reach, Rules, Scan, Window, keep_rings, reflections, without_extinct,
};

/// Whose rules hold where the existing program and the right answer differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "serde", rename_all = "lowercase")]
#[schemars(crate = "schemars")]
pub(crate) enum Compat {
    /// The right answer.
    #[default]
    None,
    /// What the MIDAS suite does.
    Midas,
}

/// A near-field experiment: detector, scan and crystal.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(crate) struct Experiment {
    /// Distances of the detector from the rotation axis, the reference first.
    #[schemars(extend("x-unit" = "um"))]
    pub distances: Vec<f64>,
    /// The pixel (Y, Z) that the direct beam hits at each distance; both count against the stored image.
    pub beam: Vec<[f64; 2]>,
    /// Tilts of the detector about x, y and z.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    pub tilt: [f64; 3],
    /// The edge of a pixel.
    #[schemars(extend("x-unit" = "um"))]
    pub pixel: f64,
    /// Pixels along Y (columns) and Z (rows).
    #[schemars(extend("x-unit" = "pixel"))]
    pub size: [usize; 2],
    /// The wavelength.
    #[schemars(extend("x-unit" = "angstrom"))]
    pub wavelength: f64,
    /// The unit cell: a, b, c in angstrom and alpha, beta, gamma in degrees.
    pub cell: [f64; 6],
    /// The space group, by its number.
    #[schemars(range(min = 1, max = 230))]
    pub space_group: i64,
    /// Reflections out to this radius on the detector are used.
    #[schemars(extend("x-unit" = "um"))]
    pub ring_radius: f64,
    /// The distance at which `ring_radius` is meant; without it the first.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    pub ring_distance: Option<f64>,
    /// The rings that are used, from 1, in this order; none is all.
    #[serde(default)]
    pub rings: Vec<u32>,
    /// The rotation at the beginning of the first frame.
    #[schemars(extend("x-unit" = "degree"))]
    pub omega_start: f64,
    /// The rotation of a frame; negative for a scan that turns back.
    #[schemars(extend("x-unit" = "degree"))]
    pub omega_step: f64,
    /// 1 if the rotation counts as in a right-handed frame about the vertical, -1 if against it.
    ///
    /// Nothing in a result shows a wrong sign: the map is mirrored.
    #[serde(default = "one")]
    #[schemars(range(min = -1, max = 1))]
    pub omega_sign: f64,
    /// Frames of one distance.
    #[schemars(range(min = 1))]
    pub frames: usize,
    /// Where spots are looked for: omega from and to in degrees, Y from and to, Z from and to in micrometres.
    pub windows: Vec<[f64; 6]>,
    /// Spots nearer than this to the rotation axis are left out.
    #[serde(default = "six")]
    #[schemars(range(min = 0, max = 90), extend("x-unit" = "degree"))]
    pub exclude_pole: f64,
    /// The tilt of the rotation axis.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    pub wedge: f64,
    /// Whether the tilt of the axis is modelled exactly, not to first order.
    ///
    /// The first order is that of the existing program; above a fifth of a degree the two come apart.
    #[serde(default)]
    pub exact_wedge: bool,
    /// Whether rays begin at their voxel, not on the rotation axis, where they meet the tilted detector.
    ///
    /// The existing program takes them from the axis: off by the tilt in radians times the spot's angle times the voxel's
    /// distance from the axis, a pixel for half a millimetre and two degrees.
    #[serde(default)]
    pub exact_rays: bool,
    /// Atoms of the cell: x, y, z in fractions of the edges, and electrons.
    ///
    /// Reflections to which they add up to nothing are left out, such as 222 of diamond; without atoms none that the
    /// space group allows. Atoms that its centring repeats need not be listed.
    #[serde(default)]
    pub atoms: Vec<[f64; 4]>,
    /// Whose rules hold where the existing program and the right answer differ.
    #[serde(default)]
    #[schemars(extend("x-level" = "expert"))]
    pub compat: Compat,
}

fn one() -> f64 {
    1.0
}

fn six() -> f64 {
    6.0
}

impl Experiment {
    /// Faults of the experiment, under the parameter `experiment`.
    pub fn check(&self, faults: &mut Faults) {
        let mut add = |key: &str, message: String| faults.add(&format!("experiment.{key}"), message);
        let n = self.distances.len();
        if n == 0 || n > 8 || self.distances.iter().any(|d| !(d.is_finite() && *d > 0.0)) {
            add("distances", format!("found {:?}, wanted one to eight of more than 0", self.distances));
        }
        if self.beam.len() != n {
            add(
                "beam",
                format!("found {} beam positions, wanted one for each of {n} distances", self.beam.len()),
            );
        }
        for (key, value) in
            [("pixel", self.pixel), ("wavelength", self.wavelength), ("ring_radius", self.ring_radius)]
        {
            if !(value.is_finite() && value > 0.0) {
                add(key, format!("found {value}, wanted more than 0"));
            }
        }
        if self.size.iter().any(|n| !(1..=65_536).contains(n)) {
            add("size", format!("found {:?}, wanted 1 to 65536 pixels", self.size));
        }
        if !(self.omega_step.is_finite() && self.omega_step != 0.0) {
            add("omega_step", format!("found {}, wanted a turn", self.omega_step));
        }
        if self.omega_sign.abs() != 1.0 {
            add("omega_sign", format!("found {}, wanted 1 or -1", self.omega_sign));
        }
        if self.wedge.is_nan() || self.wedge.abs() >= 45.0 {
            add("wedge", format!("found {}, wanted less than 45 degrees either way", self.wedge));
        }
        if self.exact_wedge && self.compat == Compat::Midas {
            add("exact_wedge", "found it beside `compat = \"midas\"`, which has the first order".into());
        }
        if self.exact_rays && self.compat == Compat::Midas {
            add("exact_rays", "found it beside `compat = \"midas\"`, which has rays from the axis".into());
        }
        if let Some(atom) = self.atoms.iter().find(|a| a.iter().any(|x| !x.is_finite()) || a[3] <= 0.0) {
            add("atoms", format!("found {atom:?}, wanted x, y, z and electrons of more than 0"));
        }
        if self.windows.is_empty() {
            add("windows", "found none, wanted one or more".into());
        }
        let (mut rises, [low, high]) = (true, self.turned());
        for w in &self.windows {
            if [0, 2, 4].iter().any(|k| w[*k] >= w[k + 1] || w[*k].is_nan() || w[k + 1].is_nan()) {
                add("windows", format!("found {w:?}, wanted pairs that rise"));
                rises = false;
            }
        }
        let outside = self.beyond().into_iter().filter(|w| w[2] == 0.0 && rises);
        for [from, to, _] in outside.collect::<Vec<_>>() {
            faults.add_with_help(
                "experiment.windows",
                format!("found omega from {from} to {to}, the scan goes from {low} to {high}"),
                "check the first two numbers of each window, `omega_start`, `omega_step`, `omega_sign` and `frames`",
            );
        }
        if let Err(error) = self.crystal() {
            faults.add("experiment.space_group", error.to_string());
        }
    }

    /// The rotation of the scan from its lowest to its highest angle, as windows count it.
    fn turned(&self) -> [f64; 2] {
        let ends = [0.0, self.frames as f64]
            .map(|n| (self.omega_start + n * self.omega_step) * self.omega_sign + 0.0);
        [ends[0].min(ends[1]), ends[0].max(ends[1])]
    }

    /// Windows that reach beyond the scan: omega from and to, and the degrees of it that were recorded.
    pub fn beyond(&self) -> Vec<[f64; 3]> {
        let [low, high] = self.turned();
        let seen = |from: f64, to: f64| -> f64 {
            // A range such as 0..360 holds angles that are written as negative ones.
            let turns = (-2..=2).map(|n| 360.0 * f64::from(n));
            turns.map(|t| (to.min(high + t) - from.max(low + t)).max(0.0)).sum()
        };
        let whole = high - low >= 360.0 - 1e-6;
        let windows = self.windows.iter().map(|w| [w[0], w[1], seen(w[0], w[1])]);
        windows.filter(|[from, to, seen]| !whole && seen + 1e-6 < to - from).collect()
    }

    /// The fault of a good experiment in which no spot can land on the detector.
    pub fn check_reach(&self, faults: &mut Faults) {
        if faults.list().is_empty()
            && let Ok(projector) = self.projector()
            && let Some((found, help)) = Reach::of(&projector).fault()
        {
            faults.add_with_help("experiment", found, help);
        }
    }

    /// The cell, the space group and its symmetry.
    pub fn crystal(&self) -> Result<(Cell, SpaceGroup, Symmetry)> {
        let told = |e: isard_orientation::OrientationError| Error::recipe(e.to_string());
        let cell = Cell::new(self.cell).map_err(told)?;
        let group = SpaceGroup::of(self.space_group, &cell).map_err(told)?;
        let symmetry = Symmetry::of(&group, &cell).map_err(told)?;
        Ok((cell, group, symmetry))
    }

    /// What predicts and projects spots.
    pub fn projector(&self) -> Result<Projector> {
        let (cell, group, _) = self.crystal()?;
        let midas = self.compat == Compat::Midas;
        let rules = if midas { Rules::Midas } else { Rules::Right };
        let lsd = self.ring_distance.unwrap_or(self.distances[0]);
        let reach = midas.then_some(10);
        let list = reflections(&cell, &group, self.wavelength, lsd, self.ring_radius, reach)
            .map_err(|e| Error::recipe(e.to_string()))?;
        let list = keep_rings(without_extinct(list, &self.atoms), &self.rings);
        if list.is_empty() {
            return Err(Error::recipe("no reflection is left")
                .help("check `ring_radius`, `rings`, `atoms` and the cell"));
        }
        let windows =
            self.windows.iter().map(|w| Window { omega: [w[0], w[1]], area: [w[2], w[3], w[4], w[5]] });
        let scan = Scan {
            start: self.omega_start * self.omega_sign,
            step: self.omega_step * self.omega_sign,
            frames: self.frames,
            windows: windows.collect(),
            exclude_pole: self.exclude_pole,
            wedge: if self.exact_wedge { 0.0 } else { self.wedge },
            rules,
        };
        let detector = Detector::new(&self.distances, &self.beam, self.tilt, self.pixel, self.size)
            .with_rays(self.exact_rays);
        let mut predictor = Predictor::new(list, scan, self.distances[0]);
        if self.exact_wedge {
            predictor = predictor.leaning(self.wedge);
        }
        Ok(Projector { predictor, detector, wavelength: self.wavelength, rules })
    }

    /// Where a detector stands, one row for each distance.
    pub fn geometry(detector: &Detector) -> Result<Table> {
        let column = |of: &dyn Fn(usize) -> f64| (0..detector.distances()).map(of).collect::<Vec<f64>>();
        Table::new(detector.distances())
            .with("distance", &detector.lsd)?
            .with("beam_y", &column(&|l| detector.centre[l][0]))?
            .with("beam_z", &column(&|l| detector.centre[l][1]))?
            .with("tilt_x", &column(&|_| detector.tilt[0]))?
            .with("tilt_y", &column(&|_| detector.tilt[1]))?
            .with("tilt_z", &column(&|_| detector.tilt[2]))
    }

    /// The same experiment with the detector where a table says.
    pub fn moved(&self, table: &Table) -> Result<Experiment> {
        if table.rows() != self.distances.len() {
            let (found, wanted) = (table.rows(), self.distances.len());
            return Err(Error::data(format!("the geometry has {found} distances, the experiment {wanted}")));
        }
        let column = |name: &str| table.numbers::<f64>(name);
        let (y, z) = (column("beam_y")?, column("beam_z")?);
        let tilt = [column("tilt_x")?[0], column("tilt_y")?[0], column("tilt_z")?[0]];
        Ok(Experiment {
            distances: column("distance")?.to_vec(),
            beam: y.iter().zip(z.iter()).map(|(y, z)| [*y, *z]).collect(),
            tilt,
            // Rings are those of the distance that was given.
            ring_distance: Some(self.ring_distance.unwrap_or(self.distances[0])),
            ..self.clone()
        })
    }

    /// What it says, by the keys of a parameter file; of more than one line the lines' values stand in a row.
    pub fn keys(&self) -> Vec<(&'static str, String)> {
        let row =
            |all: &mut dyn Iterator<Item = f64>| all.map(|x| x.to_string()).collect::<Vec<_>>().join(" ");
        let of = |values: &[f64]| row(&mut values.iter().copied());
        let ring = self.ring_distance.unwrap_or(self.distances[0]);
        let [tx, ty, tz] = self.tilt.map(|t| t.to_string());
        let mut out = vec![
            ("nDistances", self.distances.len().to_string()),
            ("Lsd", of(&self.distances)),
            ("BC", row(&mut self.beam.iter().flatten().copied())),
            ("tx", tx),
            ("ty", ty),
            ("tz", tz),
            ("px", self.pixel.to_string()),
            ("NrPixelsY", self.size[0].to_string()),
            ("NrPixelsZ", self.size[1].to_string()),
            ("Wavelength", self.wavelength.to_string()),
            ("LatticeParameter", of(&self.cell)),
            ("SpaceGroup", self.space_group.to_string()),
            ("MaxRingRad", self.ring_radius.to_string()),
            ("MaxRingRadDistance", ring.to_string()),
            ("OmegaStart", self.omega_start.to_string()),
            ("OmegaStep", self.omega_step.to_string()),
            ("OmegaSign", self.omega_sign.to_string()),
            ("NrFilesPerDistance", self.frames.to_string()),
            ("OmegaRange", row(&mut self.windows.iter().flat_map(|w| [w[0], w[1]]))),
            ("BoxSize", row(&mut self.windows.iter().flat_map(|w| w[2..].to_vec()))),
            ("ExcludePoleAngle", self.exclude_pole.to_string()),
            ("Wedge", self.wedge.to_string()),
        ];
        if !self.rings.is_empty() {
            out.push(("RingsToUse", row(&mut self.rings.iter().map(|r| f64::from(*r)))));
        }
        out
    }

    /// The distance and the frame of a frame number.
    pub fn place(&self, number: u64) -> Result<(usize, usize)> {
        let (l, f) = ((number / self.frames as u64) as usize, (number % self.frames as u64) as usize);
        if l >= self.distances.len() {
            let all = self.distances.len() * self.frames;
            return Err(Error::data(format!("frame {number}: the scan has {all} frames"))
                .help("check `frames` and `distances` of the experiment"));
        }
        Ok((l, f))
    }
}

/// A small gold experiment that examples share.
pub(crate) const EXAMPLE: &str = "distances = [3000.0, 4000.0]\nbeam = [[64.0, 6.0], [64.0, 6.0]]\npixel = 10.0\n\
    size = [128, 128]\nwavelength = 0.18\ncell = [4.08, 4.08, 4.08, 90.0, 90.0, 90.0]\nspace_group = 225\n\
    ring_radius = 800.0\nomega_start = -90.0\nomega_step = 2.0\nframes = 90\n\
    windows = [[-90.0, 90.0, -600.0, 600.0, 50.0, 900.0]]\n";

/// [`EXAMPLE`] as a table of parameters, behind other parameters.
pub(crate) fn example(before: &str) -> String {
    format!("{before}[experiment]\n{EXAMPLE}")
}

/// The small gold experiment.
pub(crate) fn small() -> Experiment {
    Experiment {
        distances: vec![3000.0, 4000.0],
        beam: vec![[64.0, 6.0], [64.0, 6.0]],
        tilt: [0.0; 3],
        pixel: 10.0,
        size: [128, 128],
        wavelength: 0.18,
        cell: [4.08, 4.08, 4.08, 90.0, 90.0, 90.0],
        space_group: 225,
        ring_radius: 800.0,
        ring_distance: None,
        rings: vec![],
        omega_start: -90.0,
        omega_step: 2.0,
        omega_sign: 1.0,
        frames: 90,
        windows: vec![[-90.0, 90.0, -600.0, 600.0, 50.0, 900.0]],
        exclude_pole: 6.0,
        wedge: 0.0,
        exact_wedge: false,
        exact_rays: false,
        atoms: vec![],
        compat: Compat::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_beyond_the_scan_are_found_whatever_its_sense() {
        let of = |window: [f64; 2], start: f64, step: f64, sign: f64, frames: usize| {
            let windows = vec![[window[0], window[1], -600.0, 600.0, 50.0, 900.0]];
            let scan = Experiment {
                windows,
                omega_start: start,
                omega_step: step,
                omega_sign: sign,
                frames,
                ..small()
            };
            let mut faults = Faults::default();
            scan.check(&mut faults);
            (scan.beyond().iter().map(|w| w[2]).next(), faults.list().len())
        };
        assert_eq!(of([-90.0, 90.0], -90.0, 2.0, 1.0, 90), (None, 0));
        assert_eq!(of([-90.0, 90.0], 90.0, -2.0, 1.0, 90), (None, 0));
        // From 0 to 180, of which half lies in the window; counted against its sense the other half.
        assert_eq!(of([-90.0, 90.0], 0.0, 2.0, 1.0, 90), (Some(90.0), 0));
        assert_eq!(of([10.0, 90.0], 0.0, 2.0, -1.0, 90), (Some(0.0), 1));
        assert_eq!(of([-90.0, -10.0], 0.0, 2.0, -1.0, 90), (None, 0));
        // Angles that are written as negative ones, and a whole turn, which has every window.
        assert_eq!(of([-90.0, -10.0], 200.0, 2.0, 1.0, 80), (None, 0));
        assert_eq!(of([-180.0, 180.0], 0.0, 2.0, 1.0, 180), (None, 0));
        assert_eq!(of([100.0, 140.0], -90.0, 2.0, 1.0, 90), (Some(0.0), 1));
    }
}
