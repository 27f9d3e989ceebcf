//! DECTRIS streams against reference messages, and over loopback with everything that can go wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{ledger, noted, npy, reference, run, sums_of, take};
use isard_core::run::Outcome;
use isard_core::value::{Array, Dict, Value};
use isard_live::Part;
use isard_live::dectris::{Detector, Event, Faults, parse, write_dump};
use serde_json::Value as Json;

/// The parts of a message as they stand in files.
fn message(folder: &Path, entry: &Json) -> Vec<Part> {
    let parts = entry["parts"].as_array().unwrap().iter();
    parts
        .map(|name| {
            let bytes = std::fs::read(folder.join(name.as_str().unwrap())).unwrap();
            if bytes.len() < 1024 { Part::Small(bytes) } else { Part::Large(Array::from_slice(&bytes)) }
        })
        .collect()
}

fn expected(folder: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

#[test]
fn every_message_of_version_1_is_read_bit_by_bit() {
    let Some(folder) = reference("stream v1", "azimuthal/stream") else { return };
    let mut images = 0;
    for entry in expected(&folder)["v1"].as_array().unwrap() {
        let label = entry["label"].as_str().unwrap();
        match parse(&message(&folder, entry)).unwrap_or_else(|e| panic!("{label}: {e}")) {
            Event::Image(image) => {
                assert_eq!((image.series, image.fault.as_deref()), (7, None), "{label}");
                let [plane] = &image.planes[..] else { panic!("{label}: {} planes", image.planes.len()) };
                plane.check().unwrap();
                let pixels = plane.pixels().unwrap();
                let (bytes, shape) = npy(&folder.join(entry["expected"].as_str().unwrap()));
                assert_eq!((pixels.bytes(), pixels.shape()), (&bytes[..], &shape[..]), "{label}");
                images += 1;
            }
            Event::Start(start) => {
                assert_eq!(start.series, 7, "{label}");
                if label == "header_none" {
                    assert_eq!((start.shape, start.frames), (None, None));
                    continue;
                }
                assert_eq!((start.shape, start.frames), (Some([64, 80]), Some(4)));
                assert_eq!(start.head.get("energy"), Some(&Value::Float(65_000.0)));
                let fields = if label == "header_all" { 2 } else { 0 };
                assert_eq!(start.fields.len(), fields, "{label}");
                for (key, _, field) in &start.fields {
                    let file = if *key == "mask" { "pixel_mask.npy" } else { "flatfield.npy" };
                    let (bytes, shape) = npy(&folder.join(file));
                    assert_eq!((field.bytes(), field.shape()), (&bytes[..], &shape[..]), "{key}");
                }
            }
            Event::End { series } => assert_eq!((series, label), (7, "end")),
        }
    }
    assert_eq!(images, 6);
}

#[test]
fn every_message_of_version_2_is_read_bit_by_bit() {
    let Some(folder) = reference("stream v2", "azimuthal/stream") else { return };
    let mut images = 0;
    for entry in expected(&folder)["v2"].as_array().unwrap() {
        let label = entry["label"].as_str().unwrap();
        match parse(&message(&folder, entry)).unwrap_or_else(|e| panic!("{label}: {e}")) {
            Event::Image(image) => {
                assert_eq!(image.fault, None, "{label}");
                let name = entry["expected"]["threshold_1"].as_str().unwrap();
                let (bytes, shape) = npy(&folder.join(name));
                assert_eq!(image.planes.len(), 2, "{label}");
                for plane in &image.planes {
                    let pixels = plane.pixels().unwrap();
                    assert_eq!(pixels.shape(), &shape[..], "{label}");
                    if plane.channel == "threshold_1" {
                        assert_eq!(pixels.bytes(), &bytes[..], "{label}");
                        continue;
                    }
                    // The second threshold is half of the first, rounded down: so say the reference data.
                    let whole = image.planes.iter().find(|p| p.channel == "threshold_1").unwrap();
                    let halves: Vec<f64> =
                        whole.pixels().unwrap().to_f64().unwrap().iter().map(|x| (x / 2.0).floor()).collect();
                    assert_eq!(pixels.to_f64().unwrap(), halves, "{label}");
                }
                images += 1;
            }
            Event::Start(start) => {
                assert_eq!(start.channels, ["threshold_1", "threshold_2"]);
                for (key, channel, field) in &start.fields {
                    let file = if *key == "mask" { "pixel_mask.npy" } else { "flatfield.npy" };
                    let (bytes, shape) = npy(&folder.join(file));
                    assert_eq!((field.bytes(), field.shape()), (&bytes[..], &shape[..]), "{key} {channel}");
                }
                assert!(start.fields.iter().any(|(key, ..)| *key == "mask"), "{:?}", start.fields.len());
            }
            Event::End { .. } => assert_eq!(label, "end"),
        }
    }
    assert_eq!(images, 4);
}

fn recording(path: &Path, more: &str) -> String {
    format!("recording = {:?}\n{more}", path.display().to_string())
}

#[test]
fn recorded_streams_give_the_sums_of_the_reference() {
    let Some(folder) = reference("recorded streams", "stem4d") else { return };
    let sums = sums_of(&folder, "dectris_v1.bin");
    let n = sums.len() as u64;
    for (file, more) in [("dectris_v1.bin", ""), ("dectris_v2.bin", "all_channels = true")] {
        let taken = take("live.dectris", &recording(&folder.join(file), more), Dict::new()).unwrap();
        assert_eq!(taken.opened.frames, Some(n), "{file}");
        assert_eq!(taken.numbers(), (0..n).collect::<Vec<_>>(), "{file}");
        assert_eq!(taken.sums(), sums, "{file}");
        let (y, x) = (taken.image(0).shape()[1], taken.image(0).shape()[2]);
        assert!(taken.lost.is_empty(), "{:?}", taken.lost);
        if !more.is_empty() {
            let all = taken.array(2, "channels");
            assert_eq!(all.shape(), [1, 2, y, x]);
            let all = all.to_f64().unwrap();
            let (first, second) = all.split_at(y * x);
            assert!(first.iter().zip(second).all(|(a, b)| (a / 2.0).floor() == *b));
        }
    }
    let second = take(
        "live.dectris",
        &recording(&folder.join("dectris_v2.bin"), "channel = \"threshold_2\""),
        Dict::new(),
    );
    assert!(second.unwrap().sum(0) < sums[0]);
}

#[test]
fn a_bad_digest_makes_a_corrupt_frame_that_a_recorder_may_keep() {
    let Some(folder) = reference("bad digest", "stem4d") else { return };
    let path = folder.join("dectris_v1_bad_hash.bin");
    let (bad, n) = (noted(&folder, "dectris_v1_bad_hash.bin")[0], sums_of(&folder, "dectris_v1.bin").len());
    let taken = take("live.dectris", &recording(&path, ""), Dict::new()).unwrap();
    assert_eq!(taken.numbers(), (0..n as u64).filter(|i| *i != bad).collect::<Vec<_>>());
    let [(number, why)] = &taken.lost[..] else { panic!("{:?}", taken.lost) };
    // The digest that the stream itself says of that image.
    let whole = std::fs::read(&path).unwrap();
    let said = format!("\"frame\":{bad},\"hash\":\"");
    let at = whole.windows(said.len()).position(|w| w == said.as_bytes()).unwrap() + said.len();
    let said = std::str::from_utf8(&whole[at..at + 32]).unwrap();
    assert!(*number == bad && why.contains("its MD5 is") && why.contains(said), "{why}");
    // Unchecked, the same frame passes or cannot be unpacked: that is what the digest is for.
    let unchecked = take("live.dectris", &recording(&path, "verify = false"), Dict::new()).unwrap();
    assert!(unchecked.lost.iter().all(|(_, why)| !why.contains("MD5")), "{:?}", unchecked.lost);
}

#[test]
fn recorded_streams_replayed_over_loopback_are_the_same() {
    let Some(folder) = reference("replay over loopback", "stem4d") else { return };
    for file in ["dectris_v1.bin", "dectris_v2.bin", "dectris_v1_bad_hash.bin"] {
        let path = folder.join(file);
        let simulated = Detector { recording: Some(path.display().to_string()), ..Detector::default() };
        let simulated = simulated.begin().unwrap();
        let input = Dict::new().with("address", simulated.stream().to_string());
        let wired = take("live.dectris", "wait = 10.0", input).unwrap();
        let read = take("live.dectris", &recording(&path, ""), Dict::new()).unwrap();
        assert_eq!((wired.sums(), &wired.lost), (read.sums(), &read.lost), "{file}");
        assert_eq!(wired.opened.head, read.opened.head, "{file}");
    }
}

/// A simulated detector and what is taken from it.
fn loopback(detector: Detector, set: &str) -> common::Taken {
    let simulated = detector.begin().unwrap();
    let input =
        Dict::new().with("address", simulated.stream().to_string()).with("api", simulated.api().to_string());
    take("live.dectris", &format!("wait = 10.0\nlate = 0.1\n{set}"), input).unwrap()
}

#[test]
fn every_packing_depth_and_version_comes_through_bit_by_bit() {
    for version in [1, 2] {
        for packing in ["bslz4", "lz4", "none"] {
            for bits in [8, 16, 32] {
                let detector = Detector {
                    version,
                    packing: packing.into(),
                    bits,
                    frames: 5,
                    shape: [61, 67],
                    ..Detector::default()
                };
                let what = format!("version {version}, {packing}, {bits} bits");
                let taken = loopback(detector.clone(), "");
                assert_eq!(taken.numbers(), [0, 1, 2, 3, 4], "{what}: {:?}", taken.lost);
                for n in 0..5 {
                    assert_eq!(taken.image(n).bytes(), detector.pixels(n as u64, 0), "{what}");
                }
                let Some(Value::Array(mask)) = taken.opened.head.get("mask") else {
                    panic!("{what}: no mask")
                };
                assert_eq!(mask.shape(), [61, 67]);
                assert_eq!(mask.as_slice::<u32>().unwrap()[..3], [0, 1, 0], "{what}");
            }
        }
    }
}

#[test]
fn a_head_that_says_nothing_is_learned_from_the_first_image() {
    for version in [1, 2] {
        let detector =
            Detector { version, header: "none".into(), frames: 4, shape: [8, 9], ..Detector::default() };
        let taken = loopback(detector, "frames = 4");
        assert_eq!(taken.opened.frames, Some(4));
        assert_eq!(taken.numbers(), [0, 1, 2, 3]);
        assert_eq!(taken.image(3).shape(), [1, 8, 9]);
    }
}

fn recipe(simulate: &str, take: &str, limits: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "faults"
        [run]
        chunk = 4
        reorder = 10
        limits = {{ {limits} }}
        [stage.simulator]
        use = "live.dectris_simulate"
        set = {{ frames = 40, shape = [16, 24], rate = 400.0, {simulate} }}
        [stage.images]
        use = "live.dectris"
        in = {{ address = "simulator.address", api = "simulator.api" }}
        set = {{ wait = 10.0, late = 0.1, {take} }}
        "#
    )
}

