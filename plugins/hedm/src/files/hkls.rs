//! `hkls.csv`: the reflections, separated by blanks in spite of the name.

use std::fmt::Write;

use isard_core::error::{Error, Result};

use crate::files::{numbers, shortest};
use crate::model::Reflection;

const HEAD: &str = "h k l D-spacing RingNr g1 g2 g3 Theta 2Theta Radius";

/// The reflections of a list.
pub fn read_reflections(text: &str) -> Result<Vec<Reflection>> {
    let mut out = vec![];
    for (at, line) in text.lines().enumerate().skip(1).filter(|(_, l)| !l.trim().is_empty()) {
        let row = numbers(line, at + 1)?;
        let [h, k, l, d, ring, g1, g2, g3, theta, _, radius] = row[..] else {
            let found = row.len();
            return Err(Error::data(format!("line {}: found {found} numbers, wanted 11 ({HEAD})", at + 1)));
        };
        let hkl = [h, k, l].map(|x| x as i32);
        out.push(Reflection {
            hkl,
            d,
            ring: ring as u32,
            g: [g1, g2, g3],
            theta: theta.to_radians(),
            radius,
        });
    }
    Ok(out)
}

/// The text of a list of reflections.
pub fn write_reflections(all: &[Reflection]) -> String {
    let mut out = format!("{HEAD}\n");
    for r in all {
        let [h, k, l] = r.hkl;
        let theta = r.theta.to_degrees();
        let rest = [r.g[0], r.g[1], r.g[2], theta, 2.0 * theta, r.radius].map(shortest).join(" ");
        writeln!(out, "{h} {k} {l} {} {} {rest}", shortest(r.d), r.ring).expect("text grows");
    }
    out
}
