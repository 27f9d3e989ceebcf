//! Sources and writers of files: TIFF, NPY, HDF5, PNG.
