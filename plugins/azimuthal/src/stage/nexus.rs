//! `azimuthal.write`: curves or maps of a series in one NeXus file.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;
use isard_h5::{Attr, Dtype as H5, Image, Spec};

use crate::stage::request;
use crate::unit::Unit;

/// Writes the curves or maps of a series as NXazint1d or NXazint2d.
///
/// `/entry_0000/results` holds `data` (frame, azimuth of maps, radius), `data_errors` and the axes `radial` and `chi`, as
/// pyFAI writes and plots them; `/entry_0000/data` shows the same under the names of the NeXus definitions, and
/// `/entry_0000/process` the recipe. The file is replaced in one step at each checkpoint and at the end.
///
/// Changes neither order nor count; frames that did not come leave no hole, and `frame` has the numbers of those that
/// did. Keeps all curves in memory, 4 bytes a bin: for a million of them take `hdf5.write`, which writes in parts.
///
/// Source: the NeXus definitions NXazint1d and NXazint2d.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nexus {
    /// The file, relative to the run's folder; must end in `.h5`, `.hdf5` or `.nxs`.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// The radial unit, as the integration has it.
    #[serde(default = "unit")]
    unit: String,
    /// A title for viewers; else the name of the file.
    #[serde(default)]
    title: Option<String>,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
    #[serde(skip)]
    #[schemars(skip)]
    kept: Kept,
}

fn unit() -> String {
    request::Request::default().unit
}

/// What was taken so far, as bytes in native order.
#[derive(Default)]
struct Kept {
    frames: Vec<u64>,
    intensity: Vec<f32>,
    sigma: Vec<f32>,
    radial: Vec<f64>,
    azimuthal: Vec<f64>,
}

/// The input of [`Nexus`].
#[derive(Ports)]
pub struct NexusIn {
    /// Curves or maps.
    #[port(dtype = "f32")]
    intensity: Array,
    /// Their errors.
    #[port(dtype = "f32")]
    sigma: Option<Array>,
    /// The radial axis, with every frame.
    #[port(dtype = "f64", axes = "radial")]
    radial: Array,
    /// The azimuthal axis of maps, with every frame.
    #[port(dtype = "f64", axes = "azimuthal", unit = "degree")]
    azimuthal: Option<Array>,
}

impl Stage for Nexus {
    type In = NexusIn;
    type Out = ();

    fn example() -> Example {
        let axis: Vec<f64> = (0..9).map(|k| 0.5 + f64::from(k % 3)).collect();
        Example::new("path = \"curves.nxs\"\nunit = \"2th_deg\"")
            .frames(
                "intensity",
                Array::of(&[3, 3], &[1f32, 2.0, 3.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0]).expect("nine"),
            )
            .frames("sigma", Array::of(&[3, 3], &[0.5f32; 9]).expect("nine"))
            .frames("radial", Array::of(&[3, 3], &axis).expect("nine"))
    }

    fn check(&self, faults: &mut Faults) {
        let name = self.path.to_lowercase();
        if ![".h5", ".hdf5", ".nxs"].iter().any(|e| name.ends_with(e)) {
            let found = format!("`{}` does not end in .h5, .hdf5 or .nxs", self.path);
            faults.add_with_help("path", found, "write `curves.nxs`");
        }
        if Unit::named(&self.unit).is_none() {
            let help = format!("known: {}", crate::unit::names());
            faults.add_with_help("unit", format!("`{}` is not known", self.unit), help);
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let each =
            (input.get("intensity").bytes().unwrap_or(0) + input.get("sigma").bytes().unwrap_or(0)) as u64;
        let records = input.records().unwrap_or(0);
        Cost { memory: 2 * each * records, disk_per_record: each, ..Cost::default() }
    }
}

impl Writer for Nexus {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        self.kept = match committed {
            Some(state) => Kept::load(&state)?,
            None => Kept::default(),
        };
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: NexusIn) -> Result<()> {
        self.kept.take(span, &input)
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.put()?;
        Ok(self.kept.save())
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        self.put()
    }
}
declare!(Writer, "azimuthal.write", Kind::Writer, Nexus);

impl Kept {
    fn take(&mut self, span: &Span, input: &NexusIn) -> Result<()> {
        let first = |array: &Array| -> Result<Vec<f64>> {
            let n = array.shape().first().copied().unwrap_or(0).max(1);
            Ok(array.as_slice::<f64>()?[..array.len() / n].to_vec())
        };
        let radial = first(&input.radial)?;
        let azimuthal = input.azimuthal.as_ref().map(first).transpose()?.unwrap_or_default();
        if self.frames.is_empty() {
            (self.radial, self.azimuthal) = (radial, azimuthal);
        } else if self.radial != radial || self.azimuthal != azimuthal {
            return Err(Error::data(format!("{span}: the axes are not those of the frames before"))
                .help("give `radial_range`, or write frames of another geometry into another file"));
        }
        let wanted = self.record() * span.len as usize;
        if input.intensity.len() != wanted {
            let found = input.intensity.shape();
            return Err(Error::data(format!("{span}: intensities {found:?} do not fit the axes")));
        }
        self.frames.extend(span.range());
        self.intensity.extend_from_slice(input.intensity.as_slice()?);
        if let Some(sigma) = &input.sigma {
            self.sigma.extend_from_slice(sigma.as_slice()?);
        }
        Ok(())
    }

    /// Values of one frame.
    fn record(&self) -> usize {
        self.radial.len() * self.azimuthal.len().max(1)
    }

