//! Stages for tests of recipes and plans: they declare much and do little.

#![allow(dead_code, reason = "parameters are there to be declared; each test uses some of the stages")]

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry, Role};
use isard_core::span::Ranges;
use isard_core::stage::build;
use serde::Serialize;

/// What several stages share.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The energy of the beam.
    #[schemars(extend("x-unit" = "keV"), range(min = 1.0, max = 1000.0))]
    pub energy: f64,
    /// The size of a pixel.
    #[serde(default = "pixel")]
    #[schemars(extend("x-unit" = "mm"))]
    pub pixel: f64,
}

fn pixel() -> f64 {
    0.172
}

/// An image for each record.
#[derive(Ports)]
pub struct Image {
    /// The image.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    pub image: Array,
}

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

/// Spots on images.
#[derive(Ports)]
pub struct Spots {
    /// The spots.
    #[port(columns = "row: f64 pixel, column: f64 pixel, sum: f64 count")]
    pub spots: Table,
}

/// Finds spots.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Pixels above this belong to a spot.
    #[serde(default)]
    pub threshold: f64,
}

impl Stage for Segment {
    type In = Image;
    type Out = Spots;
    fn example() -> Example {
        Example::new("threshold = 10")
    }
}

impl Fold for Segment {
    fn lag(&self) -> Lag {
        Lag::Merged { axis: "spot" }
    }
    fn push(&mut self, _: &Cx, _: &Span, _: Image, _: &mut Emit<Spots>) -> Result<()> {
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap, _: &mut Emit<Spots>) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self, _: &Cx, _: &mut Emit<Spots>) -> Result<()> {
        Ok(())
    }
    fn save(&self) -> Result<Dict> {
        Ok(Dict::new())
    }
    fn load(&mut self, _: Dict) -> Result<()> {
        Ok(())
    }
}

/// Where the detector is.
#[derive(Ports)]
pub struct Geometry {
    /// The distance of the detector.
    #[port(unit = "mm")]
    pub lsd: f64,
    /// The angle it is turned by.
    #[port(unit = "deg")]
    pub tilt: f64,
}

/// Fits the geometry.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibrate {
    /// The beam and the detector.
    #[schemars(extend("x-shared" = "experiment"))]
    pub experiment: Experiment,
    /// The distance to begin with.
    #[serde(default = "distance")]
    #[schemars(extend("x-unit" = "mm", "exclusiveMinimum" = 0.0))]
    pub distance: f64,
}

fn distance() -> f64 {
    1000.0
}

impl Stage for Calibrate {
    type In = Masked;
    type Out = Geometry;
    fn example() -> Example {
        Example::new("experiment = { energy = 61.332 }")
    }
}

impl Fit for Calibrate {
    fn absorb(&mut self, _: &Cx, _: &Span, _: Masked) -> Result<()> {
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }
    fn complete(&mut self, _: &Cx) -> Result<()> {
        Ok(())
    }
    fn refine(&mut self, _: &Cx, _: &Slice) -> Result<Fitness> {
        Ok(Fitness { cost: 0.0, more: false })
    }
    fn snapshot(&self, _: &Cx) -> Result<Option<Geometry>> {
        Ok(Some(Geometry { lsd: self.distance, tilt: self.experiment.pixel - self.experiment.energy }))
    }
    fn save(&self) -> Result<Dict> {
        Ok(Dict::new())
    }
    fn load(&mut self, _: Dict) -> Result<()> {
        Ok(())
    }
}

/// A distance in metres.
#[derive(Ports)]
pub struct Metres {
    /// The distance.
    #[port(unit = "m")]
    pub lsd: f64,
}

/// Writes a distance in metres.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteMetres {
    /// The file.
    #[schemars(extend("x-path" = "output"))]
    pub path: String,
}

/// Writes whatever it is given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteAny {
    /// The file.
    #[schemars(extend("x-path" = "output"))]
    pub path: String,
}

/// Spots with a label.
#[derive(Ports)]
pub struct Labelled {
    /// The spots.
    #[port(columns = "row: f64 pixel, label: text")]
    pub spots: Table,
}

