//! Geometry and PONI files against pyFAI's own numbers.
//!
//! Literals come from pyFAI 2026.9.0 on 12 x 15 pixels: `center_array`, `solidAngleArray` and `polarization`.
//! Azimuths are taken from its positions (`calc_pos_zyx`): its own azimuth array forgets orientations 1, 2 and 4,
//! and so do its solid angle and polarisation, which are therefore compared in orientation 3 alone.

use isard_geometry::{Grid, Orientation, Poni, Pose, polarisation, solid_angle};

const APPENDED: &str = "\
# Old style, no version
Detector: Pilatus300k
PixelSize1: 0.000172
PixelSize2: 0.000172
Distance: 0.1
Poni1: 0.05
Poni2: 0.04
Rot1: 0.01
Rot2: 0.02
Rot3: 0.0
SplineFile: None
Wavelength: 1e-10
# a second calibration was appended: the last value of each key wins
Distance: 0.2
Rot1: -0.03
";

const ORIENTED: &str = r#"# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.0001, "pixel2": 0.00012, "max_shape": [50, 60], "orientation": 2}
Distance: 0.15
Poni1: 0.003
Poni2: 0.004
Rot1: 0.1
Rot2: 0.2
Rot3: 0.3
Wavelength: 1.2e-10
# Calibrant: LaB6
# Image: a:b.edf
"#;

const NEWEST: &str = r#"poni_version: 3
Detector: Pilatus300kCdTe
Detector_config: {"orientation": 3, "sensor": {"material": "CdTe", "thickness": 0.001}}
Distance: 0.25
Poni1: 0.05
Poni2: 0.04
Rot1: 0.0
Rot2: 0.0
Rot3: 0.0
Wavelength: 1.9e-11
Parallax: False
"#;

#[test]
fn versions_mean_what_their_writer_says() {
    let old = Poni::parse(APPENDED).unwrap();
    assert_eq!((old.version, old.pose.dist, old.pose.rot1), (1.0, 0.2, -0.03));
    assert_eq!((old.pixel, old.shape), (Some([172e-6; 2]), Some([619, 487])));
    let oriented = Poni::parse(ORIENTED).unwrap();
    assert_eq!((oriented.version, oriented.orientation), (2.1, Orientation::TopRight));
    assert_eq!((oriented.pixel, oriented.shape), (Some([1e-4, 1.2e-4]), Some([50, 60])));
    let expected = [("Calibrant", "LaB6"), ("Image", "a:b.edf")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(oriented.extra, expected);
    let newest = Poni::parse(NEWEST).unwrap();
    assert_eq!((newest.version, newest.parallax, newest.shape), (3.0, Some(false), Some([619, 487])));
    assert_eq!(newest.sensor.unwrap().material, "CdTe");
}

#[test]
fn what_is_written_reads_back_the_same() {
    for text in [APPENDED, ORIENTED, NEWEST] {
        let first = Poni::parse(text).unwrap();
        let again = Poni::parse(&first.write(&["made by a test"])).unwrap();
        assert_eq!(Poni { version: again.version, ..first }, again);
    }
}

#[test]
fn faults_name_the_line_and_the_wish() {
    let cases = [
        (ORIENTED.replace("2.1", "4"), "line 2: `poni_version` is `4`; wanted at most 3"),
        (ORIENTED.replace(": 0.15", ": far"), "line 5: `Distance` is `far`; wanted a finite number"),
        (ORIENTED.replace("\"orientation\": 2", "\"orientation\": 6"), "wanted an `orientation` of 1 to 4"),
        (ORIENTED.replace("Poni1: 0.003\n", ""), "`Poni1` is missing"),
        (APPENDED.replace("e: None", "e: a.spline"), "line 11: `SplineFile` is `a.spline`"),
    ];
    for (text, expected) in cases {
        let got = Poni::parse(&text).unwrap_err().to_string();
        assert!(got.contains(expected), "{got}");
    }
}

struct Pixel {
    orientation: u64,
    at: [usize; 2],
    tth: f64,
    chi: f64,
    solid_and_polar: Option<[f64; 2]>,
}

#[test]
fn angles_and_corrections_agree_at_single_pixels() {
    let pose = Pose { dist: 0.06, poni1: 0.0005, poni2: 0.0009, rot1: 0.05, rot2: 0.1, rot3: 0.2 };
    for case in PIXELS {
        let orientation = Orientation::from_number(case.orientation).unwrap();
        let grid = Grid { shape: [12, 15], pixel: [1e-4, 1e-4], orientation };
        let [row, col] = case.at;
        let (mut tth, mut chi) = ([0.0; 15], [0.0; 15]);
        grid.tth_row(&pose, row, &mut tth);
        grid.chi_row(&pose, row, &mut chi);
        let close = |got: f64, want: f64, by: f64| assert!((got - want).abs() < by, "{got} is not {want}");
        close(tth[col], case.tth, 1e-13);
        close(chi[col], case.chi, 1e-12);
        if let Some([solid, polar]) = case.solid_and_polar {
            // The reference goes through single precision here.
            close(solid_angle(&pose, grid.centre(row, col)), solid, 1e-10);
            close(polarisation(tth[col], chi[col], 0.9, 0.3), polar, 1e-7);
        }
    }
}

const PIXELS: &[Pixel] = &[
    Pixel {
        orientation: 1,
        at: [0, 0],
        tth: 0.10695063622927822,
        chi: -1.1837400559180584,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 1,
        at: [4, 13],
        tth: 0.10288585653927437,
        chi: -1.3971173245329243,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 1,
        at: [11, 7],
        tth: 0.11749663342927037,
        chi: -1.3537793441246926,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 2,
        at: [0, 0],
        tth: 0.09607426089300773,
        chi: -1.3880626007307466,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 2,
        at: [4, 13],
        tth: 0.11170846421012585,
        chi: -1.2291878990288023,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 2,
        at: [11, 7],
        tth: 0.11749663342927037,
        chi: -1.3537793441246926,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 3,
        at: [0, 0],
        tth: 0.11329680658941371,
        chi: -1.4483500664137845,
        solid_and_polar: Some([0.999614707068588, 0.9974272847175598]),
    },
    Pixel {
        orientation: 3,
        at: [4, 13],
        tth: 0.11602866232930235,
        chi: -1.2513427529439707,
        solid_and_polar: Some([0.9999145893926975, 0.995263934135437]),
    },
    Pixel {
        orientation: 3,
        at: [11, 7],
        tth: 0.10098811360349813,
        chi: -1.2804311212744666,
        solid_and_polar: Some([0.9998146120434794, 0.9966571927070618]),
    },
    Pixel {
        orientation: 4,
        at: [0, 0],
        tth: 0.12266191166026894,
        chi: -1.2664107849532282,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 4,
        at: [4, 13],
        tth: 0.10755925891404175,
        chi: -1.4140340184727382,
        solid_and_polar: None,
    },
    Pixel {
        orientation: 4,
        at: [11, 7],
        tth: 0.10098811360349813,
        chi: -1.2804311212744666,
        solid_and_polar: None,
    },
];
