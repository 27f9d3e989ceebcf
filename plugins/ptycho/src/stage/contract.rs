//! What the stages of this crate promise.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry};
use isard_core::stage::{Built, RunCx};

type C = crate::num::Complex<f32>;

fn stages() -> Vec<Arc<Declaration>> {
    let registry = Registry::built_in().unwrap();
    registry.iter().filter(|d| d.origin == env!("CARGO_PKG_NAME")).cloned().collect()
}

fn built(name: &str, set: &str) -> Result<Built> {
    let registry = Registry::built_in().unwrap();
    (registry.find(name).unwrap().build)(toml::from_str(set).unwrap())
}

#[test]
fn the_contract_of_stages_is_held() {
    isard_core::contract::check_all(env!("CARGO_PKG_NAME"));
}

#[test]
fn the_family_is_complete() {
    let names: Vec<String> = stages().iter().map(|d| d.name.clone()).collect();
    assert_eq!(
        names,
        [
            "cxi.write",
            "ptycho.metrics",
            "ptycho.reconstruct",
            "ptycho.simulate",
            "ptyd.read",
            "ptyd.write",
            "ptyr.read",
            "ptyr.write",
            "scan.positions",
            "scan.prepare",
        ]
    );
}

#[test]
fn faults_are_named() {
    let wrong = [
        ("cxi.write", "path = \"a.txt\"\nframes = \"scan.h5::/data\"", "path"),
        ("cxi.write", "path = \"a.cxi\"\nframes = \"scan.h5\"", "frames"),
        ("ptycho.reconstruct", "", "engines"),
        ("ptycho.reconstruct", "engines = [{ name = \"DM\", ML_type = \"poisson\" }]", "engines"),
        ("ptycho.reconstruct", "engines = [{ name = \"ML\" }]\nenergy = -1.0", "energy"),
        ("ptycho.simulate", "shape = 3", "shape"),
        ("ptyd.write", "path = \"a.h5\"", "path"),
        ("ptyd.write", "path = \"a.ptyd\"\nchunk_format = \".part\"", "chunk_format"),
        ("ptyr.read", "path = \"a.h5\"", "path"),
        ("ptyr.write", "path = \"a\"", "path"),
        ("scan.prepare", "shape = 10\nrebin = 3", "rebin"),
        ("scan.prepare", "orientation = 8", "orientation"),
        ("scan.positions", "", "model"),
    ];
    for (name, set, parameter) in wrong {
        let faults = built(name, set).unwrap().stage().check();
        assert!(faults.iter().any(|f| f.parameter == parameter), "{name}: {set}: {faults:?}");
    }
}

