//! The contract, over every stage of this family.

use isard_core::registry::Registry;
use isard_stem as _;

#[test]
fn every_stage_holds_the_contract() {
    isard_core::contract::check_all("isard-stem");
}

#[test]
fn the_family_is_complete() {
    let registry = Registry::built_in().expect("stages have different names");
    let found: Vec<&str> =
        registry.iter().filter(|d| d.origin == "isard-stem").map(|d| d.name.as_str()).collect();
    let wanted = [
        "emd.write",
        "mib.write",
        "stem.com",
        "stem.correct",
        "stem.count",
        "stem.detect",
        "stem.disks",
        "stem.dm",
        "stem.emd",
        "stem.empad",
        "stem.hdf5",
        "stem.lattice",
        "stem.mib",
        "stem.mrc",
        "stem.npy",
        "stem.radial",
        "stem.raw",
        "stem.simulate",
        "stem.ssb",
        "stem.strain",
        "stem.tally",
    ];
    assert_eq!(found, wanted);
}
