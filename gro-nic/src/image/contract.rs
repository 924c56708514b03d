//! ABI: the layout of registers and descriptors as a table, so that a driver can tell another layout from its own.

use std::fmt::Write as _;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::ImageError;
use crate::abi;

/// One constant of [`crate::abi`]: its module, its name, its value and what it is.
struct Row {
    group: &'static str,
    name: &'static str,
    value: u64,
    kind: &'static str,
}

/// The constants of each module of [`crate::abi`], in its order. `u8` to `u64` is a field of that many bits at that offset; everything
/// else is a `value`, or a `register` of 32 bits at that offset.
macro_rules! rows {
    ($($group:ident { $($name:ident $kind:ident),* $(,)? })*) => {
        &[$($(Row {
            group: stringify!($group),
            name: stringify!($name),
            value: abi::$group::$name as u64,
            kind: stringify!($kind),
        }),*),*]
    };
}

#[rustfmt::skip]
const ROWS: &[Row] = rows! {
    memory {
        IMEM_BASE value, IMEM_SIZE value, DMEM_BASE value, DMEM_SIZE value, PACKET_BASE value, PACKET_SIZE value,
        MMIO_BASE value, MMIO_SIZE value, MMIO_DEVICE value,
    }
    packet {
        ALIGN value, RX_RING value, RX_MAX value, RX_STRIDE value, COMPLETION_RING value, COMPLETION_MAX value,
        COMPLETION_STRIDE value, SCATTER value, SCATTER_STRIDE value, HEADERS value, HEADER_STRIDE value, HEADER_START value,
        HEADER_BYTES value, BUFFERS value,
    }
    register {
        ABI register, RX_SIZE register, COMPLETION_SIZE register, BUFFERS register, GRO_MAX_SIZE register,
        GRO_IPV4_MAX_SIZE register, FLUSH_TIMEOUT register, UDP_FORWARDING register, HZ register, VLAN_IN_BAND register,
        TUNNELS register, COALESCE register, RX_BASE register, COMPLETION_BASE register, SCATTER_BASE register,
        HEADERS_BASE register, RX_PRODUCER register, COMPLETION_CONSUMER register, STATUS register, STATE_ADDRESS register,
        REJECTED register, STALLS register, PROGRAM_HASH register, RX_CONSUMER register, COMPLETION_PRODUCER register,
    }
    bar {
        START value, END value, MAGIC value, MAGIC_VALUE value, ABI value, ISA value, IMEM value, DMEM value, PACKET value,
        LANES value, LANES_MAX value, SLOTS value, LANE value, IMAGE_ADDRESS value, IMAGE_SIZE value, UPDATE value,
        LOAD_STATUS value, CONTROL value, RUN value, CORE_STATE value, STOP_PC value, TIMER value, INSTRET value,
        FREE_POST value, FREE_COUNT value, EVENT_ARGUMENT value, EVENT value, FLOW_CONTROL value, IMAGE_ID value,
        MEASUREMENT value, FRAMES value, BYTES value, DROPS_RING value, DROPS_BUFFER value, PAUSES value, STALLS value,
        INDIRECTION value, INDIRECTION_SIZE value,
    }
    core_state { EMPTY value, RESET value, RUNNING value, STOPPED value, LOST value }
    load {
        NONE value, LOADED value, BUSY value, PLACE value, CORE value, TRUNCATED value, TOO_LONG value, MAGIC value, ABI value,
        RESERVED value, ID value, SECTION_HASH value, SECTIONS value, ISA value, MEMORY value, START value, DOCUMENTS value,
    }
    status { READY value, REFUSED value }
    event {
        KIND u8, FLAGS u8, BUFFER u16, LENGTH u16, SUM u16, HASH u32, VLAN u32, RX value, TIME value, POLL_END value,
        TICK value, FLUSH value, CONFIG value, VERIFIED value, LONG value,
    }
    completion {
        KIND u8, FLAGS u8, REASON u8, ID u32, BUFFER u16, HEADER_LENGTH u16, SEGS u32, GSO_SIZE u16, L4 u16, BYTES u32,
        VLAN u32, HASH u32, SCATTER_FIRST u16, PSEUDO u16, SCATTER_COUNT u32, DIGEST u64, GSO_TYPE u32, JUMBO u32, L3 u16,
        FRAME value, MERGED value, FLUSHED value,
    }
    scatter { NEXT u16, OFFSET u16, LENGTH u32 }
    state { DIGEST u64, POLL_START u32, COUNTERS u64, SIZE value }
};

