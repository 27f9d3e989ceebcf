//! The small reference scan: 36 angles, 24 positions, 40 bins, noisy; its true maps are known.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use isard_core::prelude::*;

use common::{array_of, correlation, fit, map, mini, npz, numbers_of, threads};

/// Both lines of each phase of the scan, as its mean pattern shows them.
const BANDS: &str =
    "margin = 1\nbands = [{ ranges = [[3.2, 4.3], [7.2, 8.3]] }, { ranges = [[5.2, 6.3], [10.6, 11.7]] }]";

struct Scan {
    q: Vec<f64>,
    omega: Vec<f64>,
    x: Vec<f64>,
    patterns: Vec<f64>,
    truth: Vec<f64>,
}

fn scan(test: &str) -> Option<Scan> {
    let folder = mini(test)?;
    let (frames, expected) = (npz(&folder.join("frames.npz")), npz(&folder.join("expected/sinogram.npz")));
    let (angles, x) = (&frames["omega_rad"], &frames["x"]);
    Some(Scan {
        q: expected["radial"].clone(),
        omega: angles.iter().flat_map(|a| vec![a.to_degrees(); x.len()]).collect(),
        x: x.repeat(angles.len()),
        patterns: expected["sinogram"].clone(),
        truth: expected["truth_maps"].clone(),
    })
}

impl Scan {
    fn len(&self) -> usize {
        self.x.len()
    }

    /// Rows `[what]` with their places, in any order.
    fn input(&self, rows: &[f64], order: &[usize]) -> Dict {
        let each = rows.len() / self.len();
        let pick = |v: &[f64]| Array::from_slice(&order.iter().map(|k| v[*k]).collect::<Vec<f64>>());
        let data: Vec<f64> = order.iter().flat_map(|k| rows[k * each..(k + 1) * each].to_vec()).collect();
        Dict::new()
            .with("intensity", Array::of(&[order.len(), each], &data).unwrap())
            .with("omega", pick(&self.omega))
            .with("x", pick(&self.x))
    }

    fn all(&self) -> Vec<usize> {
        (0..self.len()).collect()
    }

    /// The sums of each phase's lines above their background.
    fn bands(&self) -> Vec<f64> {
        let input = Dict::new()
            .with("intensity", Array::of(&[self.len(), 40], &self.patterns).unwrap())
            .with("q", Array::from_slice(&self.q));
        let out = map(&threads(2), "tomography.bands", BANDS, self.len() as u64, input).unwrap();
        numbers_of(&out, "sums")
    }

    fn correlations(&self, maps: &[f64]) -> [f64; 2] {
        [0, 1].map(|p| correlation(&maps[p * 576..(p + 1) * 576], &self.truth[p * 576..(p + 1) * 576]))
    }
}

#[test]
fn maps_of_lines_agree_with_the_truth_by_every_method() {
    let Some(scan) = scan("maps_of_lines_agree_with_the_truth_by_every_method") else { return };
    let rows = scan.bands();
    for (set, wanted) in [
        ("method = \"fbp\"", 0.965),
        ("method = \"sirt\"", 0.975),
        ("method = \"mlem\"", 0.975),
        ("method = \"fbp\"\nwindow = \"shepp_logan\"", 0.965),
    ] {
        let n = scan.len() as u64;
        let out = fit(&threads(2), "tomography.reconstruct", set, n, scan.input(&rows, &scan.all())).unwrap();
        let found = scan.correlations(&numbers_of(&out, "volume"));
        println!("{set}: {found:?} after {:?}", out.get("iterations"));
        assert!(found.iter().all(|c| *c >= wanted), "{set}: {found:?}");
    }
}

#[test]
fn iterations_agree_with_another_program() {
    let Some(scan) = scan("iterations_agree_with_another_program") else { return };
    let rows = scan.bands();
    // A sparse matrix of Joseph's weights, ray by ray, and the textbook's updates in numpy 2.4.6 and scipy 1.17.1:
    // two pixels and the correlations.
    for (set, pixels, wanted) in [
        ("method = \"sirt\"\niterations = 60", [31.956_006, 21.964_566], [0.979_363_9, 0.983_616_9]),
        (
            "method = \"mlem\"\nfine = 1\niterations = 20",
            [32.320_271, 21.653_604],
            [0.962_336_3, 0.970_262_6],
        ),
        ("method = \"mlem\"\niterations = 20", [32.063_711, 22.265_532], [0.980_986_9, 0.985_923_8]),
    ] {
        let set = format!("{set}\nstop = \"count\"");
        let n = scan.len() as u64;
        let out =
            fit(&threads(2), "tomography.reconstruct", &set, n, scan.input(&rows, &scan.all())).unwrap();
        let maps = numbers_of(&out, "volume");
        for (found, wanted) in [maps[12 * 24 + 8], maps[576 + 9 * 24 + 16]].iter().zip(pixels) {
            assert!((found / wanted - 1.0).abs() < 2e-4, "{set}: {found} is not {wanted}");
        }
        for (found, wanted) in scan.correlations(&maps).iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-5, "{set}: {found} is not {wanted}");
        }
    }
}

