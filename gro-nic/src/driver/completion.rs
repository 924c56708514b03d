//! Completions on their way to the host. The device is not trusted: what it writes is checked against what it owns.

use gro_core::user::{Why, insert_jumbo};
use gro_core::{Bypass, FlushReason};

use super::post::untouched;
use super::{Delivered, Nic, NicError};
use crate::abi::{bar, completion, packet, register, scatter};
use crate::device::Frame;
use crate::machine::Core;

/// One completion, copied out of the ring.
struct Completion {
    bytes: [u8; packet::COMPLETION_STRIDE as usize],
}

/// Frames in a completion, taken out of their buffers; they go back there unless the whole completion is true.
type Taken = Vec<(u16, Frame)>;

impl<C: Core> Nic<C> {
    /// Hands out up to `most` packets of the completion ring; returns how many.
    ///
    /// # Errors
    /// A completion that cannot be true. Every frame of it is still owned by the device.
    pub(crate) fn drain(&mut self, most: u32, sink: &mut dyn FnMut(Delivered)) -> Result<u32, NicError> {
        let waiting = self.waiting();
        if waiting > self.config.completion_entries {
            return Err(self.malformed("more completions than the ring has entries"));
        }
        let count = waiting.min(most);
        for _ in 0..count {
            let mut taken = Taken::new();
            let delivered = match self.take_completion(&mut taken) {
                Ok(delivered) => delivered,
                Err(error) => {
                    for (buffer, frame) in taken {
                        // It was there a moment ago.
                        let _ = self.buffers.put(buffer, frame);
                    }
                    return Err(error);
                }
            };
            for &(buffer, _) in &taken {
                self.device.write(bar::FREE_POST, u32::from(buffer));
            }
            self.completed = self.completed.wrapping_add(1);
            self.device.write(register::COMPLETION_CONSUMER, self.completed);
            sink(delivered);
        }
        Ok(count)
    }

    /// Completions in the ring.
    pub(crate) fn waiting(&self) -> u32 {
        self.device.read(register::COMPLETION_PRODUCER).wrapping_sub(self.completed)
    }

    fn take_completion(&mut self, taken: &mut Taken) -> Result<Delivered, NicError> {
        let index = self.completed & (self.config.completion_entries - 1);
        let mut entry = Completion { bytes: [0; packet::COMPLETION_STRIDE as usize] };
        let start = packet::COMPLETION_RING + index * packet::COMPLETION_STRIDE;
        self.device.read_packet(start, &mut entry.bytes);

        if entry.word(completion::ID) != self.completed {
            return Err(self.malformed("its number is not the next one"));
        }
        let Some(why) = entry.reason() else {
            return Err(self.malformed("unknown reason"));
        };
        let delivered = match u32::from(entry.bytes[completion::KIND as usize]) {
            completion::FRAME => {
                untouched(self.take_buffer(entry.half(completion::BUFFER), taken)?.clone(), why)
            }
            completion::MERGED => self.take_merged(&entry, why, taken)?,
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

    fn take_merged(
        &mut self,
        entry: &Completion,
        why: Why,
        taken: &mut Taken,
    ) -> Result<Delivered, NicError> {
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
        self.device.read_packet(header_start(head), &mut header);
        insert_jumbo(&mut header, entry.half(completion::L3), entry.word(completion::JUMBO));
        // The completion's offsets are those before a jumbo header was put in.
        let inserted = (header.len() - header_length) as u16;

        let mut segments = Vec::with_capacity(count as usize);
        taken.reserve(count as usize);
        let mut buffer = head;
        for _ in 0..count {
            let (next, offset, length) = self.scatter_entry(buffer);
            let frame = self.take_buffer(buffer, taken)?;
            if offset + length > frame.bytes.len() {
                return Err(self.malformed("a scatter entry reaches beyond its frame"));
            }
            segments.push(frame.bytes.slice(offset..offset + length));
            buffer = next;
        }
        let (Some((_, first)), Some((_, last))) = (taken.first(), taken.last()) else {
            return Err(self.malformed("its scatter list is empty"));
        };
        Ok(Delivered {
            header: header.into(),
            segments,
            gso_size: entry.half(completion::GSO_SIZE),
            segs: count,
            gso_type: entry.word(completion::GSO_TYPE),
            first: first.number,
            last: last.number,
            meta: first.meta,
            why,
            l4: entry.half(completion::L4).saturating_add(inserted),
            pseudo: entry.half(completion::PSEUDO),
        })
    }

    /// Takes a frame back from the device; a buffer that it does not own is an error, so no frame leaves twice.
    fn take_buffer<'a>(&mut self, buffer: u16, taken: &'a mut Taken) -> Result<&'a Frame, NicError> {
        let Some(frame) = self.buffers.take(buffer) else {
            return Err(self.malformed("it names a buffer that the device does not own"));
        };
        Ok(&taken.push_mut((buffer, frame)).1)
    }

    /// Next buffer, offset and length, whatever the buffer.
    fn scatter_entry(&self, buffer: u16) -> (u16, usize, usize) {
        let mut entry = [0; packet::SCATTER_STRIDE as usize];
        let start = packet::SCATTER + u32::from(buffer) * packet::SCATTER_STRIDE;
        self.device.read_packet(start, &mut entry);
        let half = |at: u32| u16::from_le_bytes([entry[at as usize], entry[at as usize + 1]]);
        let length = u32::from(half(scatter::LENGTH)) | u32::from(half(scatter::LENGTH + 2)) << 16;
        (half(scatter::NEXT), usize::from(half(scatter::OFFSET)), length as usize)
    }

    fn malformed(&self, why: &'static str) -> NicError {
        NicError::Completion { id: self.completed, why }
    }
}

/// Offset in packet memory of the frame in a buffer's header entry.
fn header_start(buffer: u16) -> u32 {
    packet::HEADERS + u32::from(buffer) * packet::HEADER_STRIDE + packet::HEADER_START
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
