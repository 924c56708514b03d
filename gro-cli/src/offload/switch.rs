//! The two switches. Between the steps nobody coalesces; never do both.

use crate::nic::control::{self, Request, Status};
use anyhow::Context as _;
use gro_ebpf::live::Attachment;
use std::path::Path;
use std::time::Duration;

/// A pass of a backlog is shorter by far, whatever waits in it.
const PASS: Duration = Duration::from_millis(20);

/// The program delivers what it holds and rests; then the NIC coalesces.
pub(super) fn on(address: &Path, attachment: &mut Attachment) -> anyhow::Result<Status> {
    // While the program still merges, the NIC merges nothing, whoever switched it on before.
    control::ask(address, Request::Configure { coalesce: false })?;
    attachment.rest().context("the program does not come to rest; it coalesces again")?;
    let switched = control::ask(address, Request::Configure { coalesce: true });
    if switched.is_err() {
        // It may yet do what it did not do in time.
        let _ = control::ask(address, Request::Configure { coalesce: false });
        attachment.resume().context("the NIC did not switch, and the program does not coalesce again")?;
    }
    switched.context("the NIC did not switch; the program coalesces again")
}

/// The NIC delivers what it holds and passes every frame; then the program coalesces.
pub(super) fn off(address: &Path, attachment: &mut Attachment) -> anyhow::Result<Status> {
    let status = control::ask(address, Request::Configure { coalesce: false })?;
    // What the NIC merged may still wait in the backlog of a CPU. The program would let it pass, too; but then it is busy already.
    std::thread::sleep(PASS);
    attachment.resume()?;
    Ok(status)
}
