//! What the stages of this crate promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry};
use isard_core::stage::{AnyFit, AnySource, Arrival, Built, Pull, RunCx};
use isard_geometry::Poni;

fn stages() -> Vec<Arc<Declaration>> {
    let registry = Registry::built_in().unwrap();
    registry.iter().filter(|d| d.origin == env!("CARGO_PKG_NAME")).cloned().collect()
}

fn built(name: &str, set: &str) -> Result<Built> {
    let registry = Registry::built_in().unwrap();
    (registry.find(name).unwrap().build)(toml::from_str(set).unwrap())
}

fn fit(set: &str) -> Box<dyn AnyFit> {
    match built("powder.calibrate", set).unwrap() {
        Built::Fit(fit) => fit,
        _ => panic!("a fit was built"),
    }
}

fn source(set: &str) -> Box<dyn AnySource> {
    match built("powder.simulate", set).unwrap() {
        Built::Source(source) => source,
        _ => panic!("a source was built"),
    }
}

fn check_doc(what: &str, doc: &str) {
    let first = doc.lines().next().unwrap_or_default();
    let length = first.chars().count();
    assert!((1..=80).contains(&length), "{what}: {length} characters in `{first}`");
    assert!(first.ends_with('.'), "{what}: `{first}` is no sentence");
}

#[test]
fn the_contract_of_stages_is_held() {
    isard_core::contract::check_all(env!("CARGO_PKG_NAME"));
}

#[test]
fn the_family_is_complete_and_documented() {
    let names: Vec<String> = stages().iter().map(|d| d.name.clone()).collect();
    assert_eq!(names, ["poni.write", "powder.calibrate", "powder.distances", "powder.simulate"]);
    for d in stages() {
        check_doc(&d.name, &d.doc);
        assert!(d.doc.contains("\n\nSource: "), "{}: no source of the method", d.name);
        for port in d.inputs.iter().chain(&d.outputs) {
            check_doc(&format!("{}: port {}", d.name, port.name), &port.doc);
        }
        for (name, schema) in d.schema["properties"].as_object().unwrap() {
            let doc = schema.get("description").and_then(|d| d.as_str()).unwrap_or_default();
            check_doc(&format!("{}: parameter {name}", d.name), doc);
        }
    }
}

#[test]
fn examples_are_sound_and_faults_are_named() {
    for d in stages() {
        let set = (d.example)().set;
        assert!(built(&d.name, &set).unwrap().stage().check().is_empty(), "{}", d.name);
        assert!(built(&d.name, &format!("{set}\nno_such_parameter = 1")).is_err(), "{}", d.name);
    }
    let wrong = [
        ("powder.simulate", "energy = 30.0\nwavelength = 0.4", "wavelength"),
        ("powder.simulate", "calibrant = \"cheese\"", "calibrant"),
        ("powder.simulate", "calibrant = \"Si\"\nspacings = [3.0]", "spacings"),
        ("powder.simulate", "spacings = [3.0, -1.0]", "spacings"),
        ("powder.simulate", "shape = [512, 3]", "shape"),
        ("powder.simulate", "rot2 = 60", "rot2"),
        ("powder.simulate", "lose = 1.5", "lose"),
        ("powder.simulate", "frames = 0", "frames"),
        ("powder.simulate", "bits = 12", "bits"),
        ("powder.simulate", "distance = 0", "distance"),
        ("powder.calibrate", "distance = [90.0, 80.0]", "distance"),
        ("powder.calibrate", "pixel = 0.0", "pixel"),
        ("powder.calibrate", "energy = -1.0", "energy"),
        ("powder.calibrate", "polarisation = 2.0", "polarisation"),
        ("poni.write", "path = \".poni\"", "path"),
        ("poni.write", "path = \"a.txt\"", "path"),
    ];
    for (name, set, parameter) in wrong {
        let faults = built(name, set).unwrap().stage().check();
        let found: Vec<&str> = faults.iter().map(|f| f.parameter.as_str()).collect();
        assert_eq!(found, [parameter], "{name}: {set}");
    }
}

/// What a source gives until its end.
struct Given {
    opened: Opened,
    /// Frames by number, all of one number alike; how often each came, in order of arrival.
    images: BTreeMap<u64, Vec<u8>>,
    order: Vec<u64>,
    corrupt: Vec<u64>,
}

