//! `azimuthal.dat`: one text file for each curve.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;
use isard_geometry::Poni;

use crate::stage::made::geometry;
use crate::stage::request::Request;
use crate::text::{self, Head};
use crate::unit::Unit;

/// Writes each curve as columns of text, with the geometry in its head.
///
/// `NAME.dat` becomes `NAME_000000.dat`, `NAME_000001.dat`, ... by the numbers of the frames. The head is that of pyFAI's
/// files: lines that begin with `#`, the geometry as JSON, what was corrected, and the names of the columns.
///
/// Changes neither order nor count. 44 bytes a bin.
///
/// Source: the `.dat` files of pyFAI 2026.9.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dat {
    /// The file, relative to the run's folder; must end in `.dat` or `.xy`.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// The radial unit, as the integration has it.
    #[serde(default = "unit")]
    unit: String,
    /// The geometry file (PONI), for the head.
    #[serde(default)]
    #[schemars(extend("x-path" = "input", "x-endings" = [".poni"]))]
    geometry: Option<String>,
    /// The polarisation that was corrected for, for the head.
    #[serde(default)]
    polarisation: Option<f64>,
    /// What all pixels were divided by, for the head.
    #[serde(default = "one")]
    normalisation: f64,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
}

fn unit() -> String {
    Request::default().unit
}

fn one() -> f64 {
    1.0
}

/// The input of [`Dat`].
#[derive(Ports)]
pub struct DatIn {
    /// Curves.
    #[port(dtype = "f32", axes = "radial")]
    intensity: Array,
    /// Their errors.
    #[port(dtype = "f32", axes = "radial")]
    sigma: Option<Array>,
    /// The radial axis, with every frame.
    #[port(dtype = "f64", axes = "radial")]
    radial: Array,
    /// The text of a geometry file, in place of `geometry`.
    #[port(fixed)]
    poni: Option<Value>,
    /// The mask of the integration: the head says that there was one.
    #[port(fixed, dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// The dark of the integration: the head says that there was one.
    #[port(fixed, dtype = "number", axes = "y x")]
    dark: Option<Array>,
    /// The flat of the integration: the head says that there was one.
    #[port(fixed, dtype = "number", axes = "y x")]
    flat: Option<Array>,
}

impl Stage for Dat {
    type In = DatIn;
    type Out = ();

    fn example() -> Example {
        Example::new("path = \"curve.dat\"\nunit = \"2th_deg\"")
            .frames("intensity", Array::of(&[2, 2], &[1f32, 2.0, 3.0, 4.0]).expect("two curves"))
            .frames("radial", Array::of(&[2, 2], &[0.5, 1.5, 0.5, 1.5]).expect("two axes"))
            .fixed("poni", super::curve::PONI)
    }

    fn check(&self, faults: &mut Faults) {
        let name = self.path.to_lowercase();
        if ![".dat", ".xy"].iter().any(|e| name.ends_with(e)) {
            let found = format!("`{}` does not end in .dat or .xy", self.path);
            faults.add_with_help("path", found, "write `curve.dat`");
        }
        if Unit::named(&self.unit).is_none() {
            let help = format!("known: {}", crate::unit::names());
            faults.add_with_help("unit", format!("`{}` is not known", self.unit), help);
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bins = input.get("radial").dims.map_or(0, |d| d.iter().product::<usize>());
        Cost { disk_per_record: 44 * bins as u64, ..Cost::default() }
    }
}

impl Writer for Dat {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: DatIn) -> Result<()> {
        let out = self.out.as_ref();
        let out = out.ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        let head = self.head(&input)?;
        let bins = input.radial.len() / (span.len as usize).max(1);
        let (radial, intensity) = (input.radial.as_slice::<f64>()?, input.intensity.as_slice::<f32>()?);
        let sigma = input.sigma.as_ref().map(Array::as_slice::<f32>).transpose()?;
        let (stem, ending) = self.path.rsplit_once('.').unwrap_or((&self.path, "dat"));
        let mut files = span.range().enumerate().map(|(k, number)| {
            let path = format!("{stem}_{number:06}.{ending}");
            let at = k * bins..(k + 1) * bins;
            let errors = sigma.map(|sigma| &sigma[at.clone()]);
            let text = text::dat(&head, &path, &self.unit, &radial[at.clone()], &intensity[at], errors);
            Ok((path, text.into_bytes()))
        });
        out.seal_all(&mut files)
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        // Files are on disk when they were written.
        Ok(Dict::new())
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        Ok(())
    }
}
declare!(Writer, "azimuthal.dat", Kind::Writer, Dat);

impl Dat {
    /// The lines above the columns, the same for every frame.
    fn head(&self, input: &DatIn) -> Result<String> {
        let poni = input.poni.as_ref().filter(|p| **p != Value::None);
        let poni = match poni.is_some() || self.geometry.is_some() {
            true => {
                let request = Request { geometry: self.geometry.clone(), ..Request::default() };
                let text = geometry(&request, poni)?;
                Some(Poni::parse(&text).map_err(|e| Error::data(format!("the geometry: {e}")))?)
            }
            false => None,
        };
        let head = Head {
            poni: poni.as_ref(),
            given: [&input.mask, &input.dark, &input.flat].map(Option::is_some),
            polarisation: self.polarisation,
            normalisation: self.normalisation,
        };
        Ok(head.text())
    }
}
