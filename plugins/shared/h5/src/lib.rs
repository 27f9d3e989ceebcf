//! HDF5 for isard plugins: parts, masters, attributes, reading.
