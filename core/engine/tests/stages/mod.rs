//! Stages for tests of recipes and plans: they declare much and do little.

#![allow(dead_code, reason = "parameters are there to be declared; each test uses some of the stages")]

mod images;
mod results;
mod tasks;

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry, Role};
use isard_core::span::Ranges;
use isard_core::stage::build;
use serde::Serialize;

use images::*;
use results::*;
use tasks::*;

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

/// All of them.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    macro_rules! add {
        ($($role:ident $name:literal $kind:ident $stage:ty $(, $early:ident)?;)*) => {$(
            let origin = ("isard-tests", "0.1.0");
            #[allow(unused_mut, reason = "only an early task changes it")]
            let mut one = Declaration::of::<$stage>($name, Kind::$kind, Role::$role, origin, build::$role::<$stage>);
            $( one.$early = true; )?
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
        Task "image.blank" Tool Blank, early;
        Task "crystal.reflections" Tool Reflect, early;
    }
    registry
}
