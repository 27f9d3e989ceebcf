//! The preprocessed stack: by position, with what is known of each frame, over a missing frame and a resume.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_dct as _;
use isard_h5::{Attr, File};
use isard_image as _;

/// Brings frames to one intensity: here all have it.
const EVEN: &str = r#"
        [stage.even]
        use = "dct.normalize"
        from = "frames"
        in = { image = "frames.image", monitor = "frames.monitor" }
        set = { normalization = "monitor", apply = false }"#;

/// A scan whose frames are brought to one intensity, or go straight to the background.
fn scan(dtype: &str, compact: &str, compression: &str, lose: &str) -> String {
    // Counts go straight to the background, where words are wanted.
    let (even, from) = if compact == "compact" { ("", "frames") } else { (EVEN, "even") };
    let factors = match from {
        "even" => ", margin_mean = \"even.margin_mean\", factor = \"even.factor\"",
        _ => "",
    };
    format!(
        r#"
        isard = "0.1"
        name = "preprocessed"
        [run]
        seed = 3
        chunk = 4
        checkpoint_s = 0.0
        checkpoint_frames = 13
        limits = {{ missing = 3 }}
        [stage.frames]
        use = "dct.simulate"
        set = {{ frames = 60, shape = [40, 50], drift = 0.0, blobs = 12, lose = [{lose}] }}
        {even}
        [stage.background]
        use = "dct.background"
        from = "{from}"
        in = {{ image = "frames.image" }}
        set = {{ window = 11, edge = "wrap", dtype = "{compact}", save_backgrounds = true }}
        [stage.stack]
        use = "dct.preprocessed"
        from = "background"
        in = {{ image = "background.image", omega = "frames.omega"{factors}, backgrounds = "background.background", dark = "frames.head.dark" }}
        set = {{ path = "made/stack.h5", preprocessed_dtype = "{dtype}", compression = "{compression}", save_backgrounds_every = 7 }}
        "#
    )
}

fn made(text: &str) -> plan::Plan {
    let parsed = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    plan::make(&parsed, &Registry::built_in().unwrap()).unwrap_or_else(|faults| panic!("{faults}")).0
}

fn options(out: &Path) -> Options {
    Options::new(Out::Folder { path: out.to_owned(), overwrite: true })
}

fn read<T: bytemuck::Pod>(file: &File, path: &str) -> Vec<T> {
    bytemuck::pod_collect_to_vec(&file.dataset(path).unwrap().read_all().unwrap())
}

/// What a stack shows, everything as numbers.
fn shown(out: &Path, words: bool) -> Vec<(String, Vec<f64>)> {
    let file = File::open(out.join("made/stack.h5")).unwrap();
    let frames = match words {
        true => read::<i16>(&file, "/entry/data/preprocessed").into_iter().map(f64::from).collect(),
        false => read::<f32>(&file, "/entry/data/preprocessed").into_iter().map(f64::from).collect(),
    };
    let mut all: Vec<(String, Vec<f64>)> = vec![("preprocessed".into(), frames)];
    for name in ["omega", "margin_mean", "factor"] {
        // No number is no number, whatever its bits.
        let values = read::<f64>(&file, &format!("/entry/data/{name}"));
        all.push((name.into(), values.into_iter().map(|v| if v.is_nan() { -1e9 } else { v }).collect()));
    }
    let valid = read::<u8>(&file, "/entry/data/valid").into_iter().map(f64::from).collect();
    let backgrounds = read::<f32>(&file, "/entry/process/backgrounds").into_iter().map(f64::from).collect();
    let numbers =
        read::<i64>(&file, "/entry/process/background_frame").into_iter().map(|n| n as f64).collect();
    all.extend([("valid".into(), valid), ("backgrounds".into(), backgrounds), ("numbers".into(), numbers)]);
    all
}

