//! Patterns with their places, as stages take them.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::scan::{Fast, Point, Rows, Scan};

/// What becomes of a pattern that holds values that are no numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Invalid {
    /// It is an error.
    #[default]
    Error,
    /// It counts as missing.
    Missing,
}

/// Patterns of a scan.
#[derive(Ports)]
pub struct ScanIn {
    /// Patterns [q], or whole lines of the translation [x q].
    #[port(dtype = "number")]
    pub intensity: Array,
    /// The angle of each frame; else it follows from its number.
    #[port(dtype = "number", axes = "", unit = "degree")]
    pub omega: Option<Array>,
    /// The translation of each frame, or [x] of each line; else from its number.
    #[port(dtype = "number")]
    pub x: Option<Array>,
    /// The height of each frame; else it follows from its number.
    #[port(dtype = "number", axes = "")]
    pub z: Option<Array>,
    /// The beam of each frame, by which its pattern is divided.
    #[port(dtype = "number", axes = "")]
    pub monitor: Option<Array>,
    /// The bins of each pattern, where each brings its own; they must be equal.
    #[port(dtype = "number", axes = "q")]
    pub radial: Option<Array>,
    /// The bins of all patterns.
    #[port(fixed, dtype = "number", axes = "q")]
    pub q: Option<Array>,
    /// All positions of the translation.
    #[port(fixed, dtype = "number", axes = "x")]
    pub x_axis: Option<Array>,
    /// All angles.
    #[port(fixed, dtype = "number", axes = "omega", unit = "degree")]
    pub omega_axis: Option<Array>,
    /// All heights.
    #[port(fixed, dtype = "number", axes = "z")]
    pub z_axis: Option<Array>,
}

/// The axes that came with the data: z, omega, x.
pub type Given = [Option<Vec<f64>>; 3];

impl ScanIn {
    /// The axes that came with the data.
    pub fn given(&self) -> Result<Given> {
        let one = |axis: &Option<Array>| axis.as_ref().map(|a| a.to_f64()).transpose();
        Ok([one(&self.z_axis)?, one(&self.omega_axis)?, one(&self.x_axis)?])
    }

    /// Takes the patterns of a span with their places.
    pub fn collect(&self, scan: &Scan, invalid: Invalid, span: &Span) -> Result<Rows> {
        let shape = self.intensity.shape();
        let (frames, line, bins) = match *shape {
            [n, q] => (n, 1, q),
            [n, x, q] => (n, x, q),
            _ => {
                let found = &shape[1.min(shape.len())..];
                return Err(Error::data(format!("{span}: patterns of shape {found:?}, wanted [q] or [x q]")));
            }
        };
        if bins == 0 {
            return Err(Error::data(format!("{span}: patterns without any bin")));
        }
        let mut rows = Rows::default();
        self.bins(span, bins, &mut rows)?;
        let given = self.given()?;
        let places = Places::new(self, scan, &given, span, [frames, line])?;
        let monitor = self.monitor.as_ref().map(|m| m.to_f64()).transpose()?;
        let values = self.intensity.to_f64()?;
        let (mut points, mut data) = (vec![], vec![]);
        for (k, pattern) in values.chunks_exact(bins).enumerate() {
            let (i, c) = (k / line, k % line);
            let frame = span.start + i as u64;
            if let Some(bin) = pattern.iter().position(|v| !v.is_finite()) {
                if invalid == Invalid::Error {
                    let found = pattern[bin];
                    return Err(Error::data(format!("frame {frame}: bin {bin} is {found}, wanted a number"))
                        .help("set `invalid = \"missing\"` to leave such patterns out"));
                }
                rows.unusable += 1;
                continue;
            }
            let monitor = monitor.as_ref().map_or(1.0, |m| m[i]);
            if !(monitor.is_finite() && monitor > 0.0) {
                return Err(Error::data(format!(
                    "frame {frame}: its monitor is {monitor}, wanted more than 0"
                ))
                .help("leave frames without beam out before they come here"));
            }
            points.push(Point { frame, at: places.of(i, c, frame)?, monitor });
            data.extend(pattern.iter().map(|v| *v as f32));
        }
        rows.add(bins, points, data)?;
        Ok(rows)
    }

