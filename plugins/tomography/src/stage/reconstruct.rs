//! `tomography.reconstruct`: maps of a scan, while it runs.

use isard_core::prelude::*;
use isard_core::schemars;

use super::input::{Given, Invalid, ScanIn};
use super::sinogram::{bins, load, save};
use crate::project::{Geometry, Window};
use crate::scan::{Repair, Rows, Scan, Sinogram, State};
use crate::session::{Session, Task};
use crate::solve::Method;

/// When iterations end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// Where rays that were held back are predicted best.
    #[default]
    Held,
    /// After all `iterations`.
    Count,
}

/// Reconstructs maps of slices from the patterns of a scan: one for each bin.
///
/// A bin may be a phase, or whatever else a pattern holds.
///
/// Frames come in any order and say where they were taken, or their numbers do. FBP filters projections and adds them up, with
/// the part of half a turn that each stands for; it takes whole projections alone, and leaves the others out, so where points
/// are missing here and there let `repair.missing` be `"inpaint"`, or take SIRT or MLEM, for which a missing point is one
/// equation less. These go on until an eighth of the rays, which were held back, are predicted best; then all rays are taken for
/// as many iterations. So the noise is not fitted, and no truth is needed. While frames arrive the maps are those of the rays
/// that are there. Values are per step of the translation; a map's middle lies on the axis of rotation, its rows are y,
/// and `x = u cos(omega) + v sin(omega)` is the translation of the point (v, u).
///
/// Takes all frames and gives one set of maps, and snapshots. The result depends on the patterns and the parameters alone.
/// FBP: two multiplications for each pixel, projection and bin, a transform for each projection: 1000 bins of 400 positions and 600
/// angles in some ten seconds of one core. An iteration costs two such, and three times as many are done to find their number;
/// with `fine = 2` it costs about six.
///
/// Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988; Gregor and Benson, IEEE Trans. Med. Imaging
/// 27 (2008) 918; Shepp and Vardi, ibid. 1 (1982) 113; Joseph, ibid. 192.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reconstruct {
    /// The axes of the scan.
    #[schemars(extend("x-shared" = "scan"))]
    scan: Scan,
    /// What is done to the sinograms before.
    #[schemars(extend("x-shared" = "repair"))]
    repair: Repair,
    /// What becomes of patterns with values that are no numbers.
    #[schemars(extend("x-shared" = "invalid"))]
    invalid: Invalid,
    /// How maps are made.
    method: Method,
    /// What the ramp of FBP is multiplied with.
    window: Window,
    /// Iterations at most.
    #[schemars(range(min = 1))]
    iterations: usize,
    /// When iterations end.
    stop: Stop,
    /// Whether SIRT takes values below zero for zero; MLEM has none.
    positive: bool,
    /// Rows and columns of a map; else as many as there are translations.
    #[schemars(range(min = 2), extend("x-unit" = "pixel"))]
    size: Option<usize>,
    /// Pixels of the model along a side of a map's pixel, which holds their mean.
    ///
    /// Without it 2 for MLEM and 1 for SIRT. A beam sees the edges of grains more finely than pixels of a step have them,
    /// and what such pixels cannot be is spread over the map as streaks. Memory grows with the square, the time of an
    /// iteration by half of it.
    #[schemars(range(min = 1, max = 8))]
    fine: Option<usize>,
    #[serde(skip)]
    #[schemars(skip)]
    rows: Rows,
    #[serde(skip)]
    #[schemars(skip)]
    given: Given,
    /// All frames are in.
    #[serde(skip)]
    #[schemars(skip)]
    all: bool,
    #[serde(skip)]
    #[schemars(skip)]
    session: Option<Session>,
}

impl Default for Reconstruct {
    fn default() -> Self {
        Reconstruct {
            scan: Scan::default(),
            repair: Repair::default(),
            invalid: Invalid::Error,
            method: Method::Fbp,
            window: Window::Ramp,
            iterations: 300,
            stop: Stop::Held,
            positive: true,
            size: None,
            fine: None,
            rows: Rows::default(),
            given: Given::default(),
            all: false,
            session: None,
        }
    }
}

