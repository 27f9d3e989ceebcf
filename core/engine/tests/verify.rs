//! Re-reading finds every damage; content digests see no chunks.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isard_core::span::{Chunk, Gap, Reason, Span};
use isard_core::store::testing::ForgetfulFiles;
use isard_core::store::{
    Checkpoint, ContentDigest, Files, Folder, Kind, LOG, MANIFEST, Manifest, Provenance, RUN, Report,
    Verdict, checkpoint, finish, verify,
};
use isard_core::value::{Array, Column, Dict, Table, Value};

const ROOT: &str = "/out";

/// A folder with small files and one of 64 KB, finished.
fn sample(large: usize) -> (Arc<ForgetfulFiles>, Manifest) {
    let disk = Arc::new(ForgetfulFiles::new());
    let folder = Folder::create(disk.clone(), Path::new(ROOT), false).unwrap();
    let out = folder.output("save");
    for n in 0..4u8 {
        let bytes: Vec<u8> = (0..150).map(|i| n.wrapping_mul(91) ^ i).collect();
        out.seal(&format!("parts/{n}.dat"), &bytes).unwrap();
    }
    out.seal("large.dat", &(0..large).map(|i| ((i * i) >> 3) as u8).collect::<Vec<_>>()).unwrap();
    for text in ["first", "again", "at last"] {
        out.replace("master.dat", text.as_bytes()).unwrap();
    }
    folder.log("line 1\n").unwrap();
    folder.log("line 2\n").unwrap();
    folder.put_run(&Provenance { isard: "0.1.0".into(), ..Provenance::default() }.to_json()).unwrap();
    let content = BTreeMap::from([("save".to_owned(), "ab".repeat(32))]);
    let manifest = finish(&folder, &content).unwrap();
    (disk, manifest)
}

fn look(disk: &ForgetfulFiles) -> Report {
    verify(disk, Path::new(ROOT)).unwrap()
}

fn at(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

#[test]
fn a_whole_run_is_good_and_its_manifest_is_complete() {
    let (disk, manifest) = sample(1000);
    let report = look(&disk);
    assert_eq!((report.verdict, report.files), (Verdict::Good, 8), "{report}");
    let listed: Vec<&str> = manifest.files.iter().map(|f| f.path.as_str()).collect();
    let wanted =
        ["large.dat", LOG, "master.dat", "parts/0.dat", "parts/1.dat", "parts/2.dat", "parts/3.dat", RUN];
    assert_eq!(listed, wanted);
    // `printf 'at last' | sha256sum` and `printf 'line 1\nline 2\n' | sha256sum`.
    assert_eq!(manifest.files[2].sha256, "4ea4a97a600198e1ebec2e8ca439281644b80ab509b35716a4fd6035049bf5a0");
    assert_eq!(manifest.files[1].sha256, "9060554863a62b9db5f726216876654e561896071d2e6480f2048b70e0fdadb9");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (json["verdict"].as_str(), json["findings"].as_array().map(Vec::len)),
        (Some("good"), Some(0))
    );
    assert_eq!(Provenance::read(&*disk, Path::new(ROOT)).unwrap().isard, "0.1.0");
}

#[test]
fn every_flipped_bit_is_found() {
    let (disk, manifest) = sample(64 << 10);
    let mut flips = 0;
    for path in manifest.files.iter().map(|f| f.path.as_str()).chain([MANIFEST]) {
        let bytes = disk.read(&at(path)).unwrap().len();
        // A prime, so that all places in a line and all bits have their turn.
        let stride = if bytes > 10_000 { 37 } else { 1 };
        for byte in (0..bytes).step_by(stride) {
            let bit = 1u8 << (flips % 8);
            disk.damage(&at(path), |b| b[byte] ^= bit);
            let report = look(&disk);
            assert_eq!(report.verdict, Verdict::Damaged, "bit {bit} of byte {byte} of {path}");
            let kind = if path == MANIFEST { Kind::Record } else { Kind::Changed };
            let found: Vec<_> = report.findings.iter().map(|f| (f.path.as_str(), f.kind)).collect();
            assert_eq!(found, [(path, kind)], "bit {bit} of byte {byte}");
            disk.damage(&at(path), |b| b[byte] ^= bit);
            flips += 1;
        }
    }
    assert_eq!(look(&disk).verdict, Verdict::Good);
    assert!(flips > 4000, "{flips} flips");
}

#[test]
fn every_bit_of_the_manifest_counts() {
    let (disk, _) = sample(10);
    let bytes = disk.read(&at(MANIFEST)).unwrap();
    for byte in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1 << bit;
            assert!(Manifest::parse(&damaged).is_err(), "bit {bit} of byte {byte}");
        }
        assert!(Manifest::parse(&bytes[..byte]).is_err(), "cut at {byte}");
    }
    let text = String::from_utf8(bytes).unwrap().replace("\"isard_manifest\": 1", "\"isard_manifest\": 7");
    let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("do not match"), "a changed version is damage, not another version: {error}");
}

