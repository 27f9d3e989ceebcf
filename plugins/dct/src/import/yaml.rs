//! The part of YAML that parameter files use: nested maps, lists, scalars, comments.

use isard_core::prelude::*;

/// A value of a parameter file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Nothing, or `null`.
    Null,
    /// A scalar as it is written, without quotes.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// Keys with their values and lines.
    Map(Vec<(String, usize, Node)>),
}

/// A line without its comment.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// Reads a file; errors name the line.
pub(super) fn parse(text: &str) -> Result<Node> {
    let mut lines = vec![];
    for (k, line) in text.lines().enumerate() {
        let bare = uncommented(line).trim_end();
        let text = bare.trim_start();
        if text.is_empty() || text == "---" {
            continue;
        }
        if bare[..bare.len() - text.len()].contains('\t') {
            return Err(fault(k + 1, "is indented by a tab, wanted spaces"));
        }
        lines.push(Line { number: k + 1, indent: bare.len() - text.len(), text });
    }
    let mut at = 0;
    let node = block(&lines, &mut at, 0)?;
    match lines.get(at) {
        Some(line) => Err(fault(line.number, "is indented less than what it belongs to")),
        None => Ok(node),
    }
}

fn fault(line: usize, what: &str) -> Error {
    Error::recipe(format!("line {line} {what}"))
}

/// The line without what follows a `#` that stands outside of quotes.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (k, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None, '#') if before.is_whitespace() => return &line[..k],
            _ => (),
        }
        before = c;
    }
    line
}

/// The lines that are indented by at least `indent`.
fn block(lines: &[Line], at: &mut usize, indent: usize) -> Result<Node> {
    let Some(first) = lines.get(*at).filter(|l| l.indent >= indent) else { return Ok(Node::Null) };
    let indent = first.indent;
    let (mut list, mut map) = (vec![], vec![]);
    while let Some(line) = lines.get(*at).filter(|l| l.indent == indent) {
        if line.text == "-" || line.text.starts_with("- ") {
            *at += 1;
            let rest = line.text[1..].trim();
            list.push(if rest.is_empty() { block(lines, at, indent + 1)? } else { flow(line.number, rest)? });
            continue;
        }
        let Some((key, value)) =
            line.text.split_once(':').filter(|(_, v)| v.is_empty() || v.starts_with(' '))
        else {
            return Err(fault(line.number, "is no `key: value`"));
        };
        *at += 1;
        let node = match value.trim() {
            "" => block(lines, at, indent + 1)?,
            value => flow(line.number, value)?,
        };
        map.push((key.trim().trim_matches(['"', '\'']).to_owned(), line.number, node));
    }
    match (list.is_empty(), map.is_empty()) {
        (true, _) => Ok(Node::Map(map)),
        (false, true) => Ok(Node::List(list)),
        _ => Err(fault(first.number, "begins a list and a map at once")),
    }
}

/// A value in one line.
fn flow(line: usize, text: &str) -> Result<Node> {
    let mut rest = text;
    // Outside brackets a text goes on to the end of its line, placeholders and all.
    if !text.trim_start().starts_with(['[', '{', '"', '\'']) {
        return Ok(plain(text));
    }
    let node = item(line, &mut rest)?;
    match rest.trim() {
        "" => Ok(node),
        more => Err(fault(line, &format!("goes on with `{more}` after its value"))),
    }
}

fn plain(text: &str) -> Node {
    match text.trim() {
        "" | "~" | "null" | "Null" | "None" => Node::Null,
        text => Node::Scalar(text.to_owned()),
    }
}

fn item(line: usize, rest: &mut &str) -> Result<Node> {
    *rest = rest.trim_start();
    let Some(first) = rest.chars().next() else { return Ok(Node::Null) };
    match first {
        '[' | '{' => {
            let end = if first == '[' { ']' } else { '}' };
            *rest = &rest[1..];
            let (mut list, mut map) = (vec![], vec![]);
            loop {
                *rest = rest.trim_start();
                if let Some(left) = rest.strip_prefix(end) {
                    *rest = left;
                    return Ok(if first == '[' { Node::List(list) } else { Node::Map(map) });
                }
                if rest.is_empty() {
                    return Err(fault(line, &format!("ends before `{end}`")));
                }
                if first == '[' {
                    list.push(item(line, rest)?);
                } else {
                    let Some((key, after)) = rest.split_once(':') else {
                        return Err(fault(line, "has a key without `:`"));
                    };
                    *rest = after;
                    map.push((key.trim().trim_matches(['"', '\'']).to_owned(), line, item(line, rest)?));
                }
                *rest = rest.trim_start();
                if let Some(left) = rest.strip_prefix(',') {
                    *rest = left;
                }
            }
        }
        '"' | '\'' => match rest[1..].split_once(first) {
            Some((text, after)) => {
                *rest = after;
                Ok(Node::Scalar(text.to_owned()))
            }
            None => Err(fault(line, "has a quote that does not end")),
        },
        _ => {
            let end = rest.find([',', ']', '}']).unwrap_or(rest.len());
            let text = plain(&rest[..end]);
            *rest = &rest[end..];
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_flows_quotes_and_comments() {
        let text = "a: 1  # one\nb:\n  c: {x: [1, 2], y: 'p # q'}\n  d: null\nlist:\n  - [3, 4]\n  - e\n";
        let Node::Map(map) = parse(text).unwrap() else { panic!("a map") };
        let scalar = |s: &str| Node::Scalar(s.into());
        assert_eq!(map[0], ("a".into(), 1, scalar("1")));
        let c = vec![
            ("x".into(), 3, Node::List(vec![scalar("1"), scalar("2")])),
            ("y".into(), 3, scalar("p # q")),
        ];
        let b = vec![("c".into(), 3, Node::Map(c)), ("d".into(), 4, Node::Null)];
        assert_eq!(map[1].2, Node::Map(b));
        assert_eq!(map[2].2, Node::List(vec![Node::List(vec![scalar("3"), scalar("4")]), scalar("e")]));
    }

    #[test]
    fn faults_name_their_line() {
        for (text, wanted) in [
            ("a: 1\nb", "line 2 is no `key: value`"),
            ("a: [1, 2", "line 1 ends before `]`"),
            ("a:\n\tb: 1", "line 2 is indented by a tab, wanted spaces"),
            ("a: 'b", "line 1 has a quote that does not end"),
        ] {
            assert_eq!(parse(text).unwrap_err().message(), wanted);
        }
    }
}
