//! Radial Fourier series: the symmetry of rings of the diffraction pattern.

use isard_core::prelude::*;
use isard_core::schemars;
use num_complex::Complex64;

use crate::reduce::detect::{load_scan, save_scan};
use crate::reduce::engine::Engine;
use crate::reduce::frames::{Once, Size, at_least};
use crate::reduce::maps::{Values, each_plane, nothing};
use crate::source::scan_of;

/// Fourier series of rings around the centre, as maps over the scan.
///
/// `c[bin, n] = sum of image exp(i n phi)` over the pixels of a ring, with `phi = atan2(dy, dx)`. Bins are hard, from one
/// edge on and below the next, or with `soft` shared between neighbours; the two differ where rings are thin. Points
/// without a frame are NaN.
///
/// Takes all frames and gives one set of maps. In double precision; two products for each coefficient.
///
/// Source: the Fourier series of a function of an angle.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Radial {
    /// The radii between which bins lie, from the innermost on.
    #[schemars(extend("x-unit" = "pixel"))]
    edges: Vec<f64>,
    /// How many orders, from 0 on.
    #[serde(default = "seven")]
    #[schemars(range(min = 1, max = 64))]
    orders: usize,
    /// Pixels at an edge are shared between the bins at both sides.
    #[serde(default)]
    soft: bool,
    /// The centre of the rings, `[y, x]`; else the middle of the detector.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    centre: Option<[f64; 2]>,
    /// Lines and points of the scan; else those of `axes`.
    #[serde(default)]
    scan: Option<[usize; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    ready: Once<([usize; 2], Dtype), Engine>,
}

fn seven() -> usize {
    7
}

/// Frames of a scan.
#[derive(Ports)]
pub struct RadialIn {
    /// Diffraction patterns.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What the source says of the axes; `scan` is taken from it.
    #[port(fixed)]
    axes: Option<Dict>,
}

/// Maps over the scan.
#[derive(Ports)]
pub struct RadialOut {
    /// The coefficients.
    #[port(dtype = "c64", axes = "bin order y x")]
    coefficient: Array,
    /// Their magnitudes.
    #[port(dtype = "f64", axes = "bin order y x")]
    magnitude: Array,
    /// The angles of their maxima: `arg c / n`; 0 for order 0.
    #[port(dtype = "f64", axes = "bin order y x", unit = "rad")]
    angle: Array,
    /// The order above 0 of the largest magnitude; 0 where there is no frame.
    #[port(dtype = "u8", axes = "bin y x")]
    dominant: Array,
    /// Where a frame came: 1, else 0.
    #[port(dtype = "u8", axes = "y x")]
    valid: Array,
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct RadialPart {
    values: Values,
    scan: Option<[usize; 2]>,
}

impl Stage for Radial {
    type In = RadialIn;
    type Out = RadialOut;

    fn example() -> Example {
        let frames: Vec<u16> = (0..6 * 20).map(|i| (i * 7 % 23) as u16).collect();
        Example::new("edges = [0.0, 1.0, 2.5]\norders = 3\nscan = [2, 3]")
            .frames("image", Array::of(&[6, 4, 5], &frames).expect("six frames of 20 pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.edges.len() < 2 || !self.edges.is_sorted_by(|a, b| a < b) || !at_least(self.edges[0], 0.0) {
            faults
                .add("edges", format!("are {:?}, wanted two or more that grow from 0 or above", self.edges));
        }
        if !(1..=64).contains(&self.orders) {
            faults.add("orders", format!("is {}, wanted 1 to 64", self.orders));
        }
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>());
        let masks = 2 * self.edges.len() * self.orders;
        Cost {
            memory: (masks * (pixels * 8 + 8 * input.records().unwrap_or(0) as usize)) as u64,
            seconds_per_record: (pixels * masks) as f64 * 3e-10,
            ..Cost::default()
        }
    }
}

impl Radial {
    fn engine(&self, size: Size, dtype: Dtype) -> Engine {
        let [cy, cx] = self.centre.unwrap_or(size.centre());
        let mut masks = vec![];
        for edges in self.edges.windows(2) {
            let (middle, width) = ((edges[0] + edges[1]) / 2.0, edges[1] - edges[0]);
            for order in 0..self.orders {
                let (mut real, mut imaginary) = (vec![0.0; size.pixels()], vec![0.0; size.pixels()]);
                for (i, (real, imaginary)) in real.iter_mut().zip(&mut imaginary).enumerate() {
                    let (dy, dx) = ((i / size.columns) as f64 - cy, (i % size.columns) as f64 - cx);
                    let r = dy.hypot(dx);
                    let weight = match self.soft {
                        true if edges[0] < 0.5 && r < middle => 1.0,
                        true => (width / 2.0 + 0.5 - (r - middle).abs()).clamp(0.0, 1.0),
                        false => f64::from(u8::from(r >= edges[0] && r < edges[1])),
                    };
                    if weight > 0.0 {
                        let (sin, cos) = (order as f64 * dy.atan2(dx)).sin_cos();
                        (*real, *imaginary) = (weight * cos, weight * sin);
                    }
                }
                masks.extend([(real, 0.0), (imaginary, 0.0)]);
            }
        }
        Engine::new(size, dtype, masks, true)
    }

