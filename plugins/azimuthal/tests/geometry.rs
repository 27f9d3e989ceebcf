//! Arrays of pixels against those of pyFAI 2026.9.0, in all orientations.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use isard_azimuthal::{Camera, Unit};
use isard_geometry::Fit2d;

use common::{case, numbers, poni, reference};

fn near(what: &str, found: &[f64], wanted: &[f64], allowed: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let top = wanted.iter().fold(0.0f64, |t, w| t.max(w.abs()));
    let off = found.iter().zip(wanted).fold(0.0f64, |o, (f, w)| o.max((f - w).abs()));
    assert!(off <= allowed * top, "{what}: {:.2e} of the largest, {allowed:.1e} allowed", off / top);
}

fn check(orientation: u64) {
    let name = format!("geometry_orientation_{orientation}");
    let Some(folder) = reference("geometry", &name) else { return };
    let camera = Camera::new(&poni(&folder), None).unwrap();
    let file = folder.join("expected/arrays.npz");
    let wanted = |key: &str| numbers(&file, Some(key));
    let matrix = camera.pose.rotation();
    let [rows, columns] = camera.grid.shape;
    // Asked for by index, its azimuths and normalisations come as for the native orientation: mirrored they are the same.
    // They come from a table in single precision, which the allowances below take into account.
    let native = |values: &[f64]| -> Vec<f64> {
        let (up, left) = ([1, 2].contains(&orientation), [1, 4].contains(&orientation));
        let row = |r: usize| if up { rows - 1 - r } else { r };
        let column = |c: usize| if left { columns - 1 - c } else { c };
        (0..rows * columns).map(|k| values[row(k / columns) * columns + column(k % columns)]).collect()
    };
    let zyx = (0..rows * columns).flat_map(|pixel| {
        let [d1, d2] = camera.grid.centre(pixel / columns, pixel % columns);
        let lab = camera.pose.lab_with(&matrix, d1, d2);
        [lab.z, lab.y, lab.x]
    });
    near("pos_zyx", &zyx.collect::<Vec<_>>(), &wanted("pos_zyx"), 1e-15);
    // Doubles to doubles' precision; corners to that of single precision, and extents as they follow from them.
    let units = [
        ("2th_rad", "2th_rad"),
        ("q_nm-1", "q_nm^-1"),
        ("r_m", "r_m"),
        ("ds2_nm-2", "d*2_nm^-2"),
        ("chi_rad", "chi_rad"),
    ];
    for (key, name) in units {
        let unit = Unit::named(name).unwrap();
        let centres = camera.centres(&unit).unwrap();
        let wanted_centres = wanted(&format!("center_{key}"));
        match unit.is_angle() {
            true => near("center_chi", &centres, &native(&wanted_centres), 2e-8),
            false => near(&format!("center_{key}"), &centres, &wanted_centres, 1e-14),
        }
        let corners = camera.corners(&unit, true).unwrap();
        let spread = (0..rows * columns).flat_map(|pixel| {
            let around = corners.around(pixel / columns, pixel % columns);
            around.into_iter().flat_map(|at| [f64::from(corners.radial[at]), f64::from(corners.chi[at])])
        });
        let wanted_corners = wanted(&format!("corner_{key}"));
        near(&format!("corner_{key}"), &spread.collect::<Vec<_>>(), &wanted_corners, 1.3e-7);
        let extents = corners.extents(&centres, unit.is_angle());
        if orientation == 3 || !unit.is_angle() {
            near(&format!("delta_{key}"), &extents, &wanted(&format!("delta_{key}")), 5e-6);
        }
    }
    near("solid angle", &camera.solid_angle(), &native(&wanted("solid_angle_rel")), 1e-9);
    let area = camera.grid.pixel[0] * camera.grid.pixel[1] / camera.pose.dist.powi(2);
    let absolute: Vec<f64> = camera.solid_angle().iter().map(|s| s * area).collect();
    near("absolute solid angle", &absolute, &native(&wanted("solid_angle_abs")), 1e-9);
    for (key, factor, offset) in [
        ("polarization_0.0", 0.0, 0.0),
        ("polarization_0.95", 0.95, 0.0),
        ("polarization_-0.5", -0.5, 0.0),
        ("polarization_0.9_offset_0.3", 0.9, 0.3),
    ] {
        let found: Vec<f64> = camera.polarisation(factor, offset).iter().map(|p| f64::from(*p)).collect();
        // By index it takes the angle of the oriented detector and the azimuth of the native one, which is neither.
        if orientation == 3 || factor == 0.0 {
            near(key, &found, &wanted(key), 1.3e-7);
        }
    }
    near("transmission", &camera.screen(0.7), &native(&wanted("transmission_t0_0.7")), 1e-9);
    let case = case(&folder);
    let fit2d = Fit2d::from_pose(&camera.pose, camera.grid.pixel);
    for (key, found) in [
        ("directDist", fit2d.direct_dist),
        ("centerX", fit2d.centre_x),
        ("centerY", fit2d.centre_y),
        ("tilt", fit2d.tilt),
        ("tiltPlanRotation", fit2d.tilt_plan_rotation),
    ] {
        near(key, &[found], &[case["fit2d"][key].as_f64().unwrap()], 1e-12);
    }
    let wanted: Vec<f64> = case["rotation_matrix_axes_123"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()))
        .collect();
    // Ours is ordered (y, x, z) by (1, 2, 3) as theirs.
    near("rotation", matrix.as_flattened(), &wanted, 1e-14);
}

#[test]
fn arrays_in_every_orientation() {
    (1..=4).for_each(check);
}
