//! `ptyr.write`: reconstructions for other programs.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;

use super::read::check_ending;
use super::work::complex;
use crate::engine::{Method, Settings};
use crate::file::ptyr::{self, Iteration, Outcome, Storage};
use crate::file::tree::{Node, asctime};
use crate::num::{Complex, narrow};

/// Writes a reconstruction as a `.ptyr` file.
///
/// The file holds the latest object and probe with their pixel sizes, the engines with their options, the errors of all
/// iterations and, where positions were refined, the refined ones. It is replaced in one step: once at the end, or behind
/// `run.take = "every"` at each snapshot. The kind is `minimal`.
///
/// Changes neither order nor count; keeps the last of many records. Deflating takes some 50 ns a pixel.
///
/// Source: the result format of PtyPy (Enders and Thibault, Proc. R. Soc. A 472, 2016, 20160640).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PtyrWrite {
    /// The file, relative to the run's folder; must end in `.ptyr`.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// The scan's label, of which names in the file are made.
    #[serde(default = "label")]
    label: String,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<(Arc<dyn Output>, String)>,
}

fn label() -> String {
    "S00".into()
}

/// The input of [`PtyrWrite`].
#[derive(Ports)]
pub struct PtyrIn {
    /// The object, mode by mode.
    #[port(dtype = "complex", axes = "mode y x")]
    object: Array,
    /// The probe, mode by mode.
    #[port(dtype = "complex", axes = "mode y x")]
    probe: Array,
    /// The edge of a pixel.
    #[port(dtype = "f64", axes = "", unit = "m")]
    resolution: Array,
    /// The object pixel where position 0 lies.
    #[port(dtype = "f64", axes = "axis", unit = "pixel")]
    center: Array,
    /// The photon energy.
    #[port(dtype = "f64", axes = "", unit = "keV")]
    energy: Array,
    /// The errors of each iteration.
    #[port(columns = "iteration: u32, engine: i32, frames: u32, fourier: f64, photons: f64, exit: f64")]
    errors: Table,
    /// The frames with their positions.
    #[port(columns = "index: u64, y: f64 m, x: f64 m, measured_y: f64 m, measured_x: f64 m")]
    positions: Table,
    /// The engines, as JSON text.
    engines: Value,
}

impl Stage for PtyrWrite {
    type In = PtyrIn;
    type Out = ();

    fn example() -> Example {
        let one = |n: usize| vec![Complex::<f32>::new(1.0, 0.5); n];
        let (errors, positions) = example_tables();
        Example::new("path = \"result.ptyr\"")
            .frames("object", Array::of(&[1, 1, 12, 10], &one(120)).expect("120 pixels"))
            .frames("probe", Array::of(&[1, 1, 8, 8], &one(64)).expect("64 pixels"))
            .frames("resolution", Array::from_slice(&[6e-8]))
            .frames("center", Array::of(&[1, 2], &[6.0, 5.0]).expect("a pair"))
            .frames("energy", Array::from_slice(&[6.2]))
            .frames("errors", errors)
            .frames("positions", positions)
            .frames("engines", vec![Value::from("[{\"name\": \"DM\", \"numiter\": 1}]")])
    }

