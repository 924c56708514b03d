//! Fuzzing of the NIC image's loader: changed files must be refused; changed files with their hashes redone must be refused, or run
//! contained.
//!
//! Case `number` of a `seed` is always the same file, whoever runs it and wherever: `case` makes it again.

mod contain;
mod mutate;
mod seal;

use crate::fuzz::Random;
use contain::Feed;
use gro_nic::{Image, ImageBuilder, ImageError};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is made of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Changed, and the hashes left as they were: every case must be refused.
    Changed,
    /// Changed, and the hashes redone: every case must be refused, or run contained.
    Resealed,
}

/// What happened, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases.
    pub cases: u64,
    /// Draws that gave an image that there is already, and were drawn again. They are no cases.
    pub unchanged: u64,
    /// Changes made, by kind; a case has up to three.
    pub changes: BTreeMap<&'static str, u64>,
    /// Cases that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Cases that were run on the bare machine, too, where code and the host's registers are compared before and after.
    pub bare: u64,
    /// Cases that were loaded and run behind the driver, by how that ended.
    pub run: BTreeMap<&'static str, u64>,
}

/// A case in which something happened that may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, case {number} ({mode:?}): {what}")]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// The case.
    pub number: u64,
    /// How it was made.
    pub mode: Mode,
    /// What happened.
    pub what: String,
}

/// One in so many cases is run on the bare machine, too.
const BARE_EVERY: u64 = 4;

/// Wall time after which a case counts as hanging the host. A case takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(20);

/// The images that the cases are made of: the committed ones, one of them without its second program, and one that is signed.
pub struct Corpus {
    images: Vec<Vec<u8>>,
    feed: Feed,
}

impl Corpus {
    /// The committed images and what can be made of them.
    ///
    /// # Errors
    /// A committed image is none: run `cargo xtask images`.
    pub fn committed() -> Result<Self, ImageError> {
        let mut images: Vec<Vec<u8>> =
            gro_core::Release::ALL.map(|release| gro_nic::committed(release).to_vec()).into();
        let thin = ImageBuilder { rv64imac: None, ..Image::parse(gro_nic::LINUX_6_18)?.into() };
        images.push(thin.build()?);
        images.push(gro_nic::image::sign(gro_nic::LINUX_7, &[9; 32])?);
        Ok(Self { images, feed: Feed::new() })
    }

    /// Makes case `number` of `seed`, and counts what was done.
    pub fn case(&self, seed: u64, number: u64, mode: Mode, tally: &mut Tally) -> Vec<u8> {
        let mut random = Random(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mode as u64);
        // The generator's first words are as alike as its seeds.
        for _ in 0..4 {
            random.word();
        }
        // A signature does not survive a forger; unsigned, there is more to find.
        let bases = self.images.len() - usize::from(mode == Mode::Resealed);
        loop {
            let mut file = self.images[random.below(bases)].clone();
            let mut changes = Vec::new();
            // Of the forgeries, half are of the program alone, so that there is enough to run.
            let program = mode == Mode::Resealed && random.once_in(2);
            for _ in 0..=random.below(3) {
                let kind = program.then_some(mutate::PROGRAM);
                changes.push(mutate::mutate(&mut file, &self.images, &mut random, kind));
            }
            if mode == Mode::Resealed {
                // A forger fits the length, too; most of the time.
                if !random.once_in(4) && file.len() >= seal::HEADER {
                    let total = file.len() as u32;
                    file[seal::TOTAL..seal::TOTAL + 4].copy_from_slice(&total.to_le_bytes());
                }
                seal::seal(&mut file);
            }
            if self.images.contains(&file) {
                tally.unchanged += 1;
                continue;
            }
            for kind in changes {
                *tally.changes.entry(mutate::KINDS[kind]).or_default() += 1;
            }
            return file;
        }
    }

    /// Loads a case, and runs what is taken.
    fn judge(&self, file: &[u8], number: u64, mode: Mode, tally: &mut Tally) -> Result<(), String> {
        tally.cases += 1;
        let image = match Image::parse(file) {
            Err(error) => {
                *tally.refused.entry(reason(&error)).or_default() += 1;
                return Ok(());
            }
            Ok(_) if mode == Mode::Changed => return Err("it was taken for an image".into()),
            Ok(image) => image,
        };
        if number.is_multiple_of(BARE_EVERY) {
            tally.bare += 1;
            self.feed.run(&image)?;
        }
        *tally.run.entry(self.feed.drive(&image)?).or_default() += 1;
        Ok(())
    }

