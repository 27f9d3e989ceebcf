//! Folds and fits, and the writers of what they give.

use super::*;

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
