//! The scan of the reference data becomes as good as with other programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::scan::{Scan, judged, mean, offline, one, round64, session};
use common::{reference, waves};
use isard_h5::File;
use isard_ptycho::engine::{Method, Settings};
use isard_ptycho::metrics::{Moved, Quality, crossing};
use isard_ptycho::num::alone;

/// Half of the last digit that the README gives of a ring correlation.
const DIGIT: f64 = 0.005;

/// Two judgements of a reconstruction, neither of which moves the truth.
///
/// First the reconstruction is moved by whole pixels. Then by parts of pixels, with nothing where no light was: so the
/// README's RMS came about, which this gives again within some hundredths. It holds the ringing of that border, too.
fn judgements(scan: &Scan, engines: Vec<Settings>, seed: u64) -> [Quality; 2] {
    let (_, s) = offline(scan, engines, seed);
    [Moved::Whole, Moved::Reconstruction].map(|what| judged(scan, &s, what))
}

#[test]
fn a_result_of_another_program_is_judged_as_there() {
    let Some(scan) = round64("a result of another program") else { return };
    let path = reference("a result of another program", "round64_DM_ML.ptyr").unwrap();
    let (shape, object) = waves(&File::open(path).unwrap(), "content/obj/SS00G00/data");
    let mut s = session(&scan, one(Method::DM, 1), 1);
    for frame in &scan.frames {
        s.take(frame.clone());
    }
    s.step(&alone).unwrap();
    assert_eq!([s.model.object.rows, s.model.object.columns], shape[1..]);
    s.model.object.modes[0] = object.into_iter().map(isard_ptycho::num::narrow).collect();
    // The same comparisons with numpy.
    for (what, rms) in [(Moved::Whole, 0.0761), (Moved::Reconstruction, 0.0867), (Moved::Truth, 0.0506)] {
        let q = judged(&scan, &s, what);
        assert!((q.rms - rms).abs() < 1e-3 && q.resolution > 0.97, "{what:?}: {} {}", q.rms, q.resolution);
    }
}

#[test]
fn iterations_go_as_with_the_other_program() {
    let Some(scan) = round64("iterations of another program") else { return };
    let path = reference("iterations of another program", "round64_DM_ML.ptyr").unwrap();
    let file = File::open(path).unwrap();
    let engines = vec![Settings::new(Method::DM, 60), Settings::new(Method::ML, 60)];
    let (_, s) = offline(&scan, engines, 1);
    for block in 0..12 {
        let at = format!("content/runtime/iter_info/{block:05}/error");
        let wanted = common::reals(&file, &at).1;
        let found = s.records[10 * block + 9].errors;
        let ratio = found[1] / wanted[1];
        eprintln!(
            "iteration {}: error in counts {:.3}, {ratio:.4} of the other's",
            10 * block + 10,
            found[1]
        );
        // The same start and the same steps; rounding in single precision then grows along either way.
        assert!(block > 0 || (ratio - 1.0).abs() < 1e-3, "{found:?}, {wanted:?}");
        assert!(ratio < 1.02, "block {block}: {found:?}, {wanted:?}");
    }
    // The other program's result by the same measures, see above: the end is at least as good.
    for (what, rms) in [(Moved::Whole, 0.0761), (Moved::Reconstruction, 0.0867), (Moved::Truth, 0.0506)] {
        let q = judged(&scan, &s, what);
        eprintln!("{what:?}: RMS {:.4} ({rms}), FRC {:.3}", q.rms, q.resolution);
        assert!(q.rms <= rms && q.resolution == 1.0, "{what:?}: {} {}", q.rms, q.resolution);
    }
}

#[test]
fn round64_is_as_good_as_with_other_programs() {
    let Some(scan) = round64("round64") else { return };
    // RMS and ring correlation that PtyPy 0.9.0 reaches from the same start, by its README.
    let projected = [(20, 0.208, 0.43), (40, 0.122, 0.81), (60, 0.112, 1.0), (80, 0.106, 1.0)];
    let both = [(20, 0.101, 1.0), (40, 0.087, 1.0), (60, 0.086, 1.0)];
    let runs = projected.into_iter().map(|(numiter, rms, frc)| (one(Method::DM, numiter), rms, frc)).chain(
        both.into_iter().map(|(numiter, rms, frc)| {
            (vec![Settings::new(Method::DM, 40), Settings::new(Method::ML, numiter)], rms, frc)
        }),
    );
    let mut worse = vec![];
    for (engines, rms, frc) in runs {
        let what: Vec<String> = engines.iter().map(|e| format!("{:?} {}", e.name, e.numiter)).collect();
        let [whole, parts] = judgements(&scan, engines, 1);
        let found = [whole.rms, whole.resolution, parts.rms, parts.resolution];
        eprintln!("{}: RMS, FRC {found:.4?} ({rms}, {frc})", what.join(" "));
        // Steps of the difference map are chaotic: a hundred-thousandth of the start's size moves its RMS by hundredths.
        if found[0] > rms || found[1] < frc - DIGIT || found[2] > 1.03 * rms {
            worse.push((what, found, rms, frc));
        }
    }
    assert!(worse.is_empty(), "{worse:?}");
}

// An ePIE in numpy, written after the specification alone, has over six orders, moved by parts of pixels, means of RMS of
// 0.244, 0.172, 0.154 and 0.145 and first crossings at 0.45, 0.78, 0.86 and 0.86, from 0.55 to 1.0 for single orders: the
// README's ring correlations of 0.98 and 1.0 are within what one order gives, and above the mean of any ePIE's.
#[test]
fn epie_is_as_good_as_with_other_programs_over_ten_orders() {
    let Some(scan) = round64("ePIE on round64") else { return };
    let mut worse = vec![];
    for (numiter, rms, frc) in [(10, 0.246, 0.44), (20, 0.179, 0.57), (30, 0.157, 0.98), (40, 0.148, 1.0)] {
        let all: Vec<[Quality; 2]> =
            (0..10).map(|seed| judgements(&scan, one(Method::EPIE, numiter), seed)).collect();
        let over = |of: &dyn Fn(&[Quality; 2]) -> f64| mean(&all.iter().map(of).collect::<Vec<f64>>());
        let ring = |ring: usize| over(&|q| q[0].correlation[ring]);
        let curve: Vec<f64> = (0..all[0][0].correlation.len()).map(ring).collect();
        // Single curves dip below the line early here and there, and count to there: so does their mean.
        let (single, joint) = (over(&|q| q[0].resolution), crossing(&curve, &all[0][0].pixels));
        let found = [over(&|q| q[0].rms), over(&|q| q[1].rms)];
        eprintln!(
            "EPIE {numiter}: RMS {found:.4?} ({rms}), FRC of the mean curve {joint:.3} ({frc}), mean of ten {single:.3}"
        );
        if found[0] > rms || found[1] > 1.01 * rms || joint < frc - DIGIT {
            worse.push((numiter, found, joint, rms, frc));
        }
        if numiter <= 20 && single < frc {
            worse.push((numiter, found, single, rms, frc));
        }
    }
    assert!(worse.is_empty(), "{worse:?}");
}
