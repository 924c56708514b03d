//! Feeds frames to an interface so that one NAPI poll sees a whole batch.

use crate::abi::{BATCH_MAX, Batch, FRAME_MAX, Injected};
use crate::object_file::Object;
use crate::program::{LoadError, classifier, load};
use aya::maps::Array;
use aya::programs::{TcAttachType, TestRun as _};
use aya::{Ebpf, Pod, TestRunOptions};

/// A frame to send.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// 14 to [`FRAME_MAX`] bytes.
    pub bytes: &'a [u8],
    /// `skb->hash`.
    pub hash: u32,
    /// TPID (high half) and TCI of the hardware VLAN tag, 0 for none.
    pub vlan: u32,
    /// `skb->mark`.
    pub mark: u32,
}

/// The injector program, loaded.
pub struct Injector {
    ebpf: Ebpf,
    entry: Box<Injected>,
}

// SAFETY: plain words without padding; every bit pattern is a value.
unsafe impl Pod for Injected {}
// SAFETY: as above.
unsafe impl Pod for Batch {}

impl Injector {
    /// Loads the committed injector.
    pub fn load() -> Result<Self, LoadError> {
        let mut ebpf = load(&Object::injector())?;
        for name in ["inject", "sink"] {
            let program = classifier(&mut ebpf, name)?;
            program.load().map_err(|error| LoadError::Refused(error.to_string()))?;
        }
        let entry = Box::new(Injected { len: 0, hash: 0, vlan: 0, mark: 0, bytes: [0; 16_384] });
        Ok(Self { ebpf, entry })
    }

    /// Drops everything that comes in at an interface of this thread's network namespace.
    pub fn sink(&mut self, interface: &str) -> Result<(), LoadError> {
        classifier(&mut self.ebpf, "sink")?
            .attach(interface, TcAttachType::Ingress)
            .map(drop)
            .map_err(|error| LoadError::Refused(error.to_string()))
    }

    /// Sends up to [`BATCH_MAX`] frames to an interface in one go.
    pub fn send(&mut self, ifindex: u32, frames: &[Frame<'_>]) -> Result<(), LoadError> {
        let map_error = |error: aya::maps::MapError| LoadError::Map("FRAMES", error.to_string());
        if frames.len() > BATCH_MAX as usize {
            return Err(LoadError::Map("FRAMES", format!("{} frames, at most {BATCH_MAX}", frames.len())));
        }
        let map = self.ebpf.map_mut("FRAMES").ok_or(LoadError::Missing("map FRAMES"))?;
        let mut array = Array::<_, Injected>::try_from(map).map_err(map_error)?;
        for (index, frame) in (0..).zip(frames) {
            if !(14..=FRAME_MAX as usize).contains(&frame.bytes.len()) {
                let text =
                    format!("a frame of {} bytes; the injector takes 14 to {FRAME_MAX}", frame.bytes.len());
                return Err(LoadError::Map("FRAMES", text));
            }
            self.entry.len = frame.bytes.len() as u32;
            (self.entry.hash, self.entry.vlan, self.entry.mark) = (frame.hash, frame.vlan, frame.mark);
            self.entry.bytes[..frame.bytes.len()].copy_from_slice(frame.bytes);
            array.set(index, *self.entry, 0).map_err(map_error)?;
        }
        self.set_batch(Batch { count: frames.len() as u32, ifindex, lost: 0 })?;
        // The smallest test frame; the program gives it its bytes.
        let mut seed = [0; 64];
        seed[12..14].copy_from_slice(&[0x88, 0xb5]);
        let options = TestRunOptions { data_in: Some(&seed), ..TestRunOptions::default() };
        classifier(&mut self.ebpf, "inject")?
            .test_run(options)
            .map_err(|error| LoadError::Refused(error.to_string()))?;
        match self.batch()?.lost {
            0 => Ok(()),
            lost => Err(LoadError::Refused(format!("the injector lost {lost} of {} frames", frames.len()))),
        }
    }

    fn set_batch(&mut self, batch: Batch) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("BATCH").ok_or(LoadError::Missing("map BATCH"))?;
        Array::<_, Batch>::try_from(map)
            .and_then(|mut array| array.set(0, batch, 0))
            .map_err(|error| LoadError::Map("BATCH", error.to_string()))
    }

    fn batch(&self) -> Result<Batch, LoadError> {
        let map = self.ebpf.map("BATCH").ok_or(LoadError::Missing("map BATCH"))?;
        Array::<_, Batch>::try_from(map)
            .and_then(|array| array.get(&0, 0))
            .map_err(|error| LoadError::Map("BATCH", error.to_string()))
    }
}