/// Writes spots.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteSpots {
    /// The file.
    #[schemars(extend("x-path" = "output"))]
    pub path: String,
}

macro_rules! writers {
    ($($stage:ty, $input:ty;)*) => {$(
        impl Stage for $stage {
            type In = $input;
            type Out = ();
            fn example() -> Example {
                Example::new("path = \"out\"")
            }
            fn cost(&self, input: &Shapes) -> Cost {
                Cost { disk_per_record: (input.bytes() + self.path.len()) as u64, ..Cost::default() }
            }
        }
        impl Writer for $stage {
            fn open(
                &mut self,
                _: &Cx,
                _: std::sync::Arc<dyn isard_core::stage::Output>,
                _: Option<Dict>,
            ) -> Result<()> {
                Ok(())
            }
            fn write(&mut self, _: &Cx, _: &Span, _: $input) -> Result<()> {
                Ok(())
            }
            fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
                Ok(())
            }
            fn commit(&mut self, _: &Cx) -> Result<Dict> {
                Ok(Dict::new())
            }
            fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
                Ok(())
            }
        }
    )*};
}
writers! {
    WriteAny, Dict;
    WriteMetres, Metres;
    WriteSpots, Labelled;
}

/// A grid of voxels.
#[derive(Ports)]
pub struct Voxels {
    /// The voxels.
    #[port(columns = "x: f64 um, y: f64 um")]
    pub grid: Table,
}

/// Lays a grid.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// The width of a voxel.
    #[schemars(extend("x-unit" = "um"), range(min = 0.1))]
    pub step: f64,
}

/// What a grid is made from.
#[derive(Ports)]
pub struct Before {
    /// The grid of before.
    #[port(columns = "x: f64 um, y: f64 um")]
    pub seed: Option<Table>,
}

impl Stage for Grid {
    type In = Before;
    type Out = Voxels;
    fn example() -> Example {
        Example::new("step = 2")
    }
}

impl Task for Grid {
    fn run(&mut self, _: &Cx, input: Before) -> Result<Voxels> {
        Ok(Voxels { grid: input.seed.unwrap_or_else(|| Table::new(self.step as usize)) })
    }
}

/// A grid and spots.
#[derive(Ports)]
pub struct GridSpots {
    /// The voxels.
    #[port(columns = "x: f64 um, y: f64 um")]
    pub grid: Table,
    /// The spots.
    pub spots: Table,
}

/// Finds orientations.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// How much of what is predicted must be seen.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub completeness: f64,
}

impl Stage for Search {
    type In = GridSpots;
    type Out = Voxels;
    fn example() -> Example {
        Example::new("completeness = 0.5")
    }
}

impl Task for Search {
    fn run(&mut self, _: &Cx, input: GridSpots) -> Result<Voxels> {
        Ok(Voxels { grid: input.grid })
    }
}

/// All of them.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    macro_rules! add {
        ($($role:ident $name:literal $kind:ident $stage:ty;)*) => {$(
            let origin = ("isard-tests", "0.1.0");
            let one = Declaration::of::<$stage>($name, Kind::$kind, Role::$role, origin, build::$role::<$stage>);
            registry.add(one).expect("each name is given once");
        )*};
    }
    add! {
        Source "powder.simulate" Simulator Simulate;
        Source "motor.read" Source Sequence;
        Map "image.mask" Reducer Mask;
        Map "image.subtract" Reducer Subtract;
        Map "image.bin" Reducer Bin;
        Map "image.wave" Reducer Wave;
        Reduce "image.mean" Reducer Mean;
        Fold "dct.segment" Reducer Segment;
        Fit "powder.calibrate" Fitter Calibrate;
        Writer "hdf5.write" Writer WriteAny;
        Writer "geometry.write" Writer WriteMetres;
        Writer "spots.write" Writer WriteSpots;
        Task "hedm.grid" Tool Grid;
        Task "hedm.search" Fitter Search;
    }
    registry
}
