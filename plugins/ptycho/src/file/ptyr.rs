//! Results in `.ptyr` files.

use std::path::Path;

use isard_core::{Error, Result};
use isard_h5::{Dtype, File, Image};

use super::ptyd::floats;
use super::tree::{self, Block, Node, h5};
use crate::num::{Complex, wide};

/// How much a result file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// What is needed to go on from it.
    #[default]
    Minimal,
    /// The coordinates of all pixels too.
    Dls,
    /// The same, but of the iterations the last one only: for files that are written again and again.
    Dump,
    /// As much as the first, with every parameter as it acted.
    UsedParams,
}

impl Extent {
    fn word(self) -> &'static str {
        match self {
            Extent::Minimal => "minimal",
            Extent::Dls => "dls",
            Extent::Dump => "dump",
            Extent::UsedParams => "used_params",
        }
    }
}

/// A probe or an object: of all energies, or of one of them.
pub struct Storage<'a> {
    /// Its name.
    pub id: String,
    /// Modes, rows and columns.
    pub shape: [usize; 3],
    /// The pixels.
    pub data: &'a [Complex<f32>],
    /// The edge of a pixel, m.
    pub psize: f64,
    /// The pixel where the coordinate's origin lies.
    pub center: [f64; 2],
    /// keV.
    pub energy: f64,
    /// What unseen pixels hold, if not 0.
    pub fill: Option<Complex<f32>>,
}

/// One block of iterations.
pub struct Iteration {
    /// Of this engine.
    pub iteration: i64,
    /// Of all engines.
    pub iterations: i64,
    /// Iterations that the engine does.
    pub numiter: i64,
    /// Its name.
    pub engine: String,
    /// Errors in amplitude, in counts, and of exit waves.
    pub error: [f64; 3],
}

/// What a result file says.
pub struct Outcome<'a> {
    /// The name of the run.
    pub run: &'a str,
    /// The probe, or that of each energy.
    pub probe: Vec<Storage<'a>>,
    /// The object, or that of each energy.
    pub object: Vec<Storage<'a>>,
    /// The parameters.
    pub pars: Node,
    /// The iterations.
    pub iterations: Vec<Iteration>,
    /// Refined positions, m.
    pub positions: Option<Vec<[f64; 2]>>,
    /// When the run began and when it ended, as C writes times.
    pub times: [&'a str; 2],
    /// How much of it the file says.
    pub extent: Extent,
}

impl Storage<'_> {
    fn node(&self, extent: Extent) -> Node {
        let [modes, rows, columns] = self.shape;
        let whole: Vec<i64> = self.shape.iter().map(|n| *n as i64).collect();
        let layers: Vec<i64> = (0..modes as i64).collect();
        let origin = self.center.map(|c| -c * self.psize);
        let data = Block::of(Dtype::C32, &[modes, rows, columns], bytemuck::cast_slice(self.data));
        let fill = match &self.fill {
            Some(fill) => Node::Scalar(Block::of(Dtype::C32, &[], bytemuck::bytes_of(fill))),
            None => Node::float(0.0),
        };
        let mut members = vec![
            ("DataTooSmall", Node::Bool(false)),
            ("ID", Node::Text(self.id.clone())),
            ("_center", Node::floats(&self.center)),
            ("_energy", Node::float(self.energy)),
            ("_is_scattered", Node::Bool(false)),
            ("_origin", Node::floats(&origin)),
            ("_pool", Node::dict(vec![])),
            ("_psize", Node::floats(&[self.psize; 2])),
            ("_recs", Node::dict(vec![])),
            ("data", Node::Array(data)),
            ("fill_value", fill),
            ("grids", self.grids()),
            ("layermap", Node::ArrayList(Block::ints(&[modes], &layers))),
            ("model_initialized", Node::Bool(true)),
            ("nlayers", Node::int(modes as i64)),
            ("numID", Node::int(1)),
            ("padding", Node::int(0)),
            ("padonly", Node::Bool(false)),
            ("shape", Node::ArrayTuple(Block::ints(&[3], &whole))),
        ];
        members.retain(|(name, _)| *name != "grids" || matches!(extent, Extent::Dls | Extent::Dump));
        Node::dict(members)
    }

    /// The coordinates of all pixels, along the rows and along the columns, m.
    fn grids(&self) -> Node {
        let [modes, rows, columns] = self.shape;
        let place = |axis: usize, k: usize| (k as f64 - self.center[axis]) * self.psize;
        let pixel = |axis: usize| {
            (0..modes * rows * columns).map(move |k| match axis {
                0 => place(0, k / columns % rows),
                _ => place(1, k % columns),
            })
        };
        let all: Vec<f64> = pixel(0).chain(pixel(1)).collect();
        Node::ArrayTuple(Block::floats(&[2, modes, rows, columns], &all))
    }
}

