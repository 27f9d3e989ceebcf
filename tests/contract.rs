//! The contract, over every stage that is built in and over the toys: words, then behaviour on the real engine.

mod support;

use isard_core::contract;
use isard_core::registry::Registry;

/// Families are tested side by side; a new one is caught by the test after them.
const FAMILIES: [&str; 13] = [
    "isard-azimuthal",
    "isard-beamline",
    "isard-dct",
    "isard-files",
    "isard-hedm",
    "isard-image",
    "isard-live",
    "isard-powder",
    "isard-ptycho",
    "isard-serve",
    "isard-stem",
    "isard-tomography",
    "isard",
];

#[test]
fn azimuthal_holds_the_contract() {
    contract::check_all("isard-azimuthal");
}

#[test]
fn beamlines_hold_the_contract() {
    contract::check_all("isard-beamline");
}

#[test]
fn dct_holds_the_contract() {
    contract::check_all("isard-dct");
}

#[test]
fn files_hold_the_contract() {
    contract::check_all("isard-files");
}

#[test]
fn hedm_holds_the_contract() {
    contract::check_all("isard-hedm");
}

#[test]
fn image_holds_the_contract() {
    contract::check_all("isard-image");
}

#[test]
fn live_holds_the_contract() {
    contract::check_all("isard-live");
}

#[test]
fn powder_holds_the_contract() {
    contract::check_all("isard-powder");
}

#[test]
fn ptycho_holds_the_contract() {
    contract::check_all("isard-ptycho");
}

#[test]
fn serve_holds_the_contract() {
    contract::check_all("isard-serve");
}

#[test]
fn stem_holds_the_contract() {
    contract::check_all("isard-stem");
}

#[test]
fn tomography_holds_the_contract() {
    contract::check_all("isard-tomography");
}

#[test]
fn toys_hold_the_contract() {
    contract::check_all("isard");
}

#[test]
fn no_family_is_left_out() {
    // Naming the library links the plugin crates.
    let registry = isard::registry(&isard::command::Plugins::default()).unwrap();
    let strays: Vec<&str> =
        registry.iter().map(|d| d.origin.as_str()).filter(|o| !FAMILIES.contains(o)).collect();
    assert!(strays.is_empty(), "families without a contract test: {strays:?}");
    assert!(Registry::built_in().unwrap().iter().count() >= registry.iter().count());
}
