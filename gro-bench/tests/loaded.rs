//! What the kernel says of an attached program, and its rest.
#![cfg(target_os = "linux")]

use gro_bench::live::{LiveError, Options as Hosts, Pins, Place, Topology};
use gro_core::{Config, Release};
use gro_ebpf::live::{Activity, Attachment, Hook, LiveError as AttachError, Options, committed_tag};
use gro_ebpf::{Object, Program};
use std::time::{Duration, Instant};

fn options(pins: &Pins, hook: Hook) -> Options {
    Options {
        interface: "b0".into(),
        first: true,
        pin: pins.directory("b0"),
        config: Config::TC,
        forwarding: false,
        profile: Release::Linux618,
        carriers: 4,
        flights: 16,
        hook: Some(hook),
        notes: String::new(),
        drop_carriers: 0,
    }
}

#[test]
fn the_kernel_says_what_is_attached_and_it_can_rest() {
    let topology = match Topology::build(Hosts::default()) {
        Ok(topology) => topology,
        Err(error @ LiveError::Capability) => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let pins = Pins::make().unwrap();
    let tested = topology.host(Place::B).within(|| {
        let mut attached = Attachment::attach(&options(&pins, Hook::Tcx)).unwrap();
        let loaded = attached.loaded().unwrap();
        assert_eq!(loaded.program_hash, Release::Linux618.program_hash());
        assert_eq!(loaded.tag, committed_tag(Release::Linux618).unwrap());
        assert_ne!(loaded.tag, committed_tag(Release::Linux612).unwrap());
        assert_eq!((attached.profile(), attached.config().unwrap().gro_max_size), ("linux-6.18", 15_000));

        assert_eq!(attached.activity().unwrap(), Activity::Coalesces);
        attached.rest().unwrap();
        assert_eq!(attached.activity().unwrap(), Activity::Rests);
        // Another process sees the same.
        assert_eq!(Attachment::open(&pins.directory("b0")).unwrap().activity().unwrap(), Activity::Rests);
        attached.resume().unwrap();
        assert_eq!(attached.activity().unwrap(), Activity::Coalesces);

        std::fs::remove_file(pins.directory("b0").join("link")).unwrap();
        // The kernel detaches a link that nobody refers to a little later.
        let end = Instant::now() + Duration::from_secs(10);
        let mut gone = attached.loaded();
        while gone.is_ok() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
            gone = attached.loaded();
        }
        assert!(matches!(gone, Err(AttachError::Foreign(_))), "{gone:?}");
        let _ = attached.detach();

        let filter = Attachment::attach(&options(&pins, Hook::Clsact)).unwrap();
        assert!(matches!(filter.loaded(), Err(AttachError::Untold(_))));
        filter.detach().unwrap();
        Ok::<_, LiveError>(())
    });
    tested.unwrap();
}

/// The hash in a program is a constant, which another program may have as well. The tag is over what it does.
#[test]
fn a_changed_instruction_shows_in_the_tag_and_not_in_the_hash() {
    /// A factor of the hash over a flow's addresses, little endian.
    const FACTOR: [u8; 4] = 0x85eb_ca77_u32.to_le_bytes();
    let mut bytes = Object::committed(Release::Linux618).bytes().to_vec();
    let at = bytes.windows(4).position(|window| window == FACTOR).expect("the factor is in the program");
    bytes[at] ^= 2;
    let mut changed = match Program::load(&Object::from_bytes(&bytes)) {
        Ok(program) => program,
        Err(error @ gro_ebpf::LoadError::Capability) => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(changed.program_hash().unwrap(), Release::Linux618.program_hash());
    assert_ne!(changed.loaded().unwrap().tag, committed_tag(Release::Linux618).unwrap());
}
