//! The contract of the stages of this crate.

use isard_hedm as _;

#[test]
fn the_contract_of_stages_is_held() {
    isard_core::contract::check_all("isard-hedm");
}
