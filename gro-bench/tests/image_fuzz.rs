//! A cut of `cargo xtask fuzz-image`.

use gro_bench::image_fuzz::{Corpus, Mode, Tally};

/// Cases of each mode; the whole figure is 500,000.
const CASES: u64 = 5_000;

#[test]
fn no_changed_image_is_taken() {
    let tally = Corpus::committed().unwrap().fuzz(1, 0..CASES, Mode::Changed, |_| ()).unwrap();
    assert_eq!(tally.refused.values().sum::<u64>(), CASES);
    assert!(tally.run.is_empty());
    for reason in ["truncated", "section hash", "image id", "signature", "padding", "overlapping sections"] {
        assert!(tally.refused.contains_key(reason), "{reason} was not seen: {:?}", tally.refused);
    }
    assert_eq!(tally.changes.len(), 12, "every kind of change was made");
}

#[test]
fn a_forged_image_is_refused_or_runs_contained() {
    let tally = Corpus::committed().unwrap().fuzz(1, 0..CASES, Mode::Resealed, |_| ()).unwrap();
    let ran: u64 = tally.run.values().sum();
    assert_eq!(tally.refused.values().sum::<u64>() + ran, CASES);
    assert!(ran > CASES / 5, "most of the point is in those that run: {ran}");
    for end in
        ["ran to the end", "instruction budget", "trap: illegal instruction", "trap: load where no memory is"]
    {
        assert!(tally.run.contains_key(end), "{end} was not seen: {:?}", tally.run);
    }
    assert!(tally.bare > CASES / 20, "{}", tally.bare);
    assert!(!tally.refused.contains_key("image id") && !tally.refused.contains_key("section hash"));
}

#[test]
fn a_case_is_the_same_file_again() {
    let corpus = Corpus::committed().unwrap();
    let make = |number| corpus.case(3, number, Mode::Resealed, &mut Tally::default());
    assert!(make(7) == make(7) && make(7) != make(8));
}
