//! Strain from lattices, as maps over the scan.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::{Values, each_plane, inside, load_scan, nothing, save_scan};
use crate::source::scan_of;

/// Strain of the lattices of frames, as maps over the scan.
///
/// With the reference lattice `G0` (the median over `region`, or `g1` and `g2`) each frame has `B G0 = G`. The `small` form is
/// `exx = 1 - Bxx`, `eyy = 1 - Byy`, `exy = -(Bxy + Byx) / 2`, `theta = (Bxy - Byx) / 2`. The `exact` form takes the deformation of the
/// crystal, the transposed inverse of `B`, apart into a rotation and a stretch `U`: `exx = Uxx - 1`, and so on, with theta
/// of the same sign. `angle` turns the axes of the sample. Points without a lattice are NaN and 0 in `valid`.
///
/// Takes all frames and gives one set of maps. Nothing to speak of for each frame.
///
/// Source: B. H. Savitzky et al., Microsc. Microanal. 27 (2021) 712; the polar decomposition.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Strain {
    /// The region without strain: first line and point, last line and point.
    ///
    /// Both ends are included.
    #[serde(default)]
    region: Option<[usize; 4]>,
    /// The first vector without strain, `[y, x]`, with `g2` in place of a region.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    g1: Option<[f64; 2]>,
    /// The second vector without strain, `[y, x]`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    g2: Option<[f64; 2]>,
    /// How strain is computed.
    #[serde(default)]
    form: Form,
    /// Turns the axes in which strain is given, from x towards y.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    angle: f64,
    /// Lines and points of the scan; else those of `axes`.
    #[serde(default)]
    scan: Option<[usize; 2]>,
}

/// How strain is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// To first order, from the diffraction pattern.
    #[default]
    Small,
    /// From the stretch of the crystal.
    Exact,
}

/// Lattices of frames.
#[derive(Ports)]
pub struct StrainIn {
    /// The first vector, y and x.
    #[port(dtype = "f64", axes = "c", unit = "pixel")]
    g1: Array,
    /// The second vector, y and x.
    #[port(dtype = "f64", axes = "c", unit = "pixel")]
    g2: Array,
    /// What the source says of the axes; `scan` is taken from it.
    #[port(fixed)]
    axes: Option<Dict>,
}

/// Maps over the scan.
#[derive(Ports)]
pub struct StrainOut {
    /// The strain along x.
    #[port(dtype = "f64", axes = "y x")]
    exx: Array,
    /// The strain along y.
    #[port(dtype = "f64", axes = "y x")]
    eyy: Array,
    /// The shear.
    #[port(dtype = "f64", axes = "y x")]
    exy: Array,
    /// The rotation.
    #[port(dtype = "f64", axes = "y x", unit = "rad")]
    theta: Array,
    /// The vectors of each point: which, then y and x.
    #[port(dtype = "f64", axes = "y x g c", unit = "pixel")]
    vectors: Array,
    /// The vectors without strain.
    #[port(dtype = "f64", axes = "g c", unit = "pixel")]
    reference: Array,
    /// Where there is a lattice: 1, else 0.
    #[port(dtype = "u8", axes = "y x")]
    valid: Array,
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct StrainPart {
    values: Values,
    scan: Option<[usize; 2]>,
}

impl Stage for Strain {
    type In = StrainIn;
    type Out = StrainOut;

    fn example() -> Example {
        let g1: Vec<f64> = (0..6).flat_map(|i| [1.5, 19.0 + 0.1 * f64::from(i)]).collect();
        Example::new("region = [0, 0, 0, 1]\nscan = [2, 3]")
            .frames("g1", Array::of(&[6, 2], &g1).expect("six vectors"))
            .frames("g2", Array::of(&[6, 2], &[18.0, -2.5].repeat(6)).expect("six vectors"))
    }

