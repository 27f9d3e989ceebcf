//! Atoms: a crystal by its name, or out of an XYZ file.

use isard_core::prelude::*;

/// An atom.
#[derive(Clone, Debug, PartialEq)]
pub struct Atom {
    /// Its symbol, or its number.
    pub element: String,
    /// Where it is, in angstrom: z, y, x.
    pub place: [f64; 3],
}

/// Atoms in a box that repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct Crystal {
    /// Edges of the box in angstrom: z, y, x.
    pub edges: [f64; 3],
    /// The atoms.
    pub atoms: Vec<Atom>,
}

impl Crystal {
    /// A cell of silicon along [001].
    pub fn silicon() -> Crystal {
        let a = 5.4309;
        let places = [
            [0.0, 0.0, 0.0],
            [0.0, 0.5, 0.5],
            [0.25, 0.25, 0.25],
            [0.25, 0.75, 0.75],
            [0.5, 0.0, 0.5],
            [0.5, 0.5, 0.0],
            [0.75, 0.25, 0.75],
            [0.75, 0.75, 0.25],
        ];
        let atom = |p: [f64; 3]| Atom { element: "Si".into(), place: p.map(|p| p * a) };
        Crystal { edges: [a; 3], atoms: places.map(atom).into() }
    }

    /// The box repeated along z, y and x.
    pub fn repeated(&self, [nz, ny, nx]: [usize; 3]) -> Crystal {
        let mut atoms = vec![];
        for z in 0..nz {
            for y in 0..ny {
                for x in 0..nx {
                    let shift = [z, y, x];
                    atoms.extend(self.atoms.iter().map(|atom| {
                        let place = std::array::from_fn(|i| atom.place[i] + shift[i] as f64 * self.edges[i]);
                        Atom { place, ..atom.clone() }
                    }));
                }
            }
        }
        let edges = [self.edges[0] * nz as f64, self.edges[1] * ny as f64, self.edges[2] * nx as f64];
        Crystal { edges, atoms }
    }

    /// Reads an XYZ file with its cell.
    ///
    /// The cell is `Lattice="..."` of the extended form, or the second line. `what` names the file in errors.
    pub fn xyz(text: &str, what: &str) -> Result<Crystal> {
        let wrong = |line: usize, text: String| Error::data(format!("{what}, line {}: {text}", line + 1));
        let lines: Vec<&str> = text.lines().collect();
        let numbers =
            |line: &str| -> Vec<f64> { line.split_whitespace().map_while(|w| w.parse().ok()).collect() };
        let whole = lines.first().and_then(|l| l.trim().parse::<usize>().ok());
        let mut edges = lines.get(1).and_then(|l| lattice(l));
        let mut begin = 2;
        if edges.is_none() {
            // The form of multislice programs: a comment, the cell, then atoms by number.
            let second = lines.get(1).map_or(vec![], |l| numbers(l));
            if let [x, y, z] = second[..] {
                edges = Some([z, y, x]);
            }
        }
        let edges = edges.filter(|e| e.iter().all(|e| *e > 0.0)).ok_or_else(|| {
            wrong(1, "states no cell of right angles".into())
                .help("write `Lattice=\"ax 0 0 0 by 0 0 0 cz\"`, or the three edges")
        })?;
        if whole.is_none() && !lines.is_empty() && numbers(lines[0]).len() == 3 {
            begin = 1;
        }
        let mut atoms = vec![];
        for (i, line) in lines.iter().enumerate().skip(begin) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            if words == ["-1"] {
                break;
            }
            let place: Option<Vec<f64>> =
                words.get(1..4).and_then(|w| w.iter().map(|w| w.parse().ok()).collect());
            match place.as_deref() {
                Some([x, y, z]) => atoms.push(Atom { element: words[0].to_owned(), place: [*z, *y, *x] }),
                _ => return Err(wrong(i, format!("is `{line}`, wanted an element and x, y, z"))),
            }
        }
        match whole {
            Some(n) if n != atoms.len() => Err(Error::data(format!(
                "{what}: holds {} atoms, wanted {n} as its first line says",
                atoms.len()
            ))),
            _ if atoms.is_empty() => Err(Error::data(format!("{what}: holds no atoms"))),
            _ => Ok(Crystal { edges, atoms }),
        }
    }
}

/// The edges of `Lattice="..."`, when its angles are right ones.
fn lattice(line: &str) -> Option<[f64; 3]> {
    let inside = line.split_once("Lattice=\"")?.1.split('"').next()?;
    let m: Vec<f64> =
        inside.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    let right = m.len() == 9 && [1, 2, 3, 5, 6, 7].iter().all(|i| m[*i].abs() < 1e-9);
    right.then(|| [m[8], m[4], m[0]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_xyz_give_the_same_atoms() {
        let extended =
            "2\nLattice=\"4 0 0 0 5 0 0 0 6\" Properties=species:S:1:pos:R:3\nSi 1 2 3\nO 0 0.5 1\n";
        let plain = "a comment\n4 5 6\nSi 1 2 3 1.0 0.08\nO 0 0.5 1 1 0.08\n-1\n";
        let found = Crystal::xyz(extended, "a.xyz").unwrap();
        assert_eq!((found.edges, found.atoms.len()), ([6.0, 5.0, 4.0], 2));
        assert_eq!(found.atoms[0], Atom { element: "Si".into(), place: [3.0, 2.0, 1.0] });
        assert_eq!(Crystal::xyz(plain, "b.xyz").unwrap(), found);
        assert!(Crystal::xyz("2\nno cell\nSi 0 0 0\n", "c.xyz").unwrap_err().message().contains("no cell"));
        let error = Crystal::xyz(&extended.replace("2\nL", "3\nL"), "d.xyz").unwrap_err();
        assert!(error.message().contains("2 atoms, wanted 3"), "{error}");
    }
}
