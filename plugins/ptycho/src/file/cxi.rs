//! Results in NeXus files of the definition `NXcxi_ptycho`.

use isard_core::Result;
use isard_h5::{Attr, Compression, Dtype, Image, Spec};

use super::tree::h5;
use crate::num::Complex;

/// One kiloelectronvolt in joules (CODATA 2018, exact).
pub const KEV: f64 = 1.602_176_634e-16;

/// The source of the light.
#[derive(Clone, Debug)]
pub struct Light {
    /// Its name.
    pub name: String,
    /// What kind of source it is.
    pub kind: String,
    /// The energy of the machine, J; not a number where nobody said it.
    pub machine: f64,
    /// The energy of photons, J.
    pub energy: f64,
    /// How far energies spread, J; not a number where nobody said it.
    pub spread: f64,
}

/// The detector.
#[derive(Clone, Debug)]
pub struct Detector {
    /// From the sample, m.
    pub distance: f64,
    /// The edge of a pixel, m.
    pub psize: f64,
    /// The optical axis, row and column, pixels.
    pub center: [f64; 2],
    /// The file and the dataset of the frames.
    pub frames: [String; 2],
}

/// An object or a probe.
pub struct Picture<'a> {
    /// Modes, rows and columns.
    pub shape: [usize; 3],
    /// The pixels.
    pub data: &'a [Complex<f32>],
    /// The edge of a pixel, m.
    pub psize: f64,
    /// The pixel where position 0 lies.
    pub center: [f64; 2],
}

/// What a result file says.
pub struct Outcome<'a> {
    /// A title.
    pub title: &'a str,
    /// The sample's name.
    pub sample: &'a str,
    /// When the run began and when it ended, ISO 8601.
    pub times: [&'a str; 2],
    /// The source.
    pub light: Light,
    /// The detector.
    pub detector: Detector,
    /// The object.
    pub object: Picture<'a>,
    /// The probe.
    pub probe: Picture<'a>,
    /// Numbers of the frames.
    pub indices: Vec<u64>,
    /// Where they were taken, row and column, m.
    pub positions: Vec<[f64; 2]>,
    /// Errors in amplitude, in counts, and of exit waves, iteration by iteration.
    pub errors: Vec<[f64; 3]>,
    /// The engines, as JSON text.
    pub engines: &'a str,
    /// What the run was, as JSON text.
    pub record: &'a str,
}

struct Entry {
    image: Image,
}

/// The bytes of a result file.
pub fn result(outcome: &Outcome) -> Result<Vec<u8>> {
    let image = Image::sized(outcome.object.data.len() * 10).map_err(h5)?;
    let mut e = Entry { image };
    e.image.attribute("/", "default", "entry_1").map_err(h5)?;
    e.integer("/cxi_version", 160)?;
    e.class("/entry_1", "NXentry")?;
    e.image.attribute("/entry_1", "default", "image_1").map_err(h5)?;
    let texts = [
        ("definition", "NXcxi_ptycho"),
        ("title", outcome.title),
        ("start_time", outcome.times[0]),
        ("end_time", outcome.times[1]),
    ];
    for (name, text) in texts {
        e.text(&format!("/entry_1/{name}"), text)?;
    }
    e.instrument(outcome)?;
    e.sample(outcome)?;
    e.data()?;
    e.pictures(outcome)?;
    e.process(outcome)?;
    e.image.into_bytes().map_err(h5)
}

impl Entry {
    fn class(&mut self, path: &str, class: &str) -> Result<()> {
        self.image.group(path).map_err(h5)?;
        self.image.attribute(path, "NX_class", class).map_err(h5)
    }

    fn text(&mut self, path: &str, text: &str) -> Result<()> {
        self.image.text(path, text).map_err(h5)
    }

    fn integer(&mut self, path: &str, value: i64) -> Result<()> {
        self.image.scalar(path, Dtype::I64, &value.to_ne_bytes()).map_err(h5)
    }

    fn number(&mut self, path: &str, value: f64, units: &str) -> Result<()> {
        self.image.scalar(path, Dtype::F64, &value.to_ne_bytes()).map_err(h5)?;
        self.image.attribute(path, "units", units).map_err(h5)
    }

