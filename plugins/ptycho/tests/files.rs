//! Files of PtyPy 0.9.0 are read exactly, and own ones have their tree, types and attributes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::reference;
use common::run::ran;
use isard_core::Value;
use isard_core::run::Outcome as Ended;
use isard_h5::{Attr, File};
use isard_ptycho::file::info::Making;
use isard_ptycho::file::ptyd::{Chunk, Chunks, Meta, Ptyd, master, part};
use isard_ptycho::file::ptyr::{Extent, Iteration, Outcome, Storage, result, stored};
use isard_ptycho::file::tree::{Block, Node};
use isard_ptycho::num::Complex;

/// Index, position, data and mask.
type Held = (u64, [f64; 2], Vec<u8>, Vec<u8>);

/// Everything of a file.
fn frames(path: &std::path::Path) -> Vec<Held> {
    let file = Ptyd::open(path).unwrap();
    let mut all = vec![];
    for chunk in &file.chunks {
        for (k, index) in chunk.indices.iter().enumerate() {
            let data = file.data(chunk, k, 1).unwrap();
            all.push((*index, chunk.positions[k], data, file.mask(chunk, k, 1).unwrap()));
        }
    }
    all
}

#[test]
fn appended_and_linked_files_hold_the_same_scan() {
    let Some(append) = reference("appended and linked files", "round64_append.ptyd") else { return };
    let link = reference("appended and linked files", "round64_link.ptyd").unwrap();
    let (a, b) = (frames(&append), frames(&link));
    assert_eq!(a.len(), 64);
    assert!(a == b, "frames differ");
    assert_eq!(a.iter().map(|f| f.0).collect::<Vec<_>>(), (0..64).collect::<Vec<_>>());
    let meta = Ptyd::open(&append).unwrap().meta;
    let wanted = Meta {
        version: 0.1,
        num_frames: Some(64),
        label: Some("round64".into()),
        shape: [128, 128],
        psize: [0.000172; 2],
        energy: 6.2,
        distance: 7.0,
        center: [64.0, 64.0],
    };
    assert_eq!(meta, wanted);
    // Positions are those that the scan was simulated with.
    let truth = File::open(reference("appended and linked files", "round64_truth.h5").unwrap()).unwrap();
    let positions = common::reals(&truth, "positions").1;
    assert!(a.iter().zip(positions.chunks(2)).all(|(f, p)| f.1 == [p[0], p[1]]));
}

#[test]
fn a_dead_link_shifts_no_frame() {
    let Some(path) = reference("a dead link", "partial_link.ptyd") else { return };
    let file = Ptyd::open(&path).unwrap();
    let indices: Vec<u64> = file.chunks.iter().flat_map(|c| c.indices.clone()).collect();
    assert_eq!(indices, (0..24).chain(32..40).collect::<Vec<u64>>());
    assert_eq!(file.dead.iter().map(|d| d.0).collect::<Vec<_>>(), [3]);
    assert_eq!(file.meta.num_frames, Some(64));
    assert!(!file.ended);
}

/// Path, kind of elements, rank and attributes.
type Seen = (String, String, usize, Vec<(String, Attr)>);

