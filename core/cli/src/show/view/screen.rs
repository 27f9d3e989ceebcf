//! The live picture in the terminal: drawn in place above the progress lines, by the viewer's own thread.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isard_core::run::{Sight, Viewer};

use super::Newest;
use super::paint::{Depth, cut, lines};

/// What stands below the picture, and what is to be said above it.
///
/// Nobody writes to the terminal while holding it: a terminal that takes nothing stops the picture, not the run.
#[derive(Default)]
pub struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    progress: Vec<String>,
    notes: String,
}

impl Board {
    /// Replaces the progress lines.
    pub fn progress(&self, lines: Vec<String>) {
        self.lock().progress = lines;
    }

    /// Says something that stays.
    pub fn note(&self, text: &str) {
        self.lock().notes += text;
    }

    /// Takes what is to be said.
    pub fn notes(&self) -> String {
        std::mem::take(&mut self.lock().notes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static ACTIVE: Mutex<Option<Arc<Board>>> = Mutex::new(None);

/// The board of the picture that is in the terminal now.
pub fn active() -> Option<Arc<Board>> {
    ACTIVE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Makes a board the one that notes go to, or none; what it was not rid of is given back.
pub fn activate(board: Option<Arc<Board>>) -> String {
    let before = std::mem::replace(&mut *ACTIVE.lock().unwrap_or_else(PoisonError::into_inner), board);
    before.map(|board| board.notes()).unwrap_or_default()
}

/// Draws in the terminal.
pub struct Screen {
    board: Arc<Board>,
    newest: Newest,
    depth: Depth,
    canvas: Canvas,
}

impl Screen {
    /// A picture above a board.
    pub fn new(board: Arc<Board>, newest: Newest) -> Screen {
        let depth = Depth::of(|name| std::env::var(name).ok());
        Screen { board, newest, depth, canvas: Canvas::default() }
    }
}

impl Viewer for Screen {
    fn see(&mut self, news: &[Sight]) {
        self.newest.take(news);
        let progress = self.board.lock().progress.clone();
        let notes = self.board.notes();
        // Asked anew every time: the picture follows the window.
        let (rows, columns) = console::Term::stderr().size_checked().unwrap_or((24, 80));
        let size = (usize::from(columns), usize::from(rows));
        let drawn = page(&self.newest.shown(), &progress, size, self.depth);
        write(&self.canvas.frame(&notes, &drawn, size));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The last picture stays; what comes next is written below it.
        let (columns, rows) = self.canvas.size;
        let drawn = page(&self.newest.shown(), &[], (columns, rows), self.depth);
        let notes = self.board.notes();
        write(&(self.canvas.frame(&notes, &drawn, (columns, rows)) + "\r\n"));
    }
}

fn write(text: &str) {
    // Nobody can be told that the terminal is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// All lines for a terminal of `columns` and `rows`: the picture, then the progress.
fn page(shown: &[&Sight], progress: &[String], (columns, rows): (usize, usize), depth: Depth) -> Vec<String> {
    // The last column and the last row stay free: a terminal may wrap or scroll there.
    let (columns, rows) = (columns.saturating_sub(1), rows.saturating_sub(1));
    let room = (rows / 3).max(1).min(progress.len());
    let hidden = progress.len() - room;
    let mut below: Vec<String> = progress.iter().take(room).map(|line| cut(line, columns)).collect();
    if hidden > 0
        && let Some(last) = below.last_mut()
    {
        *last = cut(&format!("and {} stages more", hidden + 1), columns);
    }
    let mut page = lines(shown, columns, rows.saturating_sub(below.len()), depth);
    page.append(&mut below);
    page.truncate(rows);
    page
}

/// What is in the terminal now.
#[derive(Default)]
struct Canvas {
    lines: usize,
    size: (usize, usize),
}

impl Canvas {
    /// What turns the page that is shown into the next one.
    fn frame(&mut self, notes: &str, page: &[String], size: (usize, usize)) -> String {
        // Terminals that know it show the whole page at once; others leave it out.
        let mut text = "\x1b[?2026h".to_owned();
        if self.lines > 0 && self.size != size {
            // A terminal that was resized has wrapped or cut the old page: nobody can tell where it is.
            text += "\x1b[2J\x1b[H";
        } else {
            text += "\r";
            if self.lines > 1 {
                text += &format!("\x1b[{}A", self.lines - 1);
            }
        }
        if !notes.is_empty() {
            text += "\x1b[J";
            text += &notes.replace('\n', "\r\n");
            if !notes.ends_with('\n') {
                text += "\r\n";
            }
        }
        for (i, line) in page.iter().enumerate() {
            text += if i > 0 { "\r\n" } else { "" };
            text += line;
            text += "\x1b[K";
        }
        text += "\x1b[J\x1b[?2026l";
        (self.lines, self.size) = (page.len(), size);
        text
    }
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;
    use isard_core::Array;

    use super::super::tests::sight;
    use super::*;

    #[test]
    fn a_page_leaves_a_row_and_a_column_free() {
        let image = sight("detector", "image", 3, Array::of(&[40, 50], &vec![1u16; 2000]).unwrap());
        let progress: Vec<String> = (0..9).map(|i| format!("stage{i} {}", "=".repeat(200))).collect();
        for size in [(80, 24), (132, 43), (40, 10), (5, 2), (1, 1)] {
            let page = page(&[&image], &progress, size, Depth::Indexed);
            assert!(page.len() < size.1.max(1) || page.is_empty(), "{size:?}: {} lines", page.len());
            assert!(page.iter().all(|line| measure_text_width(line) < size.0.max(1)), "{size:?}");
        }
        let page = page(&[&image], &progress, (80, 24), Depth::Indexed);
        assert_eq!(page.len(), 23);
        assert_eq!(page[22], "and 3 stages more");
        assert!(page[16].starts_with("stage0 ==="));
    }

    /// A terminal of a fixed size that knows what the canvas uses.
    struct Terminal {
        cells: Vec<String>,
        row: usize,
    }

    impl Terminal {
        fn feed(&mut self, text: &str) {
            let text = text.replace("\x1b[?2026h", "").replace("\x1b[?2026l", "").replace("\x1b[K", "\x07");
            let mut rest = text.as_str();
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                match c {
                    '\r' => (),
                    '\n' => self.row += 1,
                    '\x07' => (),
                    '\x1b' => {
                        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                        let number = rest[1..end].parse().unwrap_or(1);
                        match rest.as_bytes()[end] {
                            b'A' => self.row -= number,
                            b'J' if number == 2 => self.cells.iter_mut().for_each(String::clear),
                            b'J' => self.cells[self.row + 1..].iter_mut().for_each(String::clear),
                            b'H' => self.row = 0,
                            other => panic!("a code {} that this terminal does not know", char::from(other)),
                        }
                        rest = &rest[end + 1..];
                    }
                    c => {
                        let line = &rest[..rest.find(['\x07', '\r']).unwrap_or(0)];
                        self.cells[self.row] = format!("{c}{line}");
                        rest = &rest[line.len()..];
                    }
                }
            }
        }
    }

    #[test]
    fn pages_replace_each_other_and_notes_stay_above() {
        let mut terminal = Terminal { cells: vec![String::new(); 10], row: 0 };
        let mut canvas = Canvas::default();
        let page = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        terminal.feed(&canvas.frame("", &page(&["a1", "b1", "c1"]), (80, 10)));
        assert_eq!((terminal.cells[..4].join("|"), terminal.row), ("a1|b1|c1|".into(), 2));
        terminal.feed(&canvas.frame("", &page(&["a2", "b2"]), (80, 10)));
        assert_eq!((terminal.cells[..4].join("|"), terminal.row), ("a2|b2||".into(), 1));
        terminal.feed(&canvas.frame("said\n", &page(&["a3", "b3"]), (80, 10)));
        assert_eq!(terminal.cells[..4].join("|"), "said|a3|b3|");
        terminal.feed(&canvas.frame("", &page(&["a4", "b4"]), (70, 10)));
        assert_eq!((terminal.cells[..4].join("|"), terminal.row), ("a4|b4||".into(), 1));
    }
}