    fn check(&self, faults: &mut Faults) {
        match (self.region, self.g1, self.g2) {
            (Some(_), None, None) | (None, Some(_), Some(_)) | (None, None, None) => {}
            (Some(_), ..) => faults.add("region", "stands beside `g1` or `g2`, wanted one reference"),
            _ => faults.add("g1", "wants `g2` beside it, and the other way round"),
        }
        if self.region.is_some_and(|[a, b, c, d]| c < a || d < b) {
            faults.add("region", "ends before it begins");
        }
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
    }
}

impl Strain {
    fn reference(&self, part: &StrainPart, scan: [usize; 2]) -> Result<[f64; 4]> {
        if let (Some(a), Some(b)) = (self.g1, self.g2) {
            return Ok([a[0], a[1], b[0], b[1]]);
        }
        let [top, left, bottom, right] = self.region.unwrap_or([0, 0, scan[0] - 1, scan[1] - 1]);
        let mut seen: [Vec<f64>; 4] = Default::default();
        for (frame, values) in part.values.frames() {
            let at = inside(frame, scan)?;
            let (y, x) = (at / scan[1], at % scan[1]);
            let within = (top..=bottom).contains(&y) && (left..=right).contains(&x);
            if within && values.iter().all(|v| v.is_finite()) {
                seen.iter_mut().zip(values).for_each(|(s, v)| s.push(*v));
            }
        }
        if seen[0].is_empty() {
            return Err(Error::data(format!(
                "no lattice in lines {top} to {bottom}, points {left} to {right}"
            ))
            .help("choose another `region`, or give `g1` and `g2`"));
        }
        Ok(seen.map(|mut s| {
            s.sort_by(f64::total_cmp);
            (s[(s.len() - 1) / 2] + s[s.len() / 2]) / 2.0
        }))
    }

    /// exx, eyy, exy and theta of a lattice `[g1y, g1x, g2y, g2x]`.
    fn strain(&self, g: &[f64], r: [f64; 4]) -> [f64; 4] {
        // In columns, x first.
        let det = r[1] * r[2] - r[3] * r[0];
        let inverse = [[r[2] / det, -r[3] / det], [-r[0] / det, r[1] / det]];
        let own = [[g[1], g[3]], [g[0], g[2]]];
        let at = |i: usize, j: usize| own[i][0] * inverse[0][j] + own[i][1] * inverse[1][j];
        let (xx, xy, yx, yy) = (at(0, 0), at(0, 1), at(1, 0), at(1, 1));
        let [exx, eyy, exy, theta] = match self.form {
            Form::Small => [1.0 - xx, 1.0 - yy, -(xy + yx) / 2.0, (xy - yx) / 2.0],
            Form::Exact => {
                let det = xx * yy - xy * yx;
                // The transposed inverse.
                let (dxx, dxy, dyx, dyy) = (yy / det, -yx / det, -xy / det, xx / det);
                let turn = (dyx - dxy).atan2(dxx + dyy);
                let (sin, cos) = turn.sin_cos();
                let (uxx, uxy) = (cos * dxx + sin * dyx, cos * dxy + sin * dyy);
                let uyy = cos * dyy - sin * dxy;
                [uxx - 1.0, uyy - 1.0, uxy, -turn]
            }
        };
        let (sin, cos) = self.angle.to_radians().sin_cos();
        [
            cos * cos * exx + 2.0 * sin * cos * exy + sin * sin * eyy,
            sin * sin * exx - 2.0 * sin * cos * exy + cos * cos * eyy,
            sin * cos * (eyy - exx) + (cos * cos - sin * sin) * exy,
            theta,
        ]
    }

    fn maps(&self, part: &StrainPart) -> Result<StrainOut> {
        let scan = part.scan.ok_or_else(nothing)?;
        let reference = self.reference(part, scan)?;
        let (planes, _) = part.values.planes(scan)?;
        let planes = each_plane(&planes)?;
        let points = scan[0] * scan[1];
        let mut maps: [Vec<f64>; 4] = std::array::from_fn(|_| vec![f64::NAN; points]);
        let mut vectors = vec![f64::NAN; 4 * points];
        let mut valid = vec![0u8; points];
        for i in 0..points {
            let g: Vec<f64> = planes.iter().map(|p| p[i]).collect();
            if g.len() != 4 || !g.iter().all(|v| v.is_finite()) {
                continue;
            }
            valid[i] = 1;
            vectors[4 * i..4 * i + 4].copy_from_slice(&g);
            let strain = self.strain(&g, reference);
            maps.iter_mut().zip(strain).for_each(|(map, s)| map[i] = s);
        }
        let [exx, eyy, exy, theta] = maps;
        Ok(StrainOut {
            exx: Array::of(&scan, &exx)?,
            eyy: Array::of(&scan, &eyy)?,
            exy: Array::of(&scan, &exy)?,
            theta: Array::of(&scan, &theta)?,
            vectors: Array::of(&[scan[0], scan[1], 2, 2], &vectors)?,
            reference: Array::of(&[2, 2], &reference)?,
            valid: Array::of(&scan, &valid)?,
        })
    }
}

impl Reduce for Strain {
    type Part = StrainPart;

