//! The contract over the plugins of beamlines.

use isard_beamline as _;

#[test]
fn the_plugins_hold_the_contract() {
    isard_core::contract::check_all("isard-beamline");
}
