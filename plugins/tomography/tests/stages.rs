//! The contract, over every stage of this crate.

// Linked so that its stages are declared.
use isard_tomography as _;

#[test]
fn every_stage_holds_the_contract() {
    isard_core::contract::check_all("isard-tomography");
}