#[test]
fn maps_of_bins_give_the_phases_by_non_negative_least_squares() {
    let Some(scan) = scan("maps_of_bins_give_the_phases_by_non_negative_least_squares") else { return };
    // Patterns of Gaussian lines where the mean pattern has its maxima: nothing is taken from the truth.
    let mut mean = vec![0.0; 40];
    scan.patterns.chunks(40).for_each(|p| mean.iter_mut().zip(p).for_each(|(m, v)| *m += v / 864.0));
    let mut patterns = vec![0.0; 80];
    for (phase, bins) in [(0, 7..13), (0, 18..25), (1, 13..18), (1, 29..34)] {
        bins.for_each(|b| patterns[phase * 40 + b] = (mean[b] - 1.0).max(0.0));
    }
    let run = threads(2);
    for (set, wanted) in [("method = \"fbp\"", 0.965), ("method = \"sirt\"", 0.975)] {
        let input = scan.input(&scan.patterns, &scan.all()).with("q", Array::from_slice(&scan.q));
        let out = fit(&run, "tomography.reconstruct", set, scan.len() as u64, input).unwrap();
        let volume = array_of(&out, "volume");
        assert_eq!(volume.shape(), [1, 40, 24, 24]);
        let input = Dict::new()
            .with("volume", volume.lead())
            .with("patterns", Array::of(&[2, 40], &patterns).unwrap());
        let phases = map(&run, "tomography.phases", "background = 0", 1, input).unwrap();
        let found = scan.correlations(&numbers_of(&phases, "maps"));
        println!("{set}, unmixed after: {found:?} after {:?}", out.get("iterations"));
        assert!(found.iter().all(|c| *c >= wanted), "{set}: {found:?}");
    }
    // Unmixed before the reconstruction, which is linear.
    let input = Dict::new()
        .with("intensity", Array::of(&[scan.len(), 40], &scan.patterns).unwrap())
        .with("patterns", Array::of(&[2, 40], &patterns).unwrap());
    let rows = map(&run, "tomography.unmix", "background = 0", scan.len() as u64, input).unwrap();
    let input = scan.input(&numbers_of(&rows, "weights"), &scan.all());
    let out = fit(&run, "tomography.reconstruct", "method = \"sirt\"", scan.len() as u64, input).unwrap();
    let found = scan.correlations(&numbers_of(&out, "volume"));
    println!("sirt, unmixed before: {found:?}");
    assert!(found.iter().all(|c| *c >= 0.975), "{found:?}");
}

#[test]
fn neither_threads_nor_the_order_of_arrival_change_a_bit() {
    let Some(scan) = scan("neither_threads_nor_the_order_of_arrival_change_a_bit") else { return };
    let mut mixed = scan.all();
    mixed.sort_by_key(|k| (k * 7919 + 13) % 864);
    for set in ["method = \"fbp\"", "method = \"sirt\"\niterations = 6", "method = \"mlem\"\niterations = 6"]
    {
        let run = |threads: usize, order: &[usize]| {
            let input = scan.input(&scan.patterns, order);
            let run = common::threads(threads);
            let out = fit(&run, "tomography.reconstruct", set, scan.len() as u64, input).unwrap();
            array_of(&out, "volume").bytes().to_vec()
        };
        let one = run(1, &scan.all());
        assert!(one == run(4, &scan.all()), "{set}: four threads differ");
        assert!(one == run(3, &mixed), "{set}: another order differs");
    }
}

#[test]
fn missing_points_do_little_harm() {
    let Some(scan) = scan("missing_points_do_little_harm") else { return };
    let rows = scan.bands();
    let some: Vec<usize> = scan.all().into_iter().filter(|k| (k * 31) % 23 != 5).collect();
    let n = some.len() as u64;
    let run = threads(2);
    for set in ["method = \"sirt\"", "repair = { missing = \"inpaint\" }"] {
        let out = fit(&run, "tomography.reconstruct", set, n, scan.input(&rows, &some)).unwrap();
        let found = scan.correlations(&numbers_of(&out, "volume"));
        assert!(found.iter().all(|c| *c >= 0.955), "{set}: {found:?}");
        let states = numbers_of(&out, "points");
        let count = |state: f64| states.iter().filter(|s| **s == state).count();
        let mended = set.contains("inpaint");
        assert_eq!([count(0.0), count(1.0)], [if mended { 0 } else { 864 - some.len() }, some.len()]);
        assert_eq!(count(2.0), if mended { 864 - some.len() } else { 0 });
    }
    let error = fit(&run, "tomography.reconstruct", "", n, scan.input(&rows, &some)).unwrap_err();
    assert!(error.message().contains("none of 36 projections is whole"), "{error}");
    let set = "repair = { missing = \"error\" }";
    let error = fit(&run, "tomography.reconstruct", set, n, scan.input(&rows, &some)).unwrap_err();
    assert!(error.message().contains("of 864 points were not measured, the first at z 0"), "{error}");
}
