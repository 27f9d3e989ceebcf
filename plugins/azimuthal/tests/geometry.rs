//! Arrays of pixels against those of pyFAI 2026.9.0, in all orientations, as `azimuthal.geometry` gives them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use isard_core::prelude::{Dict, Value};
use serde_json::{Value as Json, json};

// Linked so that its stages are declared.
use isard_azimuthal as _;

use common::{apply, case, floats, numbers, reference};

/// What the stage says of a geometry.
fn arrays(poni: &str, set: Json) -> Dict {
    apply("azimuthal.geometry", set, Dict::new().with("poni", poni), 0)
}

fn near(what: &str, found: &[f64], wanted: &[f64], allowed: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let top = wanted.iter().fold(0.0f64, |t, w| t.max(w.abs()));
    let off = found.iter().zip(wanted).fold(0.0f64, |o, (f, w)| o.max((f - w).abs()));
    assert!(off <= allowed * top, "{what}: {:.2e} of the largest, {allowed:.1e} allowed", off / top);
}

fn check(orientation: u64) {
    let name = format!("geometry_orientation_{orientation}");
    let Some(folder) = reference("geometry", &name) else { return };
    let poni = std::fs::read_to_string(folder.join("geometry.poni")).unwrap();
    let file = folder.join("expected/arrays.npz");
    let wanted = |key: &str| numbers(&file, Some(key));
    let case = case(&folder);
    let [rows, columns] = [0, 1].map(|k| case["shape"][k].as_u64().unwrap() as usize);
    // Asked for by index, its azimuths and normalisations come as for the native orientation: mirrored they are the same.
    // They come from a table in single precision, which the allowances below take into account.
    let native = |values: &[f64]| -> Vec<f64> {
        let (up, left) = ([1, 2].contains(&orientation), [1, 4].contains(&orientation));
        let row = |r: usize| if up { rows - 1 - r } else { r };
        let column = |c: usize| if left { columns - 1 - c } else { c };
        (0..rows * columns).map(|k| values[row(k / columns) * columns + column(k % columns)]).collect()
    };
    // Doubles to doubles' precision; corners to that of single precision, and extents as they follow from them.
    let units = [
        ("2th_rad", "2th_rad"),
        ("q_nm-1", "q_nm^-1"),
        ("r_m", "r_m"),
        ("ds2_nm-2", "d*2_nm^-2"),
        ("chi_rad", "chi_rad"),
    ];
    for (key, unit) in units {
        let found = arrays(&poni, json!({ "unit": unit }));
        let centres = wanted(&format!("center_{key}"));
        let angle = key == "chi_rad";
        match angle {
            true => near("center_chi", &floats(&found, "radial"), &native(&centres), 2e-8),
            false => near(&format!("center_{key}"), &floats(&found, "radial"), &centres, 1e-14),
        }
        near("center_chi", &floats(&found, "azimuth"), &native(&wanted("center_chi_rad")), 2e-8);
        near(&format!("corner_{key}"), &floats(&found, "corners"), &wanted(&format!("corner_{key}")), 1.3e-7);
        if orientation == 3 || !angle {
            near(&format!("delta_{key}"), &floats(&found, "extent"), &wanted(&format!("delta_{key}")), 5e-6);
        }
        // Corners of the unit that has a table of them differ by its rounding.
        if orientation == 3 && key != "ds2_nm-2" {
            near("delta_chi", &floats(&found, "spread"), &wanted("delta_chi_rad"), 5e-6);
        }
    }
    for (key, factor, turn) in [
        ("polarization_0.0", 0.0, 0.0),
        ("polarization_0.95", 0.95, 0.0),
        ("polarization_-0.5", -0.5, 0.0),
        ("polarization_0.9_offset_0.3", 0.9, 0.3f64),
    ] {
        let set = json!({ "polarisation": factor, "polarisation_turn": turn.to_degrees() });
        // By index it takes the angle of the oriented detector and the azimuth of the native one, which is neither.
        if orientation == 3 || factor == 0.0 {
            near(key, &floats(&arrays(&poni, set), "polarisation"), &wanted(key), 1.3e-7);
        }
    }
    let found = arrays(&poni, json!({ "screen": 0.7 }));
    near("pos_zyx", &floats(&found, "positions"), &wanted("pos_zyx"), 1e-15);
    near("solid angle", &floats(&found, "solid_angle"), &native(&wanted("solid_angle_rel")), 1e-9);
    let number = |port: &str| found.get(port).and_then(Value::number).unwrap();
    let absolute: Vec<f64> =
        floats(&found, "solid_angle").iter().map(|s| s * number("solid_angle_unit")).collect();
    near("absolute solid angle", &absolute, &native(&wanted("solid_angle_abs")), 1e-9);
    near("transmission", &floats(&found, "absorption"), &native(&wanted("transmission_t0_0.7")), 1e-9);
    for (key, port) in [
        ("directDist", "direct_distance"),
        ("centerX", "centre_x"),
        ("centerY", "centre_y"),
        ("tilt", "tilt"),
        ("tiltPlanRotation", "tilt_plan_rotation"),
    ] {
        near(key, &[number(port)], &[case["fit2d"][key].as_f64().unwrap()], 1e-12);
    }
    let rows = case["rotation_matrix_axes_123"].as_array().unwrap().iter();
    let wanted = rows.flat_map(|r| r.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()));
    // Ours is ordered (y, x, z) by (1, 2, 3) as theirs.
    let matrix = isard_geometry::Poni::parse(&poni).unwrap().pose.rotation();
    near("rotation", matrix.as_flattened(), &wanted.collect::<Vec<_>>(), 1e-14);
}

