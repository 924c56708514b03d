//! Clears the way for an attachment, as far as that is wanted.

use super::{Asked, Finding, Severity, look};
use crate::live::offloads::{Notes, OffloadError};

/// The way is clear for an attachment.
#[derive(Clone, Debug)]
pub struct Clear {
    /// What was found that does not block.
    pub findings: Vec<Finding>,
    /// The offloads that were switched for it.
    pub notes: Notes,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum NotClear {
    /// Findings that block, and those that only warn behind them.
    #[error("{}", list(.0))]
    Blocked(Vec<Finding>),
    /// An offload could not be switched.
    #[error(transparent)]
    Offloads(#[from] OffloadError),
}

/// Looks whether an attachment can be made; switches the offloads in its way if that is wanted (`managed`). Whoever then fails to
/// attach restores [`Clear::notes`].
pub fn clear(asked: &Asked<'_>, managed: bool) -> Result<Clear, NotClear> {
    let mut findings = look(asked);
    let mut notes = Notes::default();
    if findings.iter().any(|finding| finding.blocks(managed)) {
        return Err(NotClear::Blocked(findings));
    }
    let changes: Vec<_> = findings.iter().filter_map(|finding| finding.managed.clone()).collect();
    if managed && !changes.is_empty() {
        notes = Notes::apply(asked.interface, &changes)?;
        findings = look(asked);
        if findings.iter().any(|finding| finding.blocks(false)) {
            notes.restore()?;
            return Err(NotClear::Blocked(findings));
        }
    }
    Ok(Clear { findings, notes })
}

/// A line for each that blocks.
fn list(findings: &[Finding]) -> String {
    let blocking = findings.iter().filter(|finding| finding.severity == Severity::Blocks);
    blocking.map(Finding::to_string).collect::<Vec<_>>().join("\n     ")
}
