//! What goes wrong in a scan and is stated, with its exit code; and the same scan from files of three formats.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/twice.rs"]
mod twice;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out};
use isard_dct as _;
use isard_h5::{Dtype, File, Image, Spec};
use isard_image as _;

/// What was logged since the run began.
static LOG: Mutex<String> = Mutex::new(String::new());
/// One run at a time: the log is that of the process.
static TURN: Mutex<()> = Mutex::new(());

struct Log;

impl tracing::Subscriber for Log {
    fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
        *about.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

struct Line;

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = writeln!(LOG.lock().unwrap_or_else(PoisonError::into_inner), "{field}={value:?}");
    }
}

/// Runs a recipe; gives its exit code, and what it logged and made of the frames.
fn run(text: &str, out: &Path) -> (i32, String) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Only the first of a process counts.
    let _ = tracing::subscriber::set_global_default(Log);
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&recipe, &Registry::built_in().unwrap());
    let plan = made.unwrap_or_else(|faults| panic!("{faults}")).0;
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: false });
    options.reader = Some(Arc::new(isard_files::input::read_path));
    let report = run::run(&plan, options).unwrap();
    let mut said = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for ledger in report.stages.iter().filter_map(|s| s.ledger.as_ref()) {
        writeln!(said, "{ledger} {:?}", ledger.reasons).unwrap();
    }
    writeln!(said, "{:?}", report.outcome.message()).unwrap();
    (report.outcome.exit_code(), said)
}

fn said(printed: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(printed.contains(word), "`{word}`: {printed}"));
}

/// A column of whole numbers of the summary.
fn column(file: &Path, name: &str) -> Vec<i64> {
    let bytes = File::open(file).unwrap().dataset(&format!("summary/{name}")).unwrap().read_all().unwrap();
    bytes.chunks_exact(8).map(|b| i64::from_ne_bytes(b.try_into().unwrap())).collect()
}

/// Spots of raw counts; `frames` is the source, with what goes before it.
fn spots(frames: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "spots"
        {frames}
        [stage.omega]
        use = "dct.omega"
        from = "frames"
        set = {{ step = 6.0 }}
        [stage.background]
        use = "dct.background"
        from = "omega"
        in = {{ image = "frames.image" }}
        set = {{ window = 21, edge = "wrap", dtype = "compact" }}
        [stage.segment]
        use = "dct.segment"
        from = "background"
        in = {{ image = "background.image", omega = "omega.omega", full = "background.full" }}
        set = {{ threshold = 60, t_low = 20, bb_max = [10, 20, 20], wrap = true, exclude_box = {{ x = [50, 150], y = [40, 120] }} }}
        [stage.spots]
        use = "dct.difspots"
        from = "segment"
        set = {{ output = "both" }}
        "#
    )
}

fn source(kind: &str, path: &str) -> String {
    format!("[stage.frames]\nuse = \"{kind}\"\nset = {{ path = \"{path}\" }}")
}

/// Sixty frames of 48 x 48 with two spots of which one is cut off at the largest count.
fn saturated(path: &Path) -> i64 {
    let (frames, side) = (60i32, 48i32);
    let value = |k: i32, y: i32, x: i32| -> u16 {
        let spot = |z: i32, row: i32, column: i32, peak: f64| {
            let far = (k - z) * (k - z) + (y - row) * (y - row) + (x - column) * (x - column);
            peak * (-0.4 * f64::from(far)).exp()
        };
        (100.0 + spot(30, 12, 14, 300_000.0) + spot(45, 34, 30, 9_000.0)).min(65_535.0) as u16
    };
    let all = (0..frames).flat_map(|k| (0..side).flat_map(move |y| (0..side).map(move |x| (k, y, x))));
    let pixels: Vec<u16> = all.map(|(k, y, x)| value(k, y, x)).collect();
    let mut image = Image::new().unwrap();
    let slot = image.dataset("/frames", &Spec::new(Dtype::U16, &[side as u64, side as u64])).unwrap();
    let bytes: Vec<u8> = pixels.iter().flat_map(|v| v.to_ne_bytes()).collect();
    image.append(slot, &bytes, frames as u64).unwrap();
    std::fs::write(path, image.into_bytes().unwrap()).unwrap();
    pixels.iter().filter(|v| **v == u16::MAX).count() as i64
}

