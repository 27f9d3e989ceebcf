//! The quickstart's source and fit through their stages, over a few seeds; `tests/slow` has a hundred.

#[path = "common/quickstart.rs"]
mod quickstart;

#[test]
fn the_quickstart_finds_the_truth() {
    let found = quickstart::pulls(4);
    // The mean square of four standard numbers is above 4.6 once in a thousand; of five ports none here.
    assert!(found.rms.iter().all(|r| *r < 2.15), "{found:?}");
    assert!(found.mean.iter().all(|m| m.abs() < 2.15), "{found:?}");
    assert!(found.worst.iter().all(|w| *w < 5.0), "{found:?}");
}