    /// Checks the bins' positions and keeps them.
    fn bins(&self, span: &Span, bins: usize, rows: &mut Rows) -> Result<()> {
        if let Some(q) = &self.q {
            if q.len() != bins {
                let found = q.len();
                return Err(Error::data(format!("{span}: patterns of {bins} bins, but `q` has {found}"))
                    .help("wire the `q` of the stage that makes the patterns"));
            }
            rows.with_q(span.start, &q.to_f64()?)?;
        }
        if let Some(radial) = &self.radial {
            for (k, q) in radial.to_f64()?.chunks_exact(radial.len() / span.len.max(1) as usize).enumerate() {
                if q.len() != bins {
                    let (frame, found) = (span.start + k as u64, q.len());
                    return Err(Error::data(format!(
                        "frame {frame}: a pattern of {bins} bins, but {found} in `radial`"
                    )));
                }
                rows.with_q(span.start + k as u64, q)?;
            }
        }
        Ok(())
    }
}

/// Where the frames of a chunk were taken.
struct Places<'a> {
    scan: &'a Scan,
    /// Known axes: z, omega, x.
    axes: [Option<crate::scan::Axis>; 3],
    /// What frames say: z, omega, x.
    told: [Option<Vec<f64>>; 3],
    line: usize,
}

impl<'a> Places<'a> {
    fn new(
        input: &ScanIn,
        scan: &'a Scan,
        given: &Given,
        span: &Span,
        [frames, line]: [usize; 2],
    ) -> Result<Places<'a>> {
        let axes = crate::scan::known_axes(scan, given)?;
        let told = |array: &Option<Array>| array.as_ref().map(|a| a.to_f64()).transpose();
        let told = [told(&input.z)?, told(&input.omega)?, told(&input.x)?];
        for (name, values) in ["z", "omega", "x"].into_iter().zip(&told) {
            let Some(values) = values else { continue };
            let wanted = if name == "x" { frames * line } else { frames };
            if values.len() != wanted {
                let found = values.len();
                return Err(Error::data(format!("{span}: {found} values of `{name}`, wanted {wanted}")));
            }
            if let Some(k) = values.iter().position(|v| !v.is_finite()) {
                let frame = span.start + (k * frames / wanted) as u64;
                return Err(Error::data(format!("frame {frame}: its `{name}` is {}", values[k]))
                    .help("every frame needs its place; leave frames without one out"));
            }
        }
        for k in [1, 2] {
            if told[k].is_none() && axes[k].is_none() {
                let name = ["z", "omega", "x"][k];
                return Err(Error::data(format!("nothing says where frames are on the axis `{name}`"))
                    .help(format!("wire the input `{name}`, or set `scan.{name}`")));
            }
        }
        if line > 1 && told[2].is_none() && axes[2].as_ref().is_some_and(|x| x.len() != line) {
            let wanted = axes[2].as_ref().map_or(0, crate::scan::Axis::len);
            return Err(Error::data(format!(
                "{span}: lines of {line} patterns, but `x` has {wanted} positions"
            )));
        }
        Ok(Places { scan, axes, told, line })
    }

    /// Height, angle and translation of pattern `c` of frame `i` of the chunk.
    fn of(&self, i: usize, c: usize, frame: u64) -> Result<[f64; 3]> {
        let mut at = [0.0; 3];
        let numbered = self.by_number(c, frame);
        for (k, at) in at.iter_mut().enumerate() {
            *at = match (&self.told[k], &self.axes[k]) {
                (Some(told), axis) => {
                    let value = told[if k == 2 { i * self.line + c } else { i }];
                    if let Some(axis) = axis {
                        axis.place(value).map_err(|e| e.at(format!("frame {frame}")))?;
                    }
                    value
                }
                (None, Some(axis)) => {
                    let number = numbered[k];
                    *axis.at.get(number).ok_or_else(|| {
                        let (name, n) = (axis.name, axis.len());
                        Error::data(format!("frame {frame} is beyond the scan: `{name}` has {n} positions"))
                            .help("check `scan`, or give frames their places")
                    })?
                }
                (None, None) => 0.0,
            };
        }
        Ok(at)
    }

    /// Numbers on the axes that follow from the number of the frame.
    fn by_number(&self, c: usize, frame: u64) -> [usize; 3] {
        let n = |k: usize| self.axes[k].as_ref().map_or(1, crate::scan::Axis::len).max(1);
        let frame = usize::try_from(frame).unwrap_or(usize::MAX);
        if self.line > 1 {
            let back = self.scan.zigzag && frame % 2 == 1;
            return [frame / n(1), frame % n(1), if back { self.line - 1 - c } else { c }];
        }
        let (slow, fast) = if self.scan.fast == Fast::X { (1, 2) } else { (2, 1) };
        let (lines, along) = (frame / n(fast), frame % n(fast));
        let back = self.scan.zigzag && lines % 2 == 1;
        let mut at = [lines / n(slow), 0, 0];
        at[slow] = lines % n(slow);
        at[fast] = if back { n(fast) - 1 - along } else { along };
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Steps;

    fn bare(frames: usize, intensity: Array) -> (ScanIn, Span) {
        let none = || None;
        let input = ScanIn {
            intensity,
            omega: none(),
            x: none(),
            z: none(),
            monitor: none(),
            radial: none(),
            q: none(),
            x_axis: none(),
            omega_axis: none(),
            z_axis: none(),
        };
        (input, Span::frames(0, frames as u64))
    }

    fn places(scan: &Scan, n: usize) -> Vec<[f64; 2]> {
        let (input, span) = bare(n, Array::of(&[n, 1], &vec![1.0; n]).unwrap());
        let rows = input.collect(scan, Invalid::Error, &span).unwrap();
        rows.points().map(|p| [p.at[1], p.at[2]]).collect()
    }

    #[test]
    fn numbers_say_where_frames_are_there_and_back() {
        let scan = Scan {
            x: Some(Steps { start: 0.0, step: 1.0, n: 3 }),
            omega: Some(Steps { start: 10.0, step: 5.0, n: 2 }),
            ..Scan::default()
        };
        let along = [[10.0, 0.0], [10.0, 1.0], [10.0, 2.0], [15.0, 0.0], [15.0, 1.0], [15.0, 2.0]];
        assert_eq!(places(&scan, 6), along);
        let zigzag = Scan { zigzag: true, ..scan.clone() };
        assert_eq!(places(&zigzag, 6)[3..], [[15.0, 2.0], [15.0, 1.0], [15.0, 0.0]]);
        let turning = Scan { fast: Fast::Omega, ..zigzag };
        assert_eq!(places(&turning, 4), [[10.0, 0.0], [15.0, 0.0], [15.0, 1.0], [10.0, 1.0]]);
        let (input, span) = bare(2, Array::of(&[2, 3, 1], &[1.0; 6]).unwrap());
        let lines = input.collect(&Scan { zigzag: true, ..scan }, Invalid::Error, &span).unwrap();
        assert_eq!(lines.points().map(|p| p.at[2]).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let scan = Scan {
            x: Some(Steps { start: 0.0, step: 1.0, n: 2 }),
            omega: Some(Steps { start: 0.0, step: 5.0, n: 1 }),
            ..Scan::default()
        };
        let said = |scan: &Scan, change: &dyn Fn(&mut ScanIn)| {
            let (mut input, span) = bare(2, Array::of(&[2, 3], &[1.0; 6]).unwrap());
            change(&mut input);
            input.collect(scan, Invalid::Error, &span).unwrap_err().to_string()
        };
        let nan =
            said(&scan, &|i| i.intensity = Array::of(&[2, 3], &[1.0, 1.0, 1.0, 1.0, f64::NAN, 1.0]).unwrap());
        assert!(nan.contains("frame 1: bin 1 is NaN, wanted a number"), "{nan}");
        let outside = said(&scan, &|i| i.x = Some(Array::from_slice(&[0.0, 7.0])));
        assert!(
            outside.contains("frame 1") && outside.contains("its `x` is 7, wanted one of 2"),
            "{outside}"
        );
        let angle = said(&Scan { omega: None, ..scan.clone() }, &|_| ());
        assert!(angle.contains("on the axis `omega`") && angle.contains("scan.omega"), "{angle}");
        let bins = said(&scan, &|i| i.q = Some(Array::from_slice(&[1.0, 2.0])));
        assert!(bins.contains("patterns of 3 bins, but `q` has 2"), "{bins}");
        let uneven = Array::of(&[2, 3], &[1.0, 2.0, 3.0, 1.0, 2.0, 3.1]).unwrap();
        let radial = said(&scan, &|i| i.radial = Some(uneven.clone()));
        assert!(radial.contains("frame 1: bin 2 is at 3.1, wanted 3 as before"), "{radial}");
        let dark = said(&scan, &|i| i.monitor = Some(Array::from_slice(&[1.0, 0.0])));
        assert!(dark.contains("frame 1: its monitor is 0"), "{dark}");
        let lost = said(&scan, &|i| i.omega = Some(Array::from_slice(&[0.0, f64::NAN])));
        assert!(lost.contains("frame 1: its `omega` is NaN"), "{lost}");
        let beyond = said(&Scan { x: Some(Steps { start: 0.0, step: 1.0, n: 1 }), ..scan }, &|i| {
            i.z_axis = Some(Array::from_slice(&[0.0]));
        });
        assert!(beyond.contains("frame 1 is beyond the scan"), "{beyond}");
    }
}
