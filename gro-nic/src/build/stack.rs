//! How much stack a linked program can use: the deepest chain of calls, from its machine code.
//!
//! The program has no interrupt, and this refuses what would make the sum of its frames wrong: recursion, a call through a pointer, a
//! stack pointer that is moved by anything but a constant, and a jump back to where a frame was taken. One thing is believed: a jump
//! through a table stays in its function, behind the prologue, as the compiler's `match` does.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use thiserror::Error;

/// Why the stack of a program has no bound that can be told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("stack bound: {why} at {at:#x} (in {function})")]
pub struct StackError {
    /// What is in the way.
    why: &'static str,
    /// Address of the instruction.
    at: u64,
    /// Name of the function.
    function: String,
}

/// A function's code and what it does to the stack.
struct Function<'a> {
    name: String,
    start: u64,
    code: &'a [u8],
    /// Bytes of its own.
    frame: u64,
    /// Where it calls or jumps to, by instruction.
    calls: Vec<(u64, u64)>,
}

/// What an instruction means here; everything else is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Other,
    /// `sp` plus a constant.
    Adjust(i64),
    /// `sp` becomes something else.
    Moves,
    /// An offset into a register, for a jump that follows.
    Auipc {
        rd: u32,
        offset: i64,
    },
    /// To an offset from the instruction; `link` when it comes back.
    Jump {
        link: bool,
        offset: i64,
    },
    Branch {
        offset: i64,
    },
    /// To a register and an offset.
    Register {
        link: bool,
        rs1: u32,
        offset: i64,
    },
}

/// Number of the stack pointer's register.
const SP: u32 = 2;

/// Most bytes of stack that the program in `elf` uses, a multiple of 16.
///
/// # Errors
/// The code has something that this analysis does not bound; the error says where.
pub(super) fn bound(elf: &object::File<'_>) -> Result<u32, StackError> {
    let mut functions = functions(elf);
    let starts: Vec<u64> = functions.keys().copied().collect();
    for function in functions.values_mut() {
        scan(function, elf.is_64(), elf.entry(), &starts)?;
    }
    let mut depths = BTreeMap::new();
    let deepest = depth(&functions, elf.entry(), &mut Vec::new(), &mut depths)?;
    Ok(u32::try_from(deepest.next_multiple_of(16)).unwrap_or(u32::MAX))
}

/// The functions of the program by their address. What stands at the entry, and has no size, ends where the next one starts.
fn functions<'a>(elf: &object::File<'a>) -> BTreeMap<u64, Function<'a>> {
    let mut functions = BTreeMap::new();
    let mut add = |name: &str, start: u64, size: u64| {
        let inside = |it: &object::Section<'a, '_>| (it.address()..it.address() + it.size()).contains(&start);
        let code = elf.sections().find(inside).and_then(|section| {
            let from = (start - section.address()) as usize;
            section.data().ok()?.get(from..from.checked_add(size as usize)?)
        });
        if let Some(code) = code {
            let name = name.to_owned();
            functions.insert(start, Function { name, start, code, frame: 0, calls: Vec::new() });
        }
    };
    let symbols = elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let mut sized: Vec<(u64, u64, String)> = symbols
        .map(|symbol| (symbol.address(), symbol.size(), symbol.name().unwrap_or_default().to_owned()))
        .collect();
    sized.sort();
    let entry = elf.entry();
    if !sized.iter().any(|&(start, ..)| start == entry)
        && let Some(&(next, ..)) = sized.iter().find(|&&(start, ..)| start > entry)
    {
        add("_start", entry, next - entry);
    }
    for (start, size, name) in sized {
        add(&name, start, size);
    }
    functions
}

