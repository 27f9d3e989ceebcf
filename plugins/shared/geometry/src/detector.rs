//! Pixel sizes, shapes, gaps and invalid values of detectors that geometry files name without describing.

/// What is known of a detector from its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Name without spaces, underscores and case.
    pub name: &'static str,
    /// Width of its pixels in metres.
    pub pixel: f64,
    /// Height of its pixels in metres.
    pub height: f64,
    /// Rows and columns; zeros for a family of detectors.
    pub shape: [usize; 2],
    /// Rows and columns of one module.
    pub module: [usize; 2],
    /// Rows and columns between modules.
    pub gap: [usize; 2],
    /// Columns where two sensors of one module meet, if they do.
    pub seam: Option<Seam>,
    /// Value that marks an invalid pixel, and how far from it a value is still invalid.
    pub dummy: Option<[f64; 2]>,
}

/// Columns within each module where its two sensors meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seam {
    /// First column of the first seam.
    pub first: usize,
    /// Columns that a seam takes.
    pub width: usize,
}

/// Look a detector up by name; case, spaces, underscores and hyphens do not matter.
///
/// A `CdTe` within the name adds seams to the gaps of the same detector with silicon.
pub fn known_detector(name: &str) -> Option<Known> {
    let plain: String = name.chars().filter(|c| !" _-".contains(*c)).flat_map(char::to_lowercase).collect();
    let silicon = plain.replace("cdte", "");
    let found = TABLE.iter().find(|k| k.name == silicon).copied()?;
    let seam = if silicon.len() == plain.len() { None } else { seam(found.name) };
    Some(Known { seam, ..found })
}

impl Known {
    /// Bytes of its own mask, row after row: 1 in gaps and seams, 0 on pixels that count.
    pub fn mask(&self) -> Vec<u8> {
        let [rows, columns] = self.shape;
        let [down, across] = [self.module[0] + self.gap[0], self.module[1] + self.gap[1]];
        let row = |r: usize| u8::from(r % down >= self.module[0]);
        let column = |c: usize| {
            let seam = self.seam.is_some_and(|s| {
                let within = c % across;
                within >= s.first && within < s.first + s.width
            });
            u8::from(c % across >= self.module[1] || seam)
        };
        let line: Vec<u8> = (0..columns).map(column).collect();
        (0..rows).flat_map(|r| line.iter().map(move |c| c | row(r))).collect()
    }
}

fn seam(name: &str) -> Option<Seam> {
    if name.starts_with("pilatus4") {
        Some(Seam { first: 256, width: 1 })
    } else if name.starts_with("pilatus") {
        Some(Seam { first: 242, width: 3 })
    } else if name.starts_with("eiger2") {
        Some(Seam { first: 513, width: 2 })
    } else {
        None
    }
}

const fn known(name: &'static str, family: &Family, rows: usize, cols: usize) -> Known {
    let Family { pixel, module, gap } = *family;
    let dummy = Some([-2.0, 1.5]);
    Known { name, pixel, height: pixel, shape: [rows, cols], module, gap, seam: None, dummy }
}

struct Family {
    pixel: f64,
    module: [usize; 2],
    gap: [usize; 2],
}

const PILATUS: Family = Family { pixel: 172e-6, module: [195, 487], gap: [17, 7] };
const PILATUS4: Family = Family { pixel: 150e-6, module: [255, 513], gap: [20, 7] };
const EIGER: Family = Family { pixel: 75e-6, module: [514, 1030], gap: [37, 10] };
const EIGER2: Family = Family { pixel: 75e-6, module: [512, 1028], gap: [38, 12] };

// A strip: pixels 50 micrometres wide and 8 millimetres high.
const MYTHEN: Known = Known {
    name: "mythen1280",
    pixel: 50e-6,
    height: 8e-3,
    shape: [1, 1280],
    module: [1, 1280],
    gap: [0, 0],
    seam: None,
    dummy: None,
};

