//! Calibrants by cell and reflection conditions: the usual list beyond the eight of [`crate::Calibrant`].

/// A crystal: its cell and what its space group and special sites let through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Crystal {
    /// Edges in angstrom.
    edges: [f64; 3],
    /// The angle between the first and the third edge, in degrees; the first and the second meet at 90, or 120 if hexagonal.
    beta: f64,
    hexagonal: bool,
    rule: Rule,
}

/// Which reflections there are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// P m -3 m and the like: all.
    All,
    /// F m -3 m, F m -3.
    Faces,
    /// F d -3 m, sites 8a.
    Diamond,
    /// I: h + k + l even.
    Body,
    /// P n -3 m with its copper on a face-centred and its oxygen on a body-centred lattice.
    Cuprite,
    /// P 42/m n m.
    Rutile,
    /// P 63 m c, P 63/m m c.
    Wurtzite,
    /// P 63/m.
    ScrewSixThree,
    /// P 32 2 1.
    ScrewThree,
    /// P 41 21 2, P 43 21 2.
    ScrewFour,
    /// R -3 m, hexagonal axes.
    Rhombohedral,
    /// R -3 c, hexagonal axes.
    Corundum,
    /// P 21/a, b unique.
    GlideA,
}

impl Rule {
    fn allows(self, h: i32, k: i32, l: i32) -> bool {
        let even = |n: i32| n % 2 == 0;
        let faces = even(h + k) && even(k + l);
        let obverse = (-h + k + l).rem_euclid(3) == 0;
        match self {
            Rule::All => true,
            Rule::Faces => faces,
            Rule::Diamond => faces && (!even(h) || (h + k + l) % 4 == 0),
            Rule::Body => even(h + k + l),
            Rule::Cuprite => {
                let glide = |a: i32, b: i32, c: i32| a != 0 || even(b + c);
                let n = glide(h, k, l) && glide(k, l, h) && glide(l, h, k);
                n && (faces || even(h + k + l))
            }
            Rule::Rutile => (h != 0 || even(k + l)) && (k != 0 || even(h + l)),
            Rule::Wurtzite => !((h == k || h == -2 * k || k == -2 * h) && !even(l)),
            Rule::ScrewSixThree => h != 0 || k != 0 || even(l),
            Rule::ScrewThree => h != 0 || k != 0 || l % 3 == 0,
            Rule::ScrewFour => {
                let axis = |a: i32, b: i32, c: i32| b != 0 || c != 0 || even(a);
                axis(h, k, l) && axis(k, h, l) && (h != 0 || k != 0 || l % 4 == 0)
            }
            Rule::Rhombohedral => obverse,
            Rule::Corundum => obverse && (!(h == 0 || k == 0 || h == -k) || even(l)),
            Rule::GlideA => (k != 0 || even(h)) && (h != 0 || l != 0 || even(k)),
        }
    }
}

impl Crystal {
    /// The largest indices of reflections with spacings of `d_min` metres or more.
    pub(crate) fn limits(&self, d_min: f64) -> [i32; 3] {
        // A spacing is at most an edge's height over the index, and the height at most the edge.
        self.edges.map(|edge| (edge * 1e-10 / d_min).floor() as i32)
    }

    /// The spacing of a reflection in metres; none where there is none.
    pub(crate) fn spacing(&self, h: i32, k: i32, l: i32) -> Option<f64> {
        if !self.rule.allows(h, k, l) {
            return None;
        }
        let [a, b, c] = self.edges;
        let [x, y, z] = [h, k, l].map(f64::from);
        let s = if self.hexagonal {
            4.0 / 3.0 * (x * x + x * y + y * y) / (a * a) + z * z / (c * c)
        } else {
            let (sin, cos) = self.beta.to_radians().sin_cos();
            (x * x / (a * a) + z * z / (c * c) - 2.0 * x * z * cos / (a * c)) / (sin * sin) + y * y / (b * b)
        };
        Some(1e-10 / s.sqrt())
    }
}

const fn cubic(a: f64, rule: Rule) -> Crystal {
    Crystal { edges: [a, a, a], beta: 90.0, hexagonal: false, rule }
}

