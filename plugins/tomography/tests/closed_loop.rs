//! A simulated scan through the stages, against the simulation's own truth.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use isard_core::contract::pull;
use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Arrival, Built, Pull, RunCx};

use common::{array_of, fit, map, numbers_of, threads};

/// A scan that was played: its head, and what arrived.
struct Played {
    head: Dict,
    frames: Vec<(u64, Dict)>,
    lost: usize,
}

fn play(run: &RunCx, set: &str) -> Played {
    let registry = Registry::built_in().unwrap();
    let parameters = toml::from_str(set).unwrap();
    let built = (registry.find("tomography.simulate").unwrap().build)(parameters).unwrap();
    let Built::Source(mut source) = built else { panic!("a source was built") };
    let cx = Cx::new(run, "tested");
    let opened = source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
    let (mut frames, mut lost) = (vec![], 0);
    loop {
        let (pulled, arrivals) = pull(source.as_mut(), &cx, 64, 0).unwrap();
        for arrival in arrivals {
            match arrival {
                Arrival::Frames { first, data, .. } => frames.push((first, data)),
                Arrival::Lost { .. } => lost += 1,
            }
        }
        if pulled == Pull::End {
            return Played { head: opened.head, frames, lost };
        }
    }
}

impl Played {
    /// All frames as one chunk with what the head says, and the patterns of another stage in place of their own.
    fn input(&self, ports: &[&'static str], head: &[&'static str]) -> Dict {
        let mut input = Dict::new();
        for port in ports {
            let parts: Vec<Array> = self.frames.iter().map(|(_, data)| array_of(data, port)).collect();
            let parts: Vec<&Array> = parts.iter().collect();
            input.set(Key::Static(port), Array::concat(&parts, isard_core::Pool::unpooled()).unwrap());
        }
        for key in head {
            input.set(Key::Static(key), self.head.get(key).unwrap().clone());
        }
        input
    }

    /// The maps of phases: patterns unmixed before the reconstruction.
    fn maps(&self, run: &RunCx, set: &str, measured: bool) -> Dict {
        let n = self.frames.len() as u64;
        let input = self.input(&["intensity"], &["patterns"]);
        let rows = map(run, "tomography.unmix", "background = 0", n, input).unwrap();
        let ports: &[&str] = if measured { &["omega", "x", "z", "monitor"] } else { &["monitor"] };
        let input = self
            .input(ports, &["x_axis", "omega_axis", "z_axis"])
            .with("intensity", array_of(&rows, "weights"));
        fit(run, "tomography.reconstruct", set, n, input).unwrap()
    }

    /// The least correlation with the truth.
    fn least(&self, run: &RunCx, maps: &Dict) -> f64 {
        let input = Dict::new()
            .with("maps", array_of(maps, "volume").lead())
            .with("truth", self.head.get("truth").unwrap().clone());
        numbers_of(&map(run, "tomography.metrics", "", 1, input).unwrap(), "least")[0]
    }
}

const QUIET: &str = "noise = false\nphases = [\"CeO2\", \"Ni\", \"Si\"]\nbins = 80\n";

#[test]
fn without_noise_maps_are_those_of_the_sample() {
    let run = threads(2);
    for (scan, method, measured) in [
        ("translations = 64\nrotations = 100", "method = \"fbp\"", true),
        ("translations = 64\nrotations = 200\nrange = 360.0\nrandom = true", "method = \"fbp\"", true),
        (
            "translations = 64\nrotations = 100\nzigzag = true\nslices = 2",
            "method = \"fbp\"\nscan = { zigzag = true }",
            false,
        ),
        ("translations = 48\nrotations = 75", "method = \"sirt\"", true),
        ("translations = 48\nrotations = 75", "method = \"sirt\"\nfine = 2", true),
        ("translations = 48\nrotations = 75", "method = \"mlem\"", true),
        ("translations = 48\nrotations = 75\nbeam = 1.0", "method = \"fbp\"", true),
        ("translations = 48\nrotations = 75\nbeam = 1.0", "method = \"sirt\"", true),
        ("translations = 48\nrotations = 75\nbeam = 1.0", "method = \"mlem\"", true),
        (
            "translations = 64\nrotations = 100\ncentre = 0.037",
            "method = \"fbp\"\nrepair = { find_centre = true }",
            true,
        ),
    ] {
        let played = play(&run, &format!("{QUIET}{scan}"));
        let maps = played.maps(&run, method, measured);
        let least = played.least(&run, &maps);
        println!("{scan:?} {method:?}: {least:.4}");
        assert!(least >= 0.99, "{scan:?} {method:?}: {least}");
        if scan.contains("centre") {
            let centre = maps.get("centre").and_then(Value::number).unwrap();
            assert!((centre - 0.037).abs() < 0.001, "{centre}");
        }
    }
}

