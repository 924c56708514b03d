use super::*;
use crate::machine::Machine;
use std::collections::HashSet;

/// Every program does what its name says: it comes to its second wait, and none is there twice.
#[test]
fn programs_end() {
    let mut names = HashSet::new();
    for case in cases() {
        let mut machine = Machine::with_wait_states(&case.image(), case.wait);
        match measure(&mut machine) {
            Ok(measured) => assert!(measured.cycles > 0 && measured.instructions < LIMIT, "{}", case.name),
            Err(error) => panic!("{}: {error}", case.name),
        }
        assert!(names.insert(case.name.clone()), "{} twice", case.name);
    }
}
