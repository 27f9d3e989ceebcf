//! Recipes with isolated stages.
