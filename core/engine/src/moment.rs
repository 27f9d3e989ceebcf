//! Looking for a moment before going to sleep.
//!
//! A thread that sleeps comes back some 20 to 50 us after it is called, on virtual machines above all, and calling it is
//! a system call. Most jobs that somebody waits for take less.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How long a thread looks at most.
const MOMENT: Duration = Duration::from_micros(50);

/// Whether somebody else can work meanwhile.
static ROOM: LazyLock<bool> =
    LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|n| n.get() > 1));

/// Looks for a moment whether it is there; on a single core it does not.
pub fn look(there: impl Fn() -> bool) {
    if !*ROOM {
        return;
    }
    let begun = Instant::now();
    while !there() && begun.elapsed() < MOMENT {
        std::hint::spin_loop();
    }
}
