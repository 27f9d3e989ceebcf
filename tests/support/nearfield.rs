//! Near-field scans of known microstructures: camera frames and a MIDAS parameter file in a folder, and how a map of
//! them compares with the truth.
#![allow(dead_code)]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use isard_hedm::files::{Fitted, MicHead, read_text_mic, write_seeds, write_text_mic};
use isard_hedm::model::{Grid, Layout, Voxel};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};

/// The number of the first file.
pub const FIRST: usize = 11;

/// A crystal, a scan and a sample.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub cell: [f64; 6],
    pub group: i64,
    pub lsd: Vec<f64>,
    pub beam: Vec<[f64; 2]>,
    pub tilt: [f64; 3],
    pub pixel: f64,
    pub size: [usize; 2],
    pub ring_radius: f64,
    pub omega: [f64; 2],
    pub frames: usize,
    pub windows: Vec<[f64; 6]>,
    pub wedge: f64,
    /// The sample: its radius, the lattice, the edge of voxels, grains, and how far orientations bend in 100 um.
    pub radius: f64,
    pub grid: f64,
    pub edge: f64,
    pub grains: usize,
    pub bend: f64,
    /// Files with pictures of the bare beam behind each distance.
    pub white: usize,
    /// Lines of the parameter file beside those that the fields say.
    pub more: &'static str,
}

/// How a map compares with the truth.
#[derive(Debug)]
pub struct Quality {
    pub voxels: usize,
    pub confidence: f64,
    pub median: f64,
    pub p95: f64,
    pub quarter: f64,
    pub wrong: usize,
}

impl Case {
    /// Hexagonal, three distances, some twenty spots of many pixels for each voxel.
    pub fn hexagonal() -> Case {
        Case {
            name: "hexagonal, three distances",
            cell: [2.95, 2.95, 4.68, 90.0, 90.0, 120.0],
            group: 194,
            lsd: vec![5000.0, 6000.0, 7000.0],
            beam: vec![[240.3, 6.2], [241.7, 7.1], [239.2, 5.4]],
            tilt: [0.3, -0.2, 0.4],
            pixel: 4.0,
            size: [480, 320],
            ring_radius: 800.0,
            omega: [90.0, -0.25],
            frames: 720,
            windows: vec![[-90.0, 90.0, -680.0, 680.0, 40.0, 900.0]],
            wedge: 0.0,
            radius: 110.0,
            grid: 20.0,
            edge: 20.0,
            grains: 5,
            bend: 0.1,
            white: 2,
            more: "BlanketSubtraction 20\nMedFiltRadius 1\nDoLoGFilter 0\nMinFracAccept 0.04\n",
        }
    }

    /// Orthorhombic, a tilted axis, two windows, voxels of one pixel.
    pub fn orthorhombic() -> Case {
        Case {
            name: "orthorhombic, wedge, two windows",
            cell: [4.76, 10.2, 5.98, 90.0, 90.0, 90.0],
            group: 62,
            lsd: vec![5000.0, 6500.0],
            beam: vec![[240.3, 6.2], [241.7, 7.1]],
            tilt: [-0.2, 0.3, 0.1],
            pixel: 4.0,
            size: [480, 320],
            ring_radius: 800.0,
            omega: [-90.0, 0.25],
            frames: 720,
            windows: vec![
                [-90.0, -15.0, -700.0, 700.0, 40.0, 900.0],
                [10.0, 90.0, -650.0, 650.0, 60.0, 900.0],
            ],
            wedge: 0.15,
            radius: 70.0,
            grid: 6.5,
            edge: 3.0,
            grains: 4,
            bend: 0.1,
            white: 2,
            more: "BlanketSubtraction 20\nMedFiltRadius 1\nDoLoGFilter 0\nMinFracAccept 0.04\n",
        }
    }

    /// Gold on a small detector.
    pub fn small() -> Case {
        Case {
            name: "gold, small",
            cell: [4.08, 4.08, 4.08, 90.0, 90.0, 90.0],
            group: 225,
            lsd: vec![3000.0, 4000.0],
            beam: vec![[64.0, 6.0], [64.0, 6.0]],
            tilt: [0.0; 3],
            pixel: 10.0,
            size: [128, 128],
            ring_radius: 800.0,
            omega: [-90.0, 1.0],
            frames: 180,
            windows: vec![[-90.0, 90.0, -600.0, 600.0, 50.0, 900.0]],
            wedge: 0.0,
            radius: 60.0,
            grid: 20.0,
            edge: 20.0,
            grains: 3,
            bend: 0.0,
            white: 0,
            more: "BlanketSubtraction 25\nMedFiltRadius 0\nDoLoGFilter 0\nMinFracAccept 0.04\n",
        }
    }