    fn part(&self, _: &Cx) -> Result<StrainPart> {
        Ok(StrainPart::default())
    }

    fn add(&self, _: &Cx, part: &mut StrainPart, span: &Span, input: StrainIn) -> Result<()> {
        if part.scan.is_none() {
            part.scan = Some(scan_of(self.scan, input.axes.as_ref())?);
        }
        let (a, b) = (input.g1.as_slice::<f64>()?, input.g2.as_slice::<f64>()?);
        let both: Vec<f64> =
            a.chunks_exact(2).zip(b.chunks_exact(2)).flat_map(|(a, b)| [a[0], a[1], b[0], b[1]]).collect();
        part.values.push(span.start, 4, &both)
    }

    fn merge(&self, _: &Cx, part: &mut StrainPart, later: StrainPart) -> Result<()> {
        part.scan = part.scan.or(later.scan);
        part.values.merge(later.values)
    }

    fn peek(&self, _: &Cx, part: &StrainPart) -> Result<Option<StrainOut>> {
        // Before the region was scanned there is no reference.
        match part.scan.map(|scan| self.reference(part, scan)) {
            Some(Ok(_)) => self.maps(part).map(Some),
            _ => Ok(None),
        }
    }

    fn finish(&self, _: &Cx, part: StrainPart) -> Result<StrainOut> {
        self.maps(&part)
    }

    fn save(&self, part: &StrainPart) -> Result<Dict> {
        Ok(save_scan(part.values.save(), part.scan))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<StrainPart> {
        Ok(StrainPart { values: Values::load(&state)?, scan: load_scan(&state)? })
    }
}
declare!(Reduce, "stem.strain", Kind::Reducer, Strain);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(form: &str, angle: f64) -> Strain {
        serde_json::from_value(serde_json::json!({ "form": form, "angle": angle })).unwrap()
    }

    #[test]
    fn a_stretched_and_turned_crystal_by_hand() {
        let r = [1.5, 19.0, 18.0, -2.5];
        // The crystal is 2 % longer along x, so the pattern is narrower by that factor.
        let g = [r[0], r[1] / 1.02, r[2], r[3] / 1.02];
        let [exx, eyy, exy, theta] = of("exact", 0.0).strain(&g, r);
        assert!((exx - 0.02).abs() < 1e-12 && eyy.abs() < 1e-12 && exy.abs() < 1e-12 && theta.abs() < 1e-12);
        let small = of("small", 0.0).strain(&g, r);
        assert!((small[0] - (1.0 - 1.0 / 1.02)).abs() < 1e-12);
        // Axes turned by 90 degrees: what was x is y.
        let turned = of("exact", 90.0).strain(&g, r);
        assert!(turned[0].abs() < 1e-12 && (turned[1] - 0.02).abs() < 1e-12);
        // Turned from x to y by 0.01: theta is minus that in both forms.
        let (sin, cos) = 0.01f64.sin_cos();
        let turn = |y: f64, x: f64| [cos * y + sin * x, cos * x - sin * y];
        let (a, b) = (turn(r[0], r[1]), turn(r[2], r[3]));
        for form in ["small", "exact"] {
            let found = of(form, 0.0).strain(&[a[0], a[1], b[0], b[1]], r);
            assert!((found[3] + 0.01).abs() < 1e-6 && found[0].abs() < 1e-4, "{form}: {found:?}");
        }
    }
}
