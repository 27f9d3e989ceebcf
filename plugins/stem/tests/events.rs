//! Electrons, disks and lattices against the truth of simulated frames.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{apply, array, data, flat, image, npy, numbers, reduce};
use isard_core::prelude::*;

fn table(out: &Dict, port: &str) -> Table {
    match out.get(port) {
        Some(Value::Table(table)) => table.clone(),
        other => panic!("`{port}` is {other:?}"),
    }
}

#[test]
fn electrons_are_counted() {
    if data("counting").is_none() {
        return;
    }
    let truth: Vec<[i64; 3]> =
        npy("counting_truth.npy").as_slice::<i64>().unwrap().chunks(3).map(|c| [c[0], c[1], c[2]]).collect();
    for set in ["", "method = \"cluster\""] {
        let input = image(npy("counting_frames.npy")).with("dark", npy("counting_dark.npy"));
        let out = apply("stem.count", set, input).unwrap();
        let events = table(&out, "events");
        let (rows, columns) =
            (events.numbers::<f64>("row").unwrap(), events.numbers::<f64>("column").unwrap());
        let found: Vec<[i64; 3]> = (0..events.rows())
            .map(|i| [events.records()[i] as i64, rows[i].round() as i64, columns[i].round() as i64])
            .collect();
        let near =
            |a: &[i64; 3], b: &[i64; 3]| a[0] == b[0] && (a[1] - b[1]).abs() <= 1 && (a[2] - b[2]).abs() <= 1;
        let recall =
            truth.iter().filter(|t| found.iter().any(|f| near(f, t))).count() as f64 / truth.len() as f64;
        let precision =
            found.iter().filter(|f| truth.iter().any(|t| near(f, t))).count() as f64 / found.len() as f64;
        assert!(recall >= 0.95 && precision >= 0.95, "{set}: recall {recall}, precision {precision}");
        assert_eq!(numbers(&out, "image").iter().sum::<f64>(), found.len() as f64);
    }
}

#[test]
fn disks_and_lattices_are_found() {
    if data("bragg").is_none() {
        return;
    }
    let case = &common::index()["bragg"];
    let scan = npy("bragg_data.npy");
    let (points, side) = (scan.shape()[1] as f64, scan.shape()[2].min(scan.shape()[3]) as f64);
    let radius = case["radius"].as_f64().unwrap();
    let frames = flat(&scan);
    for subpixel in ["upsample", "parabola"] {
        let set = format!(
            "radius = {radius:?}\nsubpixel = \"{subpixel}\"\nrelative = 0.005\nborder = 4\nspacing = 8.0"
        );
        let out = apply("stem.disks", &set, image(frames.clone())).unwrap();
        let peaks = table(&out, "peaks");
        let (rows, columns) = (peaks.numbers::<f64>("row").unwrap(), peaks.numbers::<f64>("column").unwrap());
        let truth = npy("bragg_truth_peaks.npy").to_f64().unwrap();
        let (mut square, mut n) = (0.0, 0);
        // Disks that the border cuts have no whole shape.
        let inside = radius + 1.0..=side - radius - 2.0;
        let whole = |y: f64, x: f64| inside.contains(&y) && inside.contains(&x);
        for t in truth.chunks(7).filter(|t| t[6] > 20.0 && whole(t[4], t[5])) {
            let frame = (t[0] * points + t[1]) as u64;
            let off = (0..peaks.rows())
                .filter(|i| peaks.records()[*i] == frame)
                .map(|i| (rows[i] - t[4]).powi(2) + (columns[i] - t[5]).powi(2))
                .fold(f64::INFINITY, f64::min);
            assert!(off < 4.0, "no disk at {t:?}");
            square += off;
            n += 1;
        }
        let rms = (square / f64::from(n)).sqrt();
        assert!(n > 100 && rms < 0.1, "{subpixel}: {rms} px over {n} disks");
        let pair = |name: &str| {
            let g = &case[name];
            format!("{name} = [{:?}, {:?}]\n", g[0].as_f64().unwrap(), g[1].as_f64().unwrap())
        };
        let set = (pair("g1_ref") + &pair("g2_ref")).replace("_ref", "");
        let out = apply("stem.lattice", &set, out).unwrap();
        let truth = npy("bragg_truth_g.npy").to_f64().unwrap();
        for (frame, t) in truth.chunks(4).enumerate() {
            for (port, t) in [("g1", &t[..2]), ("g2", &t[2..])] {
                let found = &numbers(&out, port)[2 * frame..2 * frame + 2];
                let off = (found[0] - t[0]).hypot(found[1] - t[1]);
                assert!(off < 0.05, "{subpixel}, frame {frame}: {port} is {found:?} for {t:?}");
            }
        }
        let origins = npy("bragg_truth_origin.npy").to_f64().unwrap();
        for (found, t) in numbers(&out, "origin").chunks(2).zip(origins.chunks(2)) {
            assert!((found[0] - t[0]).hypot(found[1] - t[1]) < 0.1, "{found:?} for {t:?}");
        }
        assert!(array(&out, "valid").bytes().iter().all(|v| *v == 1));
    }
}

#[test]
fn events_add_up_to_what_their_frames_do() {
    // Electrons of some frames, tallied, beside the frames of counts that the same stage gives.
    let frames: Vec<u16> =
        (0..6 * 40 * 40u32).map(|i| if (i * 7919) % 211 == 3 { 90 } else { (i % 3) as u16 }).collect();
    let input = image(Array::of(&[6, 40, 40], &frames).unwrap());
    let out = apply("stem.count", "low = 20.0", input).unwrap();
    let set = "scan = [2, 3]\ncentre = [17.0, 20.5]\n";
    let detectors = "[detectors]\nring = { ring = [3, 15] }\nfour = { disk = 12, sectors = 4 }\nsoft = { soft_ring = [8.0, 3.0] }\n";
    let counts = image(array(&out, "image"));
    let wanted = reduce("stem.detect", &format!("{set}{detectors}"), counts.clone(), &Dict::new()).unwrap();
    let com = reduce("stem.com", "scan = [2, 3]", counts.clone(), &Dict::new()).unwrap();
    let total = reduce("image.sum", "", counts, &Dict::new()).unwrap();
    let events = table(&out, "events");
    // Electrons count 1 here, whatever they were.
    let ones = vec![1.0; events.rows()];
    let events = Table::new(events.rows())
        .with("row", events.numbers::<f64>("row").unwrap())
        .and_then(|t| t.with("column", events.numbers::<f64>("column").unwrap()))
        .and_then(|t| t.with("value", &ones))
        .and_then(|t| t.with_records(events.records()))
        .unwrap();
    assert!(events.rows() > 30, "{} electrons", events.rows());
    let input = Dict::new().with("events", events).with("count", array(&out, "count"));
    let found = reduce("stem.tally", &format!("shape = [40, 40]\n{set}{detectors}"), input, &Dict::new());
    let found = found.unwrap();
    for port in ["ring", "four", "valid"] {
        assert_eq!(numbers(&found, port), numbers(&wanted, port), "{port}");
    }
    common::near("soft", &numbers(&found, "soft"), &numbers(&wanted, "soft"), 1e-6);
    assert_eq!(numbers(&found, "image"), numbers(&total, "image"));
    assert_eq!(numbers(&found, "sum"), numbers(&com, "sum"));
    common::near("raw", &numbers(&found, "raw"), &numbers(&com, "raw"), 1e-12);
}
