//! Printing: colours only for terminals, a closed pipe is no error.

use std::io::{IsTerminal, Write};

use isard_core::error::Error;

/// Whether messages may be coloured.
pub fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal()
}

/// Whether results may be coloured.
pub fn colour_out() -> bool {
    std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal()
}

/// Prints a result. When nobody reads any more (`isard list | head`), that is the end, quietly.
pub fn print(text: &str) {
    if std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a message to the user.
pub fn complain(text: &str) {
    // While a picture is in the terminal, its own thread writes what is said above it.
    if let Some(board) = super::view::active() {
        return board.note(text);
    }
    // Nobody can be told that stderr is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints a short note beside the progress.
pub fn note(text: &str) {
    complain(&format!("isard: {text}\n"));
}

/// Prints an error and what to try.
pub fn error(error: &Error) {
    let (red, bold, end) = if colour() { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{red}error{end}{bold}: ");
    for place in error.places().iter().rev() {
        text += &format!("{place}: ");
    }
    text += &format!("{}{end}\n", error.message());
    if let Some(advice) = error.advice() {
        text += &format!("  = help: {advice}\n");
    }
    if error.blame() == isard_core::Blame::Internal {
        text += "  = note: this is a bug in isard\n";
    }
    complain(&text);
}