    fn save(&self) -> Dict {
        Dict::new()
            .with("frames", Array::from_slice(&self.frames))
            .with("intensity", Array::from_slice(&self.intensity))
            .with("sigma", Array::from_slice(&self.sigma))
            .with("radial", Array::from_slice(&self.radial))
            .with("azimuthal", Array::from_slice(&self.azimuthal))
    }

    fn load(state: &Dict) -> Result<Kept> {
        Ok(Kept {
            frames: slice(state, "frames")?,
            intensity: slice(state, "intensity")?,
            sigma: slice(state, "sigma")?,
            radial: slice(state, "radial")?,
            azimuthal: slice(state, "azimuthal")?,
        })
    }
}

fn slice<T: Element>(state: &Dict, key: &str) -> Result<Vec<T>> {
    match state.need(key)? {
        Value::Array(array) => Ok(array.as_slice::<T>()?.to_vec()),
        other => Err(Error::data(format!("`{key}` of a kept state is {}", other.describe()))),
    }
}

fn h5(error: isard_h5::Error) -> Error {
    Error::new(Blame::Io, error.to_string())
}

fn bytes<T: Copy, const N: usize>(values: &[T], each: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| each(*v)).collect()
}

impl Nexus {
    fn put(&self) -> Result<()> {
        let out = self.out.as_ref();
        let out = out.ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        out.replace(&self.path, &self.file(&out.record()).map_err(h5)?)
    }

    /// The bytes of the file.
    fn file(&self, record: &str) -> isard_h5::Result<Vec<u8>> {
        let kept = &self.kept;
        let map = !kept.azimuthal.is_empty();
        let definition = if map { "NXazint2d" } else { "NXazint1d" };
        let unit = Unit::named(&self.unit).unwrap_or(crate::unit::UNITS[0]);
        let (quantity, symbol) = (unit.quantity(), unit.symbol());
        let mut image = Image::new()?;
        image.attribute("/", "NX_class", "NXroot")?;
        image.attribute("/", "creator", "isard")?;
        image.nexus("/entry_0000", "NXentry")?;
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        image.text("/entry_0000/title", self.title.as_deref().unwrap_or(name))?;
        image.text("/entry_0000/definition", definition)?;
        image.text("/entry_0000/program_name", "isard")?;
        image.attribute("/entry_0000/program_name", "version", env!("CARGO_PKG_VERSION"))?;
        image.nexus("/entry_0000/process", "NXprocess")?;
        image.text("/entry_0000/process/program", "isard")?;
        image.text("/entry_0000/process/version", env!("CARGO_PKG_VERSION"))?;
        image.scalar("/entry_0000/process/sequence_index", H5::I64, &1i64.to_ne_bytes())?;
        image.nexus("/entry_0000/process/configuration", "NXnote")?;
        image.text("/entry_0000/process/configuration/type", "application/json")?;
        image.text("/entry_0000/process/configuration/data", record)?;
        let results = "/entry_0000/results";
        let axes: &[&str] = if map { &[".", "chi", "radial"] } else { &[".", "radial"] };
        image.nexus_data(results, "data", axes)?;
        let n = kept.frames.len() as u64;
        let (radial, chi) = (kept.radial.len() as u64, kept.azimuthal.len() as u64);
        let shape: &[u64] = if map { &[chi, radial] } else { &[radial] };
        let mut put = |name: &str, dtype, shape: &[u64], bytes: &[u8], n| -> isard_h5::Result<String> {
            let path = format!("{results}/{name}");
            let slot = image.dataset(&path, &Spec::new(dtype, shape))?;
            image.append(slot, bytes, n)?;
            Ok(path)
        };
        let data = put("data", H5::F32, shape, &bytes(&kept.intensity, f32::to_ne_bytes), n)?;
        if !kept.sigma.is_empty() {
            put("data_errors", H5::F32, shape, &bytes(&kept.sigma, f32::to_ne_bytes), n)?;
        }
        put("frame", H5::U64, &[], &bytes(&kept.frames, u64::to_ne_bytes), n)?;
        let axis = put("radial", H5::F64, &[], &bytes(&kept.radial, f64::to_ne_bytes), radial)?;
        if map {
            put("chi", H5::F64, &[], &bytes(&kept.azimuthal, f64::to_ne_bytes), chi)?;
        }
        let interpretation = if map { "image" } else { "spectrum" };
        image.attribute(&data, "interpretation", interpretation)?;
        image.attribute(&data, "long_name", "Intensity")?;
        let shown = [("unit", symbol), ("units", symbol), ("name", quantity)];
        shown.iter().try_for_each(|(key, text)| image.attribute(&axis, key, *text))?;
        image.attribute(&axis, "long_name", format!("{quantity} ({symbol})"))?;
        if map {
            let chi = format!("{results}/chi");
            let shown = [("unit", "deg"), ("units", "deg"), ("name", "chi"), ("long_name", "chi (deg)")];
            shown.iter().try_for_each(|(key, text)| image.attribute(&chi, key, *text))?;
        }
        let axes: &[&str] = if map { &[".", "azimuthal_axis", "radial_axis"] } else { &[".", "radial_axis"] };
        image.nexus_data("/entry_0000/data", "I", axes)?;
        let mut names = vec![("I", "data"), ("radial_axis", "radial")];
        names.extend((!kept.sigma.is_empty()).then_some(("I_errors", "data_errors")));
        names.extend(map.then_some(("azimuthal_axis", "chi")));
        for (name, of) in names {
            image.alias(&format!("/entry_0000/data/{name}"), &format!("{results}/{of}"))?;
        }
        image.nexus_default(results)?;
        image.attribute("/entry_0000", "default", Attr::from("results"))?;
        image.into_bytes()
    }
}
