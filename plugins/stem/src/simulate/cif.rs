//! Atoms out of a CIF file: cell, symmetry operations, sites.

use isard_core::prelude::*;

use crate::simulate::atoms::{Atom, Crystal};

/// Sites nearer than this to each other, in parts of the cell, are one.
const SAME: f64 = 1e-3;

impl Crystal {
    /// Reads a CIF file: the cell with right angles, its symmetry operations, and sites in parts of the cell.
    ///
    /// Occupancies below 1 are refused. `what` names the file in errors.
    pub fn cif(text: &str, what: &str) -> Result<Crystal> {
        let wrong = |why: String| Error::data(format!("{what}: {why}"));
        let words = words(text);
        let edge = |name: &str| {
            let at = words.iter().position(|w| w.eq_ignore_ascii_case(name));
            let word =
                at.and_then(|at| words.get(at + 1)).ok_or_else(|| wrong(format!("has no `{name}`")))?;
            number(word).ok_or_else(|| wrong(format!("`{name}` is {word:?}, wanted a number")))
        };
        let edges = [edge("_cell_length_c")?, edge("_cell_length_b")?, edge("_cell_length_a")?];
        if !edges.iter().all(|e| *e > 0.0) {
            return Err(wrong(format!("the edges of the cell are {edges:?}, wanted lengths above 0")));
        }
        for name in ["_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma"] {
            let angle = edge(name)?;
            if (angle - 90.0).abs() > 1e-6 {
                return Err(wrong(format!("`{name}` is {angle}, wanted 90"))
                    .help("make a cell of right angles, and give it as XYZ"));
            }
        }
        let operations: Vec<Vec<String>> = ["_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz"]
            .iter()
            .find_map(|name| columns(&words, &[name]))
            .unwrap_or_else(|| vec![vec!["x,y,z".to_owned()]]);
        let operations = operations
            .iter()
            .map(|row| operation(&row[0]).ok_or_else(|| wrong(format!("`{}` is no operation", row[0]))))
            .collect::<Result<Vec<_>>>()?;
        let names = ["_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z"];
        let sites =
            columns(&words, &names).ok_or_else(|| wrong("lists no sites in parts of the cell".into()))?;
        let symbols =
            columns(&words, &["_atom_site_type_symbol"]).or_else(|| columns(&words, &["_atom_site_label"]));
        let symbols = symbols.ok_or_else(|| wrong("names no elements".into()))?;
        for row in columns(&words, &["_atom_site_occupancy"]).unwrap_or_default() {
            if number(&row[0]).is_none_or(|n| (n - 1.0).abs() > 1e-6) {
                return Err(wrong(format!("a site has the occupancy {}, wanted 1", row[0])));
            }
        }
        let mut atoms: Vec<Atom> = vec![];
        for (site, symbol) in sites.iter().zip(&symbols) {
            let place: Option<Vec<f64>> = site.iter().map(|w| number(w)).collect();
            let place = place.ok_or_else(|| wrong(format!("a site is at {site:?}, wanted three numbers")))?;
            let element: String = symbol[0].chars().take_while(|c| c.is_ascii_alphabetic()).collect();
            for (turn, shift) in &operations {
                let moved: [f64; 3] = std::array::from_fn(|i| {
                    let sum: f64 = (0..3).map(|j| turn[i][j] * place[j]).sum();
                    // Minus nothing at all would become nearly one.
                    let inside = (sum + shift[i]).rem_euclid(1.0);
                    if inside > 1.0 - 1e-9 { 0.0 } else { inside }
                });
                let place = [moved[2] * edges[0], moved[1] * edges[1], moved[0] * edges[2]];
                let near = |atom: &Atom| {
                    (0..3).all(|i| {
                        let apart = (atom.place[i] - place[i]).abs() / edges[i];
                        apart.min(1.0 - apart) < SAME
                    })
                };
                match atoms.iter().find(|a| near(a)) {
                    Some(other) if other.element != element => {
                        return Err(wrong(format!("{} and {element} are at one place", other.element)));
                    }
                    Some(_) => {}
                    None => atoms.push(Atom { element: element.clone(), place }),
                }
            }
        }
        if atoms.is_empty() { Err(wrong("holds no atoms".into())) } else { Ok(Crystal { edges, atoms }) }
    }
}

/// The words of a file, without comments and quotes; texts over several lines are one.
fn words(text: &str) -> Vec<String> {
    let (mut all, mut block): (Vec<String>, Option<String>) = (vec![], None);
    for line in text.lines() {
        if let Some(begun) = &mut block {
            if line.starts_with(';') {
                all.extend(block.take());
            } else {
                begun.push_str(line);
                begun.push('\n');
            }
            continue;
        }
        if let Some(first) = line.strip_prefix(';') {
            block = Some(first.to_owned());
            continue;
        }
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let quote = rest.chars().next().filter(|c| ['\'', '"'].contains(c));
            // A quote ends a word only in front of a blank.
            let end = match quote {
                Some(quote) => rest[1..]
                    .char_indices()
                    .find(|(i, c)| {
                        *c == quote && rest[i + 2..].chars().next().is_none_or(char::is_whitespace)
                    })
                    .map(|(i, _)| (1, i + 1, i + 2)),
                None => None,
            };
            let (from, to, next) = end.unwrap_or_else(|| {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (0, end, end)
            });
            all.push(rest[from..to].to_owned());
            rest = rest[next..].trim_start();
        }
    }
    all
}

