//! Damaged files of every format: no panic, no hang, bounded memory, and errors that name the file.
//!
//! `ISARD_SEED` chooses other damage, `ISARD_CASES` more of it; the seed stands in every failure.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Dice, build};
use isard_core::plan;
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::stage::{Arrival, Built, RunCx};
use isard_core::store::{Checkpoint, Manifest, checkpoint};
use isard_core::value::{decode, encode};
use isard_files::input::read_path;
use isard_files::npy::header;
use isard_files::npz::archive;
use isard_files::{cbf, edf};
use isard_h5::Dtype as H5;

/// Counts the bytes that are allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator unchanged; only counters are touched beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`, which are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test counts at a time.
static TURN: Mutex<()> = Mutex::new(());

fn seed() -> u64 {
    std::env::var("ISARD_SEED").map_or(20_240_611, |s| s.parse().unwrap())
}

fn cases() -> u64 {
    std::env::var("ISARD_CASES").map_or(300, |s| s.parse().unwrap())
}

/// Changes, cuts, doubles or fills bytes; headers, where it hurts most, are hit more often.
fn damage(healthy: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = healthy.to_vec();
    let reach = |dice: &mut Dice, n: usize| match dice.below(3) {
        0 => n.min(600),
        1 => n.min(120),
        _ => n,
    };
    for _ in 0..=dice.below(4) {
        if bytes.is_empty() {
            break;
        }
        let n = reach(dice, bytes.len());
        let at = dice.below(n as u64) as usize;
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => bytes[at] = b'0' + dice.below(10) as u8,
            2 => bytes[at] ^= 1 << dice.below(8),
            3 => {
                let piece = bytes[at..(at + 40).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => drop(bytes.drain(at..(at + dice.below(9) as usize).min(bytes.len()))),
            5 => {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill([0, 0xff, 0x80, b'9'][dice.below(4) as usize]);
            }
            _ => bytes[at] = dice.below(256) as u8,
        }
    }
    bytes
}

/// Runs one case within its bounds of memory and time.
fn bounded<T>(what: &str, length: usize, work: impl FnOnce() -> T) -> T {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let began = Instant::now();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    let took = began.elapsed();
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let Ok(result) = result else { panic!("{what}: panicked") };
    assert!(peak <= (64 << 20) + 4 * length, "{what}: {peak} bytes of memory for {length} of file");
    assert!(took < Duration::from_secs(5), "{what}: took {took:?}");
    result
}

/// Reads everything that a source gives; the frames, or the errors in words.
fn read(stage: &str, set: &str) -> std::result::Result<u64, String> {
    let run = RunCx { pool: isard_core::Pool::new(0), ..RunCx::default() };
    let cx = Cx::new(&run, "source");
    let built = build(stage, set).map_err(|e| e.to_string())?;
    let Built::Source(mut source) = built else { panic!("a source") };
    let opened = source.open(&cx, Dict::new(), Position { next: 0 }).map_err(|e| e.to_string())?;
    let (mut given, mut lost) = (0, None);
    loop {
        let mut slots = Slots::<Dict>::new(4, given);
        let pulled = source.pull(&cx, &mut slots).map_err(|e| e.to_string())?;
        for arrival in slots.take() {
            match arrival {
                Arrival::Frames { count, .. } => given += count,
                Arrival::Lost { why, .. } => {
                    given += 1;
                    lost = Some(why.to_string());
                }
            }
        }
        // What claims more frames than the file could hold is cut off by the memory it takes, not by this.
        if pulled == Pull::End || given > 10_000 {
            assert!(opened.frames.is_some());
            return lost.map_or(Ok(given), Err);
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

#[test]
fn damaged_frames_are_refused_within_bounds() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pixels: Vec<u8> = (0..2 * 60u16).flat_map(u16::to_ne_bytes).collect();
    let shape = [6, 10];
    let edf = |n| edf::block(H5::U16, shape, &pixels[..120], n, &[("Omega", "1.5")]).unwrap();
    let stack = [header(H5::U16, &[2, 6, 10]), pixels.clone()].concat();
    let zipped = {
        use std::io::Write;
        let mut packer = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        packer.write_all(&[edf(0), edf(1)].concat()).unwrap();
        packer.finish().unwrap()
    };
    let few: Vec<u8> = [3i64, 4, 5].into_iter().flat_map(i64::to_ne_bytes).collect();
    let sparse = archive(&[
        ("shape", H5::I64, &[2], &[6i64, 10].map(i64::to_ne_bytes).concat()),
        ("nframes", H5::I64, &[], &1i64.to_ne_bytes()),
        ("0_row", H5::I64, &[3], &few),
        ("0_col", H5::I64, &[3], &few),
        ("0_data", H5::U16, &[3], &pixels[..6]),
    ]);
    let cbf = cbf::file(H5::U16, shape, &pixels[..120], "f", &[("Exposure_time", "0.1 s")]).unwrap();
    let mut healthy: Vec<(&str, &str, &str, Vec<u8>)> = vec![
        ("edf.sequence", "edf", "columns = { omega = \"Omega\" }", [edf(0), edf(1)].concat()),
        ("edf.sequence", "edf.gz", "", zipped),
        ("cbf.sequence", "cbf", "md5 = false", cbf.clone()),
        ("cbf.sequence", "cbf", "columns = { t = \"Exposure_time\" }", cbf),
        ("npy.stack", "npy", "", stack.clone()),
        ("npz.stack", "npz", "", archive(&[("f", H5::U16, &[2, 6, 10], &pixels)])),
        ("npz.stack", "npz", "", sparse),
        ("raw.stack", "raw", "dtype = \"u16\"\nshape = [6, 10]", pixels.clone()),
        ("table.rows", "csv", "", b"frame,x,name\n0,1.5,a\n1,2.5,\"b, c\"\n2,,d\n".to_vec()),
    ];
    for name in [
        "raw_u2_be.tif",
        "lzw_pred_u2.tif",
        "deflate_pred_f4.tif",
        "big_deflate.tif",
        "tiled.tif",
        "packbits_u2.tif",
    ] {
        healthy.push(("tiff.sequence", "tif", "", fixture(name)));
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut whole, mut refused) = (0, 0);
    for (kind, (stage, ending, rest, bytes)) in healthy.iter().enumerate() {
        let path = folder.path().join(format!("damaged.{ending}"));
        let set = format!("path = {:?}\n{rest}", path.to_str().unwrap());
        std::fs::write(&path, bytes).unwrap();
        assert!(read(stage, &set).is_ok(), "{stage} {kind}: {:?}", read(stage, &set));
        let mut dice = Dice(seed() ^ kind as u64);
        for case in 0..cases() {
            let bytes = damage(bytes, &mut dice);
            std::fs::write(&path, &bytes).unwrap();
            let what = format!("{stage} {kind} {ending} case {case} of seed {}", seed());
            match bounded(&what, bytes.len(), || read(stage, &set)) {
                Ok(_) => whole += 1,
                Err(error) => {
                    refused += 1;
                    assert!(error.contains("damaged."), "{what}: {error}");
                }
            }
            // The same file as a static input.
            if *stage != "raw.stack" {
                let run = RunCx { pool: isard_core::Pool::new(0), ..RunCx::default() };
                let _ = bounded(&what, bytes.len(), || read_path(&run, path.to_str().unwrap()).is_ok());
            }
        }
    }
    println!("seed {}: {whole} read, {refused} refused", seed());
    assert!(whole > cases() && refused > cases(), "{whole} read, {refused} refused");
}

#[test]
fn damaged_recipes_are_refused() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let registry = Registry::built_in().unwrap();
    let mut text =
        "isard = \"0.1\"\nname = \"t\"\n[run]\nchunk = 8\n[scan]\naxes = [{ name = \"frame\", n = 6 }]\n"
            .to_owned();
    text += "[in]\nlow = { type = \"float\", value = 3.0 }\n[stage.frames]\nuse = \"tiff.sequence\"\n";
    text += "set = { path = \"a.tif\", follow = { frames = 3, silence = \"2 s\" } }\n[stage.save]\nuse = \"npy.write\"\n";
    text += "from = \"frames\"\nin = { image = \"frames.image\" }\nset = { path = \"out.npy\" }\n";
    let planned = recipe::parse(&text, Path::new("healthy.toml"))
        .and_then(|recipe| plan::make(&recipe, &registry).map(|_| ()));
    assert!(planned.is_ok(), "{}", planned.unwrap_err().render(false));
    let mut dice = Dice(seed());
    let (mut good, mut bad) = (0, 0);
    for case in 0..4 * cases() {
        let bytes = damage(text.as_bytes(), &mut dice);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let what = format!("recipe case {case} of seed {}:\n{text}", seed());
        let planned = bounded(&what, bytes.len(), || {
            let recipe = recipe::parse(&text, Path::new("damaged.toml")).map_err(|f| f.render(false))?;
            plan::make(&recipe, &registry).map(|_| ()).map_err(|f| f.render(false))
        });
        match planned {
            Ok(()) => good += 1,
            Err(faults) => {
                bad += 1;
                assert!(faults.contains("error["), "{what}: {faults}");
            }
        }
    }
    assert!(good > 20 && bad > 300, "{good} planned, {bad} refused");
}

#[test]
fn damaged_checkpoints_and_manifests_are_refused() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let frames = Array::of(&[2, 3], &[1u16, 2, 3, 4, 5, 6]).unwrap();
    let table = Table::new(2).with("x", &[1.0, 2.0]).unwrap().with_records(&[0, 1]).unwrap();
    let nodes = Dict::new().with("sum", frames).with("peaks", Value::Table(table)).with("next", 5i64);
    let checkpoint = Checkpoint {
        recipe: "abc".into(),
        step: "main".into(),
        mark: 3,
        nodes: nodes.clone(),
        ledger: Dict::new().with("source", nodes.clone()),
        more: Dict::new(),
        files: vec![],
    };
    let packed = checkpoint::pack(&checkpoint);
    let mut plain = vec![];
    encode(&Value::Dict(nodes), &mut plain);
    let manifest =
        Manifest { isard_manifest: 1, files: vec![], content: BTreeMap::new(), sha256: "0".repeat(64) };
    let mut listed = String::new();
    write!(listed, "{}", serde_json::to_string_pretty(&manifest).unwrap()).unwrap();
    assert!(checkpoint::unpack(&packed).unwrap().is_ok());
    let mut dice = Dice(seed());
    let mut undone = 0;
    for case in 0..4 * cases() {
        let what = |kind: &str| format!("{kind} case {case} of seed {}", seed());
        let bytes = damage(&packed, &mut dice);
        let good =
            bounded(&what("checkpoint"), bytes.len(), || matches!(checkpoint::unpack(&bytes), Ok(Ok(_))));
        assert!(!good || bytes == packed, "{}: damage was not seen", what("checkpoint"));
        // What the digest would have caught: the codec has to stand by itself.
        let bytes = damage(&plain, &mut dice);
        undone += u64::from(bounded(&what("value"), bytes.len(), || decode(&bytes).is_err()));
        let bytes = damage(listed.as_bytes(), &mut dice);
        let _ = bounded(&what("manifest"), bytes.len(), || Manifest::parse(&bytes).is_ok());
    }
    assert!(undone > cases(), "{undone} refused");
}
