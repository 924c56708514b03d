//! What an instruction costs: the pipeline of CV32E40P, as far as its timing shows.
//!
//! Instructions come to the decode stage (ID), are issued to the execute stage (EX) in order, one a cycle, and leave it for the write-back
//! stage, where loads and stores wait for their answer. What an instruction costs is the time from its issue to the next one's.
//!
//! | instruction | cycles |
//! |---|---|
//! | ALU, load, store, `mul` | 1 |
//! | `mulh`, `mulhsu`, `mulhu` | 5 |
//! | division, remainder | 3 + leading zeros of the divisor, 2 + leading ones of a negative one: 3 to 35 |
//! | jump | 2; 1 behind an instruction that takes EX for longer, because the target is fetched meanwhile |
//! | branch | 1 not taken, 3 taken |
//! | `fence` | 4 |
//! | jump or taken branch to, or `fence` before, a long instruction at 2 mod 4 | 1 more |
//! | whatever reads the register loaded just before, or computes a new value for it | 1 more |
//! | `jalr` right behind the computation of its base | 1 more, as the manual says |
//! | `jalr` by a register loaded just before, or one instruction before that | 2 more, 1 more |
//! | `jalr` that writes its link to its base, as a call by `auipc ra` and `jalr ra` does | 1 more, which the manual does not say |
//! | access to a memory with wait states | that many more, unless something else takes that long meanwhile |
//! | `wfi` | 4 until the core sleeps, 2 from its waking up to the next issue |
//!
//! With wait states instructions overlap: EX takes nothing new until the access before is answered, but a multiplication or division there
//! goes on, a branch does not wait, and the fetch of a jump's target goes on too. So the model keeps the few points in time that matter,
//! in [`Clock`], instead of adding up. `docs/timing.md` compares it with the RTL, case by case; random programs are compared, too
//! (`cargo xtask referee`).

use super::decode::{Kind, Op, SINK, decode};

/// When the next instruction can be issued from the decode stage (ID), and what it may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// The cycle in which the instruction at hand is issued.
    issue: u64,
    /// The cycle in which it came to ID; there a jump redirects the fetch, whether it can be issued or not.
    arrive: u64,
    /// The cycle in which the youngest access to memory is answered. Until then nothing leaves the execute stage (EX) but branches.
    answer: u64,
    /// The last two loads: the cycle in which each is answered, times 256, and the register it loads.
    loads: [u64; 2],
    asleep: bool,
}

/// Cycles of a fence behind the end of the instructions before it.
const FENCE: u64 = 3;
/// Cycles from the last instruction's end to a sleeping core.
const FALL_ASLEEP: u64 = 3;
/// Cycles from waking up to the next instruction's issue.
const WAKE_UP: u64 = 2;

impl Clock {
    /// The first instruction is issued in cycle 0.
    pub(super) const START: Self =
        Self { issue: 0, arrive: 0, answer: 0, loads: [SINK as u64; 2], asleep: false };

    /// Cycles so far: up to the issue of the next instruction, or to the sleep of the core.
    pub(super) fn now(&self) -> u64 {
        self.issue
    }

    /// An instruction that takes EX for `cycles`.
    #[inline(always)]
    pub(super) fn execute(&mut self, cycles: u64) {
        self.arrive = self.issue + 1;
        self.issue = (self.issue + cycles).max(self.answer);
    }

    /// `stalls`: the one behind waits for the answer.
    #[inline(always)]
    pub(super) fn load(&mut self, wait: u64, rd: u8, stalls: bool) {
        let granted = self.access(wait);
        self.issue = if stalls { self.answer } else { granted };
        self.loads = [self.answer << 8 | u64::from(rd), self.loads[0]];
    }

    #[inline(always)]
    pub(super) fn store(&mut self, wait: u64) {
        self.issue = self.access(wait);
    }

    /// One access is answered before the next is granted.
    #[inline(always)]
    fn access(&mut self, wait: u64) -> u64 {
        self.arrive = self.issue + 1;
        let granted = self.arrive.max(self.answer);
        self.answer = granted + 1 + wait;
        granted
    }