/// What goes wrong, how the source is told to take it, and what its account says in the end.
const FAULTS: [[&str; 4]; 11] = [
    ["nothing", "", "", "40 of 40 done"],
    ["loss", "lose = [3, 39]", "", "38 of 40 done, 2 missing"],
    ["delay", "delay = [5, 20]", "", "40 of 40 done"],
    ["long delay", "delay = [5], delay_by = 20", "", "39 of 40 done, 1 late"],
    ["repeats", "repeat = [0, 7, 39]", "", "40 of 40 done, 3 extra"],
    ["corruption", "corrupt = [0, 11]", "", "38 of 40 done, 2 corrupt"],
    ["restart", "restart = 25", "", "25 of 40 done, 15 missing"],
    ["stall", "stall = 30", "stall = 0.3", "30 of 40 done, 10 missing"],
    ["lost connection", "cut = [10, 22]", "stall = 3.0", "38 of 40 done, 2 missing"],
    ["no end", "no_end = true, lose = [2]", "stall = 0.3", "39 of 40 done, 1 missing"],
    [
        "all at once",
        "lose = [1], corrupt = [2], repeat = [4], delay = [6], cut = [12], restart = 30",
        "stall = 3.0",
        "27 of 40 done, 12 missing, 1 corrupt, 1 extra",
    ],
];