/// The output of [`Reconstruct`].
#[derive(Ports)]
pub struct ReconstructOut {
    /// The maps.
    #[port(dtype = "f32", axes = "z q y x")]
    volume: Array,
    /// The middle slice: up to 16 maps side by side, else their sum.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
    /// The bins; their numbers where nobody says more.
    #[port(dtype = "f64", axes = "q")]
    q: Array,
    /// The heights of the slices.
    #[port(dtype = "f64", axes = "z")]
    z: Array,
    /// Positions of the columns and of the rows, from the axis of rotation.
    #[port(dtype = "f64", axes = "x")]
    x: Array,
    /// What each point of the scan is: 0 missing, 1 measured, 2 made up.
    #[port(dtype = "u8", axes = "z omega x")]
    points: Array,
    /// The misfit of the rays before each iteration; none for FBP.
    ///
    /// The root of the sum of squares, as a part of that of the rays.
    #[port(dtype = "f32", axes = "iteration")]
    curve: Array,
    /// The misfit of the rays that were held back, after each iteration.
    #[port(dtype = "f32", axes = "iteration")]
    held: Array,
    /// Where the axis of rotation is, as a translation.
    centre: f64,
    /// Whether the axis was looked for and not found: it is then in the middle.
    lost_centre: bool,
    /// Iterations of the result; 0 for FBP.
    iterations: i64,
    /// Patterns that it rests on.
    patterns: i64,
    /// Points of the scan that were not measured and not made up.
    missing: i64,
    /// Points of the scan that were made up from their neighbours.
    inpainted: i64,
    /// Projections that FBP left out, having missing points.
    left_out: i64,
    /// Patterns that were left out for values that are no numbers.
    unusable: i64,
    /// Values below zero that MLEM took for zero.
    negative: i64,
}

impl Stage for Reconstruct {
    type In = ScanIn;
    type Out = ReconstructOut;

    fn example() -> Example {
        super::sinogram::example("method = \"sirt\"\niterations = 12")
    }

    fn check(&self, faults: &mut Faults) {
        self.scan.faults(faults);
        self.repair.faults(faults);
        if self.iterations == 0 {
            faults.add("iterations", "is 0, wanted at least 1");
        }
        if self.fine.is_some_and(|n| !(1..=8).contains(&n)) {
            faults.add("fine", format!("is {}, wanted 1 to 8", self.fine.unwrap_or_default()));
        }
        if self.method == Method::Fbp && self.fine.is_some_and(|n| n > 1) {
            faults.add("fine", "is of no use to FBP, which has no model; take it out, or take SIRT or MLEM");
        }
        if self.size.is_some_and(|n| !(2..=8192).contains(&n)) {
            faults.add("size", format!("is {}, wanted 2 to 8192 pixels", self.size.unwrap_or_default()));
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bins = input.get("intensity").dims.map_or(1000, |d| d.iter().product::<usize>()) as u64;
        let fine = (self.fine() * self.fine()) as u64;
        Cost { memory: (12 + 4 * fine) * bins * input.records().unwrap_or(0), ..Cost::default() }
    }
}

impl Reconstruct {
    /// Pixels of the model along a side of a map's pixel.
    fn fine(&self) -> usize {
        match self.method {
            Method::Fbp => 1,
            Method::Sirt => self.fine.unwrap_or(1),
            Method::Mlem => self.fine.unwrap_or(2),
        }
    }

    fn begin(&self, cx: &Cx) -> Result<Option<Session>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut sinogram = Sinogram::new(&self.scan, &self.given, &self.rows)?;
        self.repair.apply(&mut sinogram, self.all)?;
        let geometry = Geometry {
            angles: sinogram.omega.iter().map(|a| a.to_radians()).collect(),
            rays: sinogram.x.len(),
            centre: sinogram.centre_ray(),
            size: self.size.unwrap_or(sinogram.x.len()) * self.fine(),
            fine: self.fine(),
        };
        let task = Task {
            method: self.method,
            window: self.window,
            iterations: self.iterations,
            held: self.stop == Stop::Held,
            positive: self.positive,
        };
        let before = self.session.as_ref().filter(|_| !self.all).map(Session::volumes);
        Session::new(cx, task, geometry, sinogram, before.unwrap_or_default(), self.all).map(Some)
    }
}

