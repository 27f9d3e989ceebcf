//! `dct.omega`: the angle of each frame by its number.

use isard_core::prelude::*;

/// Gives each frame its angle, from the first and the step of the turn.
///
/// For scans whose files hold no motor positions; where they do, a column of the source is right. The angle of frame k is
/// `start + k * step`, whichever frames arrive and in whatever order; it may fall, and pass 360.
///
/// Changes neither order nor count; costs nothing.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Omega {
    /// The angle of frame 0.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    start: f64,
    /// From one frame to the next; negative for a turn the other way.
    #[schemars(extend("x-unit" = "degree"))]
    step: f64,
}

/// The input of [`Omega`].
#[derive(Ports)]
pub struct OmegaIn {
    /// Frames, of which only the numbers count.
    #[port(dtype = "any")]
    image: Array,
}

/// The output of [`Omega`].
#[derive(Ports)]
pub struct OmegaOut {
    /// The angle of each frame.
    #[port(dtype = "f64", axes = "", unit = "degree")]
    omega: Array,
}

impl Stage for Omega {
    type In = OmegaIn;
    type Out = OmegaOut;

    fn example() -> Example {
        let frames = Array::of(&[4, 1, 2], &[1u16, 2, 3, 4, 5, 6, 7, 8]).expect("eight pixels");
        Example::new("start = 90.0\nstep = -0.1").frames("image", frames)
    }

    fn check(&self, faults: &mut Faults) {
        if !self.start.is_finite() {
            faults.add("start", format!("found {}, wanted an angle", self.start));
        }
        if !self.step.is_finite() || self.step == 0.0 {
            faults.add("step", format!("found {}, wanted an angle other than 0", self.step));
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("omega", Shape::array(Dtype::F64, &[])))
    }
}

impl Map for Omega {
    fn apply(&self, _: &Cx, span: &Span, _: OmegaIn) -> Result<OmegaOut> {
        let all: Vec<f64> = span.range().map(|k| self.start + k as f64 * self.step).collect();
        Ok(OmegaOut { omega: Array::from_slice(&all) })
    }
}
declare!(Map, "dct.omega", Kind::Reducer, Omega);

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn angles_follow_the_numbers_of_frames() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "omega");
        let image = Array::of(&[3, 1, 1], &[0u16; 3]).unwrap();
        let omega = Omega { start: 359.0, step: 0.5 };
        let out = omega.apply(&cx, &Span::frames(4, 3), OmegaIn { image }).unwrap();
        assert_eq!(out.omega.as_slice::<f64>().unwrap(), [361.0, 361.5, 362.0]);
    }
}