#[test]
fn saturated_frames_are_stated_and_counted_in_each_spot() {
    let folder = tempfile::tempdir().unwrap();
    let (scan, out) = (folder.path().join("scan.h5"), folder.path().join("out"));
    let full = saturated(&scan);
    let source = source("hdf5.dataset", &format!("{}::/frames", scan.display()));
    let recipe = spots(&source).replace(", exclude_box = { x = [50, 150], y = [40, 120] }", "");
    let (code, printed) = run(&recipe, &out);
    // Nothing is lost, so the run is done; what the spot is worth is for the user to judge.
    assert_eq!(code, 0, "{printed}");
    // 300000 exp(-0.4 r^2) + 100 reaches 65535 where r^2 is 3.8 at most: 1 + 6 + 12 + 8 voxels in three frames.
    said(&printed, &["Pixels are saturated", "frames=3", "first=29"]);
    assert_eq!(full, 27);
    assert_eq!(column(&out.join("difspots.h5"), "saturated_voxels"), [full, 0]);
}

/// A scan whose frame 31 has no beam; with `limits` it may.
fn dark(limits: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "dark"
        [run]
        seed = 1
        {limits}
        [stage.frames]
        use = "dct.simulate"
        set = {{ frames = 60, shape = [160, 200], blobs = 30, no_beam = [31, 32] }}
        [stage.even]
        use = "dct.normalize"
        from = "frames"
        in = {{ image = "frames.image", monitor = "frames.monitor" }}
        set = {{ normalization = "monitor", apply = false }}
        [stage.background]
        use = "dct.background"
        from = "even"
        in = {{ image = "frames.image", factor = "even.factor", dark = "frames.head.dark" }}
        set = {{ window = 11, edge = "wrap" }}
        [stage.segment]
        use = "dct.segment"
        from = "background"
        in = {{ image = "background.image", omega = "frames.omega" }}
        set = {{ threshold = 60, t_low = 20, bb_max = [10, 30, 30], wrap = true, min_seed_voxels = 10, exclude_box = {{ x = [50, 150], y = [40, 120] }} }}
        [stage.spots]
        use = "dct.difspots"
        from = "segment"
        "#
    )
}

#[test]
fn a_lost_beam_is_stated_and_fails_a_run_that_does_not_allow_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("allowed");
    let (code, printed) = run(&dark("limits = { missing = 2 }"), &out);
    assert_eq!(code, 0, "{printed}");
    said(&printed, &["A frame has no beam", "frame=31", "no beam: the mean is", "2 missing"]);
    let whole = column(&out.join("difspots.h5"), "first_frame");
    // No spot begins in the dark.
    assert!(whole.len() > 5 && !whole.contains(&31) && !whole.contains(&32), "{whole:?}");
    for (k, limits) in ["", "limits = { missing = 1 }"].into_iter().enumerate() {
        let out = folder.path().join(k.to_string());
        let (code, printed) = run(&dark(limits), &out);
        assert_eq!(code, 8, "{printed}");
        said(&printed, &["A frame has no beam", "frame=31", "2 missing"]);
        // All is written before the run is called a failure.
        assert_eq!(column(&out.join("difspots.h5"), "first_frame"), whole);
    }
}

