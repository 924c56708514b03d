//! A card of N lanes: what a lane decides is what one core alone, and the userspace engine, decide over that lane's frames.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{entry, path};
use gro_bench::schedule::{Step, schedule};
use gro_bench::trace::{FILE_NAME, HashRule, Manifest, Trace, rss};
use gro_core::user::Engine;
use gro_core::{Config, Linux618, Meta, program_hash};
use gro_nic::{Card, Image, Nic, NicConfig};

/// What the three have in common.
trait Target {
    fn frame(&mut self, trace: &Trace, number: usize);
    fn time(&mut self, jiffies: u32);
    fn poll_end(&mut self);
    fn tick(&mut self);
    fn flush(&mut self);
    fn deliver(&mut self);
}

fn meta(trace: &Trace, number: usize) -> Meta {
    let frame = &trace.frames[number];
    let vlan = frame.vlan.map_or(0, |vlan| u32::from(vlan.tpid) << 16 | u32::from(vlan.tci));
    Meta { hash: frame.hash, vlan, verified: false }
}

/// Plays a trace; of its frames only those that `takes` says.
fn play(target: &mut impl Target, trace: &Trace, config: &Config, takes: impl Fn(usize) -> bool) {
    for step in schedule(trace, config) {
        match step {
            Step::Poll { frames, jiffies } => {
                target.time(jiffies);
                frames.filter(|&number| takes(number)).for_each(|number| target.frame(trace, number));
                target.poll_end();
            }
            Step::Tick { jiffies } => {
                target.time(jiffies);
                target.tick();
            }
        }
        target.deliver();
    }
    target.flush();
    target.deliver();
}

/// Digest over what leaves: bytes, form and reason of every packet, in order.
#[derive(Default, PartialEq, Eq, Debug, Clone)]
struct Out(Vec<(usize, u32, u16, u32, u64)>);

impl Out {
    fn push(&mut self, bytes: &[u8], segs: u32, gso_size: u16, gso_type: u32) {
        // FNV-1a: it needs to tell packets apart, not to resist anybody.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        self.0.push((bytes.len(), segs, gso_size, gso_type, hash));
    }
}

struct OfCard {
    card: Card,
    out: Vec<Out>,
}

struct OfNic {
    nic: Nic,
    out: Out,
}

struct OfUser {
    engine: Engine<Linux618>,
    out: Out,
}

impl Target for OfCard {
    fn frame(&mut self, trace: &Trace, number: usize) {
        self.card.post(trace.frames[number].bytes.clone(), meta(trace, number));
    }
    fn time(&mut self, jiffies: u32) {
        self.card.time(jiffies);
    }
    fn poll_end(&mut self) {
        self.card.poll_end();
    }
    fn tick(&mut self) {
        self.card.tick();
    }
    fn flush(&mut self) {
        self.card.flush();
    }
    fn deliver(&mut self) {
        let Self { card, out } = self;
        card.deliver(&mut |lane, packet| {
            out[lane].push(&packet.to_vec(), packet.segs, packet.gso_size, packet.gso_type);
        })
        .unwrap();
    }
}

impl Target for OfNic {
    fn frame(&mut self, trace: &Trace, number: usize) {
        self.nic.post(trace.frames[number].bytes.clone(), meta(trace, number));
    }
    fn time(&mut self, jiffies: u32) {
        self.nic.time(jiffies);
    }
    fn poll_end(&mut self) {
        self.nic.poll_end();
    }
    fn tick(&mut self) {
        self.nic.tick();
    }
    fn flush(&mut self) {
        self.nic.flush();
    }
    fn deliver(&mut self) {
        let Self { nic, out } = self;
        nic.deliver(&mut |packet| out.push(&packet.to_vec(), packet.segs, packet.gso_size, packet.gso_type))
            .unwrap();
    }
}

