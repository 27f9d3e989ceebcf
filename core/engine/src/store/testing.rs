//! Files for tests of durability.