/// The account of a source whose detector has faults; it balances, and the run ends in time.
fn accounted(what: &str, version: u8, faults: &str, take: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = recipe(
        &format!("version = {version}, faults = {{ {faults} }}"),
        &format!("version = {version}, {take}"),
        "missing = 40, corrupt = 40, late = 40, extra = 40",
    );
    let begun = Instant::now();
    let report = run(&text, &folder.path().join("out"));
    assert_eq!(report.outcome, Outcome::Done, "{what}: {:?}", report.outcome.message());
    assert!(begun.elapsed() < Duration::from_secs(15), "{what} took {:?}", begun.elapsed());
    // `ledger` asks for the balance; the numbers of the words add up to all frames as well.
    let words = ledger(&report, "images");
    let numbers = words.split(", ").filter(|word| !word.ends_with("extra"));
    let sum: u64 = numbers.map(|word| word.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 40, "{what}: {words}");
    words
}

#[test]
fn under_every_fault_the_ledger_balances_and_the_run_ends() {
    // None is left out: the simulator itself says which there are.
    let schema = isard_core::schemars::schema_for!(Faults);
    let all = schema.as_value()["properties"].as_object().unwrap();
    assert!(all.len() >= 9, "{all:?}");
    for name in all.keys() {
        let set = |faults: &str| faults.split(", ").any(|f| f.split(" = ").next() == Some(name));
        assert!(FAULTS.iter().any(|[_, faults, ..]| set(faults)), "`{name}` is not tried");
    }
    for [what, faults, take, wanted] in FAULTS {
        for version in [1, 2] {
            assert_eq!(accounted(what, version, faults, take), wanted, "{what}, version {version}");
        }
    }
}