impl Target for OfUser {
    fn frame(&mut self, trace: &Trace, number: usize) {
        let Self { engine, out } = self;
        engine.receive(trace.frames[number].bytes.clone(), meta(trace, number), &mut |packet| {
            out.push(&packet.to_vec(), packet.segs, packet.gso_size, packet.gso_type);
        });
    }
    fn time(&mut self, jiffies: u32) {
        self.engine.set_time(jiffies);
    }
    fn poll_end(&mut self) {
        let Self { engine, out } = self;
        engine.poll_end(&mut |packet| {
            out.push(&packet.to_vec(), packet.segs, packet.gso_size, packet.gso_type);
        });
    }
    fn tick(&mut self) {
        let Self { engine, out } = self;
        engine.tick(&mut |packet| {
            out.push(&packet.to_vec(), packet.segs, packet.gso_size, packet.gso_type);
        });
    }
    fn flush(&mut self) {
        let Self { engine, out } = self;
        engine.flush(&mut |packet| {
            out.push(&packet.to_vec(), packet.segs, packet.gso_size, packet.gso_type);
        });
    }
    fn deliver(&mut self) {}
}

#[test]
fn a_lane_of_many_decides_as_one_core_and_as_userspace_over_its_frames() {
    let image = Image::parse(gro_nic::LINUX_6_18).unwrap();
    let current = image.program_hash == program_hash::<Linux618>();
    assert!(current, "the image is built from other sources; run cargo xtask images");
    let folder = path("tcp4-bulk").parent().unwrap().to_owned();
    let manifest = Manifest::read(&folder.join(FILE_NAME)).unwrap().unwrap();
    let mut busy = 0_u32;
    for listed in &manifest.traces {
        let name = listed.file.trim_end_matches(".pcapng.zst");
        let mut trace = Trace::open(&folder.join(&listed.file)).unwrap();
        if entry(name).hash == HashRule::Zero {
            // One hash is one lane; here it is about many.
            trace.frames.iter_mut().for_each(|frame| frame.hash = rss::hash(&frame.bytes));
        }
        let engine = listed.under(Config { flush_timeout: 20_000, ..Config::DEFAULT });
        let config = NicConfig { engine, ..NicConfig::default() };
        for lanes in [1, 2, 3, 8, 32] {
            let card = Card::load(gro_nic::LINUX_6_18, lanes, &config).unwrap();
            let mut of_card = OfCard { card, out: vec![Out::default(); lanes] };
            play(&mut of_card, &trace, &engine, |_| true);
            for (lane, out) in of_card.out.iter().enumerate() {
                let takes = |number: usize| of_card.card.lane_of(trace.frames[number].hash) == lane;
                let mut of_user = OfUser { engine: Engine::new(engine), out: Out::default() };
                play(&mut of_user, &trace, &engine, takes);
                let digest = of_card.card.lanes()[lane].digest();
                assert_eq!(digest, of_user.engine.state().digest.value(), "{name}, lane {lane} of {lanes}");
                assert_eq!(out, &of_user.out);
                // A lane without frames is the same on every card.
                if !out.0.is_empty() {
                    let mut of_nic = OfNic { nic: Nic::new(&image, &config).unwrap(), out: Out::default() };
                    play(&mut of_nic, &trace, &engine, takes);
                    assert_eq!(digest, of_nic.nic.digest(), "{name}, lane {lane} of {lanes}");
                    assert_eq!(out, &of_nic.out);
                    busy += 1;
                }
            }
            let frames: u64 = of_card.card.lanes().iter().map(|nic| nic.counters().wire_packets).sum();
            assert_eq!(frames, trace.frames.len() as u64);
        }
    }
    assert!(busy > 200, "lanes that had something to do: {busy}");
}

#[test]
fn the_indirection_table_steers_by_the_upper_bits_of_the_hash() {
    let mut card = Card::load(gro_nic::LINUX_6_18, 3, &NicConfig::default()).unwrap();
    for (hash, lane) in [(0, 0), (0x01ff_ffff, 0), (0x0200_0000, 1), (0x0400_0000, 2), (0x0600_0000, 0)] {
        assert_eq!(card.lane_of(hash), lane, "{hash:#x}");
    }
    let mut table = [1; 128];
    table[127] = 2;
    table[0] = 9;
    card.set_indirection(&table);
    assert_eq!([0xffff_ffff, 0x0200_0000, 0].map(|hash| card.lane_of(hash)), [2, 1, 2]);
    assert!(Card::load(gro_nic::LINUX_6_18, 33, &NicConfig::default()).is_err());
    assert!(Card::load(gro_nic::LINUX_6_18, 0, &NicConfig::default()).is_err());
}
