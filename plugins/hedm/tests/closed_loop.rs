//! Closed loop on a crystal of each lattice that is common.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/closed_loop.rs"]
mod closed_loop;

use closed_loop::{Case, recovered};

#[test]
fn noisy_frames_lead_back_to_the_orientations() {
    let whole: &[[f64; 2]] = &[[-90.0, 90.0]];
    let cases = [
        Case {
            name: "cubic, tilted",
            cell: [4.08, 4.08, 4.08, 90.0, 90.0, 90.0],
            group: 225,
            distances: &[3000.0, 4000.0],
            size: [300, 200],
            step: 0.5,
            windows: whole,
            wedge: 0.0,
            tilt: [0.4, -0.3, 0.5],
        },
        Case {
            name: "hexagonal, three distances, turning back",
            cell: [2.95, 2.95, 4.68, 90.0, 90.0, 120.0],
            group: 194,
            distances: &[3000.0, 3500.0, 4000.0],
            size: [300, 200],
            step: -0.5,
            windows: whole,
            wedge: 0.0,
            tilt: [0.0; 3],
        },
        Case {
            name: "orthorhombic, wedge, two windows",
            cell: [4.76, 10.2, 5.98, 90.0, 90.0, 90.0],
            group: 62,
            distances: &[3000.0, 4000.0],
            size: [280, 220],
            step: 0.5,
            windows: &[[-90.0, -10.0], [15.0, 90.0]],
            wedge: 0.1,
            tilt: [0.2, 0.1, 0.0],
        },
    ];
    for case in &cases {
        let share = recovered(case);
        println!("{}: {share:.3}", case.name);
        assert!(share >= 0.95, "{}: {share}", case.name);
    }
}
