//! Sources, maps and reductions of images.

use super::*;

/// Plays powder rings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Simulate {
    /// Frames in a second.
    #[serde(default = "rate")]
    #[schemars(extend("x-unit" = "Hz", "x-shared" = "scan.rate"), range(min = 0.001, max = 100000.0))]
    pub rate: f64,
    /// How many frames there are.
    #[schemars(range(min = 1))]
    pub frames: u32,
}

fn rate() -> f64 {
    10.0
}

impl Stage for Simulate {
    type In = ();
    type Out = Image;
    fn example() -> Example {
        Example::new("frames = 3")
    }
}

impl Source for Simulate {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        Ok(Opened { frames: Some(self.frames.into()), ..Opened::default() })
    }
    fn pull(&mut self, _: &Cx, _: &mut Slots<Image>) -> Result<Pull> {
        Ok(Pull::End)
    }
}

/// What a motor says.
#[derive(Ports)]
pub struct Angle {
    /// The angle.
    #[port(dtype = "f64", axes = "", unit = "deg")]
    pub angle: Array,
    /// When it was read.
    #[port(dtype = "f64", axes = "", unit = "s")]
    pub time: Array,
}

/// Reads files.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// The file, or a pattern for many.
    #[schemars(extend("x-path" = "input"))]
    pub path: String,
}

impl Stage for Sequence {
    type In = ();
    type Out = Angle;
    fn example() -> Example {
        Example::new("path = \"motor.csv\"")
    }
}

impl Source for Sequence {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        Ok(Opened::default())
    }
    fn pull(&mut self, _: &Cx, _: &mut Slots<Angle>) -> Result<Pull> {
        Ok(Pull::End)
    }
}

/// What a mask does to pixels.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Sets them to zero.
    #[default]
    Zero,
    /// Sets them to what is around.
    Fill,
}

/// The area that counts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "shape", rename_all = "lowercase", deny_unknown_fields)]
pub enum Area {
    /// A disc.
    Disc {
        /// Its radius.
        #[schemars(extend("x-unit" = "pixel"), range(min = 1.0))]
        radius: f64,
    },
    /// A rectangle.
    Box {
        /// First row, first column, rows, columns.
        corners: [u32; 4],
    },
}

/// An image and a mask.
#[derive(Ports)]
pub struct Masked {
    /// The image.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    pub image: Array,
    /// Pixels to leave out.
    #[port(dtype = "u8", axes = "y x", fixed)]
    pub mask: Option<Array>,
}

/// Masks pixels.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Pixels below this are masked.
    #[serde(default)]
    pub below: Option<f64>,
    /// Pixels above this are masked.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub threshold: Option<f64>,
    /// What happens to masked pixels.
    #[serde(default)]
    pub mode: Mode,
    /// The area that counts.
    #[serde(default)]
    pub area: Option<Area>,
    /// Rings to leave out, by their radius.
    #[serde(default)]
    #[schemars(length(max = 3))]
    pub rings: Vec<f64>,
}

impl Stage for Mask {
    type In = Masked;
    type Out = Image;
    fn example() -> Example {
        Example::new("below = 0")
    }
    fn check(&self, faults: &mut Faults) {
        if let (Some(below), Some(above)) = (self.below, self.threshold)
            && below >= above
        {
            faults.add_with_help(
                "below",
                format!("found {below}, wanted less than `threshold`, {above}"),
                "swap them",
            );
        }
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("image", input.get("image")))
    }
}

impl Map for Mask {
    fn apply(&self, _: &Cx, _: &Span, input: Masked) -> Result<Image> {
        Ok(Image { image: input.image })
    }
}

/// An image and a dark image.
#[derive(Ports)]
pub struct WithDark {
    /// The image.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    pub image: Array,
    /// The image without beam.
    #[port(dtype = "number", axes = "y x", fixed)]
    pub dark: Array,
}

/// Takes a dark image off.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subtract {}

impl Stage for Subtract {
    type In = WithDark;
    type Out = Image;
    fn example() -> Example {
        Example::new("")
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let (image, dark) = (input.get("image"), input.get("dark"));
        if let (Some(a), Some(b)) = (&image.dims, &dark.dims)
            && a != b
        {
            return Err(Error::data(format!("the dark image has shape {b:?}, the images {a:?}")));
        }
        Ok(Shapes::default().with("image", image))
    }
}

impl Map for Subtract {
    fn apply(&self, _: &Cx, _: &Span, input: WithDark) -> Result<Image> {
        Ok(Image { image: input.image })
    }
}

/// Makes images smaller.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bin {
    /// Pixels that become one, along each axis.
    #[schemars(range(min = 1))]
    pub factor: usize,
}

impl Stage for Bin {
    type In = Image;
    type Out = Image;
    fn example() -> Example {
        Example::new("factor = 2")
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let mut shape = input.get("image");
        for side in shape.dims.iter_mut().flatten() {
            if *side % self.factor != 0 {
                return Err(Error::recipe(format!("{} does not divide {side} pixels", self.factor)));
            }
            *side /= self.factor;
        }
        Ok(Shapes::default().with("image", shape))
    }
}

impl Map for Bin {
    fn apply(&self, _: &Cx, _: &Span, input: Image) -> Result<Image> {
        Ok(input)
    }
}

/// A complex image.
#[derive(Ports)]
pub struct Waves {
    /// The wave.
    #[port(dtype = "complex", axes = "y x")]
    pub wave: Array,
}

/// Turns images into waves.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wave {}

impl Stage for Wave {
    type In = Image;
    type Out = Waves;
    fn example() -> Example {
        Example::new("")
    }
}

impl Map for Wave {
    fn apply(&self, _: &Cx, _: &Span, input: Image) -> Result<Waves> {
        Ok(Waves { wave: input.image })
    }
}

/// Means images.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mean {}

impl Stage for Mean {
    type In = Image;
    type Out = Image;
    fn example() -> Example {
        Example::new("")
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("image", input.get("image")))
    }
}

impl Reduce for Mean {
    type Part = Option<Array>;
    fn part(&self, _: &Cx) -> Result<Self::Part> {
        Ok(None)
    }
    fn add(&self, _: &Cx, part: &mut Self::Part, _: &Span, input: Image) -> Result<()> {
        *part = Some(input.image.record(0)?);
        Ok(())
    }
    fn merge(&self, _: &Cx, part: &mut Self::Part, later: Self::Part) -> Result<()> {
        *part = later;
        Ok(())
    }
    fn peek(&self, _: &Cx, part: &Self::Part) -> Result<Option<Image>> {
        Ok(part.clone().map(|image| Image { image }))
    }
    fn finish(&self, _: &Cx, part: Self::Part) -> Result<Image> {
        part.map(|image| Image { image }).ok_or_else(|| Error::data("no frames"))
    }
    fn save(&self, part: &Self::Part) -> Result<Dict> {
        Ok(part.iter().fold(Dict::new(), |dict, a| dict.with("image", a.clone())))
    }
    fn load(&self, _: &Cx, mut state: Dict) -> Result<Self::Part> {
        Ok(state.take("image").and_then(|v| if let Value::Array(a) = v { Some(a) } else { None }))
    }
}
