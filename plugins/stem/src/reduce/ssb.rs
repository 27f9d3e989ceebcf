//! Single-side-band ptychography, frame by frame.

use isard_core::prelude::*;
use isard_core::schemars;
use num_complex::Complex64;

use crate::reduce::detect::{load_scan, save_scan};
use crate::reduce::fft::fft2;
use crate::reduce::field::orientation;
use crate::reduce::frames::{Once, Size, above, complex};
use crate::reduce::maps::{inside, nothing};
use crate::source::scan_of;

/// Single-side-band ptychography: the phase of a thin object, live.
///
/// Each scan frequency `Q` shifts the bright-field disk to both sides; where the disk meets one of the two shifted ones and not
/// the other, the frame is summed: `W = (P / sum P - N / sum N) / 2`. These sums, Fourier transformed over the scan, are the
/// transform of the object, to which each frame adds as it comes. `rotation`, `flip` and `transpose` are those of
/// `stem.com`. Half of the frequencies are summed, the others follow from them.
///
/// Takes all frames and gives one set of maps; frames that did not come count as zeros. For a scan of `n` points about
/// `n / 2` sparse masks of some hundred pixels for each frame.
///
/// Source: T. J. Pennycook et al., Ultramicroscopy 151 (2015) 160; A. Strauch et al., Microsc. Microanal. 27 (2021) 1078.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ssb {
    /// The acceleration voltage.
    #[schemars(range(min = 1.0), extend("x-unit" = "V"))]
    voltage: f64,
    /// The semiconvergence angle of the probe.
    #[schemars(range(min = 0.0), extend("x-unit" = "rad"))]
    semiangle: f64,
    /// The radius of the bright-field disk.
    #[schemars(range(min = 0.0), extend("x-unit" = "pixel"))]
    radius: f64,
    /// The step of the scan along y and x.
    #[schemars(extend("x-unit" = "m"))]
    step: [f64; 2],
    /// The centre of the bright-field disk, `[y, x]`; else the middle of the detector.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    centre: Option<[f64; 2]>,
    /// Turns shifts on the detector clockwise on screen into the scan's frame.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    rotation: f64,
    /// Flips the y component of shifts before they are turned.
    #[serde(default)]
    flip: bool,
    /// Swaps the components of shifts before they are turned.
    #[serde(default)]
    transpose: bool,
    /// Frequencies with a smaller overlap than so many pixels are left out.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0), extend("x-unit" = "pixel"))]
    cutoff: f64,
    /// Lines and points of the scan; else those of `axes`.
    #[serde(default)]
    scan: Option<[usize; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    ready: Once<([usize; 2], [usize; 2]), Trotters>,
}

fn one() -> f64 {
    1.0
}

/// Frames of a scan.
#[derive(Ports)]
pub struct SsbIn {
    /// Diffraction patterns.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What the source says of the axes; `scan` is taken from it.
    #[port(fixed)]
    axes: Option<Dict>,
}

