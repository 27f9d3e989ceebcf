//! Plugins as shared libraries: what they give, how they fail, and which are refused.

// A test that cannot go on is a test that fails.
#![allow(clippy::unwrap_used)]

mod c;
#[allow(dead_code, reason = "other tests use the rest")]
mod library;
mod misbehave;
mod refuse;
mod same;
mod template;