/// Finds frame and calls of a function.
fn scan(function: &mut Function<'_>, wide: bool, entry: u64, starts: &[u64]) -> Result<(), StackError> {
    let end = function.start + function.code.len() as u64;
    let refuse = |why, at| Err(StackError { why, at, function: function.name.clone() });
    // Of the entry, that sets the stack pointer up, `sp` is not a frame.
    let is_entry = function.start == entry;
    let mut taken = Vec::new();
    let mut jumps = Vec::new();
    let mut calls = Vec::new();
    let mut frame = 0;
    let mut before = Flow::Other;
    let mut offset = 0;
    while let Some((flow, length)) = decode(&function.code[offset..], wide) {
        let at = function.start + offset as u64;
        match flow {
            Flow::Other => {}
            Flow::Adjust(_) | Flow::Moves if is_entry => {}
            Flow::Auipc { rd: SP, .. } if is_entry => {}
            Flow::Adjust(change) if change < 0 => {
                taken.push(at);
                frame += change.unsigned_abs();
            }
            Flow::Adjust(_) | Flow::Auipc { .. } => {}
            Flow::Moves => return refuse("the stack pointer is moved by more than a constant", at),
            Flow::Branch { offset } => jumps.push((at, at.wrapping_add_signed(offset))),
            Flow::Jump { link: false, offset } => jumps.push((at, at.wrapping_add_signed(offset))),
            Flow::Jump { link: true, offset } => calls.push((at, at.wrapping_add_signed(offset))),
            Flow::Register { link, rs1, offset } => match before {
                Flow::Auipc { rd, offset: upper } if rd == rs1 => {
                    calls.push((at, (at - 4).wrapping_add_signed(upper + offset)));
                }
                _ if link => return refuse("a call through a pointer", at),
                // A return, or a table.
                _ => {}
            },
        }
        before = flow;
        offset += length;
    }
    if offset != function.code.len() {
        return refuse("an instruction that is cut off", function.start + offset as u64);
    }
    for (at, target) in jumps {
        if !(function.start..end).contains(&target) {
            calls.push((at, target));
        } else if taken.iter().any(|&place| target <= place && place < at) {
            return refuse("a jump back to where a frame is taken", at);
        }
    }
    if let Some(&(at, _)) = calls.iter().find(|(_, target)| !starts.contains(target)) {
        return refuse("a call to what is no function", at);
    }
    (function.frame, function.calls) = (frame, calls);
    Ok(())
}

/// Bytes of the deepest chain of calls from `start` on.
fn depth(
    functions: &BTreeMap<u64, Function<'_>>,
    start: u64,
    chain: &mut Vec<u64>,
    known: &mut BTreeMap<u64, u64>,
) -> Result<u64, StackError> {
    if let Some(&depth) = known.get(&start) {
        return Ok(depth);
    }
    let Some(function) = functions.get(&start) else {
        return Err(StackError { why: "no function", at: start, function: String::new() });
    };
    chain.push(start);
    let mut below = 0;
    for &(at, target) in &function.calls {
        if chain.contains(&target) {
            return Err(StackError { why: "recursion", at, function: function.name.clone() });
        }
        below = below.max(depth(functions, target, chain, known)?);
    }
    chain.pop();
    let depth = function.frame + below;
    known.insert(start, depth);
    Ok(depth)
}

/// The first instruction of `code` and its bytes; nothing at the end.
fn decode(code: &[u8], wide: bool) -> Option<(Flow, usize)> {
    let low = u32::from(u16::from_le_bytes(*code.first_chunk()?));
    if low & 3 != 3 {
        return Some((short(low, wide), 2));
    }
    Some((long(u32::from_le_bytes(*code.first_chunk()?)), 4))
}

fn long(word: u32) -> Flow {
    let (rd, rs1, funct3) = (bits(word, 7, 5), bits(word, 15, 5), bits(word, 12, 3));
    let upper = i64::from((word & 0xffff_f000) as i32);
    let immediate = i64::from(word as i32 >> 20);
    match word & 0x7f {
        0x13 if funct3 == 0 && rd == SP && rs1 == SP => Flow::Adjust(immediate),
        0x17 => Flow::Auipc { rd, offset: upper },
        0x63 => {
            let offset = bits(word, 8, 4) << 1 | bits(word, 25, 6) << 5 | bits(word, 7, 1) << 11;
            Flow::Branch { offset: sign(offset | bits(word, 31, 1) << 12, 13) }
        }
        0x67 => Flow::Register { link: rd != 0, rs1, offset: immediate },
        0x6f => {
            let offset = bits(word, 21, 10) << 1 | bits(word, 20, 1) << 11 | bits(word, 12, 8) << 12;
            Flow::Jump { link: rd != 0, offset: sign(offset | bits(word, 31, 1) << 20, 21) }
        }
        // Branches, stores and fences have no destination.
        0x03 | 0x13 | 0x1b | 0x2f | 0x33 | 0x37 | 0x3b | 0x73 if rd == SP => Flow::Moves,
        _ => Flow::Other,
    }
}

