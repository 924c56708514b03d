//! What the driver does when the device is of no use any more: it passes frames through, and loses none.

use gro_core::Bypass;
use gro_core::user::Why;

use super::post::{Event, untouched};
use super::{Delivered, Nic, NicError};
use crate::abi::{bar, register};
use crate::device::Frame;
use crate::machine::{Core, Stop};

/// Why frames pass untouched for ever, once the device was given up.
#[derive(Debug)]
pub struct Failure {
    /// What the device did, or did not do.
    pub reason: NicError,
    /// Frames that the device had or was to have next, and that came out as they had come.
    pub recovered: u64,
    /// Frames since then, which passed at once.
    pub passed: u64,
}

/// Whether the device works.
#[derive(Debug, Default)]
pub enum Health {
    /// It does.
    #[default]
    Working,
    /// It does not; the driver passes frames through.
    PassThrough(Failure),
}

/// How many times [`super::NicConfig::run_limit`] the firmware may take for all that is in its RX ring. A firmware that moves an index now
/// and then would otherwise keep the driver for as long as the ring is deep.
pub const RING_RUNS: u64 = 16;

/// The last flush: when the device has taken the event with index `end - 1`, it has no frame before number `frames`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flushed {
    pub(super) end: u32,
    pub(super) frames: u32,
}

impl<C: Core> Nic<C> {
    /// Whether the device works.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Gives the device up: it is put into reset; what it completed before, every frame that it has and every one that it was to have
    /// come out once, the last two as they came and in the order of arrival. From now on frames pass at once. Nothing happens if it was given up before.
    ///
    /// With [`super::NicConfig::watchdog`] the driver does this by itself.
    pub fn give_up(&mut self, reason: NicError, sink: &mut dyn FnMut(Delivered)) {
        if let Health::PassThrough(_) = self.health {
            return;
        }
        // Completions that are true are worth as much as ever; the first one that is not ends them.
        let _ = self.drain(u32::MAX, sink);
        self.device.write(bar::CONTROL, 0);
        let mut frames: Vec<Frame> = self.buffers.take_all();
        // Numbers wrap; none is older than half of their range.
        frames.sort_by_key(|frame| std::cmp::Reverse(self.frames.wrapping_sub(frame.number)));
        let mut recovered = frames.len() as u64;
        frames.into_iter().for_each(|frame| sink(passed(frame)));
        recovered += self.pass_pending(sink);
        self.health = Health::PassThrough(Failure { reason, recovered, passed: 0 });
    }

    /// Passes what was posted for a device that is not used; returns the number of frames.
    pub(super) fn pass_pending(&mut self, sink: &mut dyn FnMut(Delivered)) -> u64 {
        let mut count = 0;
        while let Some(event) = self.pending.pop_front() {
            if let Event::Frame(frame) = event {
                count += 1;
                sink(passed(frame));
            }
        }
        if let Health::PassThrough(failure) = &mut self.health {
            failure.passed += count;
        }
        count
    }

    /// Lets the firmware work until it waits. It may take its time as long as it gets on, but not for ever: `spent` are the
    /// instructions since the RX ring was filled.
    pub(super) fn run_until_waiting(&mut self, spent: &mut u64) -> Result<(), NicError> {
        let limit = self.config.run_limit;
        let most = limit.saturating_mul(RING_RUNS);
        loop {
            let before = self.device.instructions();
            let stop = self.device.run(limit)?;
            let counted = self.device.instructions().saturating_sub(before);
            let moved = self.has_moved()?;
            // A core that says nothing of instructions has used up its budget all the same.
            *spent = spent.saturating_add(if stop == Stop::Budget { counted.max(limit) } else { counted });
            match stop {
                Stop::Waiting if *spent <= most || !self.is_busy() => return Ok(()),
                Stop::Budget if moved && *spent <= most => {}
                Stop::Budget if !moved => return Err(NicError::Wedged(limit)),
                Stop::Waiting | Stop::Budget => return Err(NicError::Slow(most)),
            }
        }
    }

    /// Whether the device took an event or completed a packet since the last call.
    ///
    /// # Errors
    /// Its indices cannot be true.
    pub(crate) fn has_moved(&mut self) -> Result<bool, NicError> {
        let consumed = self.device.read(register::RX_CONSUMER);
        let produced = self.device.read(register::COMPLETION_PRODUCER);
        // Both only go on: one not beyond what was posted, the other not beyond the room that there is.
        let (taken, open) = (consumed.wrapping_sub(self.consumed), self.posted().wrapping_sub(self.consumed));
        let room = self.completed.wrapping_add(self.config.completion_entries).wrapping_sub(self.produced);
        let written = produced.wrapping_sub(self.produced);
        if taken > open || written > room {
            return Err(NicError::Index { consumed, produced });
        }
        (self.consumed, self.produced) = (consumed, produced);
        Ok(taken != 0 || written != 0)
    }

    /// Whether the device kept frames over a flush; nothing is said before every completion was taken that was there when its indices
    /// were looked at last.
    pub(crate) fn check_flush(&mut self) -> Result<(), NicError> {
        let Some(Flushed { end, frames }) = self.flushed else { return Ok(()) };
        if (self.consumed.wrapping_sub(end) as i32) < 0 || self.completed != self.produced {
            return Ok(());
        }
        self.flushed = None;
        let before = |frame: &&Frame| (frame.number.wrapping_sub(frames) as i32) < 0;
        let kept = if self.buffers.owned() == 0 { 0 } else { self.buffers.iter().filter(before).count() };
        if kept == 0 { Ok(()) } else { Err(NicError::Kept(kept)) }
    }
}

/// A frame that no device has seen, or none that could be believed.
fn passed(frame: Frame) -> Delivered {
    untouched(frame, Why::Bypass(Bypass::Declined))
}
