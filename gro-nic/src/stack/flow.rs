//! The walk through one function: stack pointer and known registers before every instruction of it.

use std::collections::{BTreeMap, BTreeSet};

use super::value::Value;
use super::{Function, Program, StackError};
use crate::machine::decode::{Kind, Op, SINK};

const RA: u8 = 1;
const SP: u8 = 2;

/// What is known before an instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    sp: Pointer,
    /// x0 to x31; x2 is in `sp`.
    registers: [Value; 32],
}

/// Where the stack pointer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pointer {
    /// So many bytes below where it was at the start of the function.
    Below(u32),
    /// At an address, while the entry sets it.
    At(u32),
}

/// A walk at work.
struct Walk<'p, 'a> {
    program: &'p mut Program<'a>,
    entry: u32,
    states: BTreeMap<u32, State>,
    /// Whose successors are to be looked at (again).
    todo: BTreeSet<u32>,
    /// From where an instruction is reached.
    sources: BTreeMap<u32, BTreeSet<u32>>,
    /// Returns, waits, and calls that wait for ever.
    ends: BTreeSet<u32>,
    function: Function,
}

/// Walks the function at `entry`, and those that it calls. What is jumped to without a link is walked as part of it.
pub(super) fn walk(program: &mut Program<'_>, entry: u32) -> Result<Function, StackError> {
    let mut registers = [Value::Unknown; 32];
    registers[0] = Value::constant(0);
    let start = State { sp: Pointer::Below(0), registers };
    let function = Function { depth: 0, frame: 0, deepest: None, returns: false };
    let mut walk = Walk {
        program,
        entry,
        states: BTreeMap::from([(entry, start)]),
        todo: BTreeSet::from([entry]),
        sources: BTreeMap::new(),
        ends: BTreeSet::new(),
        function,
    };
    while let Some(pc) = walk.todo.pop_first() {
        walk.step(pc)?;
    }
    walk.comes_to_an_end()?;
    walk.program.instructions.extend(walk.states.keys());
    Ok(walk.function)
}

impl Walk<'_, '_> {
    /// Looks at the instruction at `pc` with what is known there.
    fn step(&mut self, pc: u32) -> Result<(), StackError> {
        let Some(state) = self.states.get(&pc).copied() else { return Ok(()) };
        let op = self.program.code.op(pc).ok_or(StackError::Outside { from: self.entry, to: pc })?;
        let next = pc + u32::from(op.length);
        let target = pc.wrapping_add(op.imm as u32);
        match op.kind {
            Kind::Illegal => Err(StackError::Illegal(pc)),
            Kind::Jal if op.rd == SINK => self.reach(pc, target, state),
            Kind::Jal => self.call(pc, &op, &[target], next, state),
            Kind::Jalr => self.jump_register(pc, &op, next, state),
            kind if kind.is_branch() => {
                let (taken, passed) = refined(&op, state);
                self.reach(pc, target, taken)?;
                self.reach(pc, next, passed)
            }
            Kind::Wfi => {
                self.ends.insert(pc);
                self.reach(pc, next, state)
            }
            _ => {
                let state = self.after(pc, &op, state)?;
                self.reach(pc, next, state)
            }
        }
    }

    fn jump_register(&mut self, pc: u32, op: &Op, next: u32, state: State) -> Result<(), StackError> {
        let base = state.registers[usize::from(op.rs1)];
        match base.plus(Value::constant(op.imm as u32)).targets(&self.program.code) {
            Some(targets) if op.rd == SINK => {
                targets.into_iter().try_for_each(|target| self.reach(pc, target, state))
            }
            Some(targets) => self.call(pc, op, &targets, next, state),
            // Whatever is in `ra` and was not put there is the return address, or has been restored to it.
            None if op.rd == SINK && op.rs1 == RA && op.imm == 0 && base == Value::Unknown => {
                if state.sp != Pointer::Below(0) {
                    return Err(StackError::Unbalanced(pc));
                }
                self.ends.insert(pc);
                self.function.returns = true;
                Ok(())
            }
            None => Err(StackError::Indirect(pc)),
        }
    }

    fn call(
        &mut self,
        pc: u32,
        op: &Op,
        targets: &[u32],
        next: u32,
        mut state: State,
    ) -> Result<(), StackError> {
        let Pointer::Below(frame) = state.sp else { return Err(StackError::Pointer(pc)) };
        if op.rd != RA {
            return Err(StackError::Indirect(pc));
        }
        let mut returns = false;
        for &target in targets {
            if self.program.code.op(target).is_none() {
                return Err(StackError::Outside { from: pc, to: target });
            }
            let callee = self.program.function(target)?;
            returns |= callee.returns;
            let depth = frame + callee.depth;
            if depth > self.function.depth {
                self.function = Function { depth, frame, deepest: Some(target), ..self.function };
            }
        }
        if !returns {
            self.ends.insert(pc);
            return Ok(());
        }
        for (number, value) in state.registers.iter_mut().enumerate() {
            let kept = matches!(number, 0 | 8 | 9 | 18..=27);
            *value = if kept { *value } else { Value::Unknown };
        }
        self.reach(pc, next, state)
    }

