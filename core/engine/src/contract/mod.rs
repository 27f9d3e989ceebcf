//! The contract tests: what every declared stage must hold, built in or of a plugin author.
//!
//! One line in a plugin's own tests runs them over everything the crate declares:
//! `isard_core::contract::check_all(env!("CARGO_PKG_NAME"));`

mod behave;
mod play;
mod words;

use std::sync::Arc;

use crate::error::Result;
use crate::registry::{Declaration, Registry};
use crate::stage::{AnySource, Arrival, Cx, Pull, Slots};

/// Everything a stage breaks of the contract, in words; empty when it holds.
pub fn check(declaration: &Arc<Declaration>) -> Vec<String> {
    let mut broken = words::check(declaration);
    if broken.is_empty() {
        broken.extend(behave::check(declaration));
    }
    broken
}

/// Pulls an opened source once, as the engine does, for tests that look at what it gives.
///
/// `room` is how many frames are wanted, `next` the number that is waited for.
pub fn pull(source: &mut dyn AnySource, cx: &Cx, room: u64, next: u64) -> Result<(Pull, Vec<Arrival>)> {
    let mut slots = Slots::new(room, next);
    let pulled = source.pull(cx, &mut slots)?;
    Ok((pulled, slots.take()))
}

/// Checks every stage that a crate declares; panics with all that is broken.
pub fn check_all(origin: &str) {
    let registry = Registry::built_in().expect("stages have different names");
    let own: Vec<_> = registry.iter().filter(|d| d.origin == origin).collect();
    assert!(!own.is_empty(), "`{origin}` declares no stage in this binary");
    let mut broken = vec![];
    for declaration in own {
        broken.extend(check(declaration).into_iter().map(|text| format!("{}: {text}", declaration.name)));
    }
    assert!(broken.is_empty(), "the contract is broken:\n  {}", broken.join("\n  "));
}