#[test]
fn a_fit_that_saw_the_scan_grow_ends_as_one_that_saw_it_at_once() {
    let run = threads(2);
    let played = play(&run, "translations = 20\nrotations = 30\nlost = 0.02\nbins = 30\nrandom = true");
    assert!(played.lost > 3 && played.lost + played.frames.len() == 600);
    for set in ["method = \"sirt\"\niterations = 30", "method = \"fbp\"\nrepair = { missing = \"inpaint\" }"]
    {
        let ports = ["intensity", "omega", "x", "z", "monitor"];
        let head = ["x_axis", "omega_axis", "z_axis", "q"];
        let all = played.input(&ports, &head);
        let at_once = fit(&run, "tomography.reconstruct", set, played.frames.len() as u64, all).unwrap();

        let registry = Registry::built_in().unwrap();
        let built = (registry.find("tomography.reconstruct").unwrap().build)(toml::from_str(set).unwrap());
        let Built::Fit(mut live) = built.unwrap() else { panic!("a fit was built") };
        let cx = Cx::new(&run, "tested");
        let mut shown = 0;
        for frames in played.frames.chunks(150) {
            for (number, data) in frames {
                let mut input = data.clone();
                head.iter()
                    .for_each(|key| input.set(Key::Static(key), played.head.get(key).unwrap().clone()));
                live.absorb(&cx, &Span::frames(*number, 1), input).unwrap();
            }
            for _ in 0..5 {
                live.refine(&cx, &Slice::one_step()).unwrap();
            }
            if let Some(snapshot) = live.snapshot(&cx).unwrap() {
                shown += 1;
                // A part of the scan is told to be one.
                let missing = snapshot.get("missing").and_then(Value::number).unwrap();
                let patterns = snapshot.get("patterns").and_then(Value::number).unwrap();
                assert!(patterns > 0.0 && (missing > 0.0 || set.contains("inpaint")));
            }
        }
        assert!(shown >= 2, "{set}: {shown} snapshots");
        // A stop in between changes nothing.
        let kept = live.save().unwrap();
        live.load(kept).unwrap();
        live.complete(&cx).unwrap();
        while live.refine(&cx, &Slice::one_step()).unwrap().more {}
        let grown = live.snapshot(&cx).unwrap().unwrap();
        assert!(array_of(&grown, "volume").bytes() == array_of(&at_once, "volume").bytes(), "{set}");
        assert_eq!(grown.get("iterations"), at_once.get("iterations"));
    }
}

#[test]
fn pair_distributions_come_out_of_a_volume_pixel_by_pixel() {
    // Two pixels of nickel by Debye's equation, one of them with half as much, and an empty one; q in 1/nm.
    let q: Vec<f64> = (0..900).map(|k| 8.0 + 0.25 * f64::from(k)).collect();
    let nickel = isard_tomography::pdf::Composition::parse("Ni").unwrap();
    let shells = [(2.4917, 12.0), (3.5238, 6.0), (4.3158, 24.0), (4.9834, 12.0), (5.5716, 24.0)];
    let pattern: Vec<f64> = q
        .iter()
        .map(|q| 0.1 * q)
        .map(|q| {
            let sum: f64 =
                shells.iter().map(|(r, n)| n * (q * r).sin() / (q * r) * (-0.006 * q * q).exp()).sum();
            nickel.means(q)[1] * (1.0 + sum)
        })
        .collect();
    let volume: Vec<f64> = pattern.iter().flat_map(|i| [2.0 * i + 5.0, 5.0, i + 5.0, 5.0]).collect();
    let input = || {
        Dict::new()
            .with("volume", Array::of(&[1, 1, 900, 2, 2], &volume).unwrap())
            .with("q", Array::from_slice(&q))
            .with("background", Array::from_slice(&[10.0; 900]))
    };
    let run = threads(2);
    let set = "composition = \"Ni\"\nbackground_scale = 0.5\nr_max = 6.0\nr_step = 0.01";
    let out = map(&run, "tomography.pdf", set, 1, input()).unwrap();
    let (g, amount) = (numbers_of(&out, "gr"), numbers_of(&out, "amount"));
    assert!((amount[0] - 1.0).abs() < 1e-5 && (amount[2] - 0.5).abs() < 1e-5, "{amount:?}");
    let at = |r: f64, pixel: usize| g[(r / 0.01).round() as usize * 4 + pixel];
    for (r, _) in &shells[..3] {
        assert!(at(*r, 0) > at(r - 0.25, 0) + 2.0 && at(*r, 0) > at(r + 0.25, 0) + 2.0, "{r}");
        assert!((at(*r, 0) - at(*r, 2)).abs() < 1e-3 && at(*r, 1) == 0.0);
    }
    // Weighed by the amount, half the matter has half the G.
    let weighed = map(&run, "tomography.pdf", &format!("{set}\nweigh = true"), 1, input()).unwrap();
    let w = numbers_of(&weighed, "gr");
    assert!((w[249 * 4 + 2] - 0.5 * g[249 * 4 + 2]).abs() < 1e-3);
}
