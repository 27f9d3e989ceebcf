//! The isard engine: values, roles, recipes, runs and their account of every frame.
