//! `scan.positions`: where the frames of a scan are taken.

use isard_core::prelude::*;

use super::experiment::positive;
use crate::scan::pattern::{Model, Pattern};

/// Gives each frame the position that a scan pattern or a list has for its number.
///
/// Use it where the file of the frames has no positions, or theoretical ones shall stand in for them.
///
/// Changes neither order nor count. Costs nothing.
///
/// Source: the scan patterns of PtyPy (Enders and Thibault, Proc. R. Soc. A 472, 2016, 20160640).
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Positions {
    /// The scan pattern, unless positions are listed or read.
    model: Option<Model>,
    /// The step, along the rows and along the columns.
    #[schemars(extend("x-unit" = "m"))]
    spacing: Option<[f64; 2]>,
    /// How far the pattern reaches, along the rows and along the columns.
    #[schemars(extend("x-unit" = "m"))]
    extent: Option<[f64; 2]>,
    /// Steps along each axis; twice the number of rings.
    steps: Option<[usize; 2]>,
    /// Added to all positions.
    #[schemars(extend("x-unit" = "m"))]
    offset: f64,
    /// No more points than this.
    count: Option<usize>,
    /// The positions themselves, row and column.
    #[schemars(extend("x-unit" = "m"))]
    list: Vec<[f64; 2]>,
    /// An array of positions [n, 2] in a file, as `file.h5::/path`.
    #[schemars(extend("x-path" = "input"))]
    path: Option<String>,
    /// The positions along the rows, in a file; wants `fast` beside it.
    ///
    /// One for each frame, or one for each line of a raster.
    #[schemars(extend("x-path" = "input"))]
    slow: Option<String>,
    /// The positions along the columns, in a file; wants `slow` beside it.
    ///
    /// As many as `slow` has, one for each frame, or else one for each point of a line of a raster.
    #[schemars(extend("x-path" = "input"))]
    fast: Option<String>,
    /// What positions of files are multiplied by to be metres.
    ///
    /// One factor, or one along the rows and one along the columns.
    scale: Option<Scale>,
}

/// A factor for both axes, or one for each.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scale {
    /// The same along both.
    Both(f64),
    /// Along the rows and along the columns.
    Each([f64; 2]),
}

/// The input of [`Positions`].
#[derive(Ports)]
pub struct PositionsIn {
    /// Frames.
    #[port(dtype = "number")]
    image: Array,
}

/// The output of [`Positions`].
#[derive(Ports)]
pub struct PositionsOut {
    /// Where the frame is taken, row and column.
    #[port(dtype = "f64", axes = "axis", unit = "m")]
    position: Array,
}

impl Stage for Positions {
    type In = PositionsIn;
    type Out = PositionsOut;

    fn example() -> Example {
        Example::new("model = \"round\"\nspacing = [1e-6, 1e-6]\nsteps = [4, 4]")
            .frames("image", Array::of(&[6, 2, 2], &[0u16; 24]).expect("six frames"))
    }

    fn check(&self, faults: &mut Faults) {
        let axes = self.slow.is_some() || self.fast.is_some();
        let ways = [self.model.is_some(), !self.list.is_empty(), self.path.is_some(), axes];
        if ways.iter().filter(|w| **w).count() != 1 {
            faults.add("model", "found none or several of `model`, `list`, `path` and `slow`, wanted one");
        }
        if axes && (self.slow.is_none() || self.fast.is_none()) {
            let (here, other) = if self.slow.is_some() { ("slow", "fast") } else { ("fast", "slow") };
            faults.add(here, format!("wants `{other}` beside it"));
        }
        let [y, x] = self.scales();
        if !(y.is_finite() && x.is_finite() && y * x != 0.0) {
            faults.add("scale", format!("found {y} and {x}, wanted numbers other than 0"));
        }
        if self.model.is_some()
            && [self.spacing.is_none(), self.extent.is_none(), self.steps.is_none()]
                .iter()
                .filter(|n| **n)
                .count()
                > 1
        {
            faults.add("spacing", "found one of `spacing`, `extent` and `steps`, wanted two");
        }
        let both = |v: Option<[f64; 2]>| v.map(|v| v[0].min(v[1]));
        positive(&[("spacing", both(self.spacing)), ("extent", both(self.extent))], faults);
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("position", Shape::array(Dtype::F64, &[2])))
    }
}

impl Map for Positions {
    fn apply(&self, cx: &Cx, span: &Span, input: PositionsIn) -> Result<PositionsOut> {
        let all = cx.prepared(&format!("scan.positions {}", cx.stage()), || {
            let all = self.all(cx)?;
            let bytes = 16 * all.len();
            Ok((all, bytes))
        })?;
        let count = input.image.shape()[0];
        let mut out = Vec::with_capacity(2 * count);
        for number in span.start..span.start + count as u64 {
            let found = all.get(number as usize).ok_or_else(|| {
                Error::data(format!("frame {number} has no position, there are {}", all.len()))
                    .help("let the pattern reach further, or leave frames out before")
            })?;
            if !found.iter().all(|x| x.is_finite()) {
                return Err(Error::data(format!("frame {number}: its position is {found:?}")));
            }
            out.extend_from_slice(found);
        }
        Ok(PositionsOut { position: Array::of(&[count, 2], &out)? })
    }
}
declare!(Map, "scan.positions", Kind::Tool, Positions);

impl Positions {
    fn scales(&self) -> [f64; 2] {
        match self.scale {
            None => [1.0; 2],
            Some(Scale::Both(both)) => [both; 2],
            Some(Scale::Each(each)) => each,
        }
    }

    fn all(&self, cx: &Cx) -> Result<Vec<[f64; 2]>> {
        if let Some(model) = self.model {
            let pattern = Pattern {
                model,
                extent: self.extent,
                spacing: self.spacing,
                steps: self.steps,
                offset: self.offset,
                count: self.count,
            };
            return pattern.positions();
        }
        let mut all = self.list.clone();
        if let Some(path) = &self.path {
            let array = cx.read_array(path)?;
            if array.shape().len() != 2 || array.shape()[1] != 2 {
                let found = array.shape();
                return Err(Error::data(format!("`{path}` has the shape {found:?}, wanted [n, 2]")));
            }
            all = array.to_f64()?.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
        }
        if let (Some(slow), Some(fast)) = (&self.slow, &self.fast) {
            let (y, x) = (cx.read_array(slow)?.to_f64()?, cx.read_array(fast)?.to_f64()?);
            all = if y.len() == x.len() {
                y.into_iter().zip(x).map(|(y, x)| [y, x]).collect()
            } else {
                y.iter().flat_map(|y| x.iter().map(|x| [*y, *x])).collect()
            };
        }
        if self.list.is_empty() {
            let [y, x] = self.scales();
            all.iter_mut().for_each(|p| *p = [p[0] * y, p[1] * x]);
        }
        all.truncate(self.count.unwrap_or(usize::MAX));
        Ok(all.into_iter().map(|[y, x]| [y + self.offset, x + self.offset]).collect())
    }
}
