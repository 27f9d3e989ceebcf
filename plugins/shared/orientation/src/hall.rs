//! Hall symbols: the operators of a space group in a few letters.
//!
//! Source: S. R. Hall, Acta Crystallographica A37 (1981) 517; International Tables for Crystallography B, appendix 1.4.2.

/// The Hall symbols of the 230 space groups in their standard settings, without shifts of the origin.
///
/// Monoclinic groups have b as their axis, rhombohedral ones hexagonal axes. Absences do not depend on the origin.
#[rustfmt::skip]
const HALL: [&str; 230] = [
    "P 1", "-P 1", "P 2y", "P 2yb", "C 2y", "P -2y", "P -2yc", "C -2y", "C -2yc", "-P 2y", "-P 2yb",
    "-C 2y", "-P 2yc", "-P 2ybc", "-C 2yc", "P 2 2", "P 2c 2", "P 2 2ab", "P 2ac 2ab", "C 2c 2", "C 2 2",
    "F 2 2", "I 2 2", "I 2b 2c", "P 2 -2", "P 2c -2", "P 2 -2c", "P 2 -2a", "P 2c -2ac", "P 2 -2bc",
    "P 2ac -2", "P 2 -2ab", "P 2c -2n", "P 2 -2n", "C 2 -2", "C 2c -2", "C 2 -2c", "A 2 -2", "A 2 -2b",
    "A 2 -2a", "A 2 -2ab", "F 2 -2", "F 2 -2d", "I 2 -2", "I 2 -2c", "I 2 -2a", "-P 2 2", "P 2 2 -1n",
    "-P 2 2c", "P 2 2 -1ab", "-P 2a 2a", "-P 2a 2bc", "-P 2ac 2", "-P 2a 2ac", "-P 2 2ab", "-P 2ab 2ac",
    "-P 2c 2b", "-P 2 2n", "P 2 2ab -1ab", "-P 2n 2ab", "-P 2ac 2ab", "-P 2ac 2n", "-C 2c 2", "-C 2ac 2",
    "-C 2 2", "-C 2 2c", "-C 2a 2", "C 2 2 -1ac", "-F 2 2", "F 2 2 -1d", "-I 2 2", "-I 2 2c", "-I 2b 2c",
    "-I 2b 2", "P 4", "P 4w", "P 4c", "P 4cw", "I 4", "I 4bw", "P -4", "I -4", "-P 4", "-P 4c",
    "P 4ab -1ab", "P 4n -1n", "-I 4", "I 4bw -1bw", "P 4 2", "P 4ab 2ab", "P 4w 2c", "P 4abw 2nw",
    "P 4c 2", "P 4n 2n", "P 4cw 2c", "P 4nw 2abw", "I 4 2", "I 4bw 2bw", "P 4 -2", "P 4 -2ab", "P 4c -2c",
    "P 4n -2n", "P 4 -2c", "P 4 -2n", "P 4c -2", "P 4c -2ab", "I 4 -2", "I 4 -2c", "I 4bw -2", "I 4bw -2c",
    "P -4 2", "P -4 2c", "P -4 2ab", "P -4 2n", "P -4 -2", "P -4 -2c", "P -4 -2ab", "P -4 -2n", "I -4 -2",
    "I -4 -2c", "I -4 2", "I -4 2bw", "-P 4 2", "-P 4 2c", "P 4 2 -1ab", "P 4 2 -1n", "-P 4 2ab",
    "-P 4 2n", "P 4ab 2ab -1ab", "P 4ab 2n -1ab", "-P 4c 2", "-P 4c 2c", "P 4n 2c -1n", "P 4n 2 -1n",
    "-P 4c 2ab", "-P 4n 2n", "P 4n 2n -1n", "P 4n 2ab -1n", "-I 4 2", "-I 4 2c", "I 4bw 2bw -1bw",
    "I 4bw 2aw -1bw", "P 3", "P 31", "P 32", "R 3", "-P 3", "-R 3", "P 3 2", r#"P 3 2""#, "P 31 2",
    r#"P 31 2""#, "P 32 2", r#"P 32 2""#, r#"R 3 2""#, r#"P 3 -2""#, "P 3 -2", r#"P 3 -2"c"#, "P 3 -2c",
    r#"R 3 -2""#, r#"R 3 -2"c"#, "-P 3 2", "-P 3 2c", r#"-P 3 2""#, r#"-P 3 2"c"#, r#"-R 3 2""#,
    r#"-R 3 2"c"#, "P 6", "P 61", "P 65", "P 62", "P 64", "P 6c", "P -6", "-P 6", "-P 6c", "P 6 2",
    "P 61 2", "P 65 2", "P 62 2", "P 64 2", "P 6c 2c", "P 6 -2", "P 6 -2c", "P 6c -2", "P 6c -2c",
    "P -6 2", "P -6c 2", "P -6 -2", "P -6c -2c", "-P 6 2", "-P 6 2c", "-P 6c 2", "-P 6c 2c", "P 2 2 3",
    "F 2 2 3", "I 2 2 3", "P 2ac 2ab 3", "I 2b 2c 3", "-P 2 2 3", "P 2 2 3 -1n", "-F 2 2 3", "F 2 2 3 -1d",
    "-I 2 2 3", "-P 2ac 2ab 3", "-I 2b 2c 3", "P 4 2 3", "P 4n 2 3", "F 4 2 3", "F 4d 2 3", "I 4 2 3",
    "P 4acd 2ab 3", "P 4bd 2ab 3", "I 4bd 2c 3", "P -4 2 3", "F -4 2 3", "I -4 2 3", "P -4n 2 3",
    "F -4a 2 3", "I -4bd 2c 3", "-P 4 2 3", "P 4 2 3 -1n", "-P 4n 2 3", "P 4n 2 3 -1n", "-F 4 2 3",
    "-F 4a 2 3", "F 4d 2 3 -1d", "F 4d 2 3 -1ad", "-I 4 2 3", "-I 4bd 2c 3",
];

