//! Rows of text that show values: half blocks in colour, or plain characters.

use std::fmt::Write;

use isard_core::Value;
use isard_core::run::Sight;
use isard_draw::{Colour, Map};

use super::panel::{Form, ends, fitted, scale_words, values};
use super::{caption, shape};

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Depth {
    /// Every colour.
    True,
    /// The 256 colours of xterm.
    Indexed,
    /// No colours, letters only.
    Plain,
}

impl Depth {
    /// What the environment says of the terminal.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Depth {
        let said = |name: &str| variable(name).filter(|v| !v.is_empty());
        let term = said("TERM").unwrap_or_default();
        let locale = said("LC_ALL").or_else(|| said("LC_CTYPE")).or_else(|| said("LANG")).unwrap_or_default();
        let unicode = ["utf-8", "utf8"].iter().any(|u| locale.to_lowercase().contains(u));
        if said("NO_COLOR").is_some() || !unicode || matches!(term.as_str(), "" | "dumb" | "linux" | "vt100")
        {
            return Depth::Plain;
        }
        // COLORTERM is seldom passed on by ssh; a terminal that has every colour has the 256 too.
        let every = said("COLORTERM").is_some_and(|c| c == "truecolor" || c == "24bit");
        if every || term.ends_with("-direct") { Depth::True } else { Depth::Indexed }
    }
}

/// Columns between two pictures.
const SPACE: usize = 2;
/// A picture smaller than this, in columns and rows, shows nothing.
const LEAST: (usize, usize) = (12, 4);
/// Columns that a picture beside another needs at least for its caption.
const BESIDE: usize = 24;
/// Lines of text above a picture.
const CAPTION: usize = 2;
/// Images longer than this times their width are drawn shorter than they are.
const SLIM: f64 = 4.0;

/// As many of the values as there is room for, `rows` lines of at most `columns` characters.
pub fn lines(shown: &[&Sight], columns: usize, rows: usize, depth: Depth) -> Vec<String> {
    let Some((count, across)) = grid(shown, columns, rows) else {
        let text = if shown.is_empty() { "nothing to view yet" } else { "no room for a picture" };
        return if rows > 0 { vec![cut(text, columns)] } else { vec![] };
    };
    let (shown, hidden) = shown.split_at(count);
    let spare = usize::from(!hidden.is_empty());
    let width = (columns + SPACE) / across - SPACE;
    let height = (rows - spare) / count.div_ceil(across);
    let mut lines = vec![];
    for row in shown.chunks(across) {
        let panels: Vec<Vec<(String, usize)>> =
            row.iter().map(|sight| panel(sight, width, height, depth)).collect();
        let tallest = panels.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..tallest {
            let mut line = String::new();
            for (i, panel) in panels.iter().enumerate() {
                let (text, used) = panel.get(at).map_or(("", 0), |(text, used)| (text.as_str(), *used));
                line += text;
                if i + 1 < panels.len() {
                    line += &" ".repeat(width - used + SPACE);
                }
            }
            lines.push(line);
        }
    }
    if !hidden.is_empty() {
        let names: Vec<String> = hidden.iter().map(|s| format!("{}.{}", s.stage, s.port)).collect();
        lines.push(cut(&format!("no room for {}; choose with --view=STAGE.PORT", names.join(", ")), columns));
    }
    lines
}

/// How many values are drawn and how many of them stand side by side: so that their pictures are largest.
fn grid(shown: &[&Sight], columns: usize, rows: usize) -> Option<(usize, usize)> {
    for count in (1..=shown.len()).rev() {
        let rows = rows.saturating_sub(usize::from(count < shown.len()));
        let mut best: Option<(usize, usize)> = None;
        for across in 1..=count {
            let width = ((columns + SPACE) / across).saturating_sub(SPACE);
            let height = (rows / count.div_ceil(across)).saturating_sub(CAPTION);
            let least = if across > 1 { BESIDE } else { LEAST.0 };
            if width < least || height < LEAST.1 {
                continue;
            }
            let area = shown[..count].iter().map(|sight| match Form::of(&sight.value) {
                Some(Form::Image(shape)) => fit(shape, width, height).iter().product(),
                _ => width * height,
            });
            let area = area.sum();
            if best.is_none_or(|(largest, _)| area > largest) {
                best = Some((area, across));
            }
        }
        if let Some((_, across)) = best {
            return Some((count, across));
        }
    }
    None
}