const fn tetragonal(a: f64, c: f64, rule: Rule) -> Crystal {
    Crystal { edges: [a, a, c], beta: 90.0, hexagonal: false, rule }
}

const fn hexagonal(a: f64, c: f64, rule: Rule) -> Crystal {
    Crystal { edges: [a, a, c], beta: 90.0, hexagonal: true, rule }
}

/// Names with their crystals: certificates of NIST and papers, one a line.
pub(crate) const CRYSTALS: [(&str, Crystal); 28] = [
    // NIST certificates of each powder.
    ("LaB6_SRM660a", cubic(4.156_916_2, Rule::All)),
    ("LaB6_SRM660b", cubic(4.156_89, Rule::All)),
    ("LaB6_SRM660c", cubic(4.156_826, Rule::All)),
    ("Si_SRM640", cubic(5.430_88, Rule::Diamond)),
    ("Si_SRM640a", cubic(5.430_825, Rule::Diamond)),
    ("Si_SRM640b", cubic(5.430_94, Rule::Diamond)),
    ("Si_SRM640c", cubic(5.431_194_6, Rule::Diamond)),
    ("Si_SRM640d", cubic(5.431_23, Rule::Diamond)),
    ("Si_SRM640e", cubic(5.431_179, Rule::Diamond)),
    ("Al2O3_SRM676", hexagonal(4.759_19, 12.991_83, Rule::Corundum)),
    ("Al2O3_SRM676a_2008", hexagonal(4.759_091_4, 12.991_779, Rule::Corundum)),
    ("Al2O3_SRM676a_2015", hexagonal(4.759_355, 12.992_31, Rule::Corundum)),
    // NIST SRM 674b.
    ("Cr2O3", hexagonal(4.958_979, 13.595_92, Rule::Corundum)),
    ("TiO2", tetragonal(4.593_927, 2.958_862, Rule::Rutile)),
    ("ZnO", hexagonal(3.249_897, 5.206_53, Rule::Wurtzite)),
    // W. Witt, Z. Naturforsch. A 22 (1967) 92.
    ("Al", cubic(4.049_5, Rule::Faces)),
    // Acta Cryst. A50 (1994) 344.
    ("C60", cubic(14.26, Rule::Faces)),
    // Acta Cryst. A46 (1990) 271.
    ("CuO", cubic(4.268_5, Rule::Cuprite)),
    // Walker et al., American Mineralogist 89 (2004) 20.
    ("NaCl", cubic(5.640_1, Rule::Faces)),
    // Ohkura, Kashino and Haisa, Bull. Chem. Soc. Jpn. 45 (1972) 2651.
    ("PBBA", Crystal { edges: [29.59, 6.15, 3.98], beta: 95.5, hexagonal: false, rule: Rule::GlideA }),
    // Downs and Palmer, American Mineralogist 79 (1994) 9.
    ("cristobalite", tetragonal(4.971_7, 6.922_3, Rule::ScrewFour)),
    // Wyckoff, Crystal Structures 1 (1963) 7.
    ("diamond", cubic(3.566_79, Rule::Diamond)),
    ("graphite", hexagonal(2.456, 6.696, Rule::Wurtzite)),
    // Martinetto et al., Acta Cryst. C58 (2002) i82.
    ("hydrocerussite", hexagonal(5.246_5, 23.702_3, Rule::Rhombohedral)),
    // Z. Kristallogr. Suppl. 26 (2007) 1.
    ("lysozyme", tetragonal(79.268_8, 37.957_3, Rule::ScrewFour)),
    // Levien, Prewitt and Weidner, American Mineralogist 65 (1980) 920.
    ("quartz", hexagonal(4.916, 5.405_4, Rule::ScrewThree)),
    // Okudera, American Mineralogist 98 (2013) 1573.
    ("vanadinite", hexagonal(10.323_1, 7.339_9, Rule::ScrewSixThree)),
    // Courbion and Ferey, J. Solid State Chem. 76 (1988) 426.
    ("verneite", cubic(10.257, Rule::Body)),
];