#[test]
fn whatever_faults_come_together_the_ledger_balances_and_the_run_ends() {
    let mut seed = 11u64;
    let mut draw = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for k in 0..10 {
        let mut faults = vec![format!("delay_by = {}", draw(30) + 1)];
        for name in ["lose", "delay", "repeat", "corrupt"] {
            if draw(3) > 0 {
                faults.push(format!("{name} = 0.{}", draw(4) + 1));
            }
        }
        for name in ["restart", "stall"] {
            if draw(4) == 0 {
                faults.push(format!("{name} = {}", draw(39) + 1));
            }
        }
        if draw(3) == 0 {
            faults.push(format!("cut = [{}, {}]", draw(15), 20 + draw(15)));
        }
        if draw(3) == 0 {
            faults.push("no_end = true".into());
        }
        let faults = faults.join(", ");
        let words = accounted(&faults, 1 + (k % 2), &faults, "stall = 1.0");
        assert!(words.contains("of 40 done"), "{faults}: {words}");
    }
}

#[test]
fn losses_beyond_the_limits_fail_the_run_with_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(&recipe("faults = { stall = 38 }", "stall = 0.2", ""), &folder.path().join("out"));
    assert_eq!(report.outcome.exit_code(), 8);
    let images = report.stages.iter().find(|s| s.name == "images").unwrap();
    let reasons = &images.ledger.as_ref().unwrap().reasons;
    assert_eq!(&*reasons[0].2, "the detector sent nothing for 0.2 s after frame 37 of series 1");
}