/// Rows and columns of dots for an image; a character is two dots high.
fn fit([rows, columns]: [usize; 2], width: usize, height: usize) -> [usize; 2] {
    let (most_rows, most_columns) = (2.0 * height as f64, width as f64);
    let ratio = (rows as f64 / columns as f64).clamp(1.0 / SLIM, SLIM);
    let wide = most_columns.min(most_rows / ratio);
    [((wide * ratio) as usize).clamp(2, 2 * height), (wide as usize).clamp(1, width)]
}

/// The caption and the picture of a value, with the columns that each line takes.
fn panel(sight: &Sight, width: usize, height: usize, depth: Depth) -> Vec<(String, usize)> {
    let height = height.saturating_sub(CAPTION);
    let Value::Array(array) = &sight.value else { return vec![] };
    let (scale, picture) = match Form::of(&sight.value) {
        Some(Form::Image(shape)) => {
            let to = fit(shape, width, height);
            let dots = fitted(array, shape, to);
            let scale = ends(&dots);
            (scale_words(scale), image(&dots, to, scale.0, depth))
        }
        Some(Form::Curve(_)) => curve(&values(array), width, height, depth),
        None => return vec![],
    };
    let mut lines: Vec<(String, usize)> = [caption(sight), format!("{}  {scale}", shape(array))]
        .iter()
        .map(|text| {
            let text = cut(text, width);
            let used = text.chars().count();
            (text, used)
        })
        .collect();
    lines.extend(picture);
    lines
}

/// Characters from dark to bright.
const RAMP: &[u8] = b" .:-=+*#%@";
/// The colour of a pixel without a value.
const INVALID: Colour = [90, 94, 102];

fn image(
    dots: &[f32],
    [rows, columns]: [usize; 2],
    [low, high]: [f32; 2],
    depth: Depth,
) -> Vec<(String, usize)> {
    let part = |value: f32| if high > low { (value - low) / (high - low) } else { 0.0 };
    let colour = |value: f32| if value.is_finite() { Map::Viridis.colour(part(value)) } else { INVALID };
    let mut lines = vec![];
    for top in (0..rows).step_by(2) {
        let mut line = String::new();
        let mut now: Option<(Colour, Option<Colour>)> = None;
        for x in 0..columns {
            let upper = dots[top * columns + x];
            let lower = (top + 1 < rows).then(|| dots[(top + 1) * columns + x]);
            if depth == Depth::Plain {
                let both = lower.map_or(upper, |lower| (upper + lower) / 2.0);
                let at = (part(both).clamp(0.0, 1.0) * (RAMP.len() - 1) as f32).round() as usize;
                line.push(if both.is_finite() { char::from(RAMP[at]) } else { '?' });
                continue;
            }
            let pair = (colour(upper), lower.map(colour));
            if now != Some(pair) {
                line += &ink(38, pair.0, depth);
                line += &pair.1.map_or("\x1b[49m".into(), |lower| ink(48, lower, depth));
                now = Some(pair);
            }
            line.push('▀');
        }
        if depth != Depth::Plain {
            line += "\x1b[0m";
        }
        lines.push((line, columns));
    }
    lines
}

/// Sets a colour: 38 is that of the letter, 48 that of the ground.
fn ink(what: u8, [r, g, b]: Colour, depth: Depth) -> String {
    match depth {
        Depth::True => format!("\x1b[{what};2;{r};{g};{b}m"),
        _ => format!("\x1b[{what};5;{}m", indexed([r, g, b])),
    }
}

/// The nearest of xterm's 6 x 6 x 6 colours.
fn indexed(colour: Colour) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let [r, g, b] = colour.map(|c| {
        let nearest = (0..6).min_by_key(|i| LEVELS[*i].abs_diff(c)).unwrap_or(0);
        nearest as u8
    });
    16 + 36 * r + 6 * g + b
}

/// A curve as bars from the bottom: the mean of the points above each column.
fn curve(values: &[f32], width: usize, height: usize, depth: Depth) -> (String, Vec<(String, usize)>) {
    const EIGHTHS: [char; 8] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇'];
    let columns = width.min(values.len());
    let means: Vec<f32> = (0..columns)
        .map(|x| {
            let part = &values[x * values.len() / columns..(x + 1) * values.len() / columns];
            let valid: Vec<f32> = part.iter().copied().filter(|v| v.is_finite()).collect();
            if valid.is_empty() { f32::NAN } else { valid.iter().sum::<f32>() / valid.len() as f32 }
        })
        .collect();
    let valid = || means.iter().copied().filter(|v| v.is_finite());
    let high = valid().fold(f32::MIN, f32::max);
    let low = valid().fold(f32::MAX, f32::min);
    // Counts begin at zero; a curve far from it shows its own range.
    let low = if low >= 0.0 && low < high / 2.0 { 0.0 } else { low };
    let eighths: Vec<usize> = means
        .iter()
        .map(|v| {
            let part = if high > low { (v - low) / (high - low) } else { 0.5 };
            (part.clamp(0.0, 1.0) * (8 * height) as f32).round() as usize
        })
        .collect();
    let mut lines = vec![];
    for row in (0..height).rev() {
        let mut line = String::new();
        for (x, full) in eighths.iter().enumerate() {
            let here = full.saturating_sub(8 * row).min(8);
            line.push(match (depth, here) {
                _ if means[x].is_nan() => ' ',
                (Depth::Plain, 4..) => '#',
                (Depth::Plain, _) => ' ',
                (_, 8) => '█',
                (_, part) => EIGHTHS[part],
            });
        }
        lines.push((line, columns));
    }
    let scale = if low <= high { scale_words(([low, high], false)) } else { "no values".into() };
    (scale, lines)
}

