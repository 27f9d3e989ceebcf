//! The files of near-field programs, as they are on disk.

mod consolidated;
mod grid;
mod hkls;
mod legacy;
mod levels;
mod mic;
mod params;
mod seeds;
mod spots;

pub use consolidated::{Beside, consolidated, pipeline};
pub use grid::{grid_row, read_grid, write_grid};
pub use hkls::{read_reflections, write_reflections};
pub use legacy::{LegacyPixel, read_legacy, write_legacy};
pub use levels::{Level, Trial};
pub use mic::{
    Fitted, MicHead, read_binary_mic, read_text_mic, write_all_matches, write_binary_mic, write_text_matches,
    write_text_mic,
};
pub use params::{KEYS, Params, Warning};
pub use seeds::{read_grains, read_printed_seeds, read_seeds, write_seeds};
pub use spots::{SpotFiles, read_spot_files, spot_files, write_spot_table};

use isard_core::error::{Error, Result};

/// The numbers of a line of text, split at blanks and commas.
fn numbers(line: &str, place: usize) -> Result<Vec<f64>> {
    line.split([' ', '\t', ','])
        .filter(|w| !w.is_empty())
        .map(|w| w.parse().map_err(|_| Error::data(format!("line {place}: found `{w}`, wanted a number"))))
        .collect()
}

/// A number as C prints it with `%.17g`.
fn shortest(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let exponent = x.abs().log10().floor() as i32;
    // The logarithm may be off by one at powers of ten; the printed form is not.
    let exponent = format!("{:.16e}", x).split('e').nth(1).and_then(|e| e.parse().ok()).unwrap_or(exponent);
    let text = if (-4..17).contains(&exponent) {
        format!("{:.*}", (16 - exponent).max(0) as usize, x)
    } else {
        let text = format!("{x:.16e}");
        let (mantissa, power) = text.split_once('e').expect("a number in scientific form");
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        let power: i32 = power.parse().expect("a whole exponent");
        return format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_c_does() {
        // From printf("%.17g") of glibc 2.36.
        let cases = [
            (0.1, "0.10000000000000001"),
            (757.215_336_515_607_7, "757.21533651560765"),
            (-0.24509803921568626, "-0.24509803921568626"),
            (1e22, "1e+22"),
            (1.5e-7, "1.4999999999999999e-07"),
            (2.0, "2"),
            (0.0001, "0.0001"),
            (0.68, "0.68000000000000005"),
        ];
        for (x, wanted) in cases {
            assert_eq!(shortest(x), wanted);
        }
        assert!(numbers("1 x", 3).unwrap_err().message().contains("line 3"));
    }
}