/// Absorbs parts of a scan and refines to the end.
fn fitted(parts: &[(u64, Dict)]) -> Result<Dict> {
    let set = "engines = [{ name = \"EPIE\", numiter = 2 }, { name = \"ML\", numiter = 2 }]\n\
               energy = 6.2\ndistance = 7.0\npsize = 172e-6\nillumination = { size = 4e-6 }";
    let Built::Fit(mut fit) = built("ptycho.reconstruct", set)? else { panic!("a fit was built") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    let mut next = 0;
    for (count, part) in parts {
        fit.absorb(&cx, &Span::frames(next, *count), part.clone())?;
        next += count;
    }
    fit.complete(&cx)?;
    while fit.refine(&cx, &Slice::one_step())?.more {}
    Ok(fit.snapshot(&cx)?.expect("iterations were done"))
}

/// Absorbs a small scan after some harm was done to it, and refines it to its end.
fn reconstructed(harm: impl Fn(&mut Vec<f64>, &mut Vec<f64>, &mut Vec<u8>)) -> Result<Dict> {
    let (images, mut positions, shape) = super::simulate::example_frames();
    let mut images: Vec<f64> = images.into_iter().map(f64::from).collect();
    let mut masks = vec![0u8; images.len()];
    harm(&mut images, &mut positions, &mut masks);
    let input = Dict::new()
        .with("image", Array::of(&shape, &images)?)
        .with("position", Array::of(&[positions.len() / 2, 2], &positions)?)
        .with("mask", Array::of(&shape, &masks)?);
    fitted(&[(shape[0] as u64, input)])
}

#[test]
fn what_is_wrong_with_frames_is_told_and_never_becomes_a_picture() {
    let number = |out: &Dict, key: &str| out.get(key).and_then(Value::number).unwrap();
    let finite = |out: &Dict| match out.get("amplitude") {
        Some(Value::Array(a)) => a.as_slice::<f32>().unwrap().iter().all(|x| x.is_finite()),
        _ => false,
    };
    let out = reconstructed(|images, _, masks| {
        (images[7], images[2000], images[5]) = (-3.0, f64::NAN, f64::INFINITY);
        masks[1024..2048].fill(1);
    })
    .unwrap();
    // Pixel 2000 is masked with all of its frame: it is not asked for its value.
    assert_eq!([number(&out, "refused"), number(&out, "dark"), number(&out, "frames")], [2.0, 1.0, 19.0]);
    assert!(finite(&out));
    let said = |error: Result<Dict>| error.unwrap_err().to_string();
    let no_place = said(reconstructed(|_, positions, _| positions[3] = f64::NAN));
    assert!(no_place.contains("frame 1: its position is no number"), "{no_place}");
    let far = said(reconstructed(|_, positions, _| positions[4] = 0.1));
    assert!(far.contains("pixels") && far.contains("check the positions"), "{far}");
    let empty = said(reconstructed(|images, _, _| images.fill(0.0)));
    assert!(empty.contains("no frame holds any count"), "{empty}");
    let few = said(reconstructed(|_, positions, _| positions.truncate(20)));
    assert!(few.contains("wanted two numbers for each of 20 frames"), "{few}");
}

#[test]
fn what_is_wrong_with_a_scan_is_told_before_anything_is_made_of_it() {
    let said = |error: Result<Dict>| error.unwrap_err().to_string();
    let dark = said(reconstructed(|_, _, masks| masks.fill(1)));
    assert!(dark.contains("none of 20 frames has a good pixel"), "{dark}");
    let negative = said(reconstructed(|images, _, _| images.iter_mut().for_each(|x| *x = -1.0 - *x)));
    assert!(negative.contains("none of 20 frames has a good pixel"), "{negative}");
    let (images, positions, [count, n, _]) = super::simulate::example_frames();
    let part = |first: usize, last: usize, shape: &[usize]| {
        Dict::new()
            .with("image", Array::of(shape, &images[first * n * n..last * n * n]).unwrap())
            .with("position", Array::of(&[last - first, 2], &positions[2 * first..2 * last]).unwrap())
    };
    let whole = part(0, count, &[count, n, n]);
    let zero = whole.clone().with("probe", Array::of(&[1, n, n], &vec![C::default(); n * n]).unwrap());
    let zero = said(fitted(&[(count as u64, zero)]));
    assert!(zero.contains("the probe to begin with has the power 0"), "{zero}");
    let small = whole.clone().with("probe", Array::of(&[1, 8, 8], &[C::new(1.0, 0.0); 64]).unwrap());
    let small = said(fitted(&[(count as u64, small)]));
    assert!(small.contains("wanted [modes 32 32]"), "{small}");
    let oblong = said(fitted(&[(8, part(0, 8, &[8, 16, 64]))]));
    assert!(oblong.contains("frames of 16 x 64 pixels, wanted squares"), "{oblong}");
    let mut other = part(4, 8, &[4, n, n]);
    other.set("image", Array::of(&[4, 16, 16], &images[..4 * 256]).unwrap());
    let mixed = said(fitted(&[(4, part(0, 4, &[4, n, n])), (4, other)]));
    assert!(mixed.contains("frames of 16 x 16 pixels, wanted 32 x 32 as before"), "{mixed}");
    let mut masked = whole.clone();
    masked.set("mask", Array::of(&[count, 8, 8], &vec![0u8; count * 64]).unwrap());
    let masked = said(fitted(&[(count as u64, masked)]));
    assert!(masked.contains("a mask of 1280 pixels, wanted 20480"), "{masked}");
}

#[test]
fn a_frame_without_a_position_is_told_by_its_number() {
    let set = "list = [[0.0, 0.0], [1e-6, 0.0]]";
    let Built::Map(map) = built("scan.positions", set).unwrap() else { panic!("a map was built") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    let input = Dict::new().with("image", Array::of(&[4, 2, 2], &[0u16; 16]).unwrap());
    let said = map.apply(&cx, &Span::frames(0, 4), input).unwrap_err().to_string();
    assert!(said.contains("frame 2 has no position, there are 2"), "{said}");
}

#[test]
fn weights_of_each_frame_become_its_own_mask() {
    let Built::Fold(mut fold) = built("scan.prepare", "shape = 4\nrebin = 2").unwrap() else {
        panic!("a fold was built")
    };
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    // The second frame has a bad pixel in the second row and third column.
    let mut weight = vec![1.0; 32];
    weight[16 + 6] = 0.0;
    let input = Dict::new()
        .with("image", Array::of(&[2, 4, 4], &[8u16; 32]).unwrap())
        .with("weight", Array::of(&[2, 4, 4], &weight).unwrap());
    let mut emit = Emit::default();
    fold.push(&cx, &Span::frames(0, 2), input, &mut emit).unwrap();
    fold.finish(&cx, &mut emit).unwrap();
    let masks: Vec<u8> = emit
        .take()
        .0
        .iter()
        .flat_map(|(_, data)| match data.get("mask") {
            Some(Value::Array(mask)) => mask.as_slice::<u8>().unwrap().to_vec(),
            _ => panic!("no mask"),
        })
        .collect();
    assert_eq!(masks, [0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn frames_come_in_the_numbers_that_were_asked_for() {
    let Built::Fold(mut fold) = built("scan.prepare", "shape = 4\nnum_frames = 5\nmin_frames = 3").unwrap()
    else {
        panic!("a fold was built")
    };
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    let mut emit = Emit::default();
    let mut seen = vec![];
    let mut left = vec![];
    let mut take = |emit: &mut Emit<Dict>| {
        let (items, gaps) = emit.take();
        seen.push(items.iter().map(|(span, _)| span.len).sum::<u64>());
        left.extend(gaps.iter().map(|g| (g.span.range(), g.reason)));
    };
    // Two at a time: the first two wait for the third, and of the sixth on none is wanted.
    for start in [0, 2, 4, 6] {
        let input = Dict::new().with("image", Array::of(&[2, 4, 4], &[8u16; 32]).unwrap());
        fold.push(&cx, &Span::frames(start, 2), input, &mut emit).unwrap();
        take(&mut emit);
    }
    fold.finish(&cx, &mut emit).unwrap();
    take(&mut emit);
    assert_eq!(seen, [0, 4, 0, 0, 1]);
    assert_eq!(left, [(5..6, Reason::Skipped), (6..8, Reason::Skipped)]);
}
