//! Electron scattering factors and projected potentials.

use num_complex::Complex64;

use crate::reduce::{Fft2, signed};

/// Coefficients of an electron scattering factor, in angstrom.
///
/// `f(q) = sum a / (q^2 + b) + sum c exp(-d q^2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Heights and widths of Lorentzians.
    pub a: [f64; 3],
    /// Widths of Lorentzians.
    pub b: [f64; 3],
    /// Heights of Gaussians.
    pub c: [f64; 3],
    /// Widths of Gaussians.
    pub d: [f64; 3],
}

/// E. J. Kirkland, Advanced Computing in Electron Microscopy, 2nd ed., appendix C.
const KNOWN: [(&str, u32, [[f64; 3]; 4]); 6] = [
    (
        "O",
        8,
        [
            [0.339969204, 0.307570172, 0.130369072],
            [0.38157028, 0.381571436, 19.1919745],
            [0.0883326058, 0.1965867, 0.00099622],
            [0.760635525, 2.07401094, 0.0303266869],
        ],
    ),
    (
        "Mg",
        12,
        [
            [0.304384121, 0.756270563, 0.101164809],
            [0.0842014377, 1.64065598, 29.7142975],
            [0.0345203403, 0.971751327, 0.120593012],
            [0.216596094, 12.1236852, 0.560865838],
        ],
    ),
    (
        "Al",
        13,
        [
            [0.777419424, 0.0578312036, 0.426386499],
            [2.71058227, 71.7532098, 0.0913331555],
            [0.11340722, 0.790114035, 0.0323293496],
            [0.448867451, 8.66366718, 0.178503463],
        ],
    ),
    (
        "Si",
        14,
        [
            [1.06543892, 0.120143691, 0.180915263],
            [1.04118455, 68.7113368, 0.0887533926],
            [1.1206562, 0.0305452816, 1.59963502],
            [3.70062619, 0.214097897, 9.99096638],
        ],
    ),
    (
        "P",
        15,
        [
            [1.05284447, 0.299440284, 0.117460748],
            [1.3196259, 0.12846052, 102.190163],
            [0.960643452, 0.0263555748, 1.38059330],
            [2.87477555, 0.182076844, 7.49165526],
        ],
    ),
    (
        "S",
        16,
        [
            [1.01646916, 0.441766748, 0.121503863],
            [1.69181965, 0.174180288, 167.011091],
            [0.82796667, 0.0233022533, 1.18302846],
            [2.3034281, 0.15695415, 5.85782891],
        ],
    ),
];

impl Factors {
    /// Of twelve coefficients: a, b, c, d, three of each.
    pub fn new(all: [f64; 12]) -> Factors {
        let part = |i: usize| [all[i], all[i + 1], all[i + 2]];
        Factors { a: part(0), b: part(3), c: part(6), d: part(9) }
    }

    /// Those of an element that is known here, by its symbol or number.
    pub fn of(element: &str) -> Option<Factors> {
        let known = KNOWN.iter().find(|(name, number, _)| *name == element || number.to_string() == element);
        known.map(|(_, _, [a, b, c, d])| Factors { a: *a, b: *b, c: *c, d: *d })
    }

    /// The elements that are known here.
    pub fn known() -> String {
        KNOWN.map(|(name, ..)| name).join(", ")
    }

    /// The factor at the square of a spatial frequency, in angstrom.
    pub fn at(&self, square: f64) -> f64 {
        (0..3).map(|i| self.a[i] / (square + self.b[i]) + self.c[i] * (-self.d[i] * square).exp()).sum()
    }
}

/// The projected potential of atoms, in V angstrom, on a grid.
///
/// Positions `[y, x]` and edges are in angstrom. `vz = 2 pi a0 e IFFT[sum f(q) exp(-2 pi i q r)] / (dy dx)`, periodic over the edges.
pub fn potential(atoms: &[([f64; 2], Factors)], edges: [f64; 2], grid: [usize; 2]) -> Vec<f64> {
    // The Bohr radius in angstrom, and e in V angstrom.
    const SCALE: f64 = 2.0 * std::f64::consts::PI * 0.529177 * 14.399645;
    let [rows, columns] = grid;
    let mut all = vec![Complex64::default(); rows * columns];
    let ky: Vec<f64> = (0..rows).map(|i| signed(i, rows) / edges[0]).collect();
    let kx: Vec<f64> = (0..columns).map(|i| signed(i, columns) / edges[1]).collect();
    // Atoms of one kind share the factor, which costs more than the phase.
    let mut kinds: Vec<(Factors, Vec<[f64; 2]>)> = vec![];
    for (place, factors) in atoms {
        match kinds.iter_mut().find(|(f, _)| f == factors) {
            Some((_, places)) => places.push(*place),
            None => kinds.push((*factors, vec![*place])),
        }
    }
    for (factors, places) in &kinds {
        let mut own = vec![Complex64::default(); rows * columns];
        for [y, x] in places {
            let wave = |k: &f64, r: f64| Complex64::cis(-std::f64::consts::TAU * k * r);
            let wx: Vec<Complex64> = kx.iter().map(|k| wave(k, *x)).collect();
            for (row, k) in own.chunks_exact_mut(columns).zip(&ky) {
                let wy = wave(k, *y);
                row.iter_mut().zip(&wx).for_each(|(o, w)| *o += wy * w);
            }
        }
        for (i, (all, own)) in all.iter_mut().zip(&own).enumerate() {
            let (y, x) = (ky[i / columns], kx[i % columns]);
            *all += own * factors.at(y * y + x * x);
        }
    }
    Fft2::new(grid).run(&mut all, true);
    // The transform is not normalised, and the area of a pixel times their number is that of the cell.
    let scale = SCALE / (edges[0] * edges[1]);
    all.iter().map(|c| c.re * scale).collect()
}
