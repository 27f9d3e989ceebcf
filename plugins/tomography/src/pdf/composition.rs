//! What a sample is made of.

use isard_core::prelude::*;

use super::factors::Factor;

/// Elements with their parts of all atoms.
pub struct Composition {
    /// Factors and parts, which add up to 1.
    pub parts: Vec<(&'static Factor, f64)>,
}

impl Composition {
    /// Reads a formula such as `CeO2` or `La0.7Sr0.3MnO3`.
    pub fn parse(formula: &str) -> Result<Composition> {
        let fault = |what: String| {
            Error::recipe(format!("formula `{formula}`: {what}"))
                .help("write elements with their numbers, such as `La0.7Sr0.3MnO3`")
        };
        let mut parts: Vec<(&'static Factor, f64)> = vec![];
        let mut rest = formula.trim();
        while let Some(first) = rest.chars().next() {
            if !first.is_ascii_uppercase() {
                return Err(fault(format!("found `{first}`, wanted an element")));
            }
            let end = rest[1..].find(|c: char| !c.is_ascii_lowercase()).map_or(rest.len(), |k| k + 1);
            let (symbol, after) = rest.split_at(end);
            let end = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
            let (number, after) = after.split_at(end);
            let count = if number.is_empty() { Ok(1.0) } else { number.parse::<f64>() };
            let count = count.ok().filter(|n| n.is_finite() && *n > 0.0);
            let count = count.ok_or_else(|| fault(format!("`{number}` is no number of atoms")))?;
            let factor = Factor::of(symbol).ok_or_else(|| fault(format!("no element `{symbol}`")))?;
            match parts.iter_mut().find(|(f, _)| f.symbol == symbol) {
                Some((_, n)) => *n += count,
                None => parts.push((factor, count)),
            }
            rest = after;
        }
        let all: f64 = parts.iter().map(|p| p.1).sum();
        if parts.is_empty() {
            return Err(fault("it is empty".into()));
        }
        parts.iter_mut().for_each(|p| p.1 /= all);
        Ok(Composition { parts })
    }

    /// The mean of the factors and of their squares at `q` in inverse angstrom.
    pub fn means(&self, q: f64) -> [f64; 2] {
        self.parts.iter().fold([0.0; 2], |[mean, square], (factor, part)| {
            let f = factor.at(q);
            [mean + part * f, square + part * f * f]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_read_and_faults_named() {
        let ceria = Composition::parse("CeO2").unwrap();
        assert_eq!(
            ceria.parts.iter().map(|p| (p.0.symbol, p.1)).collect::<Vec<_>>(),
            [("Ce", 1.0 / 3.0), ("O", 2.0 / 3.0)]
        );
        let mixed = Composition::parse("La0.7Sr0.3MnO3").unwrap();
        assert!((mixed.parts[1].1 - 0.06).abs() < 1e-12);
        assert_eq!(Composition::parse("CH3COOH").unwrap().parts.len(), 3);
        // By hand, at q = 0: (58 + 2 x 8) / 3 and (58^2 + 2 x 64) / 3.
        let [mean, square] = ceria.means(0.0);
        assert!((mean - 24.667).abs() < 0.02 && (square - 1164.0).abs() < 1.0, "{mean} {square}");
        for (formula, said) in [
            ("", "it is empty"),
            ("ceo2", "found `c`"),
            ("Xy2", "no element `Xy`"),
            ("O1.2.3", "is no number"),
        ] {
            let error = Composition::parse(formula).err().unwrap();
            assert!(error.message().contains(said), "{error}");
        }
    }
}