fn play(run: &RunCx, set: &str, from: u64, room: u64) -> Given {
    let (mut source, cx) = (source(set), Cx::new(run, "detector"));
    let opened = source.open(&cx, Dict::new(), Position { next: from }).unwrap();
    let mut given = Given { opened, images: BTreeMap::new(), order: vec![], corrupt: vec![] };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "the source does not end");
        let (pulled, arrivals) = isard_core::contract::pull(&mut *source, &cx, room, from).unwrap();
        for arrival in arrivals {
            match arrival {
                Arrival::Frames { first, count, data } => {
                    let Some(Value::Array(image)) = data.get("image") else { panic!("an image") };
                    for n in 0..count {
                        let bytes = image.record(n as usize).unwrap().bytes().to_vec();
                        given.order.push(first + n);
                        let before = given.images.entry(first + n).or_insert_with(|| bytes.clone());
                        assert_eq!(*before, bytes, "frame {}", first + n);
                    }
                }
                Arrival::Lost { number, reason, data, .. } => {
                    assert!(reason == Reason::Corrupt && data.is_some());
                    given.corrupt.push(number);
                }
            }
        }
        match pulled {
            Pull::End => return given,
            Pull::Wait(pause) => std::thread::sleep(pause),
            Pull::Ready => (),
        }
    }
}

const SMALL: &str = "frames = 20\nshape = [300, 260]\ncounts = 3.0\n";

#[test]
fn a_frame_depends_on_seed_and_number_alone() {
    let run = RunCx::default();
    let all = play(&run, SMALL, 0, 7);
    assert_eq!(all.order, (0..20).collect::<Vec<_>>());
    assert_eq!((all.opened.frames, all.opened.live), (Some(20), false));
    assert_ne!(all.images[&3], all.images[&4]);
    let late = play(&run, SMALL, 13, 1);
    assert_eq!(late.order, (13..20).collect::<Vec<_>>());
    let threads = Some(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap()));
    let threaded = play(&RunCx { threads, ..RunCx::default() }, SMALL, 0, 16);
    assert_eq!(threaded.images, all.images);
    assert!(late.images.iter().all(|(n, image)| all.images[n] == *image));
    let other = play(&RunCx { seed: 1, ..RunCx::default() }, SMALL, 0, 7);
    assert_ne!(other.images[&3], all.images[&3]);
    assert_ne!(other.opened.head.get("mask"), all.opened.head.get("mask"));
    // 0.2 % of 78,000 pixels are dead, in the mask and in the frames.
    let Some(Value::Array(mask)) = all.opened.head.get("mask") else { panic!("a mask") };
    let dead: Vec<usize> = (0..78_000).filter(|i| mask.as_slice::<u8>().unwrap()[*i] != 0).collect();
    assert_eq!(dead.len(), 156);
    assert!(all.images.values().all(|image| dead.iter().all(|i| image[2 * i..2 * i + 2] == [0, 0])));
}

#[test]
fn frames_go_wrong_as_they_are_told() {
    let run = RunCx::default();
    let set = "lose = [2, 19]\nlate = [4, 17]\nlate_by = 3\ndouble = [6]\ncorrupt = [9]\nbits = 32\n";
    for room in [1, 4, 64] {
        let given = play(&run, &format!("{SMALL}{set}"), 0, room);
        assert_eq!(given.corrupt, [9]);
        let wanted = [0, 1, 3, 5, 6, 6, 7, 4, 8, 10, 11, 12, 13, 14, 15, 16, 18, 17];
        assert_eq!(given.order, wanted, "room {room}");
    }
    let many = "frames = 2000\nshape = [16, 16]\nlose = 0.1\ndouble = 0.05\n";
    let (a, b) = (play(&run, many, 0, 64), play(&run, many, 0, 5));
    assert_eq!(a.order, b.order);
    let lost = 2000 - a.images.len();
    // Five standard deviations of the binomial numbers of 200 and 90.
    assert!(lost.abs_diff(200) < 68, "{lost} lost");
    let doubled = a.order.len() - a.images.len();
    assert!(doubled.abs_diff(90) < 48, "{doubled} doubled");
}

#[test]
fn a_rate_is_kept() {
    let begun = Instant::now();
    let given = play(&RunCx::default(), "frames = 21\nshape = [32, 32]\nrate = 100.0", 0, 64);
    assert!(given.opened.live && given.order.len() == 21);
    // The last of 21 frames is due 0.2 s after the first.
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "detector");
    let open = |set: &str| source(set).open(&cx, Dict::new(), Position { next: 0 });
    let error = open("shape = [64, 64]\nhalo = 1e5\nrow = 32.0\ncolumn = 32.0").unwrap_err();
    assert!(error.blame() == Blame::Recipe && error.advice().unwrap().contains("bits = 32"), "{error}");
    open("shape = [64, 64]\nhalo = 1e5\nrow = 32.0\ncolumn = 32.0\nbits = 32").unwrap();
}

