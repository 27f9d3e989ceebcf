//! The contract that every stage of the family holds, on the real engine.

// Linked so that its stages are declared.
use isard_azimuthal as _;

#[test]
fn the_family_holds_the_contract() {
    isard_core::contract::check_all("isard-azimuthal");
}
