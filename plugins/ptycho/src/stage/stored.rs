//! `ptyr.read`: probe and object of an earlier reconstruction.

use std::path::Path;

use isard_core::prelude::*;

use super::read::check_ending;
use crate::file::ptyr::{self, Kept};

/// Reads probe and object of a `.ptyr` file, to go on from them.
///
/// A file has a storage for each energy that has a probe, or an object, of its own: `SS00G00`, `SS00G01` and so on for
/// the scan `S00`. They come one behind the other, as `ptycho.reconstruct` gives and takes them.
///
/// Gives one probe and one object, once, at the cost of reading and inflating them.
///
/// Source: the result format of PtyPy (Enders and Thibault, Proc. R. Soc. A 472, 2016, 20160640).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PtyrRead {
    /// The file; must end in `.ptyr`.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    /// The scan's label, of which names in the file are made; else the first.
    #[serde(default)]
    label: Option<String>,
}

/// The output of [`PtyrRead`].
#[derive(Ports)]
pub struct PtyrOut {
    /// The probe, mode by mode: those of one energy behind those of another.
    #[port(dtype = "c64", axes = "mode y x", fixed)]
    probe: Array,
    /// The object, mode by mode: those of one energy behind those of another.
    #[port(dtype = "c64", axes = "mode y x", fixed)]
    object: Array,
    /// The object pixel where position 0 lies, row and column.
    #[port(dtype = "f64", axes = "axis", unit = "pixel", fixed)]
    center: Array,
    /// The edge of an object pixel.
    #[port(unit = "m")]
    resolution: f64,
    /// The photon energy of each of the probe's modes.
    #[port(dtype = "f64", axes = "mode", unit = "keV", fixed)]
    probe_energy: Array,
    /// The photon energy of each of the object's modes.
    #[port(dtype = "f64", axes = "mode", unit = "keV", fixed)]
    object_energy: Array,
}

impl Stage for PtyrRead {
    type In = ();
    type Out = PtyrOut;

    fn example() -> Example {
        let one = vec![crate::num::Complex::<f32>::new(1.0, 0.5); 64];
        let storage = || ptyr::Storage {
            id: "SS00G00".into(),
            shape: [1, 8, 8],
            data: &one,
            psize: 6e-8,
            center: [4.0; 2],
            energy: 6.2,
            fill: None,
        };
        let outcome = ptyr::Outcome {
            run: "S00",
            probe: vec![storage()],
            object: vec![storage()],
            pars: crate::file::tree::Node::param(vec![]),
            iterations: vec![],
            positions: None,
            times: ["Thu Jan  1 00:00:00 1970"; 2],
            extent: ptyr::Extent::Minimal,
        };
        let bytes = ptyr::result(&outcome).expect("a result of a few pixels can be built");
        Example::new(format!("path = {:?}", Example::file("result.ptyr", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        check_ending(&self.path, ".ptyr", faults);
    }
}

impl Task for PtyrRead {
    fn run(&mut self, _: &Cx, (): ()) -> Result<PtyrOut> {
        let path = Path::new(&self.path);
        let [probe, object] = ["probe", "obj"].map(|kind| ptyr::stored(path, kind, self.label.as_deref()));
        let (probe, object) = (probe?, object?);
        let array = |kept: &Kept| Array::of(&kept.shape, &kept.data);
        Ok(PtyrOut {
            probe: array(&probe)?,
            object: array(&object)?,
            center: Array::from_slice(&object.center),
            resolution: object.psize,
            probe_energy: Array::from_slice(&probe.energies),
            object_energy: Array::from_slice(&object.energies),
        })
    }
}
declare!(Task, "ptyr.read", Kind::Tool, PtyrRead);