    fn array(&mut self, path: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<()> {
        let record: Vec<u64> = shape[1..].iter().map(|n| *n as u64).collect();
        let spec = Spec::new(dtype, &record).compress(Compression::Deflate(4)).fletcher32(false);
        let slot = self.image.dataset(path, &spec).map_err(h5)?;
        self.image.append(slot, bytes, shape[0] as u64).map_err(h5)
    }

    fn floats(&mut self, path: &str, shape: &[usize], values: &[f64], units: &str) -> Result<()> {
        self.array(path, Dtype::F64, shape, bytemuck::cast_slice(values))?;
        self.image.attribute(path, "units", units).map_err(h5)
    }

    fn instrument(&mut self, outcome: &Outcome) -> Result<()> {
        let (light, detector) = (&outcome.light, &outcome.detector);
        self.class("/entry_1/instrument_1", "NXinstrument")?;
        self.text("/entry_1/instrument_1/name", &light.name)?;
        self.class("/entry_1/instrument_1/source_1", "NXsource")?;
        for (name, text) in [("name", light.name.as_str()), ("probe", "x-ray"), ("type", &light.kind)] {
            self.text(&format!("/entry_1/instrument_1/source_1/{name}"), text)?;
        }
        self.number("/entry_1/instrument_1/source_1/energy", light.machine, "J")?;
        self.class("/entry_1/instrument_1/beam_1", "NXbeam")?;
        for (name, value) in [
            ("energy", light.energy),
            ("incident_beam_energy", light.energy),
            ("incident_energy_spread", light.spread),
        ] {
            self.number(&format!("/entry_1/instrument_1/beam_1/{name}"), value, "J")?;
        }
        let at = "/entry_1/instrument_1/detector_1";
        self.class(at, "NXdetector")?;
        self.image.attribute(at, "axes", "[, data]").map_err(h5)?;
        self.image.attribute(at, "signal", "data").map_err(h5)?;
        for (name, value) in [
            ("distance", detector.distance),
            ("x_pixel_size", detector.psize),
            ("y_pixel_size", detector.psize),
            ("beam_center_x", detector.center[1] * detector.psize),
            ("beam_center_y", detector.center[0] * detector.psize),
        ] {
            self.number(&format!("{at}/{name}"), value, "m")?;
        }
        self.class(&format!("{at}/transformations"), "NXtransformations")?;
        self.floats(&format!("{at}/transformations/vector"), &[3], &[0.0, 0.0, 1.0], "")?;
        // Along x, along y, along the beam: the order of the format, not of rows and columns.
        let translation: Vec<f64> = outcome.positions.iter().flat_map(|[y, x]| [*x, *y, 0.0]).collect();
        let path = format!("{at}/translation");
        self.floats(&path, &[outcome.positions.len(), 3], &translation, "m")?;
        self.image.attribute(&path, "axes", "translation:y:x").map_err(h5)?;
        self.image.attribute(&path, "interpretation", "image").map_err(h5)?;
        let indices: Vec<i64> = outcome.indices.iter().map(|i| *i as i64).collect();
        self.array(
            &format!("{at}/frame_number"),
            Dtype::I64,
            &[indices.len()],
            bytemuck::cast_slice(&indices),
        )?;
        let [file, dataset] = &detector.frames;
        self.image.link(&format!("{at}/data"), file, dataset).map_err(h5)
    }

    fn sample(&mut self, outcome: &Outcome) -> Result<()> {
        self.class("/entry_1/sample_1", "NXsample")?;
        self.text("/entry_1/sample_1/name", outcome.sample)?;
        let at = "/entry_1/sample_1/transformations";
        self.class(at, "NXtransformations")?;
        self.image.attribute(at, "vector", Attr::Floats(vec![0.0, 1.0, 0.0])).map_err(h5)?;
        for (name, axis, vector, on) in [
            ("y", 0, vec![0.0, 1.0, 0.0], "."),
            ("x", 1, vec![1.0, 0.0, 0.0], "/entry_1/sample_1/transformations/y"),
        ] {
            let values: Vec<f64> = outcome.positions.iter().map(|p| p[axis]).collect();
            let path = format!("{at}/{name}");
            self.floats(&path, &[values.len()], &values, "m")?;
            self.image.attribute(&path, "vector", Attr::Floats(vector)).map_err(h5)?;
            self.image.attribute(&path, "transformation_type", "translation").map_err(h5)?;
            self.image.attribute(&path, "depends_on", on).map_err(h5)?;
        }
        self.class("/entry_1/sample_1/geometry_1", "NXcollection")?;
        let target = "/entry_1/instrument_1/detector_1/translation";
        self.image.alias("/entry_1/sample_1/geometry_1/translation", target).map_err(h5)
    }

    fn data(&mut self) -> Result<()> {
        self.class("/entry_1/data", "NXdata")?;
        self.image.attribute("/entry_1/data", "signal", "data").map_err(h5)?;
        self.image.attribute("/entry_1/data", "axes", &["x", ".", "."][..]).map_err(h5)?;
        for name in ["x", "y"] {
            let target = format!("/entry_1/sample_1/transformations/{name}");
            self.image.alias(&format!("/entry_1/data/{name}"), &target).map_err(h5)?;
            self.text(&format!("/entry_1/data/{name}_indices"), "0")?;
            self.image.attribute("/entry_1/data", &format!("{name}_indices"), 0i64).map_err(h5)?;
        }
        self.class("/entry_1/data_1", "NXcollection")?;
        let detector = "/entry_1/instrument_1/detector_1";
        self.image.alias("/entry_1/data_1/translation", &format!("{detector}/translation")).map_err(h5)?;
        for at in ["/entry_1/data/data", "/entry_1/data_1/data"] {
            self.image.alias(at, &format!("{detector}/data")).map_err(h5)?;
        }
        Ok(())
    }

    /// Object and probe as the names of the CXI format have them, with what viewers show of them.
    fn pictures(&mut self, outcome: &Outcome) -> Result<()> {
        for (at, title, picture) in
            [("/entry_1/image_1", "object", &outcome.object), ("/entry_1/image_2", "probe", &outcome.probe)]
        {
            self.class(at, "NXdata")?;
            self.image.attribute(at, "signal", "amplitude").map_err(h5)?;
            self.image.attribute(at, "auxiliary_signals", &["phase"][..]).map_err(h5)?;
            self.image.attribute(at, "axes", &["mode", "y", "x"][..]).map_err(h5)?;
            self.text(&format!("{at}/title"), title)?;
            self.text(&format!("{at}/data_space"), "real")?;
            self.text(&format!("{at}/data_type"), "complex transmission")?;
            let (shape, data) = (&picture.shape, picture.data);
            self.array(&format!("{at}/data"), Dtype::C32, shape, bytemuck::cast_slice(data))?;
            let amplitude: Vec<f32> = data.iter().map(|z| z.norm()).collect();
            let phase: Vec<f32> = data.iter().map(|z| z.arg()).collect();
            self.array(&format!("{at}/amplitude"), Dtype::F32, shape, bytemuck::cast_slice(&amplitude))?;
            self.array(&format!("{at}/phase"), Dtype::F32, shape, bytemuck::cast_slice(&phase))?;
            self.image.attribute(&format!("{at}/phase"), "units", "rad").map_err(h5)?;
            let modes: Vec<i64> = (0..shape[0] as i64).collect();
            self.array(&format!("{at}/mode"), Dtype::I64, &[modes.len()], bytemuck::cast_slice(&modes))?;
            for (axis, name) in [(0, "y"), (1, "x")] {
                let place = |k: usize| (k as f64 - picture.center[axis]) * picture.psize;
                let values: Vec<f64> = (0..shape[1 + axis]).map(place).collect();
                self.floats(&format!("{at}/{name}"), &[values.len()], &values, "m")?;
                self.number(&format!("{at}/{name}_pixel_size"), picture.psize, "m")?;
            }
        }
        self.image.alias("/entry_1/object", "/entry_1/image_1").map_err(h5)?;
        self.image.alias("/entry_1/probe", "/entry_1/image_2").map_err(h5)
    }

    fn process(&mut self, outcome: &Outcome) -> Result<()> {
        let at = "/entry_1/process_1";
        self.class(at, "NXprocess")?;
        let version = env!("CARGO_PKG_VERSION");
        for (name, text) in [
            ("program", "isard"),
            ("version", version),
            ("date", outcome.times[1]),
            ("configuration", outcome.engines),
            ("record", outcome.record),
        ] {
            self.text(&format!("{at}/{name}"), text)?;
        }
        if outcome.errors.is_empty() {
            return Ok(());
        }
        let at = "/entry_1/process_1/errors";
        self.class(at, "NXdata")?;
        self.image.attribute(at, "signal", "fourier").map_err(h5)?;
        self.image.attribute(at, "auxiliary_signals", &["photons", "exit"][..]).map_err(h5)?;
        self.image.attribute(at, "axes", &["iteration"][..]).map_err(h5)?;
        let count = outcome.errors.len();
        let iterations: Vec<i64> = (1..=count as i64).collect();
        self.array(&format!("{at}/iteration"), Dtype::I64, &[count], bytemuck::cast_slice(&iterations))?;
        for (k, name) in ["fourier", "photons", "exit"].into_iter().enumerate() {
            let values: Vec<f64> = outcome.errors.iter().map(|e| e[k]).collect();
            self.array(&format!("{at}/{name}"), Dtype::F64, &[count], bytemuck::cast_slice(&values))?;
        }
        Ok(())
    }
}
