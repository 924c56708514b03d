//! Completions on their way to the host. The device is not trusted: what it writes is checked against what it owns.

use gro_core::user::{Why, insert_jumbo};
use gro_core::{Bypass, FlushReason};

use super::post::{header_start, untouched};
use super::{Delivered, Nic, NicError, Owned};
use crate::abi::{completion, packet, register, scatter};
use crate::machine::Core;

/// One completion, copied out of the ring.
struct Completion {
    bytes: [u8; packet::COMPLETION_STRIDE as usize],
}

impl<C: Core> Nic<C> {
    /// Hands out every packet in the completion ring.
    pub(super) fn drain(&mut self, sink: &mut dyn FnMut(Delivered)) -> Result<(), NicError> {
        let written = self.core.register(register::COMPLETION_PRODUCER);
        let waiting = written.wrapping_sub(self.completed);
        if waiting > self.config.completion_entries {
            return Err(self.malformed("more completions than the ring has entries"));
        }
        for _ in 0..waiting {
            let delivered = self.take_completion()?;
            self.completed = self.completed.wrapping_add(1);
            let completed = self.completed;
            self.core.set_register(register::COMPLETION_CONSUMER, completed);
            sink(delivered);
        }
        Ok(())
    }

    fn take_completion(&mut self) -> Result<Delivered, NicError> {
        let index = self.completed & (self.config.completion_entries - 1);
        let mut entry = Completion { bytes: [0; packet::COMPLETION_STRIDE as usize] };
        self.core.read_packet(packet::COMPLETION_RING + index * packet::COMPLETION_STRIDE, &mut entry.bytes);

        if entry.word(completion::ID) != self.completed {
            return Err(self.malformed("its number is not the next one"));
        }
        let Some(why) = entry.reason() else {
            return Err(self.malformed("unknown reason"));
        };
        let delivered = match u32::from(entry.bytes[completion::KIND as usize]) {
            completion::FRAME => untouched(self.take_buffer(entry.half(completion::BUFFER))?, why),
            completion::MERGED => self.take_merged(&entry, why)?,
            _ => return Err(self.malformed("unknown kind")),
        };
        let meta = delivered.meta;
        if (entry.word(completion::HASH), entry.word(completion::VLAN)) != (meta.hash, meta.vlan)
            || entry.word(completion::BYTES) as usize != delivered.len()
            || entry.word(completion::SEGS) != delivered.segs
        {
            return Err(self.malformed("hash, VLAN tag, length or segments are not those of its frames"));
        }
        Ok(delivered)
    }

    fn take_merged(&mut self, entry: &Completion, why: Why) -> Result<Delivered, NicError> {
        let head = entry.half(completion::BUFFER);
        let count = entry.word(completion::SCATTER_COUNT);
        let header_length = usize::from(entry.half(completion::HEADER_LENGTH));
        if header_length > packet::HEADER_BYTES as usize {
            return Err(self.malformed("its header is longer than a header entry"));
        }
        if count < 2 || count > self.config.buffers || entry.half(completion::SCATTER_FIRST) != head {
            return Err(self.malformed("its scatter list cannot be that of a merged packet"));
        }
        let mut header = vec![0; header_length];
        self.core.read_packet(header_start(head), &mut header);
        insert_jumbo(&mut header, entry.half(completion::L3), entry.word(completion::JUMBO));
        // The completion's offsets are those before a jumbo header was put in.
        let inserted = (header.len() - header_length) as u16;

        let mut segments = Vec::with_capacity(count as usize);
        let mut buffer = head;
        let mut first = None;
        let mut last = 0;
        for _ in 0..count {
            let owned = self.take_buffer(buffer)?;
            let (next, offset, length) = self.scatter_entry(buffer);
            if offset + length > owned.frame.len() {
                return Err(self.malformed("a scatter entry reaches beyond its frame"));
            }
            segments.push(owned.frame.slice(offset..offset + length));
            last = owned.number;
            first.get_or_insert((owned.number, owned.meta));
            buffer = next;
        }
        let (first, meta) = first.unwrap_or_default();
        Ok(Delivered {
            header: header.into(),
            segments,
            gso_size: entry.half(completion::GSO_SIZE),
            segs: count,
            gso_type: entry.word(completion::GSO_TYPE),
            first,
            last,
            meta,
            why,
            l4: entry.half(completion::L4).saturating_add(inserted),
            pseudo: entry.half(completion::PSEUDO),
        })
    }

    /// Takes a frame back from the device; a buffer that it does not own is an error, so no frame leaves twice.
    fn take_buffer(&mut self, buffer: u16) -> Result<Owned, NicError> {
        match self.owned.get_mut(usize::from(buffer)).and_then(Option::take) {
            Some(owned) => {
                self.free.push(buffer);
                Ok(owned)
            }
            None => Err(self.malformed("it names a buffer that the device does not own")),
        }
    }

    /// Next buffer, offset and length. The buffer is one that the device owned.
    fn scatter_entry(&self, buffer: u16) -> (u16, usize, usize) {
        let mut entry = [0; packet::SCATTER_STRIDE as usize];
        self.core.read_packet(packet::SCATTER + u32::from(buffer) * packet::SCATTER_STRIDE, &mut entry);
        let half = |at: u32| u16::from_le_bytes([entry[at as usize], entry[at as usize + 1]]);
        let length = u32::from(half(scatter::LENGTH)) | u32::from(half(scatter::LENGTH + 2)) << 16;
        (half(scatter::NEXT), usize::from(half(scatter::OFFSET)), length as usize)
    }

    fn malformed(&self, why: &'static str) -> NicError {
        NicError::Completion { id: self.completed, why }
    }
}

impl Completion {
    fn half(&self, at: u32) -> u16 {
        u16::from_le_bytes([self.bytes[at as usize], self.bytes[at as usize + 1]])
    }

    fn word(&self, at: u32) -> u32 {
        u32::from(self.half(at)) | u32::from(self.half(at + 2)) << 16
    }

    fn reason(&self) -> Option<Why> {
        let number = self.bytes[completion::REASON as usize];
        if u32::from(self.bytes[completion::FLAGS as usize]) & completion::FLUSHED != 0 {
            FlushReason::from_number(number).map(Why::Flush)
        } else {
            Bypass::from_number(number).map(Why::Bypass)
        }
    }
}
