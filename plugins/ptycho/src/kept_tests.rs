//! A reconstruction goes on from any iteration as if nothing had happened, on any number of threads.

use rayon::prelude::*;

use super::*;
use crate::engine::{Method, Settings};
use crate::geometry::{Centre, Geometry, Propagation};
use crate::illumination::Illumination;
use crate::num::{Par, Piece, alone};
use crate::session::{Ageing, Task};

fn session(engines: Vec<Settings>) -> Session {
    let geometry = Geometry {
        energy: 6.2,
        distance: 7.0,
        psize: 172e-6,
        n: 32,
        propagation: Propagation::Farfield,
        centre: [Centre::Fftshift; 2],
        pixel: None,
    };
    let task = Task {
        engines,
        illumination: Illumination { modes: 2, size: Some(4e-6), ..Illumination::default() },
        coherence: Default::default(),
        resample: 1,
        object_modes: 1,
        fill: Complex::new(1.0, 0.0),
        start: Default::default(),
        min_frames: 1,
        ageing: None,
        photons_every: 3,
        seed: 5,
    };
    Session::new(task, geometry).unwrap()
}

fn fed(engines: Vec<Settings>) -> Session {
    let mut session = session(engines);
    let (images, positions, [count, n, _]) = crate::stage::example_frames();
    let resolution = session.geometry.resolution();
    for k in 0..count {
        let at = [positions[2 * k] / resolution, positions[2 * k + 1] / resolution];
        let counts = |i: usize| f64::from(images[k * n * n + i]);
        let frame = Frame::new(&session.model.propagator, k as u64, at, counts, |_| true).0;
        session.take(frame);
    }
    session
}

fn engines() -> Vec<Vec<Settings>> {
    let with = |name, change: fn(&mut Settings)| {
        let mut settings = Settings::new(name, 6);
        change(&mut settings);
        vec![settings]
    };
    vec![
        with(Method::DM, |s| s.position_refinement = Some(Default::default())),
        with(Method::RAAR, |s| s.probe_center_tol = Some(0.5)),
        with(Method::EPIE, |_| ()),
        with(Method::EPIE, |s| s.batch = Some(7)),
        with(Method::SDR, |_| ()),
        with(Method::ML, |s| (s.scale_precond, s.smooth_gradient) = (Some(true), Some(1.0))),
        vec![Settings::new(Method::DM, 3), Settings::new(Method::ML, 3)],
        [Method::DM, Method::ML]
            .map(|name| Settings { subspace_dim: Some(2), ..Settings::new(name, 4) })
            .to_vec(),
        [Method::EPIE, Method::SDR]
            .map(|name| Settings { subspace_dim: Some(2), ..Settings::new(name, 3) })
            .to_vec(),
    ]
}

fn finish(session: &mut Session, par: Par) -> Vec<Vec<Complex<f32>>> {
    while session.more() {
        session.step(par).unwrap();
    }
    [session.model.object.modes.clone(), session.model.probe.modes.clone()].concat()
}

#[test]
fn a_resumed_reconstruction_is_the_same_to_the_last_bit() {
    for engines in engines() {
        let mut whole = fed(engines.clone());
        whole.all_in();
        for _ in 0..4 {
            whole.step(&alone).unwrap();
        }
        let state = save(&whole).unwrap();
        let mut resumed = session(engines.clone());
        load(&mut resumed, &state).unwrap();
        assert!(finish(&mut whole, &alone) == finish(&mut resumed, &alone), "{engines:?}");
        assert_eq!(format!("{:?}", whole.records), format!("{:?}", resumed.records));
    }
}

#[test]
fn a_resumed_reconstruction_knows_which_frames_are_stale() {
    let engines = vec![Settings::new(Method::EPIE, 6)];
    let live = |ageing| {
        let mut session = fed(engines.clone());
        session.task.ageing = ageing;
        (0..3).for_each(|_| session.step(&alone).unwrap());
        session
    };
    let ageing = Some(Ageing(4.0));
    let mut whole = live(ageing);
    let state = save(&whole).unwrap();
    let mut resumed = session(engines.clone());
    resumed.task.ageing = ageing;
    load(&mut resumed, &state).unwrap();
    let ended = finish(&mut whole, &alone);
    assert!(ended == finish(&mut resumed, &alone));
    assert!(ended != finish(&mut live(None), &alone), "all frames weigh the same");
}

#[test]
fn threads_change_no_bit() {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let par = |n: usize, piece: Piece| threads.install(|| (0..n).into_par_iter().try_for_each(piece));
    for engines in engines() {
        let (mut one, mut four) = (fed(engines.clone()), fed(engines.clone()));
        one.all_in();
        four.all_in();
        assert!(finish(&mut one, &alone) == finish(&mut four, &par), "{engines:?}");
    }
}
