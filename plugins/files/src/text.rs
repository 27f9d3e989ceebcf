//! Columns of text: CSV, and columns between blanks.

use crate::format::{FormatError, Result};

/// Columns of a text file.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// Name and cells of each column.
    pub columns: Vec<(String, Cells)>,
    /// Rows.
    pub rows: usize,
}

/// The cells of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Whole numbers.
    Whole(Vec<i64>),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Anything else.
    Text(Vec<String>),
}

impl Columns {
    /// Reads columns; `name` is for messages.
    ///
    /// Cells stand between commas, semicolons or tabs where the first row has any, else between blanks. Lines that begin
    /// with `#` or `%` are comments. Names are the first line if it holds no number, else the last comment with as many
    /// words, else `column_0` and so on.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let bad = |line: usize, text: String| FormatError::new(&format!("{name}:{line}"), text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let comment = |line: &str| line.starts_with(['#', '%']);
        let lines = || text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end()));
        let first = lines().find(|(_, line)| !line.trim().is_empty() && !comment(line));
        let (begin, first) = first.ok_or_else(|| bad(1, "holds no row".into()))?;
        let divide = [',', ';', '\t'].into_iter().find(|c| first.contains(*c));
        let head = split(first, divide).map_err(|text| bad(begin, text))?;
        let named = head.iter().all(|cell| cell.parse::<f64>().is_err());
        let names: Vec<String> = if named {
            head.clone()
        } else {
            let comments = lines().take_while(|(i, _)| *i < begin).filter(|(_, line)| comment(line));
            let words =
                comments.filter_map(|(_, line)| split(line.trim_start_matches(['#', '%', ' ']), divide).ok());
            let fits = words.filter(|words| words.len() == head.len()).last();
            fits.unwrap_or_else(|| (0..head.len()).map(|i| format!("column_{i}")).collect())
        };
        for (at, column) in names.iter().enumerate() {
            if column.is_empty() || names[..at].contains(column) {
                return Err(bad(
                    begin,
                    format!("column {at} is called `{column}`, wanted names that differ"),
                ));
            }
        }
        let mut cells: Vec<Vec<String>> = names.iter().map(|_| vec![]).collect();
        for (number, line) in lines().skip(begin - usize::from(!named)) {
            if line.trim().is_empty() || comment(line) {
                continue;
            }
            let row = split(line, divide).map_err(|text| bad(number, text))?;
            if row.len() != names.len() {
                return Err(bad(number, format!("has {} cells, wanted {}", row.len(), names.len())));
            }
            cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
        }
        let rows = cells.first().map_or(0, Vec::len);
        Ok(Self { columns: names.into_iter().zip(cells.into_iter().map(kind)).collect(), rows })
    }
}

/// The cells of a line.
fn split(line: &str, divide: Option<char>) -> std::result::Result<Vec<String>, String> {
    let Some(divide) = divide else {
        return Ok(line.split_whitespace().map(str::to_owned).collect());
    };
    let (mut cells, mut cell, mut quoted) = (vec![], String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // RFC 4180: two quotes inside quotes stand for one.
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            c if c == divide && !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            c => cell.push(c),
        }
    }
    if quoted {
        return Err("has a quote that does not end in its line".into());
    }
    cells.push(cell.trim().to_owned());
    Ok(cells)
}

fn kind(cells: Vec<String>) -> Cells {
    if let Ok(whole) = cells.iter().map(|cell| cell.parse()).collect() {
        return Cells::Whole(whole);
    }
    // An empty cell is a value that is not there.
    let number = |cell: &String| if cell.is_empty() { Ok(f64::NAN) } else { cell.parse() };
    match cells.iter().map(number).collect() {
        Ok(numbers) if cells.iter().any(|cell| !cell.is_empty()) => Cells::Numbers(numbers),
        _ => Cells::Text(cells),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Columns {
        Columns::parse(text, "a.csv").unwrap()
    }

    #[test]
    fn columns_of_every_form() {
        let wanted = vec![
            ("frame".to_owned(), Cells::Whole(vec![0, 1])),
            ("x".to_owned(), Cells::Numbers(vec![1.5, -2e-3])),
        ];
        for text in [
            "frame,x\n0,1.5\n1,-2e-3\n",
            "\u{feff}frame;x\r\n0;1.5\r\n\r\n1;-2e-3",
            "# made by hand\n# frame x\n0   1.5\n1 -2e-3\n",
            "frame\tx\n0\t1.5\n# a comment\n1\t-2e-3\n",
        ] {
            assert_eq!(parse(text).columns, wanted, "{text:?}");
        }
        let text = parse("name,n\n\"a \"\"b\"\", c\",\nd,2.5\n");
        assert_eq!(text.columns[0].1, Cells::Text(vec!["a \"b\", c".into(), "d".into()]));
        let Cells::Numbers(n) = &text.columns[1].1 else { panic!("numbers") };
        assert!(n[0].is_nan() && n[1] == 2.5);
        assert_eq!(parse("1 2\n3 4\n").columns[1].0, "column_1");
    }

    #[test]
    fn faults_name_the_line() {
        let said = |text: &str| Columns::parse(text, "a.csv").unwrap_err().to_string();
        assert_eq!(said("# nothing\n"), "a.csv:1: holds no row");
        assert_eq!(said("a,b\n1,2\n3\n"), "a.csv:3: has 1 cells, wanted 2");
        assert_eq!(said("a,a\n1,2\n"), "a.csv:1: column 1 is called `a`, wanted names that differ");
        assert_eq!(said("a,b\n1,\"2\n"), "a.csv:2: has a quote that does not end in its line");
    }
}
