//! The `Ports` derive of isard.
