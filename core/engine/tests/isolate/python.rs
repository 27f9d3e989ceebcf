//! Python plugins.
