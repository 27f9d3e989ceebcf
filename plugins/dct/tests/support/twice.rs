//! A source some of whose frames come twice, one of them with another content.

use isard_core::prelude::*;

/// Plays six frames; frames 1 and 3 come twice, frame 3 with another content.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Twice {
    #[serde(skip)]
    #[schemars(skip)]
    at: usize,
}

/// What a frame of [`Twice`] holds.
#[derive(Ports)]
pub struct Frame {
    /// Pixels: the number of the frame.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    image: Array,
}

/// Frames in the order they come, and their pixels.
const ORDER: [(u64, u16); 8] = [(0, 0), (1, 1), (2, 2), (3, 3), (1, 1), (4, 4), (3, 30), (5, 5)];

impl Stage for Twice {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        Example::new("")
    }
}

impl Source for Twice {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        self.at = 0;
        let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[8, 8]));
        Ok(Opened { frames: Some(6), head: Dict::new(), shapes, live: false, scan: vec![] })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let Some((number, pixel)) = ORDER.get(self.at).copied() else { return Ok(Pull::End) };
        self.at += 1;
        slots.put(number, Frame { image: Array::of(&[1, 8, 8], &[pixel; 64])? })?;
        Ok(Pull::Ready)
    }
}
declare!(Source, "toy.twice", Kind::Simulator, Twice);