/// An operator on fractional coordinates: a matrix and a translation in twelfths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub rotation: [[i32; 3]; 3],
    pub shift: [i32; 3],
}

impl Operator {
    const IDENTITY: Operator = Operator { rotation: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], shift: [0; 3] };

    fn times(&self, other: &Operator) -> Operator {
        let (a, b) = (&self.rotation, &other.rotation);
        let rotation =
            std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()));
        let shift = std::array::from_fn(|i| {
            let moved: i32 = (0..3).map(|k| a[i][k] * other.shift[k]).sum();
            (moved + self.shift[i]).rem_euclid(12)
        });
        Operator { rotation, shift }
    }
}

/// All operators of a space group, those of its centring included; none for a number that names no group.
pub(crate) fn operators(group: u8) -> Option<Vec<Operator>> {
    let symbol = HALL.get(usize::from(group).checked_sub(1)?)?;
    let generators = generators(symbol);
    let mut all = vec![Operator::IDENTITY];
    let mut at = 0;
    while at < all.len() {
        for g in &generators {
            let next = g.times(&all[at]);
            if !all.contains(&next) {
                all.push(next);
            }
        }
        at += 1;
    }
    Some(all)
}

fn generators(symbol: &str) -> Vec<Operator> {
    let mut words = symbol.split_whitespace();
    let lattice = words.next().unwrap_or_default();
    let mut out = vec![];
    if lattice.starts_with('-') {
        out.push(Operator { rotation: [[-1, 0, 0], [0, -1, 0], [0, 0, -1]], shift: [0; 3] });
    }
    let centring: &[[i32; 3]] = match lattice.trim_start_matches('-') {
        "A" => &[[0, 6, 6]],
        "B" => &[[6, 0, 6]],
        "C" => &[[6, 6, 0]],
        "I" => &[[6, 6, 6]],
        "F" => &[[0, 6, 6], [6, 0, 6]],
        "R" => &[[8, 4, 4]],
        _ => &[],
    };
    out.extend(centring.iter().map(|shift| Operator { shift: *shift, ..Operator::IDENTITY }));
    let mut before = 0;
    for word in words {
        let (operator, order) = rotation(word, before);
        out.push(operator);
        before = order;
    }
    out
}

/// The operator of one word, and its order; the axis that is not written depends on the order of the one before.
fn rotation(word: &str, before: i32) -> (Operator, i32) {
    let proper = !word.starts_with('-');
    let mut letters = word.trim_start_matches('-').chars();
    let order = letters.next().and_then(|c| c.to_digit(10)).unwrap_or(1) as i32;
    let mut axis = match (before, order) {
        (2 | 4, 2) => 'x',
        (3 | 6, 2) => '\'',
        (0, _) | (_, 1) => 'z',
        (_, 3) => '*',
        _ => 'z',
    };
    let mut shift = [0; 3];
    for letter in letters {
        match letter {
            'x' | 'y' | 'z' | '"' | '\'' | '*' => axis = letter,
            'a' => shift[0] += 6,
            'b' => shift[1] += 6,
            'c' => shift[2] += 6,
            'n' => shift = shift.map(|s| s + 6),
            'u' => shift[0] += 3,
            'v' => shift[1] += 3,
            'w' => shift[2] += 3,
            'd' => shift = shift.map(|s| s + 3),
            // A screw: so many parts of the axis, which is z wherever a digit is written.
            digit => shift[2] += digit.to_digit(10).unwrap_or(0) as i32 * 12 / order,
        }
    }
    let matrix = match (order, axis) {
        (2, 'x') => [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
        (2, 'y') => [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        (2, '\'') => [[0, -1, 0], [-1, 0, 0], [0, 0, -1]],
        (2, '"') => [[0, 1, 0], [1, 0, 0], [0, 0, -1]],
        (2, _) => [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        (3, '*') => [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
        (3, _) => [[0, -1, 0], [1, -1, 0], [0, 0, 1]],
        (4, _) => [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        (6, _) => [[1, -1, 0], [1, 0, 0], [0, 0, 1]],
        _ => [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    };
    let sign = if proper { 1 } else { -1 };
    let rotation = matrix.map(|row: [i32; 3]| row.map(|x| x * sign));
    (Operator { rotation, shift: shift.map(|s| s.rem_euclid(12)) }, order)
}