#[test]
fn the_detector_is_configured_read_back_armed_triggered_and_disarmed() {
    for version in [1, 2] {
        let detector = Detector {
            version,
            start: "api".into(),
            shape: [8, 8],
            rate: 500.0,
            lifetime: 20.0,
            ..Detector::default()
        };
        let simulated = detector.begin().unwrap();
        let input = Dict::new()
            .with("address", simulated.stream().to_string())
            .with("api", simulated.api().to_string());
        let set = format!(
            "version = {version}\nwait = 10.0\nlate = 0.1\n[control]\nheader = \"basic\"\n\
             [control.settings]\ncount_time = 0.005\nnimages = 7\n"
        );
        let taken = take("live.dectris", &set, input).unwrap();
        assert_eq!(taken.numbers(), (0..7).collect::<Vec<_>>());
        let Some(Value::Dict(settings)) = taken.opened.head.get("settings") else { panic!("no settings") };
        assert_eq!(settings.get("count_time"), Some(&Value::Float(0.005)));
        assert_eq!(settings.get("header_detail"), Some(&Value::from("basic")));
        // Not asked for, but moved by the exposure time.
        assert_eq!(settings.get("frame_time"), Some(&Value::Float(0.005)));
        // `basic` says no mask.
        assert_eq!(taken.opened.head.get("mask"), None);
        assert_eq!(simulated.commands(), ["arm", "trigger", "disarm"]);
        assert_eq!(simulated.join().sent, 7);
    }
}

#[test]
fn a_detector_that_does_not_take_a_setting_is_refused() {
    let open = |detector: Detector, settings: &str| {
        let simulated = Detector { start: "api".into(), ..detector }.begin().unwrap();
        let input = Dict::new()
            .with("address", simulated.stream().to_string())
            .with("api", simulated.api().to_string());
        let set = format!("wait = 10.0\n[control.settings]\n{settings}\n");
        let error = take("live.dectris", &set, input).err().unwrap();
        (error.to_string(), simulated.commands())
    };
    let deaf = Detector { deaf: vec!["count_time".into()], ..Detector::default() };
    let (error, commands) = open(deaf, "count_time = 0.5");
    assert!(error.contains("did not take its settings: `count_time` is 0.001, wanted 0.5"), "{error}");
    assert!(commands.is_empty(), "{commands:?}");
    let (error, _) = open(Detector::default(), "count_tme = 0.5");
    assert!(error.contains("config/count_tme: answered with status 404"), "{error}");
    // The second setting raises the first one: what was asked for is not what is there.
    let (error, _) = open(Detector::default(), "frame_time = 0.002\ncount_time = 0.004");
    assert!(error.contains("`frame_time` is 0.004, wanted 0.002"), "{error}");
}

#[test]
fn nobody_there_is_an_error_within_the_time_limit() {
    let begun = Instant::now();
    let set = "address = \"127.0.0.1:1\"\nwait = 0.3";
    let error = take("live.dectris", set, Dict::new()).err().unwrap().to_string();
    assert!(error.contains("no series began within 0.3 s") && error.contains("cannot connect"), "{error}");
    // Something that is no ZeroMQ.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[b'x'; 64]).unwrap();
        // Later tries find nobody who answers.
        std::thread::sleep(Duration::from_millis(900));
    });
    let set = format!("address = \"{address}\"\nwait = 0.3");
    let error = take("live.dectris", &set, Dict::new()).err().unwrap().to_string();
    assert!(error.contains("something that is no ZeroMQ"), "{error}");
    thread.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn damaged_recordings_are_named_and_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        take("live.dectris", &recording(&path, "stall = 0.2\nlate = 0.0"), Dict::new())
    };
    let error = open(&[9, 0, 0, 0, 0, 0, 0, 0, 1]).err().unwrap().to_string();
    assert!(error.contains("is cut short in part 0, byte 0 of 9"), "{error}");
    let Some(data) = reference("damaged recordings", "stem4d") else { return };
    for name in ["dectris_v1.bin", "dectris_v2.bin"] {
        let whole = std::fs::read(data.join(name)).unwrap();
        let mut seed = 3u64;
        for _ in 0..60 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bytes = whole.clone();
            let at = (seed >> 20) as usize % bytes.len();
            bytes[at] ^= 1 << (seed >> 60 & 7);
            // Whatever is damaged: an error, or frames that are good, corrupt or missing, each once.
            if let Ok(taken) = open(&bytes) {
                let mut all: Vec<u64> = taken.numbers();
                all.extend(taken.lost.iter().map(|(n, _)| *n));
                all.retain(|n| *n < 6);
                all.sort_unstable();
                all.dedup();
                assert!(all.len() >= 5 || taken.opened.frames != Some(6), "byte {at} of {name}: {all:?}");
            }
        }
    }
    assert!(open(&write_dump([])).is_err());
}