#[test]
fn each_kind_of_damage_has_its_name() {
    let check = |damage: &dyn Fn(&ForgetfulFiles), wanted: &[(&str, Kind)]| {
        let (disk, _) = sample(1000);
        damage(&disk);
        let report = look(&disk);
        let found: Vec<_> = report.findings.iter().map(|f| (f.path.as_str(), f.kind)).collect();
        assert_eq!(found, wanted, "{report}");
        assert_eq!(report.is_good(), wanted.is_empty(), "{report}");
    };
    let put = |disk: &ForgetfulFiles, path: &str, bytes: &[u8]| {
        disk.damage(&at(path), |b| *b = bytes.to_vec());
    };
    check(&|d| d.damage(&at("large.dat"), |b| b.truncate(999)), &[("large.dat", Kind::Truncated)]);
    check(&|d| d.damage(&at("parts/0.dat"), Vec::clear), &[("parts/0.dat", Kind::Truncated)]);
    check(&|d| d.damage(&at(LOG), |b| b.push(b'x')), &[(LOG, Kind::Longer)]);
    check(&|d| d.remove(&at("parts/2.dat")).unwrap(), &[("parts/2.dat", Kind::Missing)]);
    check(&|d| put(d, "master.dat", b"again"), &[("master.dat", Kind::Stale)]);
    check(&|d| put(d, "master.dat", b"first"), &[("master.dat", Kind::Stale)]);
    check(&|d| d.write_new(&at("parts/9.dat"), b"x").unwrap(), &[("parts/9.dat", Kind::Unlisted)]);
    check(&|d| d.write_new(&at("a.dat.part-1-2"), b"x").unwrap(), &[("a.dat.part-1-2", Kind::Unlisted)]);
    let swap = |d: &ForgetfulFiles| {
        let (one, two) = (d.read(&at("parts/1.dat")).unwrap(), d.read(&at("parts/3.dat")).unwrap());
        put(d, "parts/1.dat", &two);
        put(d, "parts/3.dat", &one);
    };
    check(&swap, &[("parts/1.dat", Kind::Swapped), ("parts/3.dat", Kind::Swapped)]);
    let foreign = |d: &ForgetfulFiles| {
        let (other, _) = sample(500);
        put(d, MANIFEST, &other.read(&at(MANIFEST)).unwrap());
    };
    check(&foreign, &[("large.dat", Kind::Longer)]);
}

/// A folder cut off after two checkpoints, the second in the files.
fn cut_off() -> Arc<ForgetfulFiles> {
    let disk = Arc::new(ForgetfulFiles::new());
    let folder = Folder::create(disk.clone(), Path::new(ROOT), false).unwrap();
    let out = folder.output("save");
    for mark in 0..2 {
        out.seal(&format!("{mark}.dat"), &[mark; 50]).unwrap();
        out.replace("master.dat", format!("up to {mark}").as_bytes()).unwrap();
        let files = folder.commit("save");
        let state = Checkpoint { step: "main".into(), mark: mark.into(), files, ..Checkpoint::default() };
        checkpoint::save(&folder, &state).unwrap();
    }
    out.replace("master.dat", b"beyond the mark").unwrap();
    out.seal("2.dat", b"beyond the mark").unwrap();
    disk
}

#[test]
fn an_unfinished_run_is_verified_as_far_as_its_checkpoint() {
    let disk = cut_off();
    let report = look(&disk);
    assert_eq!((report.verdict, report.files), (Verdict::Unfinished, 3), "{report}");
    assert!(report.to_string().contains("mark 1 of `main`"), "{report}");
    assert!(report.to_string().contains("1 files are newer"), "{report}");
    disk.damage(&at("1.dat"), |b| b[7] ^= 4);
    let report = look(&disk);
    let found: Vec<_> = report.findings.iter().map(|f| (f.path.as_str(), f.kind)).collect();
    assert_eq!((report.verdict, found), (Verdict::Damaged, vec![("1.dat", Kind::Changed)]));
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let disk = cut_off();
    let newest = at(".isard/checkpoint-00000002");
    let bytes = disk.read(&newest).unwrap();
    let older = checkpoint::pack(&Checkpoint { mark: 0, ..checkpoint::unpack(&bytes).unwrap().unwrap() });
    disk.write_new(&at(".isard/checkpoint-00000001"), &older).unwrap();
    for byte in 0..bytes.len() {
        disk.damage(&newest, |b| b[byte] ^= 0x10);
        let loaded = checkpoint::read(&*disk, Path::new(ROOT)).unwrap();
        assert_eq!((loaded.checkpoint.map(|c| c.mark), loaded.warnings.len()), (Some(0), 1), "byte {byte}");
        disk.damage(&newest, |b| b[byte] ^= 0x10);
    }
    for length in 0..bytes.len() {
        disk.damage(&newest, |b| b.truncate(length));
        assert_eq!(checkpoint::read(&*disk, Path::new(ROOT)).unwrap().checkpoint.unwrap().mark, 0);
        disk.damage(&newest, |b| *b = bytes.clone());
    }
    disk.damage(&newest, |b| b.truncate(100));
    disk.damage(&at(".isard/checkpoint-00000001"), |b| b.truncate(60));
    let error = checkpoint::read(&*disk, Path::new(ROOT)).unwrap_err().to_string();
    assert!(error.contains("checkpoint-00000002 is damaged") && error.contains("--restart-from"), "{error}");
}