    fn maps(&self, part: &RadialPart) -> Result<RadialOut> {
        let scan = part.scan.ok_or_else(nothing)?;
        let (planes, valid) = part.values.planes(scan)?;
        let planes = each_plane(&planes)?;
        let (bins, orders) = (self.edges.len() - 1, self.orders);
        if planes.len() != 2 * bins * orders {
            return Err(Error::internal("coefficients are not as many as bins and orders"));
        }
        let all: Vec<Complex64> = planes
            .chunks_exact(2)
            .flat_map(|p| p[0].iter().zip(p[1]).map(|(re, im)| Complex64::new(*re, *im)))
            .collect();
        let points = scan[0] * scan[1];
        let magnitude: Vec<f64> = all.iter().map(|c| c.norm()).collect();
        let angle: Vec<f64> = all
            .iter()
            .enumerate()
            .map(|(i, c)| match i / points % orders {
                0 => 0.0,
                n => c.arg() / n as f64,
            })
            .collect();
        let mut dominant = vec![0u8; bins * points];
        for (i, dominant) in dominant.iter_mut().enumerate() {
            let (bin, point) = (i / points, i % points);
            let of = |n: &usize| magnitude[(bin * orders + n) * points + point];
            // The first of equal ones.
            let best = (1..orders).rev().filter(|n| of(n) > 0.0).max_by(|a, b| of(a).total_cmp(&of(b)));
            *dominant = best.unwrap_or(0) as u8;
        }
        let shape = [bins, orders, scan[0], scan[1]];
        Ok(RadialOut {
            coefficient: Array::of(&shape, &all)?,
            magnitude: Array::of(&shape, &magnitude)?,
            angle: Array::of(&shape, &angle)?,
            dominant: Array::of(&[bins, scan[0], scan[1]], &dominant)?,
            valid: Array::of(&scan, &valid)?,
        })
    }
}

impl Reduce for Radial {
    type Part = RadialPart;

    fn part(&self, _: &Cx) -> Result<RadialPart> {
        Ok(RadialPart::default())
    }

    fn add(&self, cx: &Cx, part: &mut RadialPart, span: &Span, input: RadialIn) -> Result<()> {
        let size = Size::of(&input.image)?;
        let dtype = input.image.dtype();
        let engine = self.ready.get(([size.rows, size.columns], dtype), || Ok(self.engine(size, dtype)))?;
        if part.scan.is_none() {
            part.scan = Some(scan_of(self.scan, input.axes.as_ref())?);
        }
        let values = engine.run(cx, &input.image, size)?;
        part.values.push(span.start, engine.masks(), &values)
    }

    fn merge(&self, _: &Cx, part: &mut RadialPart, later: RadialPart) -> Result<()> {
        part.scan = part.scan.or(later.scan);
        part.values.merge(later.values)
    }

    fn peek(&self, _: &Cx, part: &RadialPart) -> Result<Option<RadialOut>> {
        if part.values.is_empty() { Ok(None) } else { self.maps(part).map(Some) }
    }

    fn finish(&self, _: &Cx, part: RadialPart) -> Result<RadialOut> {
        self.maps(&part)
    }

    fn save(&self, part: &RadialPart) -> Result<Dict> {
        Ok(save_scan(part.values.save(), part.scan))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<RadialPart> {
        Ok(RadialPart { values: Values::load(&state)?, scan: load_scan(&state)? })
    }
}
declare!(Reduce, "stem.radial", Kind::Reducer, Radial);
