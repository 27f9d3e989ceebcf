//! Which settings the random scans have come to, so that none goes untested by chance.

use std::collections::BTreeMap;

use isard_core::prelude::*;

use super::case::Case;

/// How many scans there were of each kind.
#[derive(Default)]
pub struct Covered(BTreeMap<String, usize>);

/// What has to be there: every value of every setting, and every kind of trouble.
const WANTED: &str = "\
    overlap=keep overlap=suppress overlap=exclusive connectivity=6 connectivity=18 connectivity=26 \
    edge=wrap edge=shift edge=reflect edge=nearest norm=none norm=margin norm=monitor \
    gap=split gap=bridge t_low t_high both_clamps min_blob_size max_blob_size drop_oversize drop_edge \
    min_seed_voxels exclude method=moving method=interval stride=1 stride=2 stride=3 \
    window=1 window=3 window=5 window=9 window=11 window=21 longer_window \
    median=1 median=3x3 median=larger dark_reduce=mean dark_reduce=median target=first target=reference target=number \
    dtype=u8 dtype=u16 dtype=u32 dtype=i16 dtype=i32 dtype=f32 dtype=f64 \
    odd_columns one_row one_frame masked saturated_pixel dead_pixel empty_frame full_frame no_number no_number_at_all \
    missing repeated shuffled bridged_gap split_gap turned_back";

impl Covered {
    /// Takes note of a scan.
    pub fn note(&mut self, case: &Case) {
        let mut note = |what: &str| *self.0.entry(what.to_owned()).or_default() += 1;
        let set = &case.set;
        let text = |name: &str| set[name].as_str().map_or_else(|| set[name].to_string(), str::to_owned);
        for name in ["overlap", "connectivity", "edge", "norm", "gap", "method", "stride", "window", "dtype"]
        {
            note(&format!("{name}={}", text(name)));
        }
        if case.stack.is_some() {
            note(&format!("dark_reduce={}", text("dark_reduce")));
        }
        if case.is("norm", "margin") {
            note(&format!(
                "target={}",
                if set["target"].is_number() { "number".into() } else { text("target") }
            ));
        }
        let there = |name: &str| !set[name].is_null();
        let filt = [0, 1].map(|k| set["filt"][k].as_u64().unwrap());
        let missing = case.frames.len() < case.n as usize;
        let numbers: Vec<u64> = case.arrivals.iter().map(|a| a.0).collect();
        let least: Vec<u64> = (0..3).map(|k| set["min_blob_size"][k].as_u64().unwrap()).collect();
        let window = set["window"].as_u64().unwrap();
        let omega = case.omegas();
        for (what, is) in [
            ("t_low", there("t_low")),
            ("t_high", there("t_high")),
            ("both_clamps", there("t_low") && there("t_high")),
            ("min_blob_size", least.iter().any(|n| *n > 1)),
            ("max_blob_size", there("max_blob_size")),
            ("drop_oversize", set["drop_oversize"] == true),
            ("drop_edge", set["drop_edge"] == true),
            ("min_seed_voxels", set["min_seed_voxels"].as_u64() > Some(1)),
            ("exclude", there("exclude")),
            ("longer_window", window > case.n),
            ("median=1", filt == [1, 1]),
            ("median=3x3", filt == [3, 3]),
            ("median=larger", filt.iter().any(|n| *n > 3)),
            ("odd_columns", case.shape[1] % 2 == 1 && case.shape[1] > 32),
            ("one_row", case.shape[0] == 1),
            ("one_frame", case.n == 1),
            ("masked", case.marked()),
            ("missing", missing),
            ("repeated", numbers.len() > case.frames.len()),
            ("shuffled", !numbers.is_sorted()),
            ("bridged_gap", missing && case.is("gap", "bridge")),
            ("split_gap", missing && case.is("gap", "split")),
            ("turned_back", omega.len() > 1 && omega[&0] > omega[&1]),
        ] {
            if is {
                note(what);
            }
        }
        for what in odd(case) {
            note(what);
        }
    }

    /// An error when something was not there.
    pub fn check(&self) {
        let absent: Vec<&str> =
            WANTED.split_whitespace().filter(|what| !self.0.contains_key(*what)).collect();
        let counts: Vec<String> = self.0.iter().map(|(what, n)| format!("{what}: {n}")).collect();
        eprintln!("scans with {}", counts.join(", "));
        assert!(absent.is_empty(), "no scan has {absent:?}");
    }
}

/// What is odd about pixels and frames.
fn odd(case: &Case) -> Vec<&'static str> {
    let mut all = vec![];
    let frames: Vec<Vec<f64>> = case.frames.iter().map(|f| f.1.to_f64().unwrap()).collect();
    let most = match case.frames[0].1.dtype() {
        Dtype::U8 => 255.0,
        Dtype::U16 => 65535.0,
        _ => f64::NAN,
    };
    let always = |value: f64| (0..frames[0].len()).any(|p| frames.iter().all(|f| f[p] == value));
    let whole = |is: fn(f64, f64) -> bool| frames.iter().any(|f| f.iter().all(|v| is(*v, most)));
    for (what, is) in [
        ("saturated_pixel", always(most)),
        ("dead_pixel", always(0.0)),
        ("empty_frame", whole(|v, _| v == 0.0)),
        ("full_frame", whole(|v, most| v == most)),
        ("no_number_at_all", whole(|v, _| v.is_nan())),
        ("no_number", frames.iter().flatten().any(|v| v.is_nan())),
    ] {
        if is {
            all.push(what);
        }
    }
    all
}
