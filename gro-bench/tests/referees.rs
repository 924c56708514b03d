//! The simulated NIC against other machines with the same image: what comes out, and at how many instructions.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{DEFAULT, TC, path};
use gro_bench::trace::{self, Trace};
use gro_bench::{BackendError, backend, compare};

/// Every shipped trace, to the instruction.
#[test]
fn qemu_agrees_with_the_simulator_on_every_shipped_trace() {
    let traces = trace::shipped(path("tcp-mixed").parent().unwrap()).unwrap();
    assert!(traces.len() > 5);
    for file in traces {
        let trace = Trace::open(&file).unwrap();
        for engine in [DEFAULT, TC] {
            let run = |name: &str| backend::by_name(name).unwrap().run(&trace, &engine);
            let simulated = run("nic").unwrap();
            let qemu = match run("nic-qemu") {
                Ok(outcome) => outcome,
                Err(BackendError::Skipped(why)) => return eprintln!("skipped: {why}"),
                Err(error) => panic!("{}: {error}", trace.name),
            };
            let difference = compare(("nic", &simulated), ("nic-qemu", &qemu));
            assert!(difference.is_none(), "{}: {difference:?}", trace.name);
            assert_eq!(qemu.decision_digest, simulated.decision_digest, "{}", trace.name);
            assert_eq!(qemu.cost.instructions, simulated.cost.instructions, "{}", trace.name);
            assert!(qemu.cost.instructions.is_some());
        }
    }
}