impl Fit for Reconstruct {
    fn absorb(&mut self, _: &Cx, span: &Span, input: ScanIn) -> Result<()> {
        self.given = input.given()?;
        self.rows.merge(input.collect(&self.scan, self.invalid, span)?)
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // A point that does not come is missing from the sinogram, and counted there.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        // What was done with a part of the data must not be seen in the result.
        (self.all, self.session) = (true, None);
        Ok(())
    }

    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        if self.session.as_ref().is_none_or(|s| s.patterns != self.rows.len()) {
            self.session = self.begin(cx)?;
            if let Some(session) = &mut self.session {
                session.patterns = self.rows.len();
            }
        }
        let Some(session) = &mut self.session else {
            return Ok(Fitness { cost: f64::INFINITY, more: false });
        };
        loop {
            cx.check()?;
            let more = session.step(cx)?;
            if !more || slice.over() {
                return Ok(Fitness { cost: session.misfit(), more });
            }
        }
    }

    fn snapshot(&self, _: &Cx) -> Result<Option<ReconstructOut>> {
        let Some(session) = self.session.as_ref().filter(|s| s.is_shown()) else { return Ok(None) };
        let (sinogram, n) = (&session.sinogram, session.size());
        let (nz, pixels, q) = (sinogram.z.len(), n * n, sinogram.bins);
        let mut volume = isard_core::Pool::unpooled().take(Dtype::F32, &[nz, q, n, n])?;
        let maps = volume.as_slice_mut::<f32>()?;
        for (bank, maps) in session.banks().zip(maps.chunks_mut(q * pixels)) {
            bank.planes(maps);
        }
        let middle = &maps[nz / 2 * q * pixels..(nz / 2 + 1) * q * pixels];
        let image = side_by_side(middle, q, n)?;
        let states: Vec<u8> = sinogram.state.iter().map(|s| *s as u8).collect();
        let half = 0.5 * (n as f64 - 1.0);
        let x: Vec<f64> = (0..n).map(|k| (k as f64 - half) * sinogram.step()).collect();
        let narrow =
            |values: &[f64]| Array::from_slice(&values.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        Ok(Some(ReconstructOut {
            volume: volume.freeze(),
            image,
            q: Array::from_slice(&bins(&self.rows)),
            z: Array::from_slice(&sinogram.z),
            x: Array::from_slice(&x),
            points: Array::of(&[nz, sinogram.omega.len(), sinogram.x.len()], &states)?,
            curve: narrow(&session.curve),
            held: narrow(&session.held_curve),
            centre: sinogram.centre,
            lost_centre: sinogram.lost_centre,
            iterations: session.done as i64,
            patterns: session.patterns as i64,
            missing: sinogram.count(State::Missing) as i64,
            inpainted: sinogram.count(State::Inpainted) as i64,
            left_out: session.left_out as i64,
            unusable: self.rows.unusable as i64,
            negative: session.negative as i64,
        }))
    }

    fn save(&self) -> Result<Dict> {
        save(&self.rows, &self.given)
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        (self.rows, self.given) = load(&state)?;
        (self.session, self.all) = (None, false);
        Ok(())
    }
}
declare!(Fit, "tomography.reconstruct", Kind::Fitter, Reconstruct);

/// Up to 16 maps side by side, else their sum, as one image.
pub(crate) fn side_by_side(maps: &[f32], count: usize, n: usize) -> Result<Array> {
    if count > 16 {
        let mut sum = vec![0f32; n * n];
        for map in maps.chunks_exact(n * n) {
            sum.iter_mut().zip(map).for_each(|(s, v)| *s += v);
        }
        return Array::of(&[n, n], &sum);
    }
    let image: Vec<f32> = (0..n)
        .flat_map(|y| maps.chunks_exact(n * n).flat_map(move |map| &map[y * n..(y + 1) * n]).copied())
        .collect();
    Array::of(&[n, n * count], &image)
}