#[test]
fn a_checkpoint_of_another_version_is_refused_with_both_numbers() {
    use sha2::{Digest, Sha256};
    let mut bytes = checkpoint::pack(&Checkpoint::default());
    bytes[8] = 9;
    let digest = Sha256::new().chain_update(&bytes[8..20]).chain_update(&bytes[52..]).finalize();
    bytes[20..52].copy_from_slice(&digest);
    let error = checkpoint::unpack(&bytes).unwrap_err().to_string();
    assert!(error.contains("version 9") && error.contains("version 1"), "{error}");
}

#[test]
fn a_restart_goes_back_to_the_end_of_a_pass() {
    let disk = Arc::new(ForgetfulFiles::new());
    let folder = Folder::create(disk.clone(), Path::new(ROOT), false).unwrap();
    let out = folder.output("save");
    for (mark, step) in ["coarse", "refine.1", "refine.2"].into_iter().enumerate() {
        out.seal(&format!("{step}.dat"), step.as_bytes()).unwrap();
        out.replace("master.dat", step.as_bytes()).unwrap();
        let files = folder.commit("save");
        let state = Checkpoint { step: step.into(), mark: mark as u64, files, ..Checkpoint::default() };
        checkpoint::keep(&folder, &state).unwrap();
        checkpoint::save(&folder, &state).unwrap();
    }
    disk.write_new(&at("notes.txt"), b"mine").unwrap();
    finish(&folder, &BTreeMap::new()).unwrap();
    // The folder stays locked as long as a stage may write to it.
    drop((folder, out));
    let folder = Folder::open(disk.clone(), Path::new(ROOT)).unwrap().folder;
    let kept = checkpoint::boundaries(&*disk, Path::new(ROOT)).unwrap();
    let steps: Vec<&str> = kept.iter().map(|c| c.step.as_str()).collect();
    assert_eq!(steps, ["coarse", "refine.1", "refine.2"]);
    checkpoint::restart(&folder, &kept[0]).unwrap();
    let done = folder.rollback(&kept[0]).unwrap();
    assert_eq!(done.restored, ["master.dat"]);
    assert_eq!(done.aside, ["notes.txt", "refine.1.dat", "refine.2.dat"]);
    assert_eq!(disk.read(&at("master.dat")).unwrap(), b"coarse");
    assert_eq!(checkpoint::boundaries(&*disk, Path::new(ROOT)).unwrap().len(), 1);
    assert!(!disk.exists(&at(MANIFEST)).unwrap());
    assert_eq!(disk.read(&at(".isard/aside/notes.txt")).unwrap(), b"mine");
    folder.output("save").seal("refine.1.dat", b"new").unwrap();
    assert!(!disk.exists(&at(".isard/aside/refine.1.dat")).unwrap(), "written again, so it has served");
}

/// Frames 0..n with an image, a ragged table, a list and a number each.
fn chunk(n: u64) -> Chunk {
    let images: Vec<u16> = (0..n * 12).map(|i| ((i * 2654435761) >> 7) as u16).collect();
    let rows: Vec<u64> = (0..n).flat_map(|f| vec![f; (f % 3) as usize]).collect();
    let values: Vec<u8> = (0..rows.len() as u64 * 2).map(|i| i as u8).collect();
    let ends = (1..=rows.len() as u64).map(|r| r * 2).collect();
    let table = Table::new(rows.len())
        .with("x", &rows.iter().map(|r| *r as f64 / 3.0).collect::<Vec<_>>())
        .unwrap()
        .with_column("pixels", Column::Ragged { ends, values: Array::from_slice(&values) })
        .unwrap()
        .with_records(&rows)
        .unwrap();
    let names: Vec<Value> = (0..n).map(|f| Value::from(format!("n{f}"))).collect();
    let data = Dict::new()
        .with("image", Array::of(&[n as usize, 3, 4], &images).unwrap())
        .with("blobs", table)
        .with("name", names)
        .with("dose", Array::from_slice(&(0..n).map(|f| f as f32).collect::<Vec<_>>()));
    Chunk::new(Span::frames(0, n), data)
}

