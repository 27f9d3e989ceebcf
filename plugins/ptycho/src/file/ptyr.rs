//! Results in `.ptyr` files.

use isard_core::Result;
use isard_h5::{Dtype, Image};

use super::tree::{self, Block, Node, h5};
use crate::num::Complex;

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

/// A probe or an object.
pub struct Storage<'a> {
    /// Its name.
    pub id: &'a str,
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
    /// The probe.
    pub probe: Storage<'a>,
    /// The object.
    pub object: Storage<'a>,
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
            ("ID", Node::Text(self.id.to_owned())),
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
    let mut image = Image::sized(outcome.object.data.len() * 8).map_err(h5)?;
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
    let mut content = vec![
        ("obj", Node::dict(vec![(outcome.object.id, outcome.object.node(outcome.extent))])),
        ("pars", outcome.pars.clone()),
        ("probe", Node::dict(vec![(outcome.probe.id, outcome.probe.node(outcome.extent))])),
        ("runtime", runtime),
    ];
    if let Some(positions) = &outcome.positions {
        let flat: Vec<f64> = positions.iter().flatten().copied().collect();
        let block = Block::floats(&[positions.len(), 2], &flat);
        content.push(("positions", Node::dict(vec![(outcome.object.id, Node::Array(block))])));
    }
    tree::write(&mut image, "/header", &header)?;
    tree::write(&mut image, "/content", &Node::param(content))?;
    image.into_bytes().map_err(h5)
}