/// What other programs see of objects.
fn seen(file: &File, below: &str, known: &[&str]) -> Vec<Seen> {
    let all = file.list().unwrap().datasets;
    let mut out: Vec<_> = all
        .into_iter()
        .filter(|d| d.path.starts_with(below) && known.iter().any(|k| d.path.ends_with(k)))
        .map(|d| (d.path, d.element.to_string(), d.shape.len(), d.attributes))
        .collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

fn own(name: &str) -> (Meta, Chunk) {
    let file = Ptyd::open(&reference(name, "round64_append.ptyd").unwrap()).unwrap();
    let chunk = &file.chunks[0];
    let n = chunk.indices.len();
    let mask = file.mask(chunk, 0, n).unwrap();
    let weights: Vec<f64> = mask.into_iter().map(f64::from).collect();
    let data = file.data(chunk, 0, n).unwrap();
    let made = Chunk {
        indices: chunk.indices.iter().map(|i| *i as i64).collect(),
        positions: chunk.positions.clone(),
        data: Block::of(chunk.dtype, &[n, 128, 128], &data),
        weights: Block::floats(&[n, 128, 128], &weights),
    };
    (file.meta, made)
}

#[test]
fn own_files_have_the_tree_of_the_others() {
    let name = "own files";
    let Some(theirs) = reference(name, "round64_append.ptyd") else { return };
    let theirs = File::open(theirs).unwrap();
    let (meta, chunk) = own(name);
    let folder = tempfile::tempdir().unwrap();
    let time = "Fri Nov 20 22:17:47 2026";
    let making = Making {
        file: "round64_append.ptyd",
        save: "append",
        chunk_format: ".chunk%02d",
        meta: Some(&meta),
        positions: &chunk.positions,
        frames: Some(64),
    };
    let info = making.members();
    let bytes = master(Some(&meta), &info, Chunks::Held(std::slice::from_ref(&chunk)), time).unwrap();
    let path = folder.path().join("a.ptyd");
    std::fs::write(&path, bytes).unwrap();
    let ours = File::open(&path).unwrap();
    let known = ["/data", "/indices", "/positions", "/weights"];
    assert_eq!(seen(&ours, "/chunks/0", &known), seen(&theirs, "/chunks/0", &known));
    let known = ["version", "num_frames", "label", "shape", "psize", "energy", "distance", "center"];
    assert_eq!(seen(&ours, "/meta", &known), seen(&theirs, "/meta", &known));
    // The same documentation; what runs in parallel and how many frames were asked for is nobody's business here.
    let named = |file: &File| -> Vec<Seen> {
        let mut all = seen(file, "/info", &[""]);
        let own = ["end_of_scan", "num_frames_actual", "load_parallel", "num_frames"];
        all.retain(|s| !own.iter().any(|o| s.0.ends_with(&format!("/{o}"))));
        all
    };
    assert_eq!(named(&ours), named(&theirs));
    for at in ["/", "/meta", "/info", "/chunks", "/chunks/0"] {
        assert_eq!(ours.attributes(at).unwrap(), theirs.attributes(at).unwrap(), "{at}");
    }
    // Links name files of the same folder, so that the master opens from anywhere.
    let sub = folder.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    std::fs::write(sub.join("b.ptyd.part000"), part(&chunk, time).unwrap()).unwrap();
    let files = ["b.ptyd.part000".to_owned(), "b.ptyd.part001".to_owned()];
    std::fs::write(sub.join("b.ptyd"), master(Some(&meta), &[], Chunks::Linked(&files), time).unwrap())
        .unwrap();
    let linked = Ptyd::open(&sub.join("b.ptyd")).unwrap();
    assert_eq!(linked.chunks.len(), 1);
    assert_eq!(linked.dead.iter().map(|d| d.0).collect::<Vec<_>>(), [1]);
    let read = frames(&sub.join("b.ptyd"));
    assert!(read == frames(&path), "frames differ");
    let theirs = File::open(reference(name, "round64_link.ptyd.part001").unwrap()).unwrap();
    let ours = File::open(sub.join("b.ptyd.part000")).unwrap();
    let known = ["/data", "/indices", "/positions", "/weights"];
    assert_eq!(seen(&ours, "/", &known), seen(&theirs, "/", &known));
}

#[test]
fn fuller_results_hold_the_places_of_all_pixels() {
    let pixels = vec![Complex::<f32>::new(1.0, 0.0); 2 * 3 * 4];
    let folder = tempfile::tempdir().unwrap();
    let written = |extent: Extent| {
        let storage = |id: &str| Storage {
            id: id.into(),
            shape: [2, 3, 4],
            data: &pixels,
            psize: 0.5,
            center: [1.0, 2.0],
            energy: 6.2,
            fill: None,
        };
        let one = |iteration: i64| Iteration {
            iteration,
            iterations: iteration,
            numiter: 2,
            engine: "DM".into(),
            error: [1.0; 3],
        };
        let outcome = Outcome {
            run: "S00",
            probe: vec![storage("SS00G00")],
            object: vec![storage("SS00G00")],
            pars: Node::param(vec![]),
            iterations: vec![one(1), one(2)],
            positions: None,
            times: ["Thu Jan  1 00:00:00 1970"; 2],
            extent,
        };
        let path = folder.path().join(format!("{extent:?}.ptyr"));
        std::fs::write(&path, result(&outcome).unwrap()).unwrap();
        File::open(&path).unwrap()
    };
    let grids = "/content/obj/SS00G00/grids";
    let last = "/content/runtime/iter_info/00001/error";
    let plain = written(Extent::Minimal);
    assert!(plain.dataset(grids).is_err() && plain.dataset(last).is_ok());
    let used = written(Extent::UsedParams);
    assert_eq!(used.texts("/header/kind").unwrap(), ["used_params"]);
    assert!(used.dataset(grids).is_err() && used.dataset(last).is_ok());
    for (extent, kind) in [(Extent::Dls, "dls"), (Extent::Dump, "dump")] {
        let file = written(extent);
        assert_eq!(file.texts("/header/kind").unwrap(), [kind]);
        let (shape, places) = common::reals(&file, grids);
        assert_eq!(shape, [2, 2, 3, 4]);
        // Row y and column x of a mode lie at (y - 1) / 2 and (x - 2) / 2 metres.
        for (k, place) in places.iter().enumerate() {
            let (axis, y, x) = (k / 24, k / 4 % 3, k % 4);
            let wanted = if axis == 0 { (y as f64 - 1.0) / 2.0 } else { (x as f64 - 2.0) / 2.0 };
            assert_eq!(*place, wanted, "{kind}: {k}");
        }
        assert_eq!(file.dataset(last).is_ok(), extent == Extent::Dls, "{kind}");
    }
}

#[test]
fn a_result_of_others_is_read_as_it_stands() {
    let Some(path) = reference("a result of others", "round64_DM_ML.ptyr") else { return };
    let file = File::open(&path).unwrap();
    // Shapes, centres and energy as h5py shows them.
    let wanted = [("probe", [1, 128, 128], [64.0; 2]), ("obj", [1, 266, 281], [134.890_625, 140.734_375])];
    for (kind, shape, center) in wanted {
        for label in [None, Some("S00")] {
            let found = stored(&path, kind, label).unwrap();
            assert_eq!((found.shape, found.energies), (shape, vec![6.2]), "{kind}");
            let apart = (0..2).map(|k| (found.center[k] - center[k]).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-9, "{kind}: {:?}", found.center);
            assert!((found.psize / 63.582_010_077_7e-9 - 1.0).abs() < 1e-9, "{}", found.psize);
            assert_eq!(found.data, common::waves(&file, &format!("/content/{kind}/SS00G00/data")).1);
        }
        let said = stored(&path, kind, Some("S07")).unwrap_err().to_string();
        assert!(said.contains("no scan `S07`"), "{said}");
    }
}

/// Waves of a result.
fn pixels(value: Option<&Value>) -> Vec<Complex<f64>> {
    let Some(Value::Array(array)) = value else { panic!("found {value:?}") };
    match array.as_slice::<Complex<f32>>() {
        Ok(all) => all.iter().map(|z| Complex::new(f64::from(z.re), f64::from(z.im))).collect(),
        Err(_) => array.as_slice::<Complex<f64>>().unwrap().to_vec(),
    }
}

#[test]
fn energies_of_their_own_have_storages_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let frames = "isard = \"0.1\"\nname = \"energies\"\n[run]\nseed = 3\n[stage.frames]\nuse = \"ptycho.simulate\"\n\
                  set = { num_frames = 12, shape = 32, density = 0.12, photons = 1e6, coherence = { energies = [0.9, 1.0] } }\n";
    let wires =
        "energy = \"frames.head.energy\", distance = \"frames.head.distance\", psize = \"frames.head.psize\"";
    // Which have one of their own, and the energies of the storages: 0.9 and 1 of 6.2 keV.
    let cases = [
        ("", [vec![6.2], vec![6.2]]),
        (", probe_dispersion = \"irregular\"", [vec![5.58, 6.2], vec![6.2]]),
        (
            ", probe_dispersion = \"irregular\", object_dispersion = \"irregular\"",
            [vec![5.58, 6.2], vec![5.58, 6.2]],
        ),
    ];
    for (own, wanted) in cases {
        let set = |engine: &str| {
            format!(
                "engines = [{{ {engine} }}], illumination = {{ modes = 2 }}, \
                 coherence = {{ energies = [0.9, 1.0]{own} }}"
            )
        };
        let first = set("name = \"EPIE\", numiter = 3");
        let text = format!(
            "{frames}[stage.fit]\nuse = \"ptycho.reconstruct\"\nfrom = \"frames\"\nin = {{ {wires} }}\nset = {{ {first} }}\n\
             [stage.ptyr]\nuse = \"ptyr.write\"\nfrom = \"fit\"\nset = {{ path = \"a.ptyr\", label = \"S01\" }}\n\
             [out]\nprobe = \"fit.probe\"\nobject = \"fit.object\"\n"
        );
        let out = folder.path().join("first");
        let report = ran(&text, &out);
        assert_eq!(report.outcome, Ended::Done, "{:?}", report.outcome.message());
        let path = out.join("a.ptyr");
        let file = File::open(&path).unwrap();
        for ((kind, key), wanted) in [("probe", "probe"), ("obj", "object")].into_iter().zip(&wanted) {
            let ids = file.names(&format!("/content/{kind}")).unwrap();
            assert_eq!(ids, &["SS01G00", "SS01G01"][..wanted.len()], "{own}: {kind}");
            let mut all = vec![];
            for (id, energy) in ids.iter().zip(wanted) {
                let at = format!("/content/{kind}/{id}");
                let found = common::reals(&file, &format!("{at}/_energy")).1[0];
                assert!((found / energy - 1.0).abs() < 1e-12, "{at}: {found}");
                assert_eq!(file.texts(&format!("{at}/ID")).unwrap(), [id.as_str()]);
                let (shape, data) = common::waves(&file, &format!("{at}/data"));
                assert_eq!(shape[0], if kind == "probe" { 2 } else { 1 }, "{at}");
                all.extend(data);
            }
            // One behind the other they are what the stage gave, and what is read back.
            assert!(all == pixels(report.results.get(key)), "{own}: {kind}");
            assert!(all == stored(&path, kind, None).unwrap().data, "{own}: {kind}");
        }
        // A reconstruction that does not touch them yet begins with what the first one ended with.
        let then = set("name = \"DM\", numiter = 1, probe_update_start = 9");
        let text = format!(
            "{frames}[stage.before]\nuse = \"ptyr.read\"\nset = {{ path = {path:?} }}\n\
             [stage.fit]\nuse = \"ptycho.reconstruct\"\nfrom = \"frames\"\n\
             in = {{ {wires}, probe = \"before.probe\", object = \"before.object\", object_center = \"before.center\" }}\n\
             set = {{ {then} }}\n[out]\nprobe = \"fit.probe\"\n"
        );
        let again = ran(&text, &folder.path().join("again"));
        assert_eq!(again.outcome, Ended::Done, "{:?}", again.outcome.message());
        let (before, after) = (pixels(report.results.get("probe")), pixels(again.results.get("probe")));
        assert!(common::apart(&after, &before) < 1e-6, "{own}: {}", common::apart(&after, &before));
    }
}
