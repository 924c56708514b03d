//! Redoes the hashes of a changed image, as a forger would. Written from docs/nicimg.md, not from the reader.

use sha2::{Digest as _, Sha256};

/// Bytes of the file header.
pub(super) const HEADER: usize = 192;
/// Offset of the total length.
pub(super) const TOTAL: usize = 12;
/// Offset of the number of sections.
const SECTIONS: usize = 16;
const ID: usize = 32;
const CONTRACT_HASH: usize = 160;

const CODE: u32 = 1;
const MEMMAP: u32 = 3;
const CONTRACT: u32 = 5;
const MANIFEST: u32 = 7;
const SIG: u32 = 8;

/// An entry of the section table, believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Where the entry stands.
    pub(super) entry: usize,
    pub(super) kind: u32,
    pub(super) isa: u32,
    pub(super) start: usize,
    pub(super) size: usize,
}

/// The entries that lie in the file, whatever they say.
pub(super) fn rows(file: &[u8]) -> Vec<Row> {
    let count = (word(file, SECTIONS) as usize).min(16);
    let entries = (0..count).map(|number| HEADER + 64 * number).take_while(|entry| entry + 64 <= file.len());
    let row = |entry| Row {
        entry,
        kind: word(file, entry),
        isa: word(file, entry + 4),
        start: word(file, entry + 12) as usize,
        size: word(file, entry + 16) as usize,
    };
    entries.map(row).collect()
}

/// The word at `at`; 0 behind the end.
pub(super) fn word(file: &[u8], at: usize) -> u32 {
    file.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

/// Recomputes whatever hash the file has room for: those of code and memory in the manifest, of the sections, of the layout, and the id.
pub(super) fn seal(file: &mut [u8]) {
    if file.len() < HEADER {
        return;
    }
    let rows = rows(file);
    manifest(file, &rows);
    for row in &rows {
        let Some(bytes) = bytes(file, row) else { continue };
        // The signature's bytes have no hash in the table.
        let hash: [u8; 32] = if row.kind == SIG { [0; 32] } else { Sha256::digest(bytes).into() };
        file[row.entry + 32..row.entry + 64].copy_from_slice(&hash);
        if row.kind == CONTRACT {
            file[CONTRACT_HASH..CONTRACT_HASH + 32].copy_from_slice(&hash);
        }
    }
    let signature =
        rows.iter().find(|row| row.kind == SIG).map_or(file.len(), |row| row.start.min(file.len()));
    let mut hash = Sha256::new();
    hash.update(&file[..ID]);
    hash.update([0; 32]);
    hash.update(file.get(ID + 32..signature).unwrap_or_default());
    hash.update(vec![0; file.len() - signature]);
    let id: [u8; 32] = hash.finalize().into();
    file[ID..ID + 32].copy_from_slice(&id);
}

/// The manifest says what the changed code hashes to, and what a device measures that has loaded it.
fn manifest(file: &mut [u8], rows: &[Row]) {
    let Some(row) = rows.iter().find(|row| row.kind == MANIFEST && row.start + row.size <= file.len()) else {
        return;
    };
    for code in rows.iter().filter(|row| row.kind == CODE) {
        let name = if code.isa == 1 { "rv32imc" } else { "rv64imac" };
        let map = rows.iter().find(|row| (row.kind, row.isa) == (MEMMAP, code.isa));
        let memory = map.map_or(0, |map| word(file, map.start + 8)).min(1 << 16) as usize;
        let Some(bytes) = bytes(file, code) else { continue };
        let hash = Sha256::digest(bytes);
        let mut measured = Sha256::new();
        measured.update(&bytes[..bytes.len().min(memory)]);
        measured.update(vec![0; memory.saturating_sub(bytes.len())]);
        let text = crate::hex(&hash) + &crate::hex(&measured.finalize());
        let json = &mut file[row.start..row.start + row.size];
        let Some(at) = find(json, format!("\"{name}\": {{").as_bytes()) else { continue };
        let place = &mut json[at..];
        for (field, digits) in [("\"sha256\": \"", &text[..64]), ("\"measurement\": \"", &text[64..])] {
            if let Some(at) = find(place, field.as_bytes())
                && let Some(place) = place.get_mut(at + field.len()..at + field.len() + 64)
            {
                place.copy_from_slice(digits.as_bytes());
            }
        }
    }
}

fn bytes<'a>(file: &'a [u8], row: &Row) -> Option<&'a [u8]> {
    file.get(row.start..row.start.checked_add(row.size)?)
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_nic::Image;

    #[test]
    fn what_was_not_changed_is_sealed_as_it_was() {
        let whole = gro_nic::LINUX_6_18.to_vec();
        let mut file = whole.clone();
        seal(&mut file);
        assert!(file == whole);
    }

    #[test]
    fn a_changed_program_is_sealed_to_an_image() {
        let mut file = gro_nic::LINUX_6_18.to_vec();
        let code = *rows(&file).iter().find(|row| row.kind == CODE).unwrap();
        file[code.start + 100] ^= 4;
        assert!(Image::parse(&file).is_err());
        seal(&mut file);
        let image = Image::parse(&file).unwrap();
        assert_ne!(image.code, Image::parse(gro_nic::LINUX_6_18).unwrap().code);
    }
}