#[test]
fn a_frame_that_comes_twice_with_another_content_is_stated() {
    for (limits, wanted) in [("", 8), ("limits = { extra = 2 }", 0)] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "isard = \"0.1\"\nname = \"twice\"\n[run]\nchunk = 1\n{limits}\n\
             [stage.frames]\nuse = \"toy.twice\"\n\
             [stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n"
        );
        let (code, printed) = run(&text, &folder.path().join("out"));
        assert_eq!(code, wanted, "{printed}");
        // Both repeats are counted; frame 1 came as it was.
        said(&printed, &["6 of 6 done, 2 extra", "frames=1", "first=3", "Frames came twice with another"]);
    }
}

/// Everything that difspots hold, by file and dataset; the format keeps the time in each object, so bytes of files differ.
fn values(out: &Path) -> Vec<(String, Vec<u64>, Vec<u8>)> {
    let mut paths: Vec<_> =
        std::fs::read_dir(out.join("difspots")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let mut all = vec![];
    for path in &paths {
        let (file, name) = (File::open(path).unwrap(), path.file_name().unwrap().to_string_lossy());
        let names = file.names("/").unwrap();
        assert_eq!(names.len(), 21, "{names:?}");
        for dataset in names {
            let data = file.dataset(&dataset).unwrap();
            all.push((format!("{name}/{dataset}"), data.shape().to_vec(), data.read_all().unwrap()));
        }
    }
    let file = File::open(out.join("difspots.h5")).unwrap();
    for dataset in file.names("/summary").unwrap() {
        let data = file.dataset(&format!("/summary/{dataset}")).unwrap();
        all.push((format!("summary/{dataset}"), data.shape().to_vec(), data.read_all().unwrap()));
    }
    all
}

#[test]
fn the_same_scan_as_hdf5_edf_and_tiff_gives_the_same_difspots() {
    let made = r#"
        isard = "0.1"
        name = "make"
        [run]
        seed = 5
        [stage.frames]
        use = "dct.simulate"
        set = { frames = 60, shape = [160, 200], drift = 0.0, blobs = 30 }
        [stage.hdf5]
        use = "hdf5.write"
        from = "frames"
        set = { path = "scan.h5", compression = "bitshuffle" }
        [stage.edf]
        use = "edf.write"
        from = "frames"
        set = { path = "scan.edf" }
        [stage.many]
        use = "edf.write"
        from = "frames"
        set = { path = "many.edf", frames = 60 }
        [stage.tiff]
        use = "tiff.write"
        from = "frames"
        set = { path = "scan.tif", pages = 7, compress = true }
    "#;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (code, printed) = run(made, &at.join("scan"));
    assert_eq!(code, 0, "{printed}");
    let simulated = "[run]\nseed = 5\n[stage.frames]\nuse = \"dct.simulate\"\n\
                     set = { frames = 60, shape = [160, 200], drift = 0.0, blobs = 30 }";
    let cases = [
        ("simulated", simulated.to_owned()),
        ("hdf5", source("hdf5.dataset", &format!("{}/scan/scan.h5::/entry/data/image", at.display()))),
        ("edf", source("edf.sequence", &format!("{}/scan/scan.parts/*.edf", at.display()))),
        ("edf of many frames", source("edf.sequence", &format!("{}/scan/many.parts", at.display()))),
        ("tiff", source("tiff.sequence", &format!("{}/scan/scan.parts/*.tif", at.display()))),
    ];
    let mut first = None;
    for (name, frames) in cases {
        let (code, printed) = run(&spots(&frames), &at.join(name));
        assert_eq!(code, 0, "{name}: {printed}");
        let found = values(&at.join(name));
        assert!(found.len() > 21 * 10, "{name}: {} datasets", found.len());
        let wanted = first.get_or_insert_with(|| found.clone());
        assert_eq!(wanted.len(), found.len(), "{name}");
        for (wanted, found) in wanted.iter().zip(&found) {
            assert_eq!((&wanted.0, &wanted.1), (&found.0, &found.1), "{name}");
            assert!(wanted.2 == found.2, "{name}: {} differs", found.0);
        }
    }
}