    fn symmetry(&self) -> Symmetry {
        let cell = Cell::new(self.cell).unwrap();
        Symmetry::of(&SpaceGroup::of(self.group, &cell).unwrap(), &cell).unwrap()
    }

    /// The grains: a point and an orientation.
    pub fn of_grains(&self, layer: usize) -> Vec<([f64; 2], Quat)> {
        // Numbers of a Kronecker sequence: grains that lie apart with orientations that differ.
        let share =
            |k: usize, p: u32| (0.5 + (k + 1) as f64 / 1.167_303_978_261_418_6_f64.powi(p as i32)).fract();
        let one = |k: usize| {
            let (r, a) = (0.8 * self.radius * share(k, 1).sqrt(), std::f64::consts::TAU * share(k, 2));
            let q = Quat::from_euler([
                std::f64::consts::TAU * share(k, 3),
                (2.0 * share(k, 4) - 1.0).acos(),
                std::f64::consts::TAU * share(k, 5),
            ]);
            // In the next layer grains have moved a little.
            ([r * a.cos() + 5.0 * layer as f64, r * a.sin()], q)
        };
        (0..self.grains).map(one).collect()
    }

    /// The voxels with their orientations; the seed is the grain.
    pub fn truth(&self, layer: usize) -> Vec<Fitted> {
        let grains = self.of_grains(layer);
        let grid = Grid { radius: self.radius, size: self.grid, edge: self.edge, layout: Layout::Tiling };
        let away = |v: &Voxel, k: usize| (v.x - grains[k].0[0]).hypot(v.y - grains[k].0[1]);
        let voxels = grid.voxels().into_iter().filter(|v| v.x.hypot(v.y) <= 0.9 * self.radius);
        voxels
            .map(|v| {
                let own = (0..grains.len()).min_by(|a, b| away(&v, *a).total_cmp(&away(&v, *b))).unwrap();
                let ([x, y], q) = grains[own];
                let far = self.bend.to_radians() / 100.0;
                let bent = Quat::from_rotation_vector([far * (v.x - x), far * (v.y - y), far * (v.x - v.y)]);
                let euler = bent.times(&q).euler();
                Fitted { seed: own as f64, euler, confidence: 1.0, ..Fitted::unsolved(v) }
            })
            .collect()
    }

    /// `[shared.experiment]` of a recipe.
    pub fn experiment(&self) -> String {
        let [start, step] = self.omega;
        format!(
            "[shared.experiment]\ndistances = {:?}\nbeam = {:?}\ntilt = {:?}\npixel = {:?}\nsize = {:?}\n\
             wavelength = 0.18\ncell = {:?}\nspace_group = {}\nring_radius = {:?}\nomega_start = {start:?}\n\
             omega_step = {step:?}\nframes = {}\nwindows = {:?}\nwedge = {:?}\n",
            self.lsd,
            self.beam,
            self.tilt,
            self.pixel,
            self.size,
            self.cell,
            self.group,
            self.ring_radius,
            self.frames,
            self.windows,
            self.wedge
        )
    }

    /// The parameter file of a scan in its folder.
    pub fn params(&self) -> String {
        let mut out = String::from("# a near-field scan\nDataDirectory .\nOutputDirectory results\n");
        let mut put = |line: String| writeln!(out, "{line}").unwrap();
        put(format!("OrigFileName raw/ex\nextOrig tif\nRawStartNr {FIRST}\nWFImages {}", self.white));
        put(format!("NrFilesPerDistance {0}\nStartNr 0\nEndNr {1}", self.frames, self.frames - 1));
        put(format!("nDistances {}", self.lsd.len()));
        self.lsd.iter().for_each(|l| put(format!("Lsd {l}    # um")));
        self.beam.iter().for_each(|[y, z]| put(format!("BC {y} {z}")));
        let [tx, ty, tz] = self.tilt;
        put(format!("tx {tx}\nty {ty}\ntz {tz}\npx {}\nWedge {}", self.pixel, self.wedge));
        put(format!("NrPixelsY {}\nNrPixelsZ {}", self.size[0], self.size[1]));
        put(format!("Wavelength 0.18\nSpaceGroup {}", self.group));
        put(format!("LatticeParameter {}", self.cell.map(|x| x.to_string()).join(" ")));
        // The list maker takes the radius at the last distance.
        let radius = (self.lsd[self.lsd.len() - 1] * (self.ring_radius / self.lsd[0]).atan().tan()).floor();
        put(format!("MaxRingRad {radius}\nExcludePoleAngle 6"));
        put(format!("OmegaStart {}\nOmegaStep {}", self.omega[0], self.omega[1]));
        for w in &self.windows {
            put(format!("OmegaRange {} {}\nBoxSize {} {} {} {}", w[0], w[1], w[2], w[3], w[4], w[5]));
        }
        put(format!("Rsample {}\nGridSize {}\nEdgeLength {}", self.radius, self.grid, self.edge));
        put("SeedOrientations seeds.txt\nNrOrientations 9\nOrientTol 2\nMicFileText case.mic\nMicFileBinary case.bin".into());
        put("SaveNSolutions 2\nMinMisoNSaves 1\nGlobalPosition 0\nNumPhases 1\nPhaseNr 1\nReducedFileName red".into());
        out + self.more
    }