/// As much of a text as fits.
pub fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    // Not every terminal has an ellipsis.
    let _ = short.write_char(if columns > 0 { '>' } else { ' ' });
    if columns == 0 { String::new() } else { short }
}

#[cfg(test)]
mod tests {
    use console::{measure_text_width, strip_ansi_codes};
    use isard_core::{Array, Span};

    use super::*;

    fn sight(shape: &[usize]) -> Sight {
        let elements: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
        let value = Array::of(shape, &elements).unwrap().into();
        let span = Span::frames(41, 1);
        Sight { stage: "clean".into(), port: "image".into(), span, covers: None, last: true, value }
    }

    #[test]
    fn rows_fit_every_size() {
        let all = [sight(&[512, 512]), sight(&[1, 3000]), sight(&[2, 700]), sight(&[900, 3]), sight(&[8, 8])];
        for depth in [Depth::True, Depth::Indexed, Depth::Plain] {
            for count in 0..=all.len() {
                let shown: Vec<&Sight> = all[..count].iter().collect();
                for (columns, rows) in
                    [(0, 0), (1, 1), (11, 3), (20, 8), (80, 23), (81, 24), (200, 60), (33, 99)]
                {
                    let lines = lines(&shown, columns, rows, depth);
                    assert!(lines.len() <= rows, "{count} values, {columns} x {rows}: {} lines", lines.len());
                    for line in lines {
                        assert!(measure_text_width(&line) <= columns, "{columns} x {rows}: {line:?}");
                        assert!(depth != Depth::Plain || line.is_ascii(), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_picture_has_its_caption_and_fills_its_place() {
        let shown = sight(&[512, 512]);
        let drawn = lines(&[&shown], 80, 23, Depth::True);
        assert_eq!(strip_ansi_codes(&drawn[0]), "clean.image  frame 41");
        // 21 rows of two dots: 42 x 42 dots for a square image.
        assert_eq!((drawn.len(), measure_text_width(&drawn[5])), (23, 42));
        assert!(drawn[1].starts_with("512x512  ") && drawn[1].ends_with("(1-99 %)"), "{}", drawn[1]);
        // The ramp begins dark and ends bright: the ends of viridis.
        assert!(drawn[2].starts_with("\x1b[38;2;68;1;84m"), "{:?}", &drawn[2][..40]);
        assert!(drawn[22].contains("253;231;37"));
        let indexed = lines(&[&shown], 80, 23, Depth::Indexed);
        assert!(indexed[2].starts_with("\x1b[38;5;53m"), "{:?}", &indexed[2][..40]);
    }

    #[test]
    fn a_curve_rises_from_left_to_right() {
        let drawn = lines(&[&sight(&[40])], 60, 10, Depth::Plain);
        assert_eq!(drawn[1], "40  0..39 (all)");
        assert_eq!((drawn[2].trim_start().len(), drawn[9].trim_start().len()), (3, 37));
    }

    #[test]
    fn the_terminal_says_what_it_can_show() {
        let with = |pairs: &'static [(&str, &str)]| {
            Depth::of(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(
            with(&[("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("COLORTERM", "truecolor")]),
            Depth::True
        );
        assert_eq!(with(&[("TERM", "tmux-256color"), ("LANG", "de_DE.utf8")]), Depth::Indexed);
        assert_eq!(with(&[("TERM", "xterm"), ("LANG", "C")]), Depth::Plain);
        assert_eq!(with(&[("TERM", "dumb"), ("LANG", "C.UTF-8")]), Depth::Plain);
        assert_eq!(with(&[("TERM", "xterm"), ("LANG", "C.UTF-8"), ("NO_COLOR", "1")]), Depth::Plain);
    }
}