    /// A branch leaves EX even while an access is not answered; `next` gives the instruction behind it.
    #[inline(always)]
    pub(super) fn branch_not_taken<'a>(&mut self, next: impl FnOnce() -> Option<&'a Op>) {
        self.issue += 1;
        self.arrive = self.issue;
        if self.issue < self.answer && next().is_some_and(|next| next.waits_for_load_of(self.loads[0] as u8))
        {
            self.issue = self.issue.max(self.loads[0] >> 8);
        }
    }

    /// Decided in EX. `late`: a cycle more to fetch the target; `next` gives the instruction behind it, which is in ID meanwhile.
    #[inline(always)]
    pub(super) fn branch_taken<'a>(&mut self, late: u64, next: impl FnOnce() -> Option<&'a Op>) {
        let mut ready = self.issue + 2;
        if ready <= self.answer {
            let load = self.loads[0];
            let held = load >> 8 == self.answer
                && next().is_some_and(|next| next.kind == Kind::Jalr && next.rs1 == load as u8);
            ready = self.answer + u64::from(held);
        }
        self.follow(ready, late, 0);
    }

    /// Decided in ID, as soon as it comes there.
    #[inline(always)]
    pub(super) fn jump(&mut self, late: u64) {
        self.redirect(self.arrive, late, 0);
    }

    /// The base may come from a load, not earlier than the cycle after its answer. `computed`: it comes from the instruction before, when
    /// that has left EX. `own`: the link is written to the base; then ID, which still holds the jump, waits until it has left EX, as if it
    /// were another one behind it.
    #[inline(always)]
    pub(super) fn jump_register(&mut self, late: u64, base: u8, computed: bool, own: bool) {
        self.issue += u64::from(computed);
        let mut decided = if computed { self.issue } else { self.arrive };
        for load in self.loads {
            if load as u8 == base {
                decided = decided.max((load >> 8) + 1);
            }
        }
        if decided > self.issue {
            self.issue = decided.max(self.answer);
        }
        let free = if own { (self.issue + 1).max(self.answer) + 1 } else { 0 };
        self.redirect(decided, late, free);
    }

    /// The target is fetched in the cycle after the decision, and moves to ID when EX takes what is there (it does when the jump is
    /// issued) and ID is `free`.
    #[inline(always)]
    fn redirect(&mut self, decided: u64, late: u64, free: u64) {
        let ready = if decided < self.issue { self.issue } else { (decided + 1).max(self.answer).max(free) };
        self.follow(ready, late, free);
    }

    /// The first half of an instruction across a word boundary moves by itself, the second one when it can.
    #[inline(always)]
    fn follow(&mut self, ready: u64, late: u64, free: u64) {
        self.arrive = if late == 0 { ready } else { (ready + 1).max(self.answer).max(free) } + 1;
        self.issue = self.arrive.max(self.answer);
    }

    /// `late`: as for a jump, to the next instruction.
    #[inline(always)]
    pub(super) fn fence(&mut self, late: u64) {
        self.issue = (self.issue + 1).max(self.answer) + FENCE + late;
        self.arrive = self.issue;
    }

    pub(super) fn sleep(&mut self) {
        self.issue = (self.issue + 1).max(self.answer) + FALL_ASLEEP;
        self.asleep = true;
    }

    pub(super) fn wake(&mut self) {
        if self.asleep {
            self.asleep = false;
            self.issue += WAKE_UP;
            self.arrive = self.issue;
        }
    }
}

/// Decodes every half word of instruction memory, whether an instruction starts there or not, and notes what it costs beyond its kind.
pub(super) fn decode_program(imem: &[u8]) -> Vec<Op> {
    let half = |index: usize| {
        imem.get(index * 2..index * 2 + 2).map_or(0, |bytes| u32::from(bytes[0]) | u32::from(bytes[1]) << 8)
    };
    let mut program: Vec<Op> =
        (0..imem.len() / 2).map(|index| decode(half(index) | half(index + 1) << 16)).collect();

    for index in 0..program.len() {
        let mut op = program[index];
        let next = index + usize::from(op.length) / 2;
        if let Some(next) = program.get(next) {
            op.stalls = op.kind.is_load() && next.waits_for_load_of(op.rd);
        }
        program[index] = op;
    }
    for index in 0..program.len() {
        let mut op = program[index];
        if op.kind == Kind::Jal || op.kind.is_branch() || op.kind == Kind::Fence {
            let distance = if op.kind == Kind::Fence { i64::from(op.length) } else { i64::from(op.imm) };
            let target = (index as i64 * 2 + distance) / 2;
            let late = usize::try_from(target).ok().and_then(|target| program.get(target));
            // Addresses count from a word boundary.
            let address = (target as u32).wrapping_mul(2);
            op.late = u8::from(late.is_some_and(|target| target.straddles(address)));
        }
        program[index] = op;
    }
    program
}

/// Cycles of `mulh`, `mulhsu` and `mulhu`.
pub(super) const MULTIPLY_HIGH: u64 = 5;

/// Cycles of an unsigned division by `divisor`.
#[inline(always)]
pub(super) fn unsigned_division(divisor: u32) -> u64 {
    3 + u64::from(divisor.leading_zeros())
}

/// Cycles of a signed division by `divisor`.
#[inline(always)]
pub(super) fn signed_division(divisor: i32) -> u64 {
    if divisor < 0 { 2 + u64::from((!divisor).leading_zeros()) } else { unsigned_division(divisor as u32) }
}
