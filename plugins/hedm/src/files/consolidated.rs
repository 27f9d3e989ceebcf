//! A map with its grains and pixels in one HDF5 file.

use isard_core::error::{Error, Result};
use isard_h5::{Compression, Dtype, Image, Spec};
use isard_orientation::{Quat, Symmetry};

use crate::files::levels::completed;
use crate::files::{Fitted, Level, grid_row};
use crate::map::{Pixels, Texture};

/// The grains of a map, by the pixels of its voxels.
struct Grain {
    members: Vec<usize>,
}

/// What a map may say beside the best orientation of each voxel.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// More columns of `voxels`: names with a number for each voxel.
    pub columns: Vec<(&'static str, Vec<f64>)>,
    /// The experiment by the keys of a parameter file.
    pub parameters: Vec<(&'static str, String)>,
    /// The numbers of the rings.
    pub rings: Vec<u32>,
    /// For each voxel the lit share of each of them; empty if it is not known.
    pub shares: Vec<f32>,
    /// For each voxel its best orientations: angles and confidence.
    pub matches: Vec<Vec<([f64; 3], f64)>>,
    /// The maps of a coarse-to-fine run that led to this one, with their pixels.
    pub levels: Vec<(Level, Pixels, Texture)>,
}

/// The bytes of the file: `voxels`, `grains`, `maps`, `grid` and `parameters`, packed by gzip, with `maps` as the default plot.
///
/// With levels there are `multi_resolution/LABEL` with their voxels and maps, and `pipeline_state`.
/// Names and shapes are those of the consolidated files of the MIDAS near-field programs, with the columns that the
/// names say; means of orientations are taken over quaternions with symmetry.
pub fn consolidated(
    voxels: &[Fitted],
    phase: i64,
    pixels: &Pixels,
    texture: &Texture,
    symmetry: &Symmetry,
    beside: &Beside,
) -> Result<Vec<u8>> {
    let mut file = Out { image: Image::new().map_err(told)? };
    file.columns("voxels", voxels, phase)?;
    file.beside(voxels.len(), beside)?;
    file.grains(voxels, pixels, texture, symmetry)?;
    if file.maps("maps", voxels, phase, pixels, texture)? {
        file.image.nexus_default("maps").map_err(told)?;
    }
    for (level, pixels, texture) in &beside.levels {
        file.level(level, phase, pixels, texture)?;
    }
    let points: Vec<f64> = voxels.iter().flat_map(|v| grid_row(&v.voxel)).collect();
    file.floats("grid/points", voxels.len(), &[5], &points)?;
    let count = voxels.len() as i64;
    file.image.scalar("grid/num_points", Dtype::I64, &count.to_ne_bytes()).map_err(told)?;
    file.state(beside)?;
    file.image.into_bytes().map_err(told)
}

/// The bytes of the file that says how far a coarse-to-fine run is: `provenance`, `pipeline_state` and `parameters`.
///
/// Times of day are left out: runs that give the same maps give the same file.
pub fn pipeline(beside: &Beside) -> Result<Vec<u8>> {
    let mut file = Out { image: Image::new().map_err(told)? };
    file.state(beside)?;
    file.image.into_bytes().map_err(told)
}

fn told(error: isard_h5::Error) -> Error {
    Error::internal(format!("writing a map as HDF5: {error}"))
}

struct Out {
    image: Image,
}

impl Out {
    fn put(&mut self, path: &str, dtype: Dtype, rows: usize, record: &[u64], bytes: &[u8]) -> Result<()> {
        let spec = Spec::new(dtype, record).compress(Compression::Deflate(4));
        let slot = self.image.dataset(path, &spec).map_err(told)?;
        self.image.append(slot, bytes, rows as u64).map_err(told)
    }

    fn floats(&mut self, path: &str, rows: usize, record: &[u64], values: &[f64]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.put(path, Dtype::F64, rows, record, &bytes)
    }

    fn integers(&mut self, path: &str, record: &[u64], values: &[i32]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        let each = record.iter().product::<u64>().max(1) as usize;
        self.put(path, Dtype::I32, values.len() / each, record, &bytes)
    }

    fn state(&mut self, beside: &Beside) -> Result<()> {
        for (key, text) in &beside.parameters {
            self.image.text(&format!("parameters/{key}"), text).map_err(told)?;
        }
        let lines: String = beside.parameters.iter().map(|(key, text)| format!("{key} {text}\n")).collect();
        self.image.group("provenance").map_err(told)?;
        for (name, value) in
            [("program", "isard"), ("version", env!("CARGO_PKG_VERSION")), ("parameter_file", &lines)]
        {
            self.image.attribute("provenance", name, value).map_err(told)?;
        }
        let levels: Vec<Level> = beside.levels.iter().map(|l| l.0.clone()).collect();
        let completed = completed(&levels);
        let Some(last) = completed.last() else { return Ok(()) };
        self.image.group("pipeline_state/completed_stages").map_err(told)?;
        for (name, value) in [("workflow_type", "nf_midas_multires"), ("current_stage", last)] {
            self.image.attribute("pipeline_state", name, value).map_err(told)?;
        }
        for (k, stage) in completed.iter().enumerate() {
            self.image.text(&format!("pipeline_state/completed_stages/{k}"), stage).map_err(told)?;
        }
        Ok(())
    }

    fn level(&mut self, level: &Level, phase: i64, pixels: &Pixels, texture: &Texture) -> Result<()> {
        let at = format!("multi_resolution/{}", level.label());
        self.image.group(&at).map_err(told)?;
        self.columns(&format!("{at}/voxels"), &level.voxels, phase)?;
        self.maps(&format!("{at}/maps"), &level.voxels, phase, pixels, texture)?;
        self.image.attribute(&at, "grid_size", level.size).map_err(told)?;
        self.image.attribute(&at, "pass_type", level.trial.name()).map_err(told)
    }

    fn columns(&mut self, at: &str, voxels: &[Fitted], phase: i64) -> Result<()> {
        let n = voxels.len();
        let position: Vec<f64> = voxels.iter().flat_map(|v| [v.voxel.x, v.voxel.y]).collect();
        self.floats(&format!("{at}/position"), n, &[2], &position)?;
        let euler: Vec<f64> = voxels.iter().flat_map(|v| v.euler).collect();
        self.floats(&format!("{at}/euler_angles"), n, &[3], &euler)?;
        let column = |of: fn(&Fitted) -> f64| voxels.iter().map(of).collect::<Vec<f64>>();
        let columns = [
            ("confidence", column(|v| v.confidence)),
            ("orientation_row_nr", column(|v| v.seed)),
            ("orientation_id", column(|v| v.candidates)),
            ("run_time", column(|v| v.seconds)),
            ("tri_edge_size", column(|v| v.voxel.edge)),
            ("up_down", column(|v| v.voxel.sign())),
            ("phase_nr", vec![phase as f64; n]),
        ];
        for (name, values) in columns {
            self.floats(&format!("{at}/{name}"), n, &[], &values)?;
        }
        Ok(())
    }

    fn beside(&mut self, n: usize, beside: &Beside) -> Result<()> {
        for (name, values) in &beside.columns {
            self.floats(&format!("voxels/{name}"), n, &[], values)?;
        }
        if !beside.shares.is_empty() {
            let rings: Vec<i32> = beside.rings.iter().map(|r| *r as i32).collect();
            self.integers("voxels/rings", &[], &rings)?;
            let bytes: Vec<u8> = beside.shares.iter().flat_map(|x| x.to_ne_bytes()).collect();
            self.put("voxels/completeness", Dtype::F32, n, &[rings.len() as u64], &bytes)?;
        }
        let most = beside.matches.iter().map(Vec::len).max().unwrap_or(0);
        if most > 0 {
            let one = |found: &Vec<([f64; 3], f64)>| {
                let values = found.iter().flat_map(|([a, b, c], d)| [*a, *b, *c, *d]);
                values.chain(std::iter::repeat(0.0)).take(4 * most).collect::<Vec<f64>>()
            };
            let values: Vec<f64> = beside.matches.iter().flat_map(one).collect();
            self.floats("all_matches/data", n, &[most as u64, 4], &values)?;
        }
        Ok(())
    }

    fn grains(
        &mut self,
        voxels: &[Fitted],
        pixels: &Pixels,
        texture: &Texture,
        symmetry: &Symmetry,
    ) -> Result<()> {
        let mut grains: Vec<Grain> = (0..texture.grains).map(|_| Grain { members: vec![] }).collect();
        let mut seen = vec![false; voxels.len()];
        for (near, grain) in pixels.nearest.iter().zip(&texture.grain) {
            let Some((voxel, _)) = near else { continue };
            // A voxel of the size of many pixels belongs to the grain of the first: all of them are alike.
            if !std::mem::replace(&mut seen[*voxel as usize], true) {
                grains[*grain as usize - 1].members.push(*voxel as usize);
            }
        }
        // Pixels that were taken by voxels of an earlier grain may leave a grain without a voxel of its own.
        let kept = || grains.iter().enumerate().filter(|(_, g)| !g.members.is_empty());
        let ids: Vec<i32> = kept().map(|(k, _)| k as i32 + 1).collect();
        let counts: Vec<i32> = kept().map(|(_, g)| g.members.len() as i32).collect();
        let (mut euler, mut position, mut confidence) = (vec![], vec![], vec![]);
        for (_, g) in kept() {
            let all: Vec<Quat> = g.members.iter().map(|k| Quat::from_euler(voxels[*k].euler)).collect();
            euler.extend(symmetry.mean(&all).unwrap_or(all[0]).euler());
            let mean = |of: fn(&Fitted) -> f64| {
                g.members.iter().map(|k| of(&voxels[*k])).sum::<f64>() / all.len() as f64
            };
            position.extend([mean(|v| v.voxel.x), mean(|v| v.voxel.y)]);
            confidence.push(mean(|v| v.confidence));
        }
        self.integers("grains/grain_id", &[], &ids)?;
        self.integers("grains/num_voxels", &[], &counts)?;
        self.floats("grains/mean_euler_angles", ids.len(), &[3], &euler)?;
        self.floats("grains/mean_position", ids.len(), &[2], &position)?;
        self.floats("grains/mean_confidence", ids.len(), &[], &confidence)
    }

    /// The maps in pixels with their axes; false if no voxel has an orientation.
    fn maps(
        &mut self,
        at: &str,
        voxels: &[Fitted],
        phase: i64,
        pixels: &Pixels,
        texture: &Texture,
    ) -> Result<bool> {
        let [rows, columns] = pixels.shape;
        if rows * columns == 0 {
            return Ok(false);
        }
        let planes = pixels.planes(voxels, phase);
        let last: Vec<f64> = (0..rows * columns)
            .flat_map(|p| (0..7).map(move |k| (k, p)))
            .map(|(k, p)| planes[k * rows * columns + p])
            .collect();
        let wide = columns as u64;
        self.floats(&format!("{at}/orientation"), rows, &[wide, 7], &last)?;
        self.floats(&format!("{at}/kam"), rows, &[wide], &texture.kam)?;
        self.floats(&format!("{at}/grod"), rows, &[wide], &texture.grod)?;
        let grain: Vec<i32> = texture.grain.iter().map(|g| *g as i32).collect();
        self.integers(&format!("{at}/grain_id"), &[wide], &grain)?;
        let [x, y] = pixels.origin;
        self.floats(&format!("{at}/extent"), 4, &[], &[x, x + columns as f64, y, y + rows as f64])?;
        for (name, n, first) in [("x", columns, x), ("y", rows, y)] {
            let places: Vec<f64> = (0..n).map(|k| first + k as f64).collect();
            self.floats(&format!("{at}/{name}"), n, &[], &places)?;
            self.image.attribute(&format!("{at}/{name}"), "units", "um").map_err(told)?;
        }
        for name in ["kam", "grod"] {
            self.image.attribute(&format!("{at}/{name}"), "units", "radian").map_err(told)?;
        }
        self.image.nexus_data(at, "kam", &["y", "x"]).map_err(told)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Trial;
    use crate::model::Voxel;
    use isard_h5::{Attr, File};
    use isard_orientation::{Cell, SpaceGroup};

    #[test]
    fn columns_hold_what_their_names_say() {
        let voxel = |k: usize| Voxel { x: 2.0 * k as f64, y: -1.0, edge: 2.0, up: k.is_multiple_of(2) };
        let turn = |k: usize| if k < 3 { 0.001 * k as f64 } else { 0.3 };
        let voxels: Vec<Fitted> = (0..5)
            .map(|k| Fitted {
                seed: 10.0 + k as f64,
                candidates: 20.0 + k as f64,
                euler: [turn(k), 0.0, 0.0],
                confidence: 0.5 + 0.1 * k as f64,
                ..Fitted::unsolved(voxel(k))
            })
            .collect();
        let cell = Cell::new([4.0, 4.0, 4.0, 90.0, 90.0, 90.0]).unwrap();
        let symmetry = Symmetry::of(&SpaceGroup::of(225, &cell).unwrap(), &cell).unwrap();
        let pixels = Pixels::new(&voxels, false);
        let texture = pixels.texture(&voxels, &symmetry, 0.05);
        let beside = Beside {
            columns: vec![("runner_up", vec![0.25; 5])],
            parameters: vec![("Lsd", "3000 4000".into())],
            rings: vec![1, 3],
            shares: (0..10).map(|k| k as f32).collect(),
            matches: vec![vec![([1.0, 2.0, 3.0], 0.5)]; 5],
            levels: [(0, Trial::Unseeded), (1, Trial::Seeded), (1, Trial::Merged)]
                .map(|(turn, trial)| {
                    let level =
                        Level { turn, trial, size: 10.0 / f64::from(turn + 1), voxels: voxels.clone() };
                    (level, pixels.clone(), texture.clone())
                })
                .to_vec(),
        };
        let bytes = consolidated(&voxels, 1, &pixels, &texture, &symmetry, &beside).unwrap();
        let file = File::from_bytes(&bytes, "map.h5").unwrap();
        let read = |path: &str| {
            let bytes = file.dataset(path).unwrap().read_all().unwrap();
            bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect::<Vec<f64>>()
        };
        assert_eq!(read("voxels/orientation_row_nr"), [10.0, 11.0, 12.0, 13.0, 14.0]);
        assert_eq!(read("voxels/orientation_id"), [20.0, 21.0, 22.0, 23.0, 24.0]);
        assert_eq!(read("voxels/runner_up"), [0.25; 5]);
        assert_eq!(read("multi_resolution/loop_1_merged/voxels/confidence"), read("voxels/confidence"));
        assert_eq!(read("multi_resolution/loop_0_unseeded/maps/kam"), read("maps/kam"));
        let attribute = |path: &str, name: &str| file.attribute(path, name).unwrap();
        assert_eq!(attribute("multi_resolution/loop_1_seeded", "grid_size"), Some(Attr::Float(5.0)));
        assert_eq!(
            attribute("multi_resolution/loop_1_seeded", "pass_type"),
            Some(Attr::Text("seeded".into()))
        );
        assert_eq!(attribute("pipeline_state", "current_stage"), Some(Attr::Text("loop_1_merge".into())));
        let state = pipeline(&beside).unwrap();
        let state = File::from_bytes(&state, "pipeline.h5").unwrap();
        for (k, stage) in
            ["loop_0_initial", "loop_1_seeded", "loop_1_unseeded", "loop_1_merge"].iter().enumerate()
        {
            let path = format!("pipeline_state/completed_stages/{k}");
            assert_eq!(file.texts(&path).unwrap(), [*stage]);
            assert_eq!(state.texts(&path).unwrap(), [*stage]);
        }
        assert_eq!(file.dataset("voxels/completeness").unwrap().shape(), [5, 2]);
        assert_eq!(read("all_matches/data")[4..8], [1.0, 2.0, 3.0, 0.5]);
        assert_eq!(file.texts("parameters/Lsd").unwrap(), ["3000 4000"]);
        assert_eq!(read("voxels/tri_edge_size"), [2.0; 5]);
        assert_eq!(read("voxels/up_down"), [1.0, -1.0, 1.0, -1.0, 1.0]);
        assert_eq!(
            file.dataset("maps/orientation").unwrap().shape(),
            [pixels.shape[0] as u64, pixels.shape[1] as u64, 7]
        );
        // Two grains: 0, 1 and 2 milliradian in the mean 1, and 0.3.
        let mean = read("grains/mean_euler_angles");
        assert!(
            (mean[0] + mean[2] - 0.001).abs() < 1e-9 && (mean[3] + mean[5] - 0.3).abs() < 1e-9,
            "{mean:?}"
        );
        assert_eq!(read("grains/mean_position"), [2.0, -1.0, 7.0, -1.0]);
        assert!((read("grains/mean_confidence")[0] - 0.6).abs() < 1e-12);
    }
}