/// The columns of those names in their loop, row by row; a name outside of a loop is one row.
fn columns(words: &[String], names: &[&str]) -> Option<Vec<Vec<String>>> {
    let same = |word: &String, name: &str| word.eq_ignore_ascii_case(name);
    let first = words.iter().position(|w| same(w, names[0]))?;
    let begin = words[..first].iter().rposition(|w| !w.starts_with('_'));
    let Some(begin) = begin.filter(|at| same(&words[*at], "loop_")) else {
        let row = names.iter().map(|name| {
            let at = words.iter().position(|w| same(w, name))?;
            words.get(at + 1).cloned()
        });
        return row.collect::<Option<Vec<_>>>().map(|row| vec![row]);
    };
    let heads: Vec<&String> = words[begin + 1..].iter().take_while(|w| w.starts_with('_')).collect();
    let places: Option<Vec<usize>> =
        names.iter().map(|name| heads.iter().position(|head| same(head, name))).collect();
    let places = places?;
    let ends = |w: &String| w.starts_with('_') || same(w, "loop_") || w.to_lowercase().starts_with("data_");
    let values: Vec<&String> = words[begin + 1 + heads.len()..].iter().take_while(|w| !ends(w)).collect();
    let rows = values.chunks_exact(heads.len());
    Some(rows.map(|row| places.iter().map(|at| row[*at].clone()).collect()).collect())
}

/// A number, without the uncertainty in brackets.
fn number(word: &str) -> Option<f64> {
    word.split('(').next()?.parse().ok()
}

/// A symmetry operation such as `-x+1/2,y,z` as a matrix and a shift.
fn operation(text: &str) -> Option<([[f64; 3]; 3], [f64; 3])> {
    let (mut turn, mut shift) = ([[0.0; 3]; 3], [0.0; 3]);
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() != 3 {
        return None;
    }
    for (i, part) in parts.iter().enumerate() {
        let part: String = part.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
        // Each term with its sign in front.
        let signed = part.replace('-', "+-");
        for term in signed.split('+').filter(|t| !t.is_empty()) {
            let (sign, term) = term.strip_prefix('-').map_or((1.0, term), |t| (-1.0, t));
            match ["x", "y", "z"].iter().position(|axis| *axis == term) {
                Some(axis) => turn[i][axis] += sign,
                None => {
                    let value = match term.split_once('/') {
                        Some((a, b)) => a.parse::<f64>().ok()? / b.parse::<f64>().ok()?,
                        None => term.parse().ok()?,
                    };
                    shift[i] += sign * value;
                }
            }
        }
    }
    Some((turn, shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Silicon by hand: one site of the cell 227 with four of its operations per face-centring and the diamond shift.
    const SILICON: &str = "data_Si # a comment\n_cell_length_a 5.4309(2)\n_cell_length_b 5.4309\n_cell_length_c 5.4309\n\
        _cell_angle_alpha 90\n_cell_angle_beta 90.0\n_cell_angle_gamma 90\n\
        _publ_text\n;\nseveral lines, loop_ and all\n;\n\
        loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n'x, y+1/2, z+1/2'\n'x+1/2, y, z+1/2'\n'x+1/2, y+1/2, z'\n\
        '-x+1/4, -y+1/4, -z+1/4'\n'-x+1/4, -y+3/4, -z+3/4'\n'-x+3/4, -y+1/4, -z+3/4'\n'-x+3/4, -y+3/4, -z+1/4'\n\
        'z, x, y'\n\
        loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n\
        _atom_site_occupancy\nSi1 Si4+ 0 0.0 0.0(1) 1.0\n";

    #[test]
    fn silicon_of_a_cif_is_the_silicon_of_the_simulation() {
        let sorted = |crystal: &Crystal| {
            let mut places: Vec<[i64; 3]> =
                crystal.atoms.iter().map(|a| a.place.map(|p| (p * 1e4).round() as i64)).collect();
            places.sort_unstable();
            places
        };
        let found = Crystal::cif(SILICON, "si.cif").unwrap();
        assert_eq!(found.edges, [5.4309; 3]);
        assert!(found.atoms.iter().all(|a| a.element == "Si"), "{:?}", found.atoms);
        assert_eq!(sorted(&found), sorted(&Crystal::silicon()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (from, to, wanted) in [
            ("_cell_angle_gamma 90", "_cell_angle_gamma 120", "`_cell_angle_gamma` is 120"),
            ("0.0(1) 1.0", "0.0 0.5", "occupancy 0.5"),
            ("'z, x, y'", "'z, q, y'", "is no operation"),
            ("_cell_length_b 5.4309", "", "has no `_cell_length_b`"),
            ("_atom_site_fract_z", "_atom_site_other", "lists no sites"),
        ] {
            let error = Crystal::cif(&SILICON.replace(from, to), "si.cif").unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
