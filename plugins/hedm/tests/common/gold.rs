//! The microstructure of the gold example, and how maps of it compare with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::path::Path;

use isard_hedm::bits::{Painter, Volume};
use isard_hedm::files::{Fitted, read_text_mic};
use isard_hedm::fit::Found;
use isard_hedm::model::{Projector, Voxel};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};

pub fn cubic() -> Symmetry {
    let cell = Cell::new([4.08, 4.08, 4.08, 90.0, 90.0, 90.0]).unwrap();
    Symmetry::of(&SpaceGroup::new(225).unwrap(), &cell).unwrap()
}

/// The voxels of the published microstructure that count as truth.
pub fn truth(folder: &Path) -> Vec<Fitted> {
    let text = std::fs::read_to_string(folder.join("Au_txt.mic")).unwrap();
    let (_, truth) = read_text_mic(&text).unwrap();
    truth.into_iter().filter(|v| v.confidence >= 0.7).collect()
}

pub fn painted(projector: &Projector, truth: &[Fitted]) -> Volume {
    let mut painter = Painter::new(projector);
    for v in truth {
        painter.add(projector, &v.voxel, &Quat::from_euler(v.euler));
    }
    painter.volume().unwrap()
}

#[derive(Debug)]
pub struct Quality {
    pub confidence: f64,
    pub median: f64,
    pub p95: f64,
    pub quarter: f64,
    pub wrong: usize,
}

/// How a map compares with the truth at its voxels.
pub fn quality(truth: &[Fitted], voxels: &[Voxel], found: &[Found]) -> Quality {
    let symmetry = cubic();
    let (mut angles, mut sum) = (vec![], 0.0);
    for t in truth {
        let at = voxels.iter().position(|v| (v.x - t.voxel.x).hypot(v.y - t.voxel.y) < 1e-3).unwrap();
        sum += found[at].confidence();
        let q = Quat::from_euler(t.euler);
        let angle =
            found[at].best().map_or(180.0, |m| symmetry.misorientation(&q, &m.orientation).to_degrees());
        angles.push(angle);
    }
    angles.sort_by(f64::total_cmp);
    let n = angles.len();
    Quality {
        confidence: sum / n as f64,
        median: angles[n / 2],
        p95: angles[n * 95 / 100],
        quarter: angles.iter().filter(|a| **a < 0.25).count() as f64 / n as f64,
        wrong: angles.iter().filter(|a| **a > 5.0).count(),
    }
}

/// Seconds that this process has computed for, on all its threads.
pub fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
