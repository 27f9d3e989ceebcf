//! Results in NeXus files have what the definition NXcxi_ptycho asks for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use isard_h5::{Attr, File};
use isard_ptycho::file::cxi::{Detector, KEV, Light, Outcome, Picture, result};
use isard_ptycho::num::Complex;

fn written(folder: &std::path::Path) -> File {
    let pixels: Vec<Complex<f32>> = (0..120).map(|k| Complex::new(k as f32, -1.0)).collect();
    let outcome = Outcome {
        title: "a scan",
        sample: "a siemens star",
        times: ["2026-11-20T22:17:01Z", "2026-11-20T22:18:01Z"],
        light: Light {
            name: "a ring".into(),
            kind: "Synchrotron X-ray Source".into(),
            machine: f64::NAN,
            energy: 6.2 * KEV,
            spread: f64::NAN,
        },
        detector: Detector {
            distance: 7.0,
            psize: 172e-6,
            center: [4.0, 3.0],
            frames: ["raw.h5".into(), "/entry/data/image".into()],
        },
        object: Picture { shape: [1, 12, 10], data: &pixels, psize: 6e-8, center: [6.0, 5.0] },
        probe: Picture { shape: [2, 6, 6], data: &pixels[..72], psize: 6e-8, center: [3.0, 3.0] },
        indices: vec![0, 1, 5],
        positions: vec![[0.0, 0.0], [1e-6, 2e-6], [3e-6, 4e-6]],
        errors: vec![[3.0, 2.0, 1.0], [2.0, f64::NAN, 0.5]],
        engines: "[]",
        record: "{}",
    };
    let path = folder.join("a.cxi");
    std::fs::write(&path, result(&outcome).unwrap()).unwrap();
    let mut raw = isard_h5::Image::new().unwrap();
    let slot = raw.dataset("/entry/data/image", &isard_h5::Spec::new(isard_h5::Dtype::U16, &[6, 6])).unwrap();
    raw.append(slot, &[0; 3 * 72], 3).unwrap();
    std::fs::write(folder.join("raw.h5"), raw.into_bytes().unwrap()).unwrap();
    File::open(&path).unwrap()
}

fn floats(file: &File, path: &str) -> Vec<f64> {
    let bytes = file.dataset(path).unwrap().read_all().unwrap();
    bytes.as_chunks::<8>().0.iter().map(|b| f64::from_ne_bytes(*b)).collect()
}

/// Groups and fields that the definition asks for (nexusformat, NXcxi_ptycho): class, or units.
const GROUPS: [(&str, &str); 11] = [
    ("", "NXentry"),
    ("/instrument_1", "NXinstrument"),
    ("/instrument_1/source_1", "NXsource"),
    ("/instrument_1/beam_1", "NXbeam"),
    ("/instrument_1/detector_1", "NXdetector"),
    ("/instrument_1/detector_1/transformations", "NXtransformations"),
    ("/data", "NXdata"),
    ("/data_1", "NXcollection"),
    ("/sample_1", "NXsample"),
    ("/sample_1/transformations", "NXtransformations"),
    ("/sample_1/geometry_1", "NXcollection"),
];
const FIELDS: [(&str, &str); 12] = [
    ("/instrument_1/source_1/energy", "J"),
    ("/instrument_1/beam_1/energy", "J"),
    ("/instrument_1/beam_1/incident_beam_energy", "J"),
    ("/instrument_1/beam_1/incident_energy_spread", "J"),
    ("/instrument_1/detector_1/translation", "m"),
    ("/instrument_1/detector_1/x_pixel_size", "m"),
    ("/instrument_1/detector_1/y_pixel_size", "m"),
    ("/instrument_1/detector_1/distance", "m"),
    ("/instrument_1/detector_1/beam_center_x", "m"),
    ("/instrument_1/detector_1/beam_center_y", "m"),
    ("/sample_1/transformations/x", "m"),
    ("/sample_1/transformations/y", "m"),
];

#[test]
fn all_that_the_definition_asks_for_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path());
    let text = |at: &str, name: &str| file.attribute(at, name).unwrap();
    for (path, class) in GROUPS {
        assert_eq!(text(&format!("/entry_1{path}"), "NX_class"), Some(Attr::Text(class.into())), "{path}");
    }
    for (path, units) in FIELDS {
        assert_eq!(text(&format!("/entry_1{path}"), "units"), Some(Attr::Text(units.into())), "{path}");
    }
    assert_eq!(file.texts("/entry_1/definition").unwrap(), ["NXcxi_ptycho"]);
    for name in ["name", "probe", "type"] {
        assert_eq!(file.texts(&format!("/entry_1/instrument_1/source_1/{name}")).unwrap().len(), 1);
    }
    let detector = "/entry_1/instrument_1/detector_1";
    assert_eq!(text(detector, "axes"), Some(Attr::Text("[, data]".into())));
    assert_eq!(text(detector, "signal"), Some(Attr::Text("data".into())));
    let translation = format!("{detector}/translation");
    assert_eq!(text(&translation, "axes"), Some(Attr::Text("translation:y:x".into())));
    assert_eq!(text(&translation, "interpretation"), Some(Attr::Text("image".into())));
    assert_eq!(text("/entry_1/data", "signal"), Some(Attr::Text("data".into())));
}

#[test]
fn numbers_are_in_units_of_the_si_and_links_lead_to_the_frames() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path());
    // 6.2 keV times the elementary charge, 1.602176634e-19 C: 9.933495e-16 J.
    let energy = floats(&file, "/entry_1/instrument_1/beam_1/energy")[0];
    assert!((energy / 9.933_495_130_8e-16 - 1.0).abs() < 1e-10, "{energy}");
    // x, y and z of each frame.
    let wanted = [0.0, 0.0, 0.0, 2e-6, 1e-6, 0.0, 4e-6, 3e-6, 0.0];
    for at in ["instrument_1/detector_1", "sample_1/geometry_1", "data_1"] {
        assert_eq!(floats(&file, &format!("/entry_1/{at}/translation")), wanted, "{at}");
    }
    assert_eq!(floats(&file, "/entry_1/instrument_1/detector_1/beam_center_x"), [3.0 * 172e-6]);
    for at in ["instrument_1/detector_1", "data", "data_1"] {
        assert_eq!(file.dataset(&format!("/entry_1/{at}/data")).unwrap().shape(), [3, 6, 6], "{at}");
    }
    assert_eq!(file.dataset("/entry_1/image_1/data").unwrap().shape(), [1, 12, 10]);
    assert_eq!(file.dataset("/entry_1/probe/data").unwrap().shape(), [2, 6, 6]);
    let y = floats(&file, "/entry_1/image_1/y");
    assert!((y[0] + 6.0 * 6e-8).abs() < 1e-18 && y[6] == 0.0, "{y:?}");
}