/// The bytes of a result file.
pub fn result(outcome: &Outcome) -> Result<Vec<u8>> {
    let mut image = Image::sized(outcome.object.iter().map(|o| o.data.len() * 8).sum()).map_err(h5)?;
    tree::stamp(&mut image, outcome.times[1])?;
    let header = Node::dict(vec![
        ("description", Node::Text("Ptypy .h5 compatible storage format".into())),
        ("kind", Node::Text(outcome.extent.word().into())),
    ]);
    let first = match outcome.extent {
        Extent::Dump => outcome.iterations.len().saturating_sub(1),
        _ => 0,
    };
    let info = outcome.iterations[first..].iter().map(|i| {
        Node::dict(vec![
            ("duration", Node::float(0.0)),
            ("engine", Node::Text(i.engine.clone())),
            ("error", Node::floats(&i.error)),
            ("iteration", Node::int(i.iteration)),
            ("iterations", Node::int(i.iterations)),
            ("numiter", Node::int(i.numiter)),
        ])
    });
    let runtime = Node::param(vec![
        ("allstart", Node::Text(outcome.times[0].into())),
        ("allstop", Node::None),
        ("float_intens", Node::dict(vec![])),
        ("iter_info", Node::List(info.collect())),
        ("last_plot", Node::int(0)),
        ("last_save", Node::int(0)),
        ("run", Node::Text(outcome.run.to_owned())),
        ("start", Node::Text(outcome.times[0].into())),
        ("stop", Node::Text(outcome.times[1].into())),
    ]);
    let stored =
        |all: &[Storage]| Node::Dict(all.iter().map(|s| (s.id.clone(), s.node(outcome.extent))).collect());
    let mut content = vec![
        ("obj", stored(&outcome.object)),
        ("pars", outcome.pars.clone()),
        ("probe", stored(&outcome.probe)),
        ("runtime", runtime),
    ];
    if let Some(positions) = &outcome.positions {
        let flat: Vec<f64> = positions.iter().flatten().copied().collect();
        let block = Block::floats(&[positions.len(), 2], &flat);
        let all = outcome.object.iter().map(|o| (o.id.clone(), Node::Array(block.clone())));
        content.push(("positions", Node::Dict(all.collect())));
    }
    tree::write(&mut image, "/header", &header)?;
    tree::write(&mut image, "/content", &Node::param(content))?;
    image.into_bytes().map_err(h5)
}

/// The name of a storage: of a scan's label, and the number of an energy.
pub fn id(label: &str, energy: usize) -> String {
    format!("S{label}G{energy:02}")
}

/// The label and the energy of a storage out of its name; simple models of other programs number no energies.
fn parts(id: &str) -> (&str, usize) {
    let plain = id.strip_prefix('S').unwrap_or(id);
    let numbered = plain.rsplit_once('G').and_then(|(label, k)| Some((label, k.parse().ok()?)));
    numbered.filter(|(label, _)| !label.is_empty()).unwrap_or((plain, 0))
}

