//! Closed loop on a crystal of each lattice that is common.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/closed_loop.rs"]
mod closed_loop;

use closed_loop::{Case, TWO, recovered};

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