#[test]
fn arrays_in_every_orientation() {
    (1..=4).for_each(check);
}

// What programs did before the middle of 2026: y of orientations 1 and 2 and x of 1 and 4 change sign behind the rotation.
#[test]
fn old_azimuths_are_mirrored_once_more() {
    for orientation in 1..=4 {
        let poni = oriented(orientation);
        let places = |twice: bool| {
            let found = arrays(&poni, json!({ "mirrored_twice": twice }));
            (floats(&found, "positions"), floats(&found, "radial"), floats(&found, "azimuth"))
        };
        let ((new, radial, _), (old, same, azimuth)) = (places(false), places(true));
        let sign = |yes: &[u32]| if yes.contains(&orientation) { -1.0 } else { 1.0 };
        let (up, left) = (sign(&[1, 2]), sign(&[1, 4]));
        for pixel in 0..20 {
            let [z, y, x] = [0, 1, 2].map(|k| new[3 * pixel + k]);
            assert_eq!(&old[3 * pixel..3 * pixel + 3], [z, up * y, left * x]);
            assert!((azimuth[pixel] - (up * y).atan2(left * x)).abs() < 1e-14, "{orientation}");
        }
        assert_eq!(radial, same);
    }
}

// Geometry files that ask for what is not known are refused, with what is in the way.
#[test]
fn distorted_detectors_are_refused() {
    let head = "poni_version: 3\nDetector: Pilatus300k\nDistance: 0.1\nPoni1: 0\nPoni2: 0\nRot1: 0\nRot2: 0\nRot3: 0\n";
    for (line, word) in [
        ("Parallax: True", "parallax"),
        ("Detector_config: {\"x_offset_file\": \"dx.edf\"}", "x_offset_file"),
        ("Detector_config: {\"filename\": \"detector.h5\"}", "filename"),
        ("Detector_config: {\"binning\": [2, 2]}", "binning"),
    ] {
        let poni = isard_geometry::Poni::parse(&format!("{head}{line}\n")).unwrap();
        let error = isard_azimuthal::Camera::new(&poni, None).unwrap_err();
        assert!(error.message().contains(word), "{error}");
    }
}

/// The start of a geometry file of a detector with 4 x 5 pixels.
fn oriented(orientation: u32) -> String {
    format!(
        "poni_version: 2.1\nDetector: Detector\nDetector_config: {{\"pixel1\": 1e-4, \"pixel2\": 1e-4, \
         \"max_shape\": [4, 5], \"orientation\": {orientation}}}\nDistance: 0.1\nPoni1: 0.0011\nPoni2: 0.0013\n\
         Rot1: 0.02\nRot2: 0.01\nRot3: 0.3\nWavelength: 1e-10\n"
    )
}

// The rows and columns of a transposed detector would be swapped: 5 to 8 are refused, 0 is the detector's own.
#[test]
fn transposed_orientations_are_refused() {
    for orientation in 5..=8 {
        let error = isard_geometry::Poni::parse(&oriented(orientation)).unwrap_err();
        assert!(error.to_string().contains("orientation"), "{error}");
    }
    let places = |n: u32| floats(&arrays(&oriented(n), json!({})), "positions");
    assert_eq!(places(0), places(3));
}

// What pyFAI 2026.9.0 read of each file.
#[test]
fn poni_versions() {
    let Some(folder) = reference("poni_versions", "poni_versions") else { return };
    let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Json = serde_json::from_str(&expected).unwrap();
    for (file, wanted) in expected["files"].as_object().unwrap() {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let poni = isard_geometry::Poni::parse(&text).unwrap();
        let shape = wanted["shape"].as_array().map(|s| [0, 1].map(|k| s[k].as_u64().unwrap() as usize));
        // A frame says how many pixels there are where the file does not.
        let frame = shape.or(Some([6, 7]));
        let camera = isard_azimuthal::Camera::new(&poni, frame).unwrap();
        let pose = camera.pose;
        let numbers = [
            ("version_read", poni.version),
            ("dist", pose.dist),
            ("poni1", pose.poni1),
            ("poni2", pose.poni2),
            ("rot1", pose.rot1),
            ("rot2", pose.rot2),
            ("rot3", pose.rot3),
            ("wavelength", camera.wavelength.unwrap()),
            ("pixel1", camera.grid.pixel[0]),
            ("pixel2", camera.grid.pixel[1]),
            ("orientation", f64::from(camera.grid.orientation.number())),
        ];
        for (key, found) in numbers {
            assert_eq!(Some(found), wanted[key].as_f64(), "{file}: {key}");
        }
        assert_eq!((poni.shape, poni.parallax), (shape, wanted["parallax"].as_bool()), "{file}");
        let known = wanted["detector_class"].as_str().unwrap();
        assert_eq!(camera.known.map(|k| k.shape), isard_geometry::known_detector(known).map(|k| k.shape));
        for (key, value) in wanted["extra"].as_object().unwrap() {
            let found = poni.extra.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
            assert_eq!(found, value.as_str(), "{file}: {key}");
        }
        let set = json!({ "shape": frame.unwrap() });
        let found = floats(&arrays(&text, set), "radial");
        assert_eq!(found.len(), frame.unwrap().iter().product::<usize>(), "{file}");
    }
}