fn gap(from: u64, to: u64, reason: Reason) -> Gap {
    Gap { span: Span::frames(from, to - from), reason, why: "test".into() }
}

/// Feeds frames 0..60 with gaps at 20..30 (missing) and 30..33 (corrupt), cut where `next` says.
fn fed(all: &Chunk, mut next: impl FnMut() -> u64, saved: bool) -> String {
    let mut digest = ContentDigest::new();
    let mut at = 0;
    let edges = [20, 30, 33, 60];
    while at < 60 {
        let edge = edges.into_iter().find(|e| *e > at).unwrap();
        let to = edge.min(at + next());
        match edge {
            30 => digest.gap(&gap(at, to, Reason::Missing)),
            33 => digest.gap(&gap(at, to, Reason::Corrupt)),
            _ => digest.add(&all.cut(at, to).unwrap()).unwrap(),
        }
        if saved {
            digest = ContentDigest::load(&digest.save()).unwrap();
        }
        at = to;
    }
    assert_eq!(digest.records(), 47);
    digest.finish()
}

#[test]
fn a_content_digest_sees_no_chunks_and_no_marks() {
    let all = chunk(60);
    let wanted = fed(&all, || 60, false);
    let mut seed = 1u64;
    for n in [1, 3, 16] {
        assert_eq!(fed(&all, || n, false), wanted, "chunks of {n}");
        assert_eq!(fed(&all, || n, true), wanted, "chunks of {n}, saved and loaded at each");
    }
    for _ in 0..50 {
        let mut random = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % 9 + 1
        };
        assert_eq!(fed(&all, &mut random, true), wanted);
    }
    let mut turned: Vec<(_, _)> = all.data.clone().into_iter().collect();
    turned.reverse();
    let turned = Chunk { data: turned.into_iter().collect(), ..all.clone() };
    assert_eq!(fed(&turned, || 7, false), wanted, "the order of keys");
}

#[test]
fn a_content_digest_sees_everything_else() {
    let digest = |chunk: &Chunk, gaps: &[Gap]| {
        let mut digest = ContentDigest::new();
        gaps.iter().for_each(|g| digest.gap(g));
        digest.add(chunk).unwrap();
        digest.finish()
    };
    let of = |data: Dict| Chunk::new(Span::frames(5, 2), data);
    let base = Dict::new().with("a", Array::from_slice(&[1i32, 2]));
    let plain = of(base.clone());
    let moved = Chunk { span: Span::frames(6, 2), ..plain.clone() };
    let axis = Chunk { span: Span { axis: "spot".into(), start: 5, len: 2 }, ..plain.clone() };
    let different = [
        digest(&plain, &[]),
        digest(&moved, &[]),
        digest(&axis, &[]),
        digest(&of(Dict::new().with("b", Array::from_slice(&[1i32, 2]))), &[]),
        digest(&of(Dict::new().with("a", Array::from_slice(&[1u32, 2]))), &[]),
        digest(&of(Dict::new().with("a", Array::of(&[2, 1], &[1i32, 2]).unwrap())), &[]),
        digest(&of(Dict::new().with("a", Array::from_slice(&[1i32, 3]))), &[]),
        digest(&of(base.with("b", Array::from_slice(&[0u8, 0]))), &[]),
        digest(&plain, &[gap(0, 5, Reason::Missing)]),
        digest(&plain, &[gap(0, 4, Reason::Missing)]),
        digest(&plain, &[gap(0, 5, Reason::Skipped)]),
        digest(&plain, &[gap(0, 2, Reason::Missing), gap(2, 5, Reason::Skipped)]),
        digest(&plain, &[gap(0, 2, Reason::Missing), gap(3, 5, Reason::Missing)]),
    ];
    let kinds: std::collections::BTreeSet<&String> = different.iter().collect();
    assert_eq!(kinds.len(), different.len());
}

#[test]
fn a_content_digest_is_what_the_description_says() {
    let frames = |from: u64, n: u64| {
        let pixels: Vec<u16> =
            (from..from + n).flat_map(|f| (0..6).map(move |i| (f * 10 + i) as u16)).collect();
        let names: Vec<Value> = (from..from + n).map(|f| Value::from(format!("n{f}"))).collect();
        let image = Array::of(&[n as usize, 2, 3], &pixels).unwrap();
        Chunk::new(Span::frames(from, n), Dict::new().with("name", names).with("image", image))
    };
    let mut digest = ContentDigest::new();
    digest.add(&frames(10, 2)).unwrap();
    digest.gap(&gap(12, 15, Reason::Missing));
    digest.add(&frames(15, 1)).unwrap();
    // Computed from the description with Python's hashlib and struct.
    assert_eq!(digest.finish(), "58a025151decd6874159c6334fbf950a4a78f830aab89c697d21eb66f092ef4c");
}
