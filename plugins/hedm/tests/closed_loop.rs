//! Closed loop on a crystal of each lattice that is common; `ISARD_SLOW=full` draws twelve scans of each Laue class.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/closed_loop.rs"]
mod closed_loop;

use closed_loop::{Case, TWO, classes, recovered};

#[test]
fn noisy_frames_lead_back_to_the_orientations() {
    let cases = [
        Case {
            tilt: [0.4, -0.3, 0.5],
            ..Case::plain("cubic, tilted", 225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0])
        },
        Case {
            distances: vec![3000.0, 3500.0, 4000.0],
            step: -0.5,
            ..Case::plain(
                "hexagonal, three distances, turning back",
                194,
                [2.95, 2.95, 4.68, 90.0, 90.0, 120.0],
            )
        },
        Case {
            size: [280, 220],
            beam: vec![[143.3, 6.2]],
            windows: TWO.to_vec(),
            wedge: 0.1,
            tilt: [0.2, 0.1, 0.0],
            ..Case::plain("orthorhombic, wedge, two windows", 62, [4.76, 10.2, 5.98, 90.0, 90.0, 90.0])
        },
    ];
    for case in &cases {
        let share = recovered(case).share();
        println!("{}: {share:.3}", case.name);
        assert!(share >= 0.95, "{}: {share}", case.name);
    }
}

#[test]
fn every_laue_class_comes_back_whatever_the_scan() {
    let full = std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full");
    let classes = classes();
    let some = if full { &classes[..11] } else { &classes[..1] };
    let mut poor = vec![];
    for seed in 1..=if full { 12 } else { 1 } {
        for class in some {
            let case = class.drawn(seed);
            let r = recovered(&case);
            println!(
                "{} {seed}: {:.1} % of {} voxels, {} missed; {}",
                case.name,
                100.0 * r.share(),
                r.inner,
                r.missed,
                case.features()
            );
            if r.share() < 0.95 {
                r.told.iter().for_each(|line| println!("  {line}"));
                poor.push(format!("{} {seed}: {:.3}; {}", case.name, r.share(), case.features()));
            }
        }
    }
    poor.iter().for_each(|line| println!("{line}"));
    assert!(poor.is_empty(), "{} scans", poor.len());
}