fn example() -> Example {
    (stages().iter().find(|d| d.name == "powder.calibrate").unwrap().example)()
}

fn absorb(fit: &mut Box<dyn AnyFit>, cx: &Cx, example: &Example, from: u64, to: u64) {
    let cut = example.frames.iter().map(|(k, v)| (k.clone(), v.cut(0, from, to).unwrap()));
    let input = cut.chain(example.fixed.clone()).collect();
    fit.absorb(cx, &Span::frames(from, to - from), input).unwrap();
}

fn settle(fit: &mut Box<dyn AnyFit>, cx: &Cx) -> Result<f64> {
    loop {
        let fitness = fit.refine(cx, &Slice::one_step())?;
        if !fitness.more {
            return Ok(fitness.cost);
        }
    }
}

fn number(out: &Dict, port: &str) -> f64 {
    out.need(port).unwrap().number().unwrap()
}

/// What a calibration makes of the simulator's example, and the example's head.
fn calibrated(set: &str) -> (Dict, Dict) {
    let run = RunCx { seed: 5, ..RunCx::default() };
    let cx = Cx::new(&run, "detector");
    let mut source = source(super::simulate::EXAMPLE);
    let opened = source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
    let mut fit = fit(set);
    loop {
        let (pulled, arrivals) = isard_core::contract::pull(&mut *source, &cx, 5, 0).unwrap();
        if pulled == Pull::End {
            break;
        }
        for arrival in arrivals {
            let Arrival::Frames { first, count, data } = arrival else { panic!("good frames") };
            let input = ["mask", "wavelength", "pixel"]
                .into_iter()
                .fold(data, |data, key| data.with(key, opened.head.get(key).unwrap().clone()));
            fit.absorb(&cx, &Span::frames(first, count), input).unwrap();
        }
    }
    fit.complete(&cx).unwrap();
    settle(&mut fit, &cx).unwrap();
    (fit.snapshot(&cx).unwrap().unwrap(), opened.head)
}

#[test]
fn rings_that_are_skipped_do_not_count() {
    let set = "calibrant = \"Si\"\npolarisation = 0.95";
    let (all, _) = calibrated(set);
    let (some, head) = calibrated(&format!("{set}\nskip_rings = [2]"));
    assert_eq!(number(&some, "rings_used"), number(&all, "rings_used") - 1.0);
    let (found, sigma) = (number(&some, "distance"), number(&some, "distance_sigma"));
    let Some(Value::Dict(truth)) = head.get("truth") else { panic!("the truth") };
    let wanted = truth.get("distance").unwrap().number().unwrap();
    assert!((found - wanted).abs() < 5.0 * sigma, "{found} ± {sigma}, wanted {wanted}");
}

#[test]
fn simulated_frames_lead_back_to_their_geometry() {
    let (out, head) = calibrated("calibrant = \"Si\"\npolarisation = 0.95");
    let Some(Value::Dict(truth)) = head.get("truth") else { panic!("the truth") };
    for (port, truth) in truth.iter() {
        let (found, truth) = (number(&out, port.as_str()), truth.number().unwrap());
        let sigma = number(&out, &format!("{port}_sigma"));
        assert!((found - truth).abs() < 5.0 * sigma, "{port}: {found} ± {sigma}, wanted {truth}");
    }
    assert!(number(&out, "distance_sigma") < 0.02 && number(&out, "row_sigma") < 0.05, "{out:?}");
    assert!((0.7..1.4).contains(&number(&out, "chi2_dof")) && number(&out, "frames") == 12.0);
    assert!(number(&out, "rings_used") >= 3.0, "{out:?}");

    let poni = Poni::parse(out.need("poni").unwrap().text().unwrap()).unwrap();
    assert!((poni.pose.dist * 1e3 - number(&out, "distance")).abs() < 1e-12);
    assert!((poni.pose.centre()[0] / 150e-6 - number(&out, "row")).abs() < 1e-9);
    assert_eq!(poni.extra, [("Calibrant".to_owned(), "Si".to_owned())]);
    assert!((poni.wavelength.unwrap() - 0.413_280_66e-10).abs() < 1e-17);
    let Some(Value::Array(image)) = out.get("image") else { panic!("the mean frame") };
    let Some(Value::Array(mask)) = head.get("mask") else { panic!("a mask") };
    let (image, mask) = (image.as_slice::<f32>().unwrap(), mask.as_slice::<u8>().unwrap());
    assert!(image.iter().zip(mask).all(|(v, m)| v.is_nan() == (*m != 0)));
    let Some(Value::Table(rings)) = out.get("rings") else { panic!("rings") };
    // The mean frame is brighter on the innermost ring than two pixels within and beyond.
    let (line, y, x) = (
        rings.numbers::<u32>("line").unwrap(),
        rings.numbers::<f32>("y").unwrap(),
        rings.numbers::<f32>("x").unwrap(),
    );
    let along = |shift: f32| -> f32 {
        let first = (0..line.len()).filter(|i| line[*i] == 0);
        let [cy, cx] = ["row", "column"].map(|p| number(&out, p) as f32 - 0.5);
        let at = |v: f32, c: f32, r: f32| (c + (v - c) * (r + shift) / r).round() as usize;
        first
            .map(|i| {
                let r = (y[i] - cy).hypot(x[i] - cx);
                image[at(y[i], cy, r) * 128 + at(x[i], cx, r)].max(0.0)
            })
            .sum()
    };
    assert!(along(0.0) > 1.5 * along(-3.0) && along(0.0) > 1.5 * along(3.0));
}