/// A probe or an object as a file holds it, all energies one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Modes, rows and columns.
    pub shape: [usize; 3],
    /// The pixels.
    pub data: Vec<Complex<f64>>,
    /// The photon energy of each mode, keV.
    pub energies: Vec<f64>,
    /// The edge of a pixel, m.
    pub psize: f64,
    /// The pixel where the coordinate's origin lies.
    pub center: [f64; 2],
}

/// The storages of one kind, `probe` or `obj`, of a scan in a file: of that label, or of the first one.
pub fn stored(path: &Path, kind: &str, label: Option<&str>) -> Result<Kept> {
    let file = File::open(path).map_err(h5)?;
    let wrong = |what: String| Error::data(format!("{}: {what}", path.display()));
    let folder = format!("/content/{kind}");
    let mut ids = file.names(&folder).map_err(|_| wrong(format!("it has no `{folder}`")))?;
    ids.sort_by(|a, b| parts(a).cmp(&parts(b)));
    let first = ids.first().map(|id| parts(id).0.to_owned());
    let label = label.map(str::to_owned).or(first).ok_or_else(|| wrong(format!("`{folder}` is empty")))?;
    let mine: Vec<&String> = ids.iter().filter(|id| parts(id).0 == label).collect();
    let mut all: Option<Kept> = None;
    for id in mine {
        let next = storage(&file, &format!("{folder}/{id}"))?;
        match &mut all {
            None => all = Some(next),
            Some(all) => {
                let place = |k: &Kept| (k.shape[1], k.shape[2], k.center);
                if place(all) != place(&next) {
                    let (a, b) = (&all.shape[1..], &next.shape[1..]);
                    let found = format!("`{folder}/{id}` has {b:?} pixels around {:?}", next.center);
                    return Err(wrong(format!("{found}, wanted {a:?} around {:?} as before", all.center))
                        .help("energies on one grid are wanted: wire one dataset, `FILE::/content/...`"));
                }
                all.shape[0] += next.shape[0];
                all.data.extend(next.data);
                all.energies.extend(next.energies);
            }
        }
    }
    all.ok_or_else(|| {
        wrong(format!("it has no scan `{label}`")).help(format!("`{folder}` holds {}", ids.join(", ")))
    })
}

fn storage(file: &File, at: &str) -> Result<Kept> {
    let wrong = |what: String| Error::data(format!("{}: `{at}` {what}", file.name()));
    let set = file.dataset(&format!("{at}/data")).map_err(h5)?;
    let &[modes, rows, columns] = set.shape() else {
        return Err(wrong(format!("has the shape {:?}, wanted [mode y x]", set.shape())));
    };
    let bytes = set.read_all().map_err(h5)?;
    let data = match set.dtype().map_err(h5)? {
        Dtype::C32 => {
            bytemuck::pod_collect_to_vec::<u8, Complex<f32>>(&bytes).into_iter().map(wide).collect()
        }
        Dtype::C64 => bytemuck::pod_collect_to_vec::<u8, Complex<f64>>(&bytes),
        other => return Err(wrong(format!("holds values of {other}, wanted complex ones"))),
    };
    let number = |name: &str, k: usize| -> Result<f64> {
        let all = floats(file, &format!("{at}/{name}"))?;
        all.get(k).copied().ok_or_else(|| wrong(format!("has {} numbers in `{name}`", all.len())))
    };
    let shape = [modes as usize, rows as usize, columns as usize];
    Ok(Kept {
        shape,
        data,
        energies: vec![number("_energy", 0)?; shape[0]],
        psize: number("_psize", 0)?,
        center: [number("_center", 0)?, number("_center", 1)?],
    })
}

#[cfg(test)]
mod tests {
    use super::{id, parts};

    #[test]
    fn names_say_scan_and_energy() {
        assert_eq!([id("S00", 0), id("S00", 12)], ["SS00G00", "SS00G12"]);
        assert_eq!(parts("SS00G12"), ("S00", 12));
        // A simple model's, and labels with the letter in them.
        assert_eq!([parts("SS00"), parts("SG"), parts("SGG01")], [("S00", 0), ("G", 0), ("G", 1)]);
    }
}
