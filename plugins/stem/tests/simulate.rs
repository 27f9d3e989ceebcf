//! Simulated waves against the multislice of the reference cases, and analysis against the truth of simulated scans.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{data, image, index, near, noted, npy, numbers, reduce, source};
use isard_core::prelude::*;
use isard_stem::simulate::{Beam, Crystal, Factors, Waves, potential};

/// The cell of the cases, how often it is repeated, and the points of the grid along an edge.
fn case() -> (Crystal, usize, usize) {
    let case = &index()["multislice"];
    assert_eq!(case["element"], "Si");
    let mut cell = Crystal::silicon();
    let scale = case["a"].as_f64().unwrap() / cell.edges[0];
    cell.edges = cell.edges.map(|edge| edge * scale);
    cell.atoms.iter_mut().for_each(|atom| atom.place = atom.place.map(|place| place * scale));
    let whole = |name: &str| case[name].as_u64().unwrap() as usize;
    (cell, whole("repeat"), whole("N"))
}

#[test]
fn the_potential_of_a_slice() {
    if data("potential").is_none() {
        return;
    }
    let (cell, repeat, n) = case();
    let (crystal, a) = (cell.repeated([1, repeat, repeat]), cell.edges[0]);
    let height = *noted("exp_ms_projected_potential.npy").last().unwrap();
    let own: Vec<_> = crystal
        .atoms
        .iter()
        .filter(|atom| (atom.place[0] / a - height).abs() < 1e-9)
        .map(|atom| ([atom.place[1], atom.place[2]], Factors::of("Si").unwrap()))
        .collect();
    assert_eq!(own.len(), 2 * repeat * repeat);
    let found = potential(&own, [crystal.edges[1], crystal.edges[2]], [n, n]);
    let wanted = npy("exp_ms_projected_potential.npy").to_f64().unwrap();
    let largest = wanted.iter().fold(0f64, |m, w| m.max(w.abs()));
    let worst = found.iter().zip(&wanted).fold(0f64, |m, (f, w)| m.max((f - w).abs()));
    assert!(worst <= 1e-6 * largest, "{worst} of {largest}");
}

#[test]
fn diffraction_of_multislice() {
    if data("multislice").is_none() {
        return;
    }
    let all = index();
    let ((cell, repeat, n), case) = (case(), &all["multislice"]);
    let number = |name: &str| case[name].as_f64().unwrap();
    let beam = Beam {
        voltage: number("kv") * 1e3,
        semiangle: number("convergence_rad"),
        defocus: number("defocus"),
        cs: 0.0,
    };
    assert!((beam.wavelength() / number("wavelength_A") - 1.0).abs() < 1e-8);
    assert!((beam.interaction() / number("sigma_rad_per_VA") - 1.0).abs() < 1e-6);
    let waves = Waves::new(beam, &cell.repeated([1, repeat, repeat]), &Factors::of, [n, n], number("dz"));
    let wanted = npy("exp_ms_diffraction.npy");
    // The cases hold the middle of the patterns.
    let side = wanted.shape()[2];
    let (from, pixels) = (n / 2 - side / 2, side * side);
    let wanted = wanted.to_f64().unwrap();
    for (p, place) in case["probe_positions_A"].as_array().unwrap().iter().enumerate() {
        let place = [place[0].as_f64().unwrap(), place[1].as_f64().unwrap()];
        for (t, cells) in case["thickness_cells"].as_array().unwrap().iter().enumerate() {
            let pattern = waves.pattern(place, cells.as_u64().unwrap() as usize, false);
            let total: f64 = pattern.iter().sum();
            assert!((total - case["total_intensity"][p][t].as_f64().unwrap()).abs() < 1e-6);
            let middle: Vec<f64> = pattern
                .chunks(n)
                .skip(from)
                .take(side)
                .flat_map(|row| &row[from..from + side])
                .copied()
                .collect();
            let thicknesses = case["thickness_cells"].as_array().unwrap().len();
            let wanted = &wanted[(p * thicknesses + t) * pixels..][..pixels];
            let largest = wanted.iter().fold(0f64, |m, w| m.max(*w));
            let worst = middle.iter().zip(wanted).fold(0f64, |m, (f, w)| m.max((f - w).abs()));
            assert!(worst <= 1e-4 * largest, "probe {p}, {cells} cells: {worst} of {largest}");
        }
    }
}

#[test]
fn the_orientation_of_a_simulated_scan_is_recovered() {
    for (rotation, flip) in [(40.0, false), (250.0, true)] {
        let set = format!(
            "scan = [16, 16]\ngrid = [64, 64]\nrepeat = [1, 2, 2]\nshape = [32, 32]\nmodel = \"phase\"\nrotation = {rotation:?}\nflip = {flip}"
        );
        let given = source("stem.simulate", &set, 0).unwrap();
        assert_eq!(given.numbers(), (0..256).collect::<Vec<_>>());
        // The pattern is centred at n / 2.
        let com = "scan = [16, 16]\ncentre = [16.0, 16.0]";
        let out = reduce("stem.com", com, image(given.all()), &Dict::new()).unwrap();
        let found = out.get("guess_rotation").and_then(Value::number).unwrap();
        let off = (found - rotation + 180.0).rem_euclid(360.0) - 180.0;
        let flipped = out.get("guess_flip").and_then(Value::number).unwrap() == 1.0;
        assert!(off.abs() < 1.0 && flipped == flip, "{found} {flipped} for {rotation} {flip}");
    }
}

#[test]
fn lost_frames_and_doses_are_as_stated() {
    let set = "scan = [3, 4]\ngrid = [32, 32]\nrepeat = [1, 1, 1]\nshape = [24, 24]\ndose = 20000.0\nlose = [5]\ndead = [[12, 12]]";
    let given = source("stem.simulate", set, 0).unwrap();
    assert_eq!(
        given.lost.iter().map(|(n, reason, _)| (*n, *reason)).collect::<Vec<_>>(),
        [(5, Reason::Missing)]
    );
    let all = given.all();
    assert_eq!((all.shape(), all.dtype()), (&[11, 24, 24][..], Dtype::U16));
    for frame in all.as_slice::<u16>().unwrap().chunks(24 * 24) {
        let sum: u32 = frame.iter().map(|x| u32::from(*x)).sum();
        assert!(sum < 21_000 && sum > 12_000, "{sum} of 20000 electrons");
        assert_eq!(frame[12 * 24 + 12], 0);
    }
    // The same seed gives the same electrons, from any frame on.
    let later = source("stem.simulate", set, 7).unwrap();
    assert_eq!(later.all(), all.records(6..11).unwrap());
    let out =
        reduce("stem.detect", "scan = [3, 4]\n[detectors]\nall = { all = true }", image(all), &Dict::new());
    near("first", &numbers(&out.unwrap(), "all")[..1], &[19_000.0], 0.2);
}
