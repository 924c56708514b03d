use super::*;
use crate::machine::Machine;
use std::collections::HashSet;

/// Every program does what its name says: it comes to its second wait, and none is there twice.
#[test]
fn programs_end() {
    let mut names = HashSet::new();
    for case in cases() {
        let mut machine = Machine::with_wait_states(&case.image(), case.wait);
        for _ in 0..2 {
            if let Err(trap) = machine.run(1000) {
                panic!("{}: {trap}", case.name);
            }
        }
        assert!(machine.cycles() > 0);
        assert!(names.insert(case.name.clone()), "{} twice", case.name);
    }
}