    /// Runs `count` cases from `first` on, on as many threads as there are processors. `progress` hears how many are through.
    ///
    /// # Errors
    /// The first case with a [`Violation`]: a panic, an access that was not contained, a changed file that was taken.
    pub fn fuzz(
        &self,
        seed: u64,
        cases: std::ops::Range<u64>,
        mode: Mode,
        mut progress: impl FnMut(u64),
    ) -> Result<Tally, Violation> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let done = AtomicU64::new(0);
        let places: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(u64::MAX)).collect();
        std::thread::scope(|scope| {
            let worker = |thread: u64| {
                let (place, done, cases) = (&places[thread as usize], &done, cases.clone());
                move || {
                    let mut tally = Tally::default();
                    for number in cases.skip(thread as usize).step_by(threads as usize) {
                        place.store(number, Ordering::Relaxed);
                        self.one(seed, number, mode, &mut tally)?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    place.store(u64::MAX, Ordering::Relaxed);
                    Ok(tally)
                }
            };
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(worker(thread))).collect();
            let mut since = vec![(u64::MAX, Instant::now()); threads as usize];
            while workers.iter().any(|worker| !worker.is_finished()) {
                std::thread::sleep(Duration::from_millis(20));
                progress(done.load(Ordering::Relaxed));
                for (place, since) in places.iter().zip(&mut since) {
                    let number = place.load(Ordering::Relaxed);
                    if number != since.0 || number == u64::MAX {
                        *since = (number, Instant::now());
                    } else if since.1.elapsed() > PATIENCE {
                        // The thread cannot be ended; the process can.
                        eprintln!("seed {seed}, case {number} ({mode:?}): the host hangs");
                        std::process::exit(1);
                    }
                }
            }
            let mut total = Tally::default();
            for worker in workers {
                let panicked =
                    |_| Violation { seed, number: cases.start, mode, what: "the fuzzer panicked".into() };
                total.add(worker.join().map_err(panicked)??);
            }
            Ok(total)
        })
    }

    /// One case; a panic of the host is caught and told.
    ///
    /// # Errors
    /// Its [`Violation`].
    pub fn one(&self, seed: u64, number: u64, mode: Mode, tally: &mut Tally) -> Result<(), Violation> {
        let file = self.case(seed, number, mode, tally);
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(&file, number, mode, tally)));
        let violation = |what: String| Violation { seed, number, mode, what };
        match judged {
            Ok(judged) => judged.map_err(violation),
            Err(_) => Err(violation("the host panicked".into())),
        }
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.unchanged += other.unchanged;
        self.bare += other.bare;
        let maps = [
            (&mut self.changes, other.changes),
            (&mut self.refused, other.refused),
            (&mut self.run, other.run),
        ];
        for (to, from) in maps {
            for (reason, count) in from {
                *to.entry(reason).or_default() += count;
            }
        }
    }
}

/// A refusal by its kind.
fn reason(error: &ImageError) -> &'static str {
    match error {
        ImageError::Truncated { .. } => "truncated",
        ImageError::TooLong { .. } => "longer than its header says",
        ImageError::Magic => "bad magic",
        ImageError::Abi { .. } => "another ABI",
        ImageError::Contract { .. } => "another register and descriptor layout",
        ImageError::ContractHash => "layout hash of the header",
        ImageError::Reserved { .. } => "reserved bits",
        ImageError::Profile => "profile name",
        ImageError::SectionCount { .. } => "number of sections",
        ImageError::Id => "image id",
        ImageError::SectionKind { .. } => "unknown section kind",
        ImageError::Duplicate { .. } => "second section of a kind",
        ImageError::Order { .. } => "order of sections",
        ImageError::Missing { .. } => "missing section",
        ImageError::Isa { .. } => "unknown instruction set",
        ImageError::NotLoaded { .. } => "address of a section that is not loaded",
        ImageError::Flags { .. } => "section flags",
        ImageError::Misaligned { .. } => "misaligned",
        ImageError::OutOfFile { .. } => "section outside the file",
        ImageError::Overlap { .. } => "overlapping sections",
        ImageError::Gap { .. } => "gap between sections",
        ImageError::Trailing(_) => "bytes behind the last section",
        ImageError::Padding { .. } => "padding",
        ImageError::SectionHash { .. } => "section hash",
        ImageError::Sizes { .. } => "section sizes",
        ImageError::MemoryMap { .. } => "memory map",
        ImageError::Rules { .. } => "rules",
        ImageError::Schema { .. } => "configuration schema",
        ImageError::Manifest { .. } => "manifest",
        ImageError::OutOfMemory { .. } => "more memory than the device has",
        ImageError::Entry { .. } => "entry",
        ImageError::Stack { .. } | ImageError::StackBound { .. } => "stack",
        ImageError::Signature { .. } => "signature",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_taken_unchanged_would_be_noticed() {
        let corpus = Corpus::committed().unwrap();
        for image in &corpus.images {
            let mut tally = Tally::default();
            let taken = corpus.judge(image, 0, Mode::Changed, &mut tally);
            assert_eq!(taken, Err("it was taken for an image".into()));
            corpus.judge(image, 0, Mode::Resealed, &mut tally).unwrap();
            assert_eq!((tally.run["ran to the end"], tally.bare), (1, 1));
        }
    }
}
