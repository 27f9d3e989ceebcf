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

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use isard as _;

/// Held while a test runs: alone by one that compares times.
static TURN: RwLock<()> = RwLock::new(());

/// For a test that others may run beside.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test of times, which work beside it would change.
fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the full sizes are asked for.
fn full() -> bool {
    std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full")
}
