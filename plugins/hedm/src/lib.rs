//! Near-field HEDM: orientation maps from reduced frames.