    fn check(&self, faults: &mut Faults) {
        check_ending(&self.path, ".ptyr", faults);
        if self.label.is_empty() || self.label.contains('/') {
            faults.add("label", format!("found `{}`, wanted a plain name", self.label));
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        Cost { memory: 4 * input.bytes() as u64, ..Cost::default() }
    }
}

impl Writer for PtyrWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        self.out = Some((out, asctime()));
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: PtyrIn) -> Result<()> {
        let Some(last) = input.object.shape()[0].checked_sub(1) else { return Ok(()) };
        let (out, begun) =
            self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        let record = span.start + last as u64;
        let number = |array: &Array| -> Result<f64> {
            let all = array.to_f64()?;
            all.get(last).copied().ok_or_else(|| Error::data(format!("{span}: a number is missing")))
        };
        let (object_shape, object) = wave(span, &input.object, last)?;
        let (probe_shape, probe) = wave(span, &input.probe, last)?;
        let center = input.center.record(last)?.to_f64()?;
        let (psize, energy) = (number(&input.resolution)?, number(&input.energy)?);
        let text = match &input.engines {
            Value::List(list) => list.get(last).and_then(Value::text).unwrap_or_default(),
            other => other.text().unwrap_or_default(),
        };
        let engines: Vec<Settings> = serde_json::from_str(text)
            .map_err(|e| Error::data(format!("{span}: `engines` are no engines: {e}")))?;
        let id = format!("S{}G00", self.label);
        let fill = object.iter().sum::<Complex<f32>>() / object.len().max(1) as f32;
        // A single record owns all rows, whatever number the snapshot has.
        let table = |t: &Table| if last == 0 { Ok(t.clone()) } else { t.between(record, record + 1) };
        let (errors, positions) = (table(&input.errors)?, table(&input.positions)?);
        let storage =
            |shape, data, center, fill| Storage { id: &id, shape, data, psize, center, energy, fill };
        let middle = [(probe_shape[1] / 2) as f64, (probe_shape[2] / 2) as f64];
        let outcome = Outcome {
            run: &self.label,
            probe: storage(probe_shape, &probe, middle, None),
            object: storage(object_shape, &object, [center[0], center[1]], Some(fill)),
            pars: pars(&self.label, &engines)?,
            iterations: iterations(&errors, &engines)?,
            positions: refined(&positions)?,
            times: [begun, &asctime()],
        };
        out.replace(&self.path, &ptyr::result(&outcome)?)
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
declare!(Writer, "ptyr.write", Kind::Writer, PtyrWrite);

/// One of many records of modes, with its shape.
pub(super) fn wave(span: &Span, array: &Array, k: usize) -> Result<([usize; 3], Vec<Complex<f32>>)> {
    let one = array.record(k)?;
    let &[modes, rows, columns] = one.shape() else {
        let found = one.shape();
        return Err(Error::data(format!("{span}: found an image of shape {found:?}, wanted [mode y x]")));
    };
    Ok(([modes, rows, columns], complex(&one)?.into_iter().map(narrow).collect()))
}

/// Errors of one iteration and positions of one frame.
pub(super) fn example_tables() -> (Table, Table) {
    let errors = Table::new(1)
        .with("iteration", &[1u32])
        .and_then(|t| t.with("engine", &[0i32]))
        .and_then(|t| t.with("frames", &[4u32]))
        .and_then(|t| t.with("fourier", &[3.0]))
        .and_then(|t| t.with("photons", &[2.0]))
        .and_then(|t| t.with("exit", &[1.0]))
        .map(|t| t.with_record(0));
    let positions = Table::new(1)
        .with("index", &[0u64])
        .and_then(|t| t.with("y", &[0.0]))
        .and_then(|t| t.with("x", &[0.0]))
        .and_then(|t| t.with("measured_y", &[0.0]))
        .and_then(|t| t.with("measured_x", &[0.0]))
        .map(|t| t.with_record(0));
    (errors.expect("one row"), positions.expect("one row"))
}

fn pars(run: &str, engines: &[Settings]) -> Result<Node> {
    let mut tree = vec![];
    for (k, engine) in engines.iter().enumerate() {
        let mut value = serde_json::to_value(engine)
            .map_err(|e| Error::internal(format!("an engine cannot be written: {e}")))?;
        if let Some(map) = value.as_object_mut() {
            map.retain(|_, v| !v.is_null());
        }
        tree.push((format!("e{k:02}"), Node::from_json(&value)));
    }
    Ok(Node::param(vec![("engines", Node::Param(tree)), ("run", Node::Text(run.to_owned()))]))
}

fn iterations(errors: &Table, engines: &[Settings]) -> Result<Vec<Iteration>> {
    let (total, engine) = (errors.numbers::<u32>("iteration")?, errors.numbers::<i32>("engine")?);
    let columns = [
        errors.numbers::<f64>("fourier")?,
        errors.numbers::<f64>("photons")?,
        errors.numbers::<f64>("exit")?,
    ];
    let mut count = 0;
    let mut out = vec![];
    for k in 0..errors.rows() {
        count = if k > 0 && engine[k] == engine[k - 1] { count + 1 } else { 1 };
        let settings = usize::try_from(engine[k]).ok().and_then(|e| engines.get(e));
        // Other programs write 0 for the errors that maximum likelihood does not have.
        let none = settings.is_some_and(|s| s.name == Method::ML);
        let error = columns.map(|c| if none && c[k].is_nan() { 0.0 } else { c[k] });
        out.push(Iteration {
            iteration: count,
            iterations: i64::from(total[k]),
            numiter: settings.map_or(count, |s| s.numiter as i64),
            engine: settings.map_or("EPIE".into(), |s| format!("{:?}", s.name)),
            error,
        });
    }
    Ok(out)
}

/// Positions, if any was moved.
fn refined(table: &Table) -> Result<Option<Vec<[f64; 2]>>> {
    let (y, x) = (table.numbers::<f64>("y")?, table.numbers::<f64>("x")?);
    let same = y == table.numbers::<f64>("measured_y")? && x == table.numbers::<f64>("measured_x")?;
    Ok((!same).then(|| y.iter().zip(x).map(|(y, x)| [*y, *x]).collect()))
}