static CONTRACT: LazyLock<String> = LazyLock::new(|| {
    let mut text = format!("abi {}\n", abi::ABI);
    for Row { group, name, value, kind } in ROWS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{group} {name} {value:#x} {kind}");
    }
    text
});

static HASH: LazyLock<[u8; 32]> = LazyLock::new(|| Sha256::digest(CONTRACT.as_bytes()).into());

/// The ABI section of every image that this driver can use: a line `abi N`, then a line for each constant of [`crate::abi`] with its
/// group, name, value (hexadecimal) and kind: `register`, the type of a descriptor's field, or `value`.
pub fn contract() -> &'static str {
    &CONTRACT
}

/// SHA-256 over [`contract`], as the image header has it.
pub fn contract_hash() -> [u8; 32] {
    *HASH
}

/// Names the first row that is not this device's.
pub(super) fn check(section: &[u8]) -> Result<(), ImageError> {
    let own = contract();
    if section == own.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(section);
    let (mut found, mut own) = (found.split('\n'), own.split('\n'));
    loop {
        let (theirs, ours) = (found.next(), own.next());
        if theirs != ours || theirs.is_none() {
            // A terminal shows it: at most a row's length, and nothing that the terminal may obey.
            let shown = |row: Option<&str>| row.unwrap_or("its end").escape_default().take(80).collect();
            return Err(ImageError::Contract { found: shown(theirs), expected: shown(ours) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Group, name and kind of every constant in the text of abi.rs: a field's comment starts with its type.
    fn constants(text: &str) -> Vec<(String, String, String)> {
        let (mut group, mut kind, mut found) = (String::new(), None, Vec::new());
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub mod ") {
                group = rest.trim_end_matches(" {").to_owned();
            } else if let Some(comment) = line.strip_prefix("/// ") {
                let types = ["u8", "u16", "u32", "u64"];
                let typed = types.iter().find(|kind| {
                    let rest = comment.strip_prefix(**kind);
                    rest.is_some_and(|rest| rest.starts_with(':') || rest.starts_with(" each:"))
                });
                // A comment of several lines has its type in the first.
                kind = kind.or(typed.copied());
            } else if let Some(rest) = line.strip_prefix("pub const ") {
                let name = rest.split(':').next().unwrap_or_default().to_owned();
                let default = if group == "register" { "register" } else { "value" };
                if !group.is_empty() {
                    found.push((group.clone(), name, kind.unwrap_or(default).to_owned()));
                }
                kind = None;
            }
        }
        found
    }

    #[test]
    fn the_table_has_every_constant_of_the_contract() {
        let rows: Vec<_> =
            ROWS.iter().map(|row| (row.group.to_owned(), row.name.to_owned(), row.kind.to_owned())).collect();
        let constants = constants(include_str!("../abi.rs"));
        for constant in &constants {
            assert!(rows.contains(constant), "{constant:?} of abi.rs is missing in ROWS");
        }
        assert_eq!(rows, constants, "ROWS is in the order of abi.rs");
        assert!(rows.len() > 80, "the text of abi.rs was read");
    }

    #[test]
    fn another_layout_is_told_by_its_first_row() {
        assert_eq!(check(contract().as_bytes()), Ok(()));
        let refused = |text: String| match check(text.as_bytes()) {
            Err(ImageError::Contract { found, expected }) => (found, expected),
            other => panic!("{other:?}"),
        };
        let moved = contract().replace("register RX_SIZE 0x4 register", "register RX_SIZE 0x8 register");
        assert_eq!(
            refused(moved),
            ("register RX_SIZE 0x8 register".into(), "register RX_SIZE 0x4 register".into())
        );
        let abi = format!("abi {}", abi::ABI);
        assert_eq!(refused(contract().replacen(&abi, "abi 77", 1)), ("abi 77".into(), abi));
        assert_eq!(refused(contract().trim_end().into()), ("its end".into(), String::new()));
        assert_eq!(refused(format!("{}x 1", contract())), ("x 1".into(), String::new()));
    }
}
