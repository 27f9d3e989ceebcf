//! The files of `id15`: curves of a scan, and a copy of its frames.

use std::path::Path;

use isard_azimuthal::{Integrator, Result1, text};
use isard_core::prelude::*;
use isard_h5::{Attr, Compression, Image, Spec};

use super::id15::{Packing, Way};
use crate::entry::{About, Stack, append, column, process, shown};
use crate::frames::{Frames, h5};
use crate::integrate::Ask;

/// Which of the two plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `id15`.
    First,
    /// `id15v2`.
    Second,
}

impl Version {
    /// The plugin's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::First => "id15.integratemanyframes",
            Version::Second => "id15v2.integratemanyframes",
        }
    }
}

/// What the frames came to, one after the other.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) frames: usize,
    intensity: Vec<f32>,
    errors: Vec<f32>,
}

impl Made {
    /// Takes the results of some frames.
    pub(crate) fn take(&mut self, found: &[Result1], way: Way, azimuths: usize) {
        self.frames += found.len();
        for one in found {
            match way {
                Way::IntegrateRadial => self.intensity.extend(along(one, azimuths)),
                _ => self.intensity.extend_from_slice(&one.intensity),
            }
            if way == Way::SigmaClip {
                self.errors.extend_from_slice(&one.sem);
            }
        }
    }

    /// Divides all frames by a factor, and each by its monitor.
    pub(crate) fn divide(&mut self, norm: f64, monitor: Option<&[f64]>) -> Result<()> {
        if let Some(monitor) = monitor
            && monitor.len() != self.frames
        {
            let (found, wanted) = (monitor.len(), self.frames);
            return Err(Error::data(format!("`monitor_values` has {found} values for {wanted} frames")));
        }
        let each = self.intensity.len() / self.frames.max(1);
        for frame in 0..self.frames {
            let monitor = monitor.map_or(1.0, |m| m[frame]);
            if !(monitor.is_finite() && monitor != 0.0) {
                return Err(Error::data(format!("`monitor_values` of frame {frame} is {monitor}"))
                    .help("frames are divided by it: leave out those without beam"));
            }
            let at = frame * each..(frame + 1) * each;
            let scale = |v: &mut f32| *v = (f64::from(*v) / (norm * monitor)) as f32;
            self.intensity[at.clone()].iter_mut().for_each(scale);
            if !self.errors.is_empty() {
                self.errors[at].iter_mut().for_each(scale);
            }
        }
        Ok(())
    }
}

/// The mean along each azimuth of a map.
fn along(map: &Result1, azimuths: usize) -> impl Iterator<Item = f32> + '_ {
    let across = map.sums.signal.len() / azimuths.max(1);
    map.sums.signal.chunks_exact(across.max(1)).zip(map.sums.norm.chunks_exact(across.max(1))).map(
        |(s, n)| {
            let norm: f64 = n.iter().sum();
            if norm > 0.0 { (s.iter().sum::<f64>() / norm) as f32 } else { 0.0 }
        },
    )
}

/// The name of an axis, its unit, and its values.
type Axis<'a> = (&'a str, &'a str, Vec<f32>);

/// What is to be written.
pub(crate) struct Save {
    pub(crate) plugin: String,
    pub(crate) input: String,
    pub(crate) begun: String,
    pub(crate) version: Version,
    pub(crate) way: Way,
    pub(crate) bins: usize,
    pub(crate) azimuths: usize,
}

impl Save {
    fn about<'a>(&'a self, title: &'a str) -> About<'a> {
        About { title, plugin: &self.plugin, input: &self.input, begun: &self.begun }
    }

    /// Adds the curves to a file.
    pub(crate) fn write(&self, path: &Path, ask: &Ask, integrator: &Integrator, made: &Made) -> Result<()> {
        append(path, &self.about("integration of a scan"), |image, entry| {
            self.results(image, entry, ask, integrator, made)
        })
    }

    fn results(
        &self,
        image: &mut Image,
        entry: &str,
        ask: &Ask,
        integrator: &Integrator,
        made: &Made,
    ) -> Result<()> {
        let unit = ask.unit()?;
        let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        let around = || narrow(integrator.shares.azimuthal_axis().unwrap_or_default());
        let out = narrow(integrator.shares.radial_axis(&unit));
        let (name, symbol) = (unit.quantity(), unit.symbol());
        // The record, the axes by name, and what each holds.
        let (record, axes): (Vec<u64>, Vec<Axis>) = match self.way {
            Way::IntegrateRadial => (vec![self.bins as u64], vec![("chi", "deg", around())]),
            Way::Integrate2d => (
                vec![self.azimuths as u64, self.bins as u64],
                vec![("chi", "deg", around()), (name, symbol, out)],
            ),
            _ => (vec![self.bins as u64], vec![(name, symbol, out)]),
        };
        let mut put = || -> isard_h5::Result<()> {
            let group = format!("{entry}/PyFAI");
            process(image, &group, self.way.word())?;
            let word = if self.version == Version::First { "integrate1d" } else { self.way.word() };
            let data = format!("{group}/process_{word}");
            let mut names = vec!["."];
            names.extend(axes.iter().map(|(name, _, _)| *name));
            image.nexus_data(&data, "I", &names)?;
            column(image, &format!("{data}/I"), &record, &made.intensity)?;
            let what = if self.way == Way::Integrate2d { "image" } else { "spectrum" };
            shown(image, &format!("{data}/I"), what)?;
            if !made.errors.is_empty() {
                column(image, &format!("{data}/errors"), &record, &made.errors)?;
            }
            for (name, unit, values) in &axes {
                let path = format!("{data}/{name}");
                column(image, &path, &[], values)?;
                image.attribute(&path, "unit", *unit)?;
            }
            let parameters = format!("{data}/parameters");
            image.nexus(&parameters, "NXcollection")?;
            image.text(&format!("{parameters}/geometry"), &text::geometry(&ask.poni))?;
            image.text(&format!("{parameters}/poni"), &ask.poni.write(&[]))?;
            image.nexus_default(&data)
        };
        put().map_err(h5)
    }

    /// Adds the copied frames to a file.
    pub(crate) fn write_raw(&self, path: &Path, raw: Stack) -> Result<()> {
        append(path, &self.about("frames of a scan"), |image, entry| {
            let group = format!("{entry}/measurement");
            image.nexus_data(&group, "data", &[".", "y", "x"]).map_err(h5)?;
            let data = format!("{group}/data");
            raw.close(image, &data)?;
            image.attribute(&data, "interpretation", Attr::from("image")).map_err(h5)?;
            image.nexus_default(&group).map_err(h5)
        })
    }
}

/// Where frames are copied to.
pub(crate) fn raw(path: &Path, like: &Frames, files: usize, packing: Option<Packing>) -> Stack {
    if packing == Some(Packing::Lz4) {
        tracing::warn!(
            "Raw frames are written with bits shuffled before LZ4, which the readers of LZ4 know."
        );
    }
    let pack = move |spec: Spec| match packing {
        None => spec,
        Some(Packing::Gzip) => spec.compress(Compression::Deflate(4)),
        Some(Packing::Lz4 | Packing::Bitshuffle) => spec.compress(Compression::Bitshuffle),
    };
    Stack::new(path, like.dtype.into(), like.shape, (files * like.count) as u64, pack)
}