/// The object over the scan.
#[derive(Ports)]
pub struct SsbOut {
    /// The phase of the object.
    #[port(dtype = "f64", axes = "y x", unit = "rad")]
    phase: Array,
    /// The amplitude: the root of the magnitude of what was summed.
    #[port(dtype = "f64", axes = "y x")]
    amplitude: Array,
    /// What was summed, transformed back.
    #[port(dtype = "c64", axes = "y x")]
    object: Array,
    /// The centre that was used, y and x.
    #[port(dtype = "f64", axes = "c", unit = "pixel")]
    centre: Array,
    /// How many frames came.
    #[port(unit = "count")]
    frames: i64,
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct SsbPart {
    scan: Option<[usize; 2]>,
    centre: [f64; 2],
    frames: u64,
    /// Sums of the frequencies 0 to half along y, all along x.
    sums: Vec<Complex64>,
}

/// Sparse masks of all frequencies.
struct Trotters {
    /// The pixels of the bright-field disk.
    pixels: Vec<u32>,
    /// Where the entries of each frequency end.
    ends: Vec<u32>,
    /// Places in `pixels`, and weights.
    entries: Vec<(u32, f64)>,
    /// Roots of unity along y and x.
    waves: [Vec<Complex64>; 2],
    centre: [f64; 2],
}

/// The wavelength of electrons of a voltage, in metres.
pub(crate) fn wavelength(voltage: f64) -> f64 {
    // CODATA 2018: h c and m0 c^2 in eV.
    const HC: f64 = 1.239_841_984_332_002_6e-6;
    const REST: f64 = 510_998.950_00;
    HC / (voltage * (voltage + 2.0 * REST)).sqrt()
}

impl Ssb {
    fn trotters(&self, size: Size, scan: [usize; 2]) -> Trotters {
        let centre = self.centre.unwrap_or(size.centre());
        let scale = self.semiangle.sin() / (wavelength(self.voltage) * self.radius);
        let m = orientation(self.rotation, self.flip, self.transpose);
        let aperture = |i: usize, shift: [f64; 2]| {
            let y = (i / size.columns) as f64 - centre[0] - shift[0];
            let x = (i % size.columns) as f64 - centre[1] - shift[1];
            (self.radius + 0.5 - y.hypot(x)).clamp(0.0, 1.0)
        };
        let pixels: Vec<u32> =
            (0..size.pixels()).filter(|i| aperture(*i, [0.0; 2]) > 0.0).map(|i| i as u32).collect();
        let (mut ends, mut entries) = (vec![], vec![]);
        let own: Vec<f64> = pixels.iter().map(|i| aperture(*i as usize, [0.0; 2])).collect();
        for qy in 0..=scan[0] / 2 {
            for qx in 0..scan[1] {
                let frequency = |q: usize, n: usize, step: f64| {
                    let q = if 2 * q > n { q as f64 - n as f64 } else { q as f64 };
                    q / (n as f64 * step)
                };
                let q = [frequency(qy, scan[0], self.step[0]), frequency(qx, scan[1], self.step[1])];
                // Backwards: from the scan to the detector.
                let s = [0, 1].map(|j| (q[0] * m[0][j] + q[1] * m[1][j]) / scale);
                let one_side = |sign: f64| -> Vec<f64> {
                    let there = [sign * s[0], sign * s[1]];
                    let back = [-there[0], -there[1]];
                    let overlap = |(i, a): (&u32, &f64)| match aperture(*i as usize, back) {
                        0.0 => a * aperture(*i as usize, there),
                        _ => 0.0,
                    };
                    pixels.iter().zip(&own).map(overlap).collect()
                };
                if qy == 0 && qx == 0 {
                    let sum: f64 = own.iter().sum();
                    entries.extend(own.iter().enumerate().map(|(k, a)| (k as u32, a / sum)));
                } else if s[0].hypot(s[1]) <= 2.0 * self.radius {
                    let (p, n) = (one_side(1.0), one_side(-1.0));
                    let (sp, sn) = (p.iter().sum::<f64>(), n.iter().sum::<f64>());
                    if sp >= self.cutoff && sn >= self.cutoff && sp > 0.0 && sn > 0.0 {
                        let weights = p.iter().zip(&n).map(|(p, n)| (p / sp - n / sn) / 2.0);
                        entries.extend(
                            weights.enumerate().filter(|(_, w)| *w != 0.0).map(|(k, w)| (k as u32, w)),
                        );
                    }
                }
                ends.push(entries.len() as u32);
            }
        }
        let waves = scan
            .map(|n| (0..n).map(|k| Complex64::cis(-std::f64::consts::TAU * k as f64 / n as f64)).collect());
        Trotters { pixels, ends, entries, waves, centre }
    }

    fn maps(part: &SsbPart) -> Result<SsbOut> {
        let scan = part.scan.ok_or_else(nothing)?;
        let [rows, columns] = scan;
        let mut all = vec![Complex64::default(); rows * columns];
        all[..part.sums.len()].copy_from_slice(&part.sums);
        for qy in rows / 2 + 1..rows {
            for qx in 0..columns {
                let twin = (rows - qy) * columns + (columns - qx) % columns;
                all[qy * columns + qx] = -part.sums[twin].conj();
            }
        }
        fft2(&mut all, scan, true);
        let n = (rows * columns) as f64;
        all.iter_mut().for_each(|c| *c /= n);
        let phase: Vec<f64> = all.iter().map(|c| c.arg()).collect();
        let amplitude: Vec<f64> = all.iter().map(|c| c.norm().sqrt()).collect();
        Ok(SsbOut {
            phase: Array::of(&scan, &phase)?,
            amplitude: Array::of(&scan, &amplitude)?,
            object: Array::of(&scan, &all)?,
            centre: Array::from_slice(&part.centre),
            frames: part.frames as i64,
        })
    }
}

impl Trotters {
    /// Adds one frame at a point of the scan.
    fn add<T: Copy>(
        &self,
        frame: &[T],
        value: impl Fn(T) -> f64,
        point: usize,
        [rows, columns]: [usize; 2],
        sums: &mut [Complex64],
    ) {
        let seen: Vec<f64> = self.pixels.iter().map(|i| value(frame[*i as usize])).collect();
        let (y, x) = (point / columns, point % columns);
        let mut from = 0;
        for (q, (end, sum)) in self.ends.iter().zip(sums).enumerate() {
            let entries = &self.entries[from as usize..*end as usize];
            from = *end;
            if entries.is_empty() {
                continue;
            }
            let amount: f64 = entries.iter().map(|(k, w)| seen[*k as usize] * w).sum();
            let (qy, qx) = (q / columns, q % columns);
            *sum += self.waves[0][qy * y % rows] * self.waves[1][qx * x % columns] * amount;
        }
    }
}

impl Stage for Ssb {
    type In = SsbIn;
    type Out = SsbOut;

