//! How a lane comes up: through its window, as the driver of a real card would do it.

use super::{Nic, NicConfig, NicError};
use crate::abi::{self, bar, load, memory, packet, register, status};
use crate::device::{Buffers, Device, load_status};
use crate::image::{Image, ImageError, MAX_FILE, Parameter};
use crate::machine::Core;

/// Where in packet memory the driver puts an image; nothing else is there before the core runs.
const IMAGE_AT: u32 = 0;

impl<C: Core> Nic<C> {
    /// Loads an image into a lane, checks that it arrived, and starts it with `config`.
    ///
    /// # Errors
    /// The file is no image; the card speaks another ABI, does not run it, refuses it, or measures another one; a ring size that the card does not have, or
    /// a setting that the image's schema does not accept; firmware that does
    /// not come up, or whose program hash is not the one in the image header.
    pub fn attach(mut device: Device<C>, file: &[u8], config: &NicConfig) -> Result<Self, NicError> {
        check_config(config)?;
        let image = Image::parse(file)?;
        check_schema(&image.config, config)?;
        check_card(&device, &image)?;
        device.write(bar::CONTROL, 0);
        device.write_packet(IMAGE_AT, file);
        device.write(bar::IMAGE_ADDRESS, IMAGE_AT);
        device.write(bar::IMAGE_SIZE, file.len() as u32);
        device.write(bar::UPDATE, 1);
        let status = device.read(bar::LOAD_STATUS);
        if status != load::LOADED {
            return Err(NicError::Refused { status, why: load_status(status) });
        }
        if device.read_hash(bar::IMAGE_ID) != image.id {
            return Err(NicError::ImageId);
        }
        Self::start(device, &image, config)
    }

    /// Checks what is loaded in `core`, which has not run yet, and starts it with `config`. `image` is what it should be.
    ///
    /// # Errors
    /// As [`Nic::attach`].
    pub fn on(core: C, image: &Image, config: &NicConfig) -> Result<Self, NicError> {
        check_config(config)?;
        check_schema(&image.config, config)?;
        let device = Device::preloaded(core, image);
        check_card(&device, image)?;
        Self::start(device, image, config)
    }

    fn start(device: Device<C>, image: &Image, config: &NicConfig) -> Result<Self, NicError> {
        let mut nic = Self {
            measurement: device.read_hash(bar::MEASUREMENT),
            device,
            config: *config,
            schema: image.config.clone(),
            program_hash: [0; 32],
            buffers: Buffers::new(config.buffers),
            pending: Default::default(),
            jiffies: 0,
            consumed: 0,
            produced: 0,
            completed: 0,
            frames: 0,
            next: 0,
            flushed: None,
            health: Default::default(),
        };
        if !image.measurements().any(|measurement| measurement == nic.measurement) {
            return Err(NicError::Measurement);
        }
        nic.device.write(register::ABI, abi::ABI);
        for (offset, value) in sizes(config) {
            nic.device.write(offset, value);
        }
        for (offset, value) in [
            (register::RX_BASE, packet::RX_RING),
            (register::COMPLETION_BASE, packet::COMPLETION_RING),
            (register::SCATTER_BASE, packet::SCATTER),
            (register::HEADERS_BASE, packet::HEADERS),
            (bar::FLOW_CONTROL, 1),
        ] {
            nic.device.write(offset, value);
        }
        nic.write_config();
        for buffer in (0..config.buffers).rev() {
            nic.device.write(bar::FREE_POST, buffer);
        }
        nic.device.write(bar::CONTROL, bar::RUN);
        nic.run_until_waiting(&mut 0)?;
        let state = nic.device.read(register::STATUS);
        if state != status::READY {
            return Err(NicError::NotReady(state));
        }
        nic.program_hash = nic.device.read_hash(register::PROGRAM_HASH);
        if nic.program_hash != image.program_hash {
            return Err(NicError::ProgramHash);
        }
        Ok(nic)
    }

    /// Writes the config page.
    pub(super) fn write_config(&mut self) {
        for (offset, value) in page(&self.config) {
            self.device.write(offset, value);
        }
    }

    /// Whether the image lets the host set this while it runs.
    ///
    /// # Errors
    /// A setting that the image's schema does not accept.
    pub(crate) fn check_engine(&self, engine: gro_core::Config, coalesce: bool) -> Result<(), NicError> {
        check_schema(&self.schema, &NicConfig { engine, coalesce, ..self.config })
    }
}

/// What the firmware reads once, by register.
fn sizes(config: &NicConfig) -> [(u32, u32); 3] {
    [
        (register::RX_SIZE, config.rx_entries),
        (register::COMPLETION_SIZE, config.completion_entries),
        (register::BUFFERS, config.buffers),
    ]
}

/// The config page, by register.
fn page(&NicConfig { engine, coalesce, .. }: &NicConfig) -> [(u32, u32); 8] {
    [
        (register::GRO_MAX_SIZE, engine.gro_max_size),
        (register::GRO_IPV4_MAX_SIZE, engine.gro_ipv4_max_size),
        (register::FLUSH_TIMEOUT, engine.flush_timeout),
        (register::UDP_FORWARDING, engine.udp as u32),
        (register::HZ, engine.hz),
        (register::VLAN_IN_BAND, engine.vlan as u32),
        (register::TUNNELS, engine.tunnels),
        (register::COALESCE, u32::from(coalesce)),
    ]
}

/// What the card says of itself, against what the driver and the image need.
fn check_card<C: Core>(device: &Device<C>, image: &Image) -> Result<(), NicError> {
    let magic = device.read(bar::MAGIC);
    if magic != bar::MAGIC_VALUE {
        return Err(NicError::NoCard(magic));
    }
    let abi = device.read(bar::ABI);
    if abi != abi::ABI {
        return Err(NicError::CardAbi(abi));
    }
    let needs = &image.memory;
    for (name, needed, register) in [
        ("instruction memory", needs.imem.size, bar::IMEM),
        ("data memory", needs.dmem.size, bar::DMEM),
        ("packet memory", needs.packet.size, bar::PACKET),
    ] {
        let found = device.read(register);
        if needed > found {
            return Err(NicError::Memory { name, needed, found });
        }
    }
    Ok(())
}

fn check_config(config: &NicConfig) -> Result<(), NicError> {
    for (name, value, most, must) in [
        ("rx_entries", config.rx_entries, packet::RX_MAX, "a power of two up to 4096"),
        (
            "completion_entries",
            config.completion_entries,
            packet::COMPLETION_MAX,
            "a power of two up to 1024",
        ),
        ("buffers", config.buffers, packet::BUFFERS, "a power of two up to 16384"),
    ] {
        if !value.is_power_of_two() || value > most {
            return Err(NicError::Config { name, value, must });
        }
    }
    Ok(())
}

/// What the image lets the host set. It may allow less than the device could.
fn check_schema(schema: &[Parameter], config: &NicConfig) -> Result<(), NicError> {
    for (register, value) in sizes(config).into_iter().chain(page(config)) {
        let parameter = schema.iter().find(|parameter| parameter.register == register);
        if let Some(parameter) = parameter.filter(|parameter| !parameter.accepts(value)) {
            return Err(NicError::Parameter { parameter: Box::new(parameter.clone()), value });
        }
    }
    Ok(())
}

impl From<ImageError> for NicError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

// An image is staged where packet memory is.
const _: () = assert!(IMAGE_AT as usize + MAX_FILE <= memory::PACKET_SIZE as usize);