    /// Writes seeds near the grains, and some that are no grain's.
    pub fn seeds(&self, folder: &Path) {
        let near = Quat::from_rotation_vector([0.003, -0.004, 0.003]);
        let mut seeds: Vec<Quat> = self.of_grains(0).iter().map(|g| near.times(&g.1)).collect();
        seeds.extend((0..4).map(|k| Quat::from_euler([0.7 * f64::from(k), 0.9, 1.0 + f64::from(k)])));
        std::fs::write(folder.join("seeds.txt"), write_seeds(&seeds, &Cell::new(self.cell).unwrap()))
            .unwrap();
    }

    /// Plays a layer's scan with a noisy camera, and puts the frames where the parameter file says.
    pub fn record(&self, folder: &Path, layer: usize) {
        let head = MicHead { edge: self.edge, phases: 1, phase: 1, position: 0.0 };
        std::fs::write(folder.join("truth.mic"), write_text_mic(&head, &self.truth(layer))).unwrap();
        let recipe = format!(
            "isard = \"0.1\"\nname = \"scan\"\n[run]\nseed = {}\n{}\n[stage.frames]\nuse = \"hedm.simulate\"\n\
             set = {{ truth = \"truth.mic\", hot = 1e-4, zingers = 3.0 }}\n\
             [stage.files]\nuse = \"tiff.write\"\nfrom = \"frames\"\nset = {{ path = \"frames.tif\" }}\n",
            5 + layer,
            self.experiment()
        );
        std::fs::write(folder.join("scan.toml"), recipe).unwrap();
        well(folder, &["run", "scan.toml", "--out", "scan", "--quiet"]);
        std::fs::create_dir_all(folder.join("raw")).unwrap();
        let (distances, n) = (self.lsd.len(), self.frames);
        let first = FIRST + layer * distances * n;
        for number in 0..distances * n {
            let file = first + number / n * (n + self.white) + number % n;
            let from = folder.join(format!("scan/frames.parts/{number:09}.tif"));
            std::fs::rename(from, folder.join(format!("raw/ex_{file:06}.tif"))).unwrap();
        }
        std::fs::remove_dir_all(folder.join("scan")).unwrap();
    }

    /// How a text mic compares with the truth.
    pub fn quality(&self, mic: &Path, layer: usize) -> Quality {
        let (_, found) = read_text_mic(&std::fs::read_to_string(mic).unwrap()).unwrap();
        let (symmetry, truth) = (self.symmetry(), self.truth(layer));
        let (mut angles, mut sum) = (vec![], 0.0);
        for t in &truth {
            let near = |f: &&Fitted| (f.voxel.x - t.voxel.x).hypot(f.voxel.y - t.voxel.y) < 1e-3;
            let angle = found.iter().find(near).map_or(180.0, |f| {
                sum += f.confidence;
                let [a, b] = [f.euler, t.euler].map(Quat::from_euler);
                symmetry.misorientation(&a, &b).to_degrees()
            });
            angles.push(angle);
        }
        angles.sort_by(f64::total_cmp);
        let n = angles.len();
        Quality {
            voxels: n,
            confidence: sum / n as f64,
            median: angles[n / 2],
            p95: angles[n * 95 / 100],
            quarter: angles.iter().filter(|a| **a < 0.25).count() as f64 / n as f64,
            wrong: angles.iter().filter(|a| **a > 5.0).count(),
        }
    }
}

/// Runs the command in a folder; gives its exit code and what it printed.
pub fn isard(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    let output = output.expect("isard starts");
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    (output.status.code(), text)
}

/// Runs the command in a folder, which must go well.
pub fn well(folder: &Path, arguments: &[&str]) -> String {
    let (code, text) = isard(folder, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {text}");
    text
}
