//! The detectors that geometry files name, against pyFAI 2026.9.0: `detector_factory(name)` of every name and alias.

use isard_geometry::{Poni, known_detector};

/// Name, aliases, shape, height and width of a pixel, masked pixels, and the first and last of them.
type Row = (&'static str, &'static [&'static str], [usize; 2], [f64; 2], usize, Option<[usize; 2]>);

const P: [f64; 2] = [172e-6; 2];
const P4: [f64; 2] = [150e-6; 2];
const E: [f64; 2] = [75e-6; 2];

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("Eiger16M", &["Eiger 16M"], [4371, 4150], E, 1198210, Some([1030, 18138619])),
    ("Eiger1M", &["Eiger 1M"], [1065, 1030], E, 38110, Some([529420, 567529])),
    ("Eiger2CdTe_16M", &["Eiger2 CdTe 16M"], [4362, 4148], E, 1283592, Some([513, 18093062])),
    ("Eiger2CdTe_1M", &["Eiger2 CdTe 1M"], [1062, 1028], E, 41112, Some([513, 1091222])),
    ("Eiger2CdTe_1MW", &["Eiger2 CdTe 1M-W"], [512, 2068], E, 8192, Some([513, 1058302])),
    ("Eiger2CdTe_2MW", &["Eiger2 CdTe 2M-W"], [512, 4148], E, 22528, Some([513, 2123262])),
    ("Eiger2CdTe_4M", &["Eiger2 CdTe 4M"], [2162, 2068], E, 268520, Some([513, 4470502])),
    ("Eiger2CdTe_500k", &["Eiger2 CdTe 500k"], [512, 1028], E, 1024, Some([513, 525822])),
    ("Eiger2CdTe_9M", &["Eiger2 CdTe 9M"], [3262, 3108], E, 682680, Some([513, 10137782])),
    ("Eiger2_16M", &["Eiger2 16M"], [4362, 4148], E, 1250824, Some([1028, 18092547])),
    ("Eiger2_1M", &["Eiger2 1M"], [1062, 1028], E, 39064, Some([526336, 565399])),
    ("Eiger2_1MW", &["Eiger2 1M-W"], [512, 2068], E, 6144, Some([1028, 1057787])),
    ("Eiger2_250k", &["Eiger2 250k"], [512, 512], E, 0, None),
    ("Eiger2_2MW", &["Eiger2 2M-W"], [512, 4148], E, 18432, Some([1028, 2122747])),
    ("Eiger2_4M", &["Eiger2 4M"], [2162, 2068], E, 260328, Some([1028, 4469987])),
    ("Eiger2_500k", &["Eiger2 500k"], [512, 1028], E, 0, None),
    ("Eiger2_9M", &["Eiger2 9M"], [3262, 3108], E, 664248, Some([1028, 10137267])),
    ("Eiger4M", &["Eiger 4M"], [2167, 2070], E, 250330, Some([1030, 4484659])),
    ("Eiger500k", &["Eiger 500k"], [514, 1030], E, 0, None),
    ("Eiger9M", &["Eiger 9M"], [3269, 3110], E, 637030, Some([1030, 10165559])),
    ("Mythen", &["Mythen 1280"], [1, 1280], [8e-3, 50e-6], 0, None),
    ("Pilatus100k", &["Pilatus 100k"], [195, 487], P, 0, None),
    ("Pilatus1M", &["Pilatus 1M"], [1043, 981], P, 73533, Some([487, 1022695])),
    ("Pilatus200k", &["Pilatus 200k"], [407, 487], P, 8279, Some([94965, 103243])),
    ("Pilatus2M", &["Pilatus 2M"], [1679, 1475], P, 197365, Some([487, 2476037])),
    ("Pilatus300k", &["Pilatus 300k"], [619, 487], P, 16558, Some([94965, 206487])),
    ("Pilatus300kw", &["Pilatus 300kw"], [195, 1475], P, 2730, Some([487, 287137])),
    ("Pilatus4_1M", &["Pilatus4 1M"], [1080, 1033], P4, 69120, Some([513, 1115126])),
    ("Pilatus4_260k", &["Pilatus4 260k"], [530, 513], P4, 10260, Some([130815, 141074])),
    ("Pilatus4_260kw", &["Pilatus4 260kw"], [255, 1033], P4, 1785, Some([513, 262901])),
    ("Pilatus4_2M", &["Pilatus4 2M"], [1630, 1553], P4, 176720, Some([513, 2530876])),
    ("Pilatus4_4M", &["Pilatus4 4M"], [2180, 2073], P4, 333060, Some([513, 4518626])),
    ("Pilatus4_CdTe_1M", &["Pilatus4 1M CdTe"], [1080, 1033], P4, 71160, Some([256, 1115383])),
    ("Pilatus4_CdTe_260k", &["Pilatus4 260k CdTe"], [530, 513], P4, 10770, Some([256, 271633])),
    ("Pilatus4_CdTe_260kw", &["Pilatus4 260kw CdTe"], [255, 1033], P4, 2295, Some([256, 263158])),
    ("Pilatus4_CdTe_2M", &["Pilatus4 2M CdTe"], [1630, 1553], P4, 181310, Some([256, 2531133])),
    ("Pilatus4_CdTe_4M", &["Pilatus4 4M CdTe"], [2180, 2073], P4, 341220, Some([256, 4518883])),
    ("Pilatus6M", &["Pilatus 6M"], [2527, 2463], P, 526101, Some([487, 6223513])),
    ("Pilatus900k", &["Pilatus 900k"], [619, 1475], P, 58340, Some([487, 912537])),
    ("PilatusCdTe1M", &["Pilatus CdTe 1M", "Pilatus 1M CdTe", "Pilatus1M CdTe", "Pilatus1MCdTe"], [1043, 981], P, 79383, Some([242, 1022940])),
    ("PilatusCdTe2M", &["Pilatus CdTe 2M", "Pilatus 2M CdTe", "Pilatus2M CdTe", "Pilatus2MCdTe"], [1679, 1475], P, 211405, Some([242, 2476282])),
    ("PilatusCdTe300k", &["Pilatus CdTe 300k", "Pilatus 300k CdTe", "Pilatus300k CdTe", "Pilatus300kCdTe"], [619, 487], P, 18313, Some([242, 301210])),
    ("PilatusCdTe300kw", &["Pilatus CdTe 300kw", "Pilatus 300kw CdTe", "Pilatus300kw CdTe", "Pilatus300kwCdTe"], [195, 1475], P, 4485, Some([242, 287382])),
    ("PilatusCdTe900kw", &["Pilatus CdTe 900kw", "Pilatus 900kw CdTe", "Pilatus900kw CdTe", "Pilatus900kwCdTe"], [195, 4439], P, 16185, Some([242, 865362])),
];

#[test]
fn every_name_means_the_same_detector() {
    for (name, aliases, shape, pixel, masked, ends) in TABLE {
        for name in aliases.iter().chain([name]) {
            let known = known_detector(name).unwrap_or_else(|| panic!("`{name}` is not known"));
            assert_eq!((known.shape, [known.height, known.pixel]), (*shape, *pixel), "{name}");
            let dummy = (*name != "Mythen" && *name != "Mythen 1280").then_some([-2.0, 1.5]);
            assert_eq!(known.dummy, dummy, "{name}");
            let mask = known.mask();
            let bad: Vec<usize> = (0..mask.len()).filter(|k| mask[*k] == 1).collect();
            let found = bad.first().zip(bad.last()).map(|(first, last)| [*first, *last]);
            assert_eq!((bad.len(), found), (*masked, *ends), "{name}");
        }
    }
}

// The families have any number of modules: the shape stands in the file.
#[test]
fn a_family_takes_the_shape_of_the_file() {
    let text = "poni_version: 2.1\nDetector: Eiger2\nDetector_config: {\"max_shape\": [1062, 1028], \"orientation\": 3}\n\
        Distance: 0.1\nPoni1: 0\nPoni2: 0\nRot1: 0\nRot2: 0\nRot3: 0\n";
    let poni = Poni::parse(text).unwrap();
    assert_eq!((poni.shape, poni.pixel), (Some([1062, 1028]), Some([75e-6; 2])));
    let without = text.replace("\"max_shape\": [1062, 1028], ", "");
    assert_eq!(Poni::parse(&without).unwrap().shape, None);
}