fn encoded(dict: Dict) -> Vec<u8> {
    let mut bytes = vec![];
    isard_core::value::encode(&Value::Dict(dict), &mut bytes);
    bytes
}

#[test]
fn the_last_answer_depends_on_the_frames_alone() {
    let run = RunCx::default();
    let (cx, example) = (Cx::new(&run, "fit"), example());
    let last = |mut fit: Box<dyn AnyFit>| {
        fit.complete(&cx).unwrap();
        let cost = settle(&mut fit, &cx).unwrap();
        // Asked again it stays as it is.
        assert_eq!(fit.refine(&cx, &Slice::one_step()).unwrap(), Fitness { cost, more: false });
        encoded(fit.snapshot(&cx).unwrap().unwrap())
    };
    let mut whole = fit(&example.set);
    absorb(&mut whole, &cx, &example, 0, 12);
    let wanted = last(whole);
    for size in [1, 3, 5] {
        let (mut live, mut from) = (fit(&example.set), 0);
        let mut shown = 0;
        while from < 12 {
            let to = (from + size).min(12);
            absorb(&mut live, &cx, &example, from, to);
            from = to;
            match size {
                // Refined to the end after each chunk; kept and taken back; a few steps only.
                1 => assert!(settle(&mut live, &cx).is_ok()),
                3 => {
                    assert!(settle(&mut live, &cx).is_ok());
                    let before = live.snapshot(&cx).unwrap().map(encoded);
                    let state = live.save().unwrap();
                    live = fit(&example.set);
                    live.load(state).unwrap();
                    assert_eq!(live.snapshot(&cx).unwrap().map(encoded), before);
                }
                _ => {
                    for _ in 0..3 {
                        live.refine(&cx, &Slice::one_step()).unwrap();
                    }
                }
            }
            shown += usize::from(live.snapshot(&cx).unwrap().is_some());
        }
        assert!(shown > 0 || size == 5, "nothing was shown while frames arrived");
        assert!(last(live) == wanted, "chunks of {size} frames give another answer");
    }
    let empty = fit(&example.set);
    let mut back = fit(&example.set);
    back.load(empty.save().unwrap()).unwrap();
    assert!(back.snapshot(&cx).unwrap().is_none());
}

#[test]
fn no_rings_are_no_fault_until_all_frames_are_in() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "fit");
    let mut fit = fit("energy = 30.0\npixel = 150.0");
    let waiting = Fitness { cost: f64::INFINITY, more: false };
    assert_eq!(fit.refine(&cx, &Slice::one_step()).unwrap(), waiting);
    let even = Dict::new().with("image", Array::of(&[2, 64, 64], &[7u32; 8192]).unwrap());
    fit.absorb(&cx, &Span::frames(0, 2), even.clone()).unwrap();
    assert_eq!(settle(&mut fit, &cx).unwrap(), f64::INFINITY);
    assert!(fit.snapshot(&cx).unwrap().is_none());
    fit.complete(&cx).unwrap();
    let error = settle(&mut fit, &cx).unwrap_err();
    assert!(error.blame() == Blame::Data && error.advice().is_some(), "{error}");
}

