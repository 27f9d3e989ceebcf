//! The contract that built-in stages hold, in the one line that a plugin's own tests need.

#[test]
fn the_stages_hold_the_contract() {
    // Any use of the crate keeps the linker from dropping it.
    std::hint::black_box(&isard_example::isard_plugin);
    isard_core::contract::check_all("isard-example");
}
