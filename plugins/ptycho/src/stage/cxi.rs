//! `cxi.write`: reconstructions as NeXus files for ptychography.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;

use super::experiment::{pair, positive};
use super::shown::{self, ResultIn, Waves};
use crate::file::cxi::{self, Detector, KEV, Light, Outcome, Picture};
use crate::file::tree::iso;

/// Writes a reconstruction as a NeXus file of the definition `NXcxi_ptycho`.
///
/// The file holds the latest object and probe (`image_1` and `image_2` in the names of CXI, also as amplitude and phase
/// on axes in metres), the positions, source, beam and detector, the errors of all iterations, the engines and the record
/// of the run. The file links to the dataset of the frames that `frames` names, since the definition wants them: one that
/// `hdf5.write` makes, or `scan.ptyd::/chunks/0/data` of `ptyd.write` with `save = "merge"`. Energies are joules, lengths metres, as CXI asks. The file is replaced in one step: once at the end, or behind
/// `run.take = "every"` at each snapshot.
///
/// Changes neither order nor count; keeps the last of many records. Deflating takes some 100 ns a pixel.
///
/// Source: the definition NXcxi_ptycho of NeXus, and CXI 1.6 (Maia, Nature Methods 9, 2012, 854).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CxiWrite {
    /// The file, relative to the run's folder.
    ///
    /// It must end in `.cxi`, `.nxs`, `.h5` or `.hdf5`.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// The dataset of the frames, relative to this file, as `scan.h5::/entry/data`.
    frames: String,
    /// A title.
    #[serde(default = "title")]
    title: String,
    /// The sample's name.
    #[serde(default)]
    sample: String,
    /// The name of the source.
    #[serde(default)]
    source: String,
    /// What kind of source it is.
    #[serde(default = "kind")]
    #[schemars(extend("x-level" = "expert"))]
    source_type: String,
    /// The energy of the machine; not a number in the file if not set.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "GeV", "x-level" = "expert"))]
    machine_energy: Option<f64>,
    /// How far photon energies spread; not a number in the file if not set.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "keV", "x-level" = "expert"))]
    energy_spread: Option<f64>,
    /// From the sample to the detector, unless the input gives it.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    distance: Option<f64>,
    /// The edge of a detector pixel, unless the input gives it.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    psize: Option<f64>,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<(Arc<dyn Output>, String)>,
}

fn title() -> String {
    "ptychography".into()
}

fn kind() -> String {
    "Synchrotron X-ray Source".into()
}

/// The input of [`CxiWrite`]: a reconstruction, and the detector.
pub struct CxiIn {
    result: ResultIn,
    detector: DetectorIn,
}

/// Where the frames come from.
#[derive(Ports)]
pub struct DetectorIn {
    /// From the sample to the detector, unless a parameter gives it.
    #[port(unit = "m")]
    distance: Option<f64>,
    /// The edge of a detector pixel, unless a parameter gives it.
    #[port(unit = "m")]
    psize: Option<f64>,
    /// The optical axis on the detector, row and column; else the middle.
    #[port(fixed, dtype = "float")]
    axis: Option<Array>,
}

impl Ports for CxiIn {
    fn ports() -> Vec<Port> {
        [ResultIn::ports(), DetectorIn::ports()].concat()
    }

    fn from_dict(dict: &mut Dict) -> Result<Self> {
        Ok(CxiIn { result: ResultIn::from_dict(dict)?, detector: DetectorIn::from_dict(dict)? })
    }

    fn into_dict(self) -> Dict {
        let mut dict = self.result.into_dict();
        self.detector.into_dict().into_iter().for_each(|(key, value)| dict.set(key, value));
        dict
    }
}

impl Stage for CxiWrite {
    type In = CxiIn;
    type Out = ();

    fn example() -> Example {
        shown::example(
            "path = \"result.cxi\"\nframes = \"scan.h5::/entry/data\"\ndistance = 7.0\npsize = 172e-6",
        )
    }

    fn check(&self, faults: &mut Faults) {
        let endings = [".cxi", ".nxs", ".h5", ".hdf5"];
        if !endings.iter().any(|e| self.path.ends_with(e)) {
            let found = &self.path;
            faults.add_with_help(
                "path",
                format!("`{found}` ends in none of {}", endings.join(", ")),
                "write `result.cxi`",
            );
        }
        if split(&self.frames).is_none() {
            let found = &self.frames;
            faults.add_with_help(
                "frames",
                format!("`{found}` names no dataset of a file beside this one"),
                "write `scan.h5::/entry/data`",
            );
        }
        positive(&[("distance", self.distance), ("psize", self.psize)], faults);
        for (name, value) in [("machine_energy", self.machine_energy), ("energy_spread", self.energy_spread)]
        {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v >= 0.0)) {
                faults.add(name, format!("found {value}, wanted 0 or more"));
            }
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        Cost { memory: 6 * input.bytes() as u64, ..Cost::default() }
    }
}

fn picture(of: &Waves, psize: f64) -> Picture<'_> {
    Picture { shape: of.shape, data: &of.data, psize, center: of.center }
}

/// File and dataset of `file.h5::/path`, if the file is named from this one's folder.
fn split(text: &str) -> Option<[String; 2]> {
    let (file, dataset) = text.split_once("::")?;
    let beside = !file.is_empty() && !file.starts_with('/') && dataset.starts_with('/');
    beside.then(|| [file.to_owned(), dataset.to_owned()])
}

impl Writer for CxiWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        self.out = Some((out, iso()));
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: CxiIn) -> Result<()> {
        let CxiIn { result, detector } = input;
        let Some(shown) = result.latest(span)? else { return Ok(()) };
        let (out, begun) =
            self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        let need = |what: &str, value: Option<f64>| {
            value.ok_or_else(|| {
                Error::recipe(format!("the {what} is not given"))
                    .help(format!("set `{what}`, or wire the input `{what}`"))
            })
        };
        let [positions, _] = shown.places()?;
        let outcome = Outcome {
            title: &self.title,
            sample: &self.sample,
            times: [begun, &iso()],
            light: Light {
                name: self.source.clone(),
                kind: self.source_type.clone(),
                machine: self.machine_energy.map_or(f64::NAN, |e| e * 1e6 * KEV),
                energy: shown.energy * KEV,
                spread: self.energy_spread.map_or(f64::NAN, |e| e * KEV),
            },
            detector: Detector {
                distance: need("distance", self.distance.or(detector.distance))?,
                psize: need("psize", self.psize.or(detector.psize))?,
                center: pair(&detector.axis)?.unwrap_or(shown.probe.center),
                frames: split(&self.frames)
                    .ok_or_else(|| Error::recipe(format!("`{}` names no dataset", self.frames)))?,
            },
            object: picture(&shown.object, shown.psize),
            probe: picture(&shown.probe, shown.psize),
            indices: shown.positions.numbers::<u64>("index")?.to_vec(),
            positions,
            errors: shown.errors()?,
            engines: &shown.engines,
            record: &out.record(),
        };
        out.replace(&self.path, &cxi::result(&outcome)?)
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        // Each write is on disk when it returns, and a later one takes its place.
        Ok(Dict::new())
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        Ok(())
    }
}
declare!(Writer, "cxi.write", Kind::Writer, CxiWrite);
