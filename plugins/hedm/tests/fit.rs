//! The fit of the gold example, against its truth and the accuracy of the existing program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/gold.rs"]
mod gold;

use std::time::Instant;

use common::{projector, reference, text};
use gold::{Quality, cpu, cubic, painted, quality, truth};
use isard_hedm::files::{Fitted, read_grid, read_seeds};
use isard_hedm::fit::{LayerFit, Limits, SearchLimits};
use isard_hedm::model::{Rules, Voxel};

#[test]
fn the_gold_example_is_mapped_better_than_before() {
    let Some(file) = reference("the_gold_example_is_mapped_better_than_before", "Au_txt.mic") else { return };
    let folder = file.parent().unwrap();
    let (projector, truth, symmetry) = (projector(folder, Rules::Right), truth(folder), cubic());
    let volume = painted(&projector, &truth);
    let voxels = read_grid(&text(folder, "grid.txt")).unwrap();
    let seeds = read_seeds(&text(folder, "seedOrientations.txt")).unwrap();
    let fit = LayerFit::new(&projector, &volume, &symmetry, Limits::default());
    let (start, before) = (Instant::now(), cpu());
    let found = fit.fit(&voxels, &seeds, &|n, work| (0..n).try_for_each(work)).unwrap();
    let took = cpu() - before;
    println!("{:.2} s, {took:.2} s of CPU", start.elapsed().as_secs_f64());
    let q = quality(&truth, &voxels, &found);
    let solved = found.iter().filter(|f| f.confidence() > 0.0).count();
    let Quality { confidence, median, p95, quarter, wrong } = q;
    println!(
        "{solved} solved, confidence {confidence:.4}, median {median:.4}, p95 {p95:.4}, < 0.25: {quarter:.4}, wrong {wrong}"
    );
    // The values of the existing program: 0.9618, 0.0233, 0.1745, 0.992, 7; 46.5 CPU seconds.
    assert!(confidence >= 0.9618 && median <= 0.0233 && quarter >= 0.992 && wrong < 7);
}

#[test]
fn the_gold_example_is_found_without_seeds() {
    let Some(file) = reference("the_gold_example_is_found_without_seeds", "Au_txt.mic") else { return };
    let folder = file.parent().unwrap();
    let (projector, truth, symmetry) = (projector(folder, Rules::Right), truth(folder), cubic());
    let volume = painted(&projector, &truth);
    // Every fourth voxel of the truth, and as many beside it.
    let all = read_grid(&text(folder, "grid.txt")).unwrap();
    let of_truth = |v: &Voxel| truth.iter().any(|t| (v.x - t.voxel.x).hypot(v.y - t.voxel.y) < 1e-3);
    let (inside, outside): (Vec<Voxel>, Vec<Voxel>) = all.into_iter().partition(of_truth);
    let voxels: Vec<Voxel> = inside.into_iter().step_by(4).chain(outside.into_iter().step_by(16)).collect();
    let truth: Vec<Fitted> = truth
        .into_iter()
        .filter(|t| voxels.iter().any(|v| (v.x - t.voxel.x).hypot(v.y - t.voxel.y) < 1e-3))
        .collect();
    let fit = LayerFit::new(&projector, &volume, &symmetry, Limits::default());
    let before = cpu();
    let par = |n: usize, work: &(dyn Fn(usize) -> isard_core::Result<()> + Sync)| (0..n).try_for_each(work);
    let found = fit.search(&voxels, &[], &SearchLimits::default(), &par).unwrap();
    let Quality { confidence, median, p95, quarter, wrong } = quality(&truth, &voxels, &found);
    println!("{:.1} s of CPU for {} voxels", cpu() - before, voxels.len());
    println!(
        "{} solved: confidence {confidence:.4}, median {median:.4}, p95 {p95:.4}, < 0.25: {quarter:.4}, wrong {wrong}",
        truth.len()
    );
    assert!(quarter >= 0.95);
}