fn short(half: u32, wide: bool) -> Flow {
    let (rd, rs2) = (bits(half, 7, 5), bits(half, 2, 5));
    let immediate = sign(bits(half, 2, 5) | bits(half, 12, 1) << 5, 6);
    let jump = || {
        let low =
            bits(half, 3, 3) << 1 | bits(half, 11, 1) << 4 | bits(half, 2, 1) << 5 | bits(half, 7, 1) << 6;
        let high =
            bits(half, 6, 1) << 7 | bits(half, 9, 2) << 8 | bits(half, 8, 1) << 10 | bits(half, 12, 1) << 11;
        sign(low | high, 12)
    };
    match (half & 3, half >> 13) {
        (1, 0) if rd == SP => Flow::Adjust(immediate),
        (1, 1) if !wide => Flow::Jump { link: true, offset: jump() },
        (1, 1 | 2) if rd == SP => Flow::Moves,
        (1, 3) if rd == SP => {
            let low = bits(half, 6, 1) << 4 | bits(half, 2, 1) << 5 | bits(half, 5, 1) << 6;
            Flow::Adjust(sign(low | bits(half, 3, 2) << 7 | bits(half, 12, 1) << 9, 10))
        }
        (1, 5) => Flow::Jump { link: false, offset: jump() },
        (1, 6 | 7) => {
            let low = bits(half, 3, 2) << 1 | bits(half, 10, 2) << 3 | bits(half, 2, 1) << 5;
            Flow::Branch { offset: sign(low | bits(half, 5, 2) << 6 | bits(half, 12, 1) << 8, 9) }
        }
        (2, 4) if rs2 == 0 && rd != 0 => Flow::Register { link: bits(half, 12, 1) != 0, rs1: rd, offset: 0 },
        // Shift, loads from the stack, move and add.
        (2, 0 | 2 | 3 | 4) if rd == SP => Flow::Moves,
        _ => Flow::Other,
    }
}

fn bits(word: u32, from: u32, count: u32) -> u32 {
    word >> from & ((1 << count) - 1)
}

