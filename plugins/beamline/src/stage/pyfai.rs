//! `pyfai.integrate_simple`: one image becomes one curve.

use isard_azimuthal::text::{Head, dat};
use isard_core::prelude::*;
use isard_core::schemars;

use super::{Others, example};
use crate::frames::Frames;
use crate::integrate::{Ask, curves, geometry};
use crate::paths::write;

/// Integrates one image into 1000 bins of the scattering angle, as text.
///
/// `result.out_file` names the file: angle in degrees and intensity, under the geometry. Pixels are divided by their solid
/// angle and split by bounding boxes, as `integrate1d` of pyFAI does unless told otherwise.
///
/// Source: the plugin of this name of the older job server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Simple {
    /// The geometry file (PONI).
    #[schemars(extend("x-path" = "input"))]
    poni_file: String,
    /// The image, in any format that isard reads.
    #[schemars(extend("x-path" = "input"))]
    image_file: String,
    /// The text file to write.
    #[schemars(extend("x-path" = "output"))]
    curve_file: String,
}

/// What the function gave.
#[derive(Ports)]
pub struct Returned {
    /// What the function gave: `{out_file}`.
    result: Dict,
}

impl Returned {
    /// The path of what was written.
    pub(crate) fn file(path: &str) -> Returned {
        Returned { result: Dict::new().with("out_file", path) }
    }
}

/// Integrates one image of one file into a text file.
pub(crate) fn simple(cx: &Cx, ask: &Ask, image: &str, curve: &str) -> Result<Returned> {
    let frames = Frames::open(image)?;
    if frames.count != 1 {
        return Err(Error::data(format!("{image}: has {} frames, wanted one", frames.count)));
    }
    let integrator = ask.ready(cx, frames.shape, frames.dtype)?;
    let found = curves(cx, &integrator, &frames.read(cx, 0, 1)?, None, &[1.0])?;
    let head = Head { poni: Some(&ask.poni), normalisation: 1.0, ..Head::default() }.text();
    let unit = ask.unit()?;
    let radial = integrator.shares.radial_axis(&unit);
    write(curve.as_ref(), dat(&head, curve, unit.name, &radial, &found[0].intensity, None).as_bytes())?;
    Ok(Returned::file(curve))
}

impl Stage for Simple {
    type In = Others;
    type Out = Returned;

    fn example() -> Example {
        let (poni, image) = (example::poni(), example::image());
        Example::new(format!(
            "poni_file = {poni:?}\nimage_file = {image:?}\ncurve_file = {:?}",
            example::output("simple.dat")
        ))
    }
}

impl Task for Simple {
    fn run(&mut self, cx: &Cx, others: Others) -> Result<Returned> {
        others.tell();
        let ask = Ask::new(geometry(&self.poni_file, None)?, "2th_deg", 1000);
        simple(cx, &ask, &self.image_file, &self.curve_file)
    }
}
declare!(Task, "pyfai.integrate_simple", Kind::Tool, Simple);
