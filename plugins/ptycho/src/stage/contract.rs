//! What the stages of this crate promise.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry};
use isard_core::stage::{Built, RunCx};

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
            "ptycho.metrics",
            "ptycho.reconstruct",
            "ptycho.simulate",
            "ptyd.read",
            "ptyd.write",
            "ptyr.write",
            "scan.positions",
            "scan.prepare",
        ]
    );
}

#[test]
fn faults_are_named() {
    let wrong = [
        ("ptycho.reconstruct", "", "engines"),
        ("ptycho.reconstruct", "engines = [{ name = \"DM\", ML_type = \"poisson\" }]", "engines"),
        ("ptycho.reconstruct", "engines = [{ name = \"ML\" }]\nenergy = -1.0", "energy"),
        ("ptycho.simulate", "shape = 3", "shape"),
        ("ptyd.write", "path = \"a.h5\"", "path"),
        ("ptyd.write", "path = \"a.ptyd\"\nchunk_format = \".part\"", "chunk_format"),
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

/// Absorbs a small scan after some harm was done to it, and refines it to its end.
fn reconstructed(harm: impl Fn(&mut Vec<f64>, &mut Vec<f64>, &mut Vec<u8>)) -> Result<Dict> {
    let (images, mut positions, shape) = super::simulate::example_frames();
    let mut images: Vec<f64> = images.into_iter().map(f64::from).collect();
    let mut masks = vec![0u8; images.len()];
    harm(&mut images, &mut positions, &mut masks);
    let set = "engines = [{ name = \"EPIE\", numiter = 2 }, { name = \"ML\", numiter = 2 }]\n\
               energy = 6.2\ndistance = 7.0\npsize = 172e-6\nillumination = { size = 4e-6 }";
    let Built::Fit(mut fit) = built("ptycho.reconstruct", set)? else { panic!("a fit was built") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    let input = Dict::new()
        .with("image", Array::of(&shape, &images)?)
        .with("position", Array::of(&[positions.len() / 2, 2], &positions)?)
        .with("mask", Array::of(&shape, &masks)?);
    fit.absorb(&cx, &Span::frames(0, shape[0] as u64), input)?;
    fit.complete(&cx)?;
    while fit.refine(&cx, &Slice::one_step())?.more {}
    Ok(fit.snapshot(&cx)?.expect("iterations were done"))
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
