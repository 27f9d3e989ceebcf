//! What takes minutes: `cargo test --test slow`; `ISARD_SLOW=full` runs the sizes that the claims are made for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/nearfield.rs"]
mod nearfield;
#[path = "../support/shared.rs"]
mod shared;

mod gold;
mod laue;
mod live_map;
mod pulls;
mod soak;
mod template;

use isard as _;

/// Whether the full sizes are asked for.
fn full() -> bool {
    std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full")
}