#[test]
fn what_is_not_known_or_known_twice_is_told() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "fit");
    let image = |n: usize| Dict::new().with("image", Array::of(&[1, 64, n], &vec![7i16; 64 * n]).unwrap());
    let message = |set: &str, input: Dict| {
        let error = fit(set).absorb(&cx, &Span::frames(0, 1), input).unwrap_err();
        assert!(error.advice().is_some() || error.blame() == Blame::Data, "{error}");
        error.message().to_owned()
    };
    assert_eq!(message("pixel = 75.0", image(64)), "the wavelength is not given");
    assert_eq!(message("energy = 30.0", image(64)), "the pixel is not given");
    assert_eq!(
        message("energy = 30.0\npixel = 75.0", image(64).with("wavelength", 0.4)),
        "the wavelength is given by a parameter and by the input"
    );
    assert_eq!(
        message("energy = 30.0", image(64).with("pixel", -1.0)),
        "the pixel is -0.000001, wanted more than 0"
    );
    let mask = Array::from_slice(&[0u8, 1]);
    assert_eq!(
        message("energy = 30.0\npixel = 75.0", image(64).with("mask", mask)),
        "the mask has shape [2], the frames [64, 64]"
    );
    let mut fit = fit("energy = 30.0\npixel = 75.0");
    fit.absorb(&cx, &Span::frames(0, 1), image(64)).unwrap();
    let error = fit.absorb(&cx, &Span::frames(1, 1), image(65)).unwrap_err();
    assert_eq!(error.message(), "frame 1: found frames of 64 x 65, wanted 64 x 64 as before");
}

// The truth is the simulation's input: 30 keV, believed to be 30.2; distances 20 and 26 mm along the normal of a detector
// that is tilted by 1.2 and 0.6 degrees, so 20.0055 and 26.0071 mm along the beam, which is 6.0016 mm of reading.
#[test]
fn two_distances_tell_the_wavelength() {
    let (frames, shape, mask) = super::simulate::example_distances();
    let half = shape[0] / 2;
    let secant = 1.0 / (1.2f64.to_radians().cos() * 0.6f64.to_radians().cos());
    let readings: Vec<f64> = (0..shape[0]).map(|k| if k < half { 0.0 } else { 6.0 * secant }).collect();
    let run = |set: &str| {
        let Built::Fit(mut fit) = built("powder.distances", set).unwrap() else { panic!("a fit was built") };
        let cx = RunCx::default();
        let cx = Cx::new(&cx, "fit");
        let input = Dict::new()
            .with("image", Array::of(&shape, &frames).unwrap())
            .with("position", Array::from_slice(&readings))
            .with("mask", Array::of(&shape[1..], &mask).unwrap());
        fit.absorb(&cx, &Span::frames(0, shape[0] as u64), input).unwrap();
        assert!(fit.snapshot(&cx).unwrap().is_none());
        fit.complete(&cx).unwrap();
        while fit.refine(&cx, &Slice::one_step()).unwrap().more {}
        fit.snapshot(&cx).unwrap().unwrap()
    };
    let set = "calibrant = \"Si\"\npixel = 150.0\npolarisation = 0.95\nenergy = ";
    let out = run(&format!("{set}30.2"));
    let number = |port: &str| out.need(port).unwrap().number().unwrap();
    let near = |port: &str, truth: f64, sigma: f64| {
        assert!((number(port) - truth).abs() < 5.0 * sigma, "{port}: {} for {truth}, {sigma}", number(port));
    };
    near("distance", 20.0 * secant, number("distance_sigma"));
    let energy = 30.0;
    near("energy", energy, energy * number("wavelength_sigma") / number("wavelength"));
    near("row", 66.2, number("row_sigma"));
    near("column", 61.5, number("column_sigma"));
    near("rot1", 1.2, number("rot1_sigma"));
    near("rot2", -0.6, number("rot2_sigma"));
    assert!(number("wavelength_sigma") / number("wavelength") < 2e-3 && number("frames") == shape[0] as f64);
    let poni = Poni::parse(out.need("poni").unwrap().text().unwrap()).unwrap();
    assert!((poni.pose.dist * 1e3 - 26.0).abs() < 0.05, "{poni:?}");
    // At the wrong wavelength, believed in, the rings do not lie on their lines at both.
    let stiff = run(&format!("{set}30.2\nfit_wavelength = false"));
    let worse = stiff.need("chi2_dof").unwrap().number().unwrap();
    assert!(worse > 2.0 * number("chi2_dof"), "{worse}");
}
