//! As much of YAML as parameter trees use: nested mappings, lists, flow collections, plain and quoted scalars.

use isard_core::{Error, Result};
use serde_json::{Map, Value};

/// A line with its indentation, its text and its number.
type Line<'a> = (usize, &'a str, usize);

/// Parses a document.
pub fn parse(text: &str) -> Result<Value> {
    let lines: Vec<Line> = text
        .lines()
        .enumerate()
        .map(|(k, line)| (line.len() - line.trim_start().len(), uncommented(line).trim(), k + 1))
        .filter(|(_, line, _)| !line.is_empty() && *line != "---")
        .collect();
    let mut at = 0;
    let value = block(&lines, &mut at, lines.first().map_or(0, |l| l.0))?;
    match lines.get(at) {
        None => Ok(value),
        Some((_, line, number)) => Err(wrong(*number, line)),
    }
}

fn wrong(number: usize, line: &str) -> Error {
    Error::data(format!("line {number}: `{line}` is not understood")).help("write the parameters as JSON")
}

/// A line up to its comment.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => (),
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && before.is_whitespace() => return &line[..at],
            None => (),
        }
        before = c;
    }
    line
}

fn block(lines: &[Line], at: &mut usize, indent: usize) -> Result<Value> {
    if lines.get(*at).is_some_and(|l| l.1 == "-" || l.1.starts_with("- ")) {
        let mut list = vec![];
        while let Some((i, line, number)) = lines.get(*at).filter(|l| l.0 == indent) {
            let Some(rest) = line.strip_prefix('-') else { return Err(wrong(*number, line)) };
            *at += 1;
            match rest.trim() {
                "" => {
                    let deeper = lines.get(*at).map_or(i + 1, |l| l.0);
                    list.push(block(lines, at, deeper)?);
                }
                rest => list.push(scalar(rest, *number)?),
            }
        }
        return Ok(Value::Array(list));
    }
    let mut map = Map::new();
    while let Some((_, line, number)) = lines.get(*at).filter(|l| l.0 == indent) {
        let (key, rest) = line.split_once(':').ok_or_else(|| wrong(*number, line))?;
        if !(rest.is_empty() || rest.starts_with(' ')) {
            return Err(wrong(*number, line));
        }
        *at += 1;
        let value = match rest.trim() {
            "" => match lines.get(*at) {
                Some(next) if next.0 > indent || next.0 == indent && next.1.starts_with("- ") => {
                    block(lines, at, next.0)?
                }
                _ => Value::Null,
            },
            rest => scalar(rest, *number)?,
        };
        map.insert(key.trim().trim_matches(['"', '\'']).to_owned(), value);
    }
    Ok(Value::Object(map))
}

/// A scalar, or a collection in brackets.
fn scalar(text: &str, number: usize) -> Result<Value> {
    let inner = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    if let Some(inner) = inner('[', ']') {
        return parts(inner)
            .into_iter()
            .map(|p| scalar(p, number))
            .collect::<Result<Vec<_>>>()
            .map(Value::from);
    }
    if let Some(inner) = inner('{', '}') {
        let mut map = Map::new();
        for part in parts(inner) {
            let (key, value) = part.split_once(':').ok_or_else(|| wrong(number, part))?;
            map.insert(key.trim().trim_matches(['"', '\'']).to_owned(), scalar(value.trim(), number)?);
        }
        return Ok(Value::Object(map));
    }
    if let Some(quoted) = inner('"', '"').or_else(|| inner('\'', '\'')) {
        return Ok(Value::from(quoted));
    }
    if text.starts_with(['[', '{', '&', '*', '!', '|', '>']) {
        return Err(wrong(number, text));
    }
    Ok(match text {
        "null" | "~" | "None" => Value::Null,
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        other => match (other.parse::<i64>(), other.parse::<f64>()) {
            (Ok(n), _) => Value::from(n),
            (_, Ok(x)) if x.is_finite() => Value::from(x),
            _ => Value::from(other),
        },
    })
}

/// The parts of a collection, split at its own commas.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0, 0, vec![]);
    for (at, c) in text.char_indices() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[from..at].trim());
                from = at + 1;
            }
            _ => (),
        }
    }
    out.push(text[from..].trim());
    out.retain(|p| !p.is_empty());
    out
}
