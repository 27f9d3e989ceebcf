//! Network detectors as sources, and simulators of them.
