//! The quickstart over a hundred seeds: its uncertainties are true.

#[path = "../common/quickstart.rs"]
mod quickstart;

#[test]
fn a_hundred_seeds_err_as_they_say() {
    let found = quickstart::pulls(100);
    println!("{found:.3?}");
    // What leans to one side must be small beside what scatters; the mean of a hundred is known to 0.1.
    assert!(found.mean.iter().all(|m| m.abs() < 0.75), "{found:?}");
    assert!(found.rms.iter().all(|r| (0.8..1.25).contains(r)), "{found:?}");
    assert!(found.worst.iter().all(|w| *w < 5.0), "{found:?}");
}