#[test]
fn the_stack_stands_by_position_with_what_is_missing_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let report = run::run(&made(&scan("f32", "f32", "bitshuffle", "17, 18, 59")), options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let file = File::open(out.join("made/stack.h5")).unwrap();
    assert_eq!(file.dataset("/entry/data/preprocessed").unwrap().shape(), [60, 40, 50]);
    assert_eq!(file.attribute("/entry/data", "signal").unwrap().unwrap(), Attr::Text("preprocessed".into()));
    assert_eq!(file.attribute("/entry", "NX_class").unwrap().unwrap(), Attr::Text("NXentry".into()));
    assert_eq!(file.dataset("/entry/process/dark").unwrap().shape(), [40, 50]);
    let parameters = file.texts("/entry/process/parameters").unwrap();
    assert!(parameters[0].contains("dct.background"), "{parameters:?}");
    assert_eq!(read::<i64>(&file, "/entry/data/frame_number"), (0..60).collect::<Vec<i64>>());
    let all = shown(&out, false);
    let of = |name: &str| &all.iter().find(|(n, _)| n == name).unwrap().1;
    for frame in 0..60 {
        let missing = [17, 18, 59].contains(&frame);
        assert_eq!(of("valid")[frame], f64::from(u8::from(!missing)), "{frame}");
        let lit = of("preprocessed")[frame * 2000..][..2000].iter().any(|v| *v != 0.0);
        assert_eq!(lit, !missing, "{frame}");
        let omega = if missing { -1e9 } else { 6.0 * frame as f64 };
        assert_eq!((of("omega")[frame], of("factor")[frame]), (omega, if missing { -1e9 } else { 1.0 }));
    }
    assert_eq!(*of("numbers"), [0.0, 7.0, 14.0, 21.0, 28.0, 35.0, 42.0, 49.0, 56.0]);
    assert_eq!(of("backgrounds").len(), 9 * 2000);
    // The scatter of the model is some 60 to 320 counts above a dark of 100.
    assert!(of("backgrounds")[..10].iter().all(|v| (140.0..450.0).contains(v)));

    // The same, cut off at any moment.
    let stopped = folder.path().join("stopped");
    let plan = made(&scan("f32", "f32", "gzip", "17, 18, 59"));
    let stopping = |turn: u64| {
        let mut options = options(&stopped);
        options.stop = Arc::new(AtomicBool::new(false));
        let stop = options.stop.clone();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(3 << turn));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        options
    };
    let mut report = run::run(&plan, stopping(0)).unwrap();
    for turn in 1..14 {
        if report.outcome != Outcome::Stopped {
            break;
        }
        report = run::resume(&plan, stopping(turn)).unwrap();
    }
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(shown(&stopped, false), all);
}

#[test]
fn words_hold_whole_numbers_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let go = |name: &str, text: &str| {
        let out = folder.path().join(name);
        let report = run::run(&made(text), options(&out)).unwrap();
        (out, report.outcome)
    };
    let (words, told) = go("words", &scan("i16", "compact", "none", ""));
    assert_eq!(told, Outcome::Done, "{:?}", told.message());
    let (floats, told) = go("floats", &scan("f32", "f32", "none", ""));
    assert_eq!(told, Outcome::Done, "{:?}", told.message());
    let [words, floats] = [shown(&words, true), shown(&floats, false)];
    for (a, b) in
        words.iter().zip(&floats).filter(|(a, _)| !["margin_mean", "factor"].contains(&a.0.as_str()))
    {
        assert_eq!(a, b);
    }
    // Beside a missing frame the median is the mean of two, and may be half a count.
    let (_, told) = go("halves", &scan("i16", "compact", "none", "17"));
    let message = told.message().unwrap();
    assert!(
        message.contains("which is no 16-bit integer") && message.contains("preprocessed_dtype"),
        "{message}"
    );
}

#[test]
fn many_spots_in_one_file_stand_in_parts_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/small/dct.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let [whole, parted] = ["", ", part_bytes = 60000"].map(|more| {
        let out = folder.path().join(format!("out{}", more.len()));
        let text = text.replace("output = \"both\"", &format!("output = \"single\"{more}"));
        let report = run::run(&made(&text), options(&out)).unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        out
    });
    assert!(!whole.join("difspots.parts").exists());
    let parts = std::fs::read_dir(parted.join("difspots.parts")).unwrap().count();
    let [whole, parted] = [whole, parted].map(|out| File::open(out.join("difspots.h5")).unwrap());
    let ids = read::<i64>(&whole, "/summary/difspotID");
    assert!(parts > 1 && parts < ids.len(), "{parts} parts of {} spots", ids.len());
    assert_eq!(read::<i64>(&parted, "/summary/difspotID"), ids);
    for id in ids {
        for name in ["Data", "Mask", "Projection", "BoundingBox", "CentroidIndex", "difspotID"] {
            let path = format!("/{id:06}/{name}");
            assert_eq!(read::<u8>(&parted, &path), read::<u8>(&whole, &path), "{path}");
        }
    }
}