// Manufacturer's data sheets: pixels 172, 150 and 75 micrometres.
//
// The bare families stand for detectors of any number of modules: files that name them give the shape.
const TABLE: &[Known] = &[
    known("pilatus", &PILATUS, 0, 0),
    known("pilatus4", &PILATUS4, 0, 0),
    known("eiger", &EIGER, 0, 0),
    known("eiger2", &EIGER2, 0, 0),
    known("pilatus100k", &PILATUS, 195, 487),
    known("pilatus200k", &PILATUS, 407, 487),
    known("pilatus300k", &PILATUS, 619, 487),
    known("pilatus300kw", &PILATUS, 195, 1475),
    known("pilatus900k", &PILATUS, 619, 1475),
    known("pilatus900kw", &PILATUS, 195, 4439),
    known("pilatus1m", &PILATUS, 1043, 981),
    known("pilatus2m", &PILATUS, 1679, 1475),
    known("pilatus6m", &PILATUS, 2527, 2463),
    known("pilatus4260k", &PILATUS4, 530, 513),
    known("pilatus4260kw", &PILATUS4, 255, 1033),
    known("pilatus41m", &PILATUS4, 1080, 1033),
    known("pilatus42m", &PILATUS4, 1630, 1553),
    known("pilatus44m", &PILATUS4, 2180, 2073),
    known("eiger500k", &EIGER, 514, 1030),
    known("eiger1m", &EIGER, 1065, 1030),
    known("eiger4m", &EIGER, 2167, 2070),
    known("eiger9m", &EIGER, 3269, 3110),
    known("eiger16m", &EIGER, 4371, 4150),
    known("eiger2250k", &EIGER2, 512, 512),
    known("eiger2500k", &EIGER2, 512, 1028),
    known("eiger21m", &EIGER2, 1062, 1028),
    known("eiger21mw", &EIGER2, 512, 2068),
    known("eiger22mw", &EIGER2, 512, 4148),
    known("eiger24m", &EIGER2, 2162, 2068),
    known("eiger29m", &EIGER2, 3262, 3108),
    known("eiger216m", &EIGER2, 4362, 4148),
    MYTHEN,
    Known { name: "mythen", ..MYTHEN },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_spelling() {
        for name in ["Pilatus2M", "pilatus 2m", "PilatusCdTe2M", "Pilatus CdTe 2M", "PILATUS_2M"] {
            assert_eq!(known_detector(name).unwrap().shape, [1679, 1475], "{name}");
        }
        assert_eq!(known_detector("Eiger2 4M").unwrap().shape, [2162, 2068]);
        assert_eq!(known_detector("Detector"), None);
        assert_eq!(known_detector("Mythen 1280").unwrap().height, 8e-3);
    }

    // pyFAI 2026.9.0: `detector_factory(name).mask.sum()` and the first masked column of the first row.
    #[test]
    fn gaps_and_seams_are_masked() {
        let cases = [
            ("Pilatus300k", 16558, Some(94965)),
            ("Pilatus 2M", 197365, Some(487)),
            ("PilatusCdTe2M", 211405, Some(242)),
            ("Pilatus CdTe 900kw", 16185, Some(242)),
            ("Pilatus4 4M", 333060, Some(513)),
            ("Pilatus4 2M CdTe", 181310, Some(256)),
            ("Eiger 4M", 250330, Some(1030)),
            ("Eiger500k", 0, None),
            ("Eiger2 9M", 664248, Some(1028)),
            ("Eiger2 CdTe 1M-W", 8192, Some(513)),
            ("Eiger2 CdTe 4M", 268520, Some(513)),
            ("Eiger2 250k", 0, None),
            ("Mythen 1280", 0, None),
        ];
        for (name, masked, first) in cases {
            let mask = known_detector(name).unwrap().mask();
            let found = mask.iter().map(|m| usize::from(*m)).sum::<usize>();
            assert_eq!((found, mask.iter().position(|m| *m == 1)), (masked, first), "{name}");
        }
    }
}
