//! What takes minutes.
fn main() {}