/// A number of `width` bits with its sign.
fn sign(value: u32, width: u32) -> i64 {
    i64::from((value << (32 - width)) as i32 >> (32 - width))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RA: u32 = 1;

    /// Encodings as LLVM's assembler writes them.
    #[test]
    fn what_moves_the_stack_or_the_program_is_decoded() {
        for (word, wide, flow) in [
            (0x1101, false, Flow::Adjust(-32)),       // c.addi16sp sp, -32
            (0x6105, true, Flow::Adjust(32)),         // c.addi16sp sp, 32
            (0x7129, true, Flow::Adjust(-320)),       // c.addi16sp sp, -320
            (0x1161, false, Flow::Adjust(-8)),        // c.addi sp, -8
            (0xe901_0113, false, Flow::Adjust(-368)), // addi sp, sp, -368
            (0x0000_0097, false, Flow::Auipc { rd: RA, offset: 0 }), // auipc ra, 0
            (0xffff_f317, false, Flow::Auipc { rd: 6, offset: -4096 }), // auipc t1, 0xfffff
            (0x1760_80e7, false, Flow::Register { link: true, rs1: RA, offset: 0x176 }), // jalr 0x176(ra)
            (0x8782, false, Flow::Register { link: false, rs1: 15, offset: 0 }), // c.jr a5
            (0x9782, false, Flow::Register { link: true, rs1: 15, offset: 0 }), // c.jalr a5
            (0x8082, true, Flow::Register { link: false, rs1: RA, offset: 0 }), // ret
            (0xff1f_f06f, false, Flow::Jump { link: false, offset: -16 }), // j .-16
            (0x0010_00ef, false, Flow::Jump { link: true, offset: 2048 }), // jal ra, .+2048
            (0xa001, false, Flow::Jump { link: false, offset: 0 }), // c.j .
            (0xbfe5, true, Flow::Jump { link: false, offset: -8 }), // c.j .-8
            (0x2001, false, Flow::Jump { link: true, offset: 0 }), // c.jal . (rv32)
            (0x2001, true, Flow::Other),              // c.addiw zero, 0 (rv64)
            (0x2105, true, Flow::Moves),              // c.addiw sp, 1 (rv64)
            (0xfeb5_18e3, false, Flow::Branch { offset: -16 }), // bne a0, a1, .-16
            (0xfd65, false, Flow::Branch { offset: -8 }), // c.bnez a0, .-8
            (0x812a, false, Flow::Moves),             // c.mv sp, a0
            (0x912a, false, Flow::Moves),             // c.add sp, a0
            (0x40a1_0133, false, Flow::Moves),        // sub sp, sp, a0
            (0x0001_2103, false, Flow::Moves),        // lw sp, 0(sp)
            (0x00a1_2023, false, Flow::Other),        // sw a0, 0(sp)
            (0xc02a, false, Flow::Other),             // c.swsp a0, 0
        ] {
            let bytes = u32::to_le_bytes(word);
            let length = if word & 3 == 3 { 4 } else { 2 };
            assert_eq!(decode(&bytes[..length], wide), Some((flow, length)), "{word:#x}");
        }
    }

    /// Frames and calls of functions that lie one behind the other; the first one is the entry.
    fn bound_of(parts: &[&[u32]]) -> Result<u64, &'static str> {
        let mut codes: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut start = 0x8000_0000;
        for words in parts {
            let mut code = Vec::new();
            for word in *words {
                let length = if word & 3 == 3 { 4 } else { 2 };
                code.extend_from_slice(&word.to_le_bytes()[..length]);
            }
            let length = code.len() as u64;
            codes.push((start, code));
            start += length;
        }
        let starts: Vec<u64> = codes.iter().map(|&(start, _)| start).collect();
        let mut functions = BTreeMap::new();
        for (start, code) in &codes {
            let name = format!("{start:x}");
            let mut function = Function { name, start: *start, code, frame: 0, calls: Vec::new() };
            scan(&mut function, false, starts[0], &starts).map_err(|error| error.why)?;
            functions.insert(*start, function);
        }
        depth(&functions, starts[0], &mut Vec::new(), &mut BTreeMap::new()).map_err(|error| error.why)
    }

    const RET: u32 = 0x8082;
    const TAKE_32: u32 = 0x1101;
    const GIVE_32: u32 = 0x6105;
    const NOP: u32 = 0x0001;
    /// `c.j` and `c.jal` forward to the next instruction but one.
    const JUMP_4: u32 = 0xa011;
    const CALL_4: u32 = 0x2011;

    #[test]
    fn frames_add_up_along_the_deepest_chain() {
        let entry: &[u32] = &[0x812a, JUMP_4, NOP];
        let leaf: &[u32] = &[TAKE_32, GIVE_32, RET];
        assert_eq!(bound_of(&[entry, leaf]), Ok(32));
        // One calls the leaf behind it, from a frame of its own.
        let caller: &[u32] = &[TAKE_32, CALL_4, RET];
        assert_eq!(bound_of(&[entry, caller, leaf]), Ok(64));
        assert_eq!(bound_of(&[entry, &[TAKE_32, RET], leaf]), Ok(32), "what is not called does not count");
        // `j .+6` out of the function is a call that does not come back.
        assert_eq!(bound_of(&[entry, &[TAKE_32, JUMP_4, RET], leaf]), Ok(64));
    }

    #[test]
    fn what_has_no_bound_is_refused() {
        let entry: &[u32] = &[0x812a, JUMP_4, NOP];
        let refused = |words: &[u32]| bound_of(&[entry, words]).unwrap_err();
        assert_eq!(refused(&[0x812a, RET]), "the stack pointer is moved by more than a constant");
        assert_eq!(refused(&[0x9782, RET]), "a call through a pointer");
        assert_eq!(refused(&[TAKE_32, 0xbffd]), "a jump back to where a frame is taken"); // c.j .-2
        assert_eq!(refused(&[0x3ffd, RET]), "a call to what is no function"); // c.jal .-2
        assert_eq!(refused(&[0x2001, RET]), "recursion"); // c.jal .
    }
}