    /// What is known after an instruction that goes on behind itself.
    fn after(&mut self, pc: u32, op: &Op, mut state: State) -> Result<State, StackError> {
        let register = |number: u8| match (number, state.sp) {
            (SP, Pointer::At(address)) => Value::constant(address),
            (SP, Pointer::Below(_)) => Value::Unknown,
            _ => state.registers.get(usize::from(number)).copied().unwrap_or(Value::Unknown),
        };
        let (a, b, imm) = (register(op.rs1), register(op.rs2), Value::constant(op.imm as u32));
        let value = match op.kind {
            Kind::Lui => imm,
            Kind::Auipc => Value::constant(pc).plus(imm),
            Kind::Addi => a.plus(imm),
            Kind::Add => a.plus(b),
            Kind::Slli => a.shifted_left(op.imm as u32),
            Kind::Lw => a.plus(imm).loaded(&self.program.code),
            _ => Value::Unknown,
        };
        match op.rd {
            SINK => {}
            SP => state.sp = self.moved(pc, op, state.sp, value, b)?,
            rd => state.registers[usize::from(rd)] = value,
        }
        Ok(state)
    }

    /// Where the stack pointer is after an instruction that writes it. `value` is what the instruction computes if that is known,
    /// `other` its second operand.
    fn moved(
        &mut self,
        pc: u32,
        op: &Op,
        sp: Pointer,
        value: Value,
        other: Value,
    ) -> Result<Pointer, StackError> {
        if let Some(address) = value.as_constant() {
            // Only the entry knows where the stack is.
            if self.program.active != [self.program.entry] {
                return Err(StackError::Pointer(pc));
            }
            let set = address == self.program.stack_top;
            return Ok(if set { Pointer::Below(0) } else { Pointer::At(address) });
        }
        let by = match op.kind {
            Kind::Addi => Some(op.imm),
            Kind::Add => other.as_constant().map(|value| value as i32),
            Kind::Sub => other.as_constant().map(|value| (value as i32).wrapping_neg()),
            _ => None,
        };
        match (sp, by) {
            (Pointer::Below(frame), Some(by)) if op.rs1 == SP => {
                let frame = i64::from(frame) - i64::from(by);
                let frame = u32::try_from(frame).map_err(|_| StackError::Pointer(pc))?;
                if frame > self.function.depth {
                    self.function = Function { depth: frame, frame, deepest: None, ..self.function };
                }
                Ok(Pointer::Below(frame))
            }
            _ => Err(StackError::Pointer(pc)),
        }
    }

    /// Notes that `to` is reached from `from` with `state`.
    fn reach(&mut self, from: u32, to: u32, state: State) -> Result<(), StackError> {
        if self.program.code.op(to).is_none() {
            return Err(StackError::Outside { from, to });
        }
        self.sources.entry(to).or_default().insert(from);
        match self.states.get_mut(&to) {
            None => {
                self.states.insert(to, state);
                self.todo.insert(to);
            }
            Some(known) if known.sp != state.sp => return Err(StackError::Pointer(to)),
            Some(known) => {
                let before = *known;
                for (known, new) in known.registers.iter_mut().zip(state.registers) {
                    if *known != new {
                        *known = Value::Unknown;
                    }
                }
                if *known != before {
                    self.todo.insert(to);
                }
            }
        }
        Ok(())
    }

    /// From every instruction a return or a wait can be reached.
    fn comes_to_an_end(&self) -> Result<(), StackError> {
        let mut good = self.ends.clone();
        let mut todo: Vec<u32> = good.iter().copied().collect();
        while let Some(pc) = todo.pop() {
            for &source in self.sources.get(&pc).into_iter().flatten() {
                if good.insert(source) {
                    todo.push(source);
                }
            }
        }
        match self.states.keys().find(|pc| !good.contains(pc)) {
            Some(&pc) => Err(StackError::Endless(pc)),
            None => Ok(()),
        }
    }
}

/// What is known if a branch is taken and if not: an unsigned compare with a constant bounds an index.
fn refined(op: &Op, state: State) -> (State, State) {
    let (mut taken, mut passed) = (state, state);
    let constant = |number: u8| state.registers[usize::from(number)].as_constant();
    // `bltu a, b`: a < b if taken, b <= a if not. `bgeu` is the other way round.
    let (less, not_less) = match op.kind {
        Kind::Bltu => (&mut taken, &mut passed),
        Kind::Bgeu => (&mut passed, &mut taken),
        _ => return (taken, passed),
    };
    if let (None, Some(limit)) = (constant(op.rs1), constant(op.rs2)) {
        less.registers[usize::from(op.rs1)] = Value::up_to(limit.saturating_sub(1));
    }
    if let (Some(limit), None) = (constant(op.rs1), constant(op.rs2)) {
        not_less.registers[usize::from(op.rs2)] = Value::up_to(limit);
    }
    (taken, passed)
}
