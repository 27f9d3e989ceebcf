//! `dct.thin`: one frame of many.

use isard_core::prelude::*;

/// Keeps one frame of many.
///
/// For what changes slowly and is as large as the data: the backgrounds of `dct.background`. Frames whose number is no
/// multiple of `every` are left out as skipped. Keeps the order; costs nothing.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Thin {
    /// From one frame that is kept to the next.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    every: u64,
}

fn fifty() -> u64 {
    50
}

/// The input of [`Thin`].
#[derive(Ports)]
pub struct ThinIn {
    /// Frames.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

/// The output of [`Thin`].
#[derive(Ports)]
pub struct ThinOut {
    /// Every so many-th frame.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

impl Stage for Thin {
    type In = ThinIn;
    type Out = ThinOut;

    fn example() -> Example {
        let frames = Array::of(&[5, 1, 2], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        Example::new("every = 2").frames("image", frames.expect("ten pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.every == 0 {
            faults.add("every", "found 0, wanted 1 or more");
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("image", input.get("image")))
    }
}

impl Map for Thin {
    fn apply(&self, cx: &Cx, span: &Span, input: ThinIn) -> Result<ThinOut> {
        for frame in span.range().filter(|n| n % self.every.max(1) != 0) {
            cx.give_up(frame, Reason::Skipped, "only every so many-th frame is kept");
        }
        Ok(ThinOut { image: input.image })
    }
}
declare!(Map, "dct.thin", Kind::Reducer, Thin);

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn frames_between_are_skipped() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "thin");
        let image = Array::of(&[7, 1, 1], &[3u16; 7]).unwrap();
        Thin { every: 5 }.apply(&cx, &Span::frames(8, 7), ThinIn { image }).unwrap();
        // Of frames 8 to 14 frame 10 is kept.
        let gone: Vec<u64> = cx.take_gaps().iter().map(|g| g.span.start).collect();
        assert_eq!(gone, [8, 9, 11, 12, 13, 14]);
    }
}