    fn example() -> Example {
        let frames: Vec<u16> = (0..12 * 144).map(|i| (i * 7 % 23) as u16).collect();
        Example::new(
            "voltage = 80e3\nsemiangle = 0.02\nradius = 3.0\nstep = [3.5e-11, 3.5e-11]\nscan = [3, 4]",
        )
        .frames("image", Array::of(&[12, 12, 12], &frames).expect("twelve frames of 12 x 12"))
    }

    fn check(&self, faults: &mut Faults) {
        for (name, value) in
            [("semiangle", self.semiangle), ("radius", self.radius), ("voltage", self.voltage)]
        {
            if !(value > 0.0 && value.is_finite()) {
                faults.add(name, format!("is {value}, wanted a number above 0"));
            }
        }
        if self.step.iter().any(|s| !above(*s, 0.0)) {
            faults.add("step", format!("is {:?}, wanted two lengths above 0", self.step));
        }
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let Some(scan) = self.scan else { return Ok(Shapes::default()) };
        Ok(Shapes::default()
            .with("phase", Shape::array(Dtype::F64, &scan))
            .with("amplitude", Shape::array(Dtype::F64, &scan))
            .with("object", Shape::array(Dtype::C64, &scan)))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let points = self.scan.map_or(input.records().unwrap_or(0) as usize, |[y, x]| y * x) as f64;
        // Overlaps are about the area of the disk where there are any.
        let entries = points / 2.0 * self.radius * self.radius;
        Cost { memory: (entries * 16.0) as u64, seconds_per_record: entries * 1e-9, ..Cost::default() }
    }
}

impl Reduce for Ssb {
    type Part = SsbPart;

    fn part(&self, _: &Cx) -> Result<SsbPart> {
        Ok(SsbPart::default())
    }

    fn add(&self, cx: &Cx, part: &mut SsbPart, span: &Span, input: SsbIn) -> Result<()> {
        let size = Size::of(&input.image)?;
        let scan = match part.scan {
            Some(scan) => scan,
            None => scan_of(self.scan, input.axes.as_ref())?,
        };
        let key = ([size.rows, size.columns], scan);
        let trotters = self.ready.get(key, || Ok(self.trotters(size, scan)))?;
        if part.scan.is_none() {
            (part.scan, part.centre) = (Some(scan), trotters.centre);
            part.sums = vec![Complex64::default(); trotters.ends.len()];
        }
        isard_core::dispatch!(input.image.dtype(), T => {
            use crate::reduce::engine::AsDouble;
            let all = input.image.as_slice::<T>()?;
            for (frame, number) in all.chunks_exact(size.pixels()).zip(span.start..) {
                cx.check()?;
                trotters.add(frame, |x: T| x.double(), inside(number, scan)?, scan, &mut part.sums);
            }
        }, complex => return complex());
        part.frames += size.n as u64;
        Ok(())
    }

    fn merge(&self, _: &Cx, part: &mut SsbPart, later: SsbPart) -> Result<()> {
        if later.scan.is_none() {
            return Ok(());
        }
        if part.scan.is_none() {
            *part = later;
            return Ok(());
        }
        part.frames += later.frames;
        part.sums.iter_mut().zip(&later.sums).for_each(|(a, b)| *a += b);
        Ok(())
    }

    fn peek(&self, _: &Cx, part: &SsbPart) -> Result<Option<SsbOut>> {
        if part.scan.is_none() { Ok(None) } else { Ssb::maps(part).map(Some) }
    }

    fn finish(&self, _: &Cx, part: SsbPart) -> Result<SsbOut> {
        Ssb::maps(&part)
    }

    fn save(&self, part: &SsbPart) -> Result<Dict> {
        Ok(save_scan(Dict::new(), part.scan)
            .with("centre", Array::from_slice(&part.centre))
            .with("frames", part.frames as i64)
            .with("sums", Array::from_slice(&part.sums)))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<SsbPart> {
        let array = |key: &str| match state.need(key)? {
            Value::Array(a) => Ok(a.clone()),
            other => Err(Error::data(format!("kept `{key}` is {}", other.describe()))),
        };
        let centre = array("centre")?.to_f64()?;
        Ok(SsbPart {
            scan: load_scan(&state)?,
            centre: [centre[0], centre[1]],
            frames: state.need("frames")?.number().unwrap_or(0.0) as u64,
            sums: array("sums")?.as_slice::<Complex64>()?.to_vec(),
        })
    }
}
declare!(Reduce, "stem.ssb", Kind::Reducer, Ssb);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wavelengths_of_the_tables() {
        // In picometres, as tables of electron microscopy have them.
        for (kilovolts, wanted) in
            [(60.0, 4.8661), (80.0, 4.1757), (100.0, 3.7014), (200.0, 2.5079), (300.0, 1.9687)]
        {
            let found = wavelength(kilovolts * 1e3) * 1e12;
            assert!((found - wanted).abs() < 5e-5, "{kilovolts} kV: {found}");
        }
    }
}
