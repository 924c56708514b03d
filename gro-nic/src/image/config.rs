//! CONFIG: what the host may set, with types and limits.

use super::ImageError;
use super::layout::parameter;
use super::table::{name32, put, word};
use crate::abi::{packet, register};
use gro_core::{Config, tunnel};

/// One setting: a register of the host that the firmware reads when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name, 1 to 31 printable ASCII characters.
    pub name: String,
    /// Offset of its register.
    pub register: u32,
    /// Which values there are.
    pub kind: ParameterKind,
    /// Least value.
    pub min: u32,
    /// Greatest value; of a set, all bits that may be set.
    pub max: u32,
    /// What a host sets that was told nothing.
    pub default: u32,
}

/// Type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// A number from `min` to `max`.
    Number = 1,
    /// 0 or 1.
    Switch = 2,
    /// A set of bits, all of them in `max`.
    Set = 3,
    /// A power of two from `min` to `max`.
    PowerOfTwo = 4,
}

impl ParameterKind {
    const ALL: [Self; 4] = [Self::Number, Self::Switch, Self::Set, Self::PowerOfTwo];

    /// As `gro nic info` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Switch => "switch",
            Self::Set => "set",
            Self::PowerOfTwo => "power-of-two",
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

impl Parameter {
    /// Whether the parameter can have `value`.
    pub fn accepts(&self, value: u32) -> bool {
        let in_range = (self.min..=self.max).contains(&value);
        match self.kind {
            ParameterKind::Number | ParameterKind::Switch => in_range,
            ParameterKind::Set => value & !self.max == 0,
            ParameterKind::PowerOfTwo => in_range && value.is_power_of_two(),
        }
    }

    /// Which values there are, in words.
    pub fn limits(&self) -> String {
        let Self { min, max, .. } = self;
        match self.kind {
            ParameterKind::Number | ParameterKind::Switch => format!("{min} to {max}"),
            ParameterKind::Set => format!("a set of the bits in {max:#x}"),
            ParameterKind::PowerOfTwo => format!("a power of two from {min} to {max}"),
        }
    }
}

/// Every parameter of this contract with the widest limits that the engine takes, in the order of their registers. An image has all of
/// them, and may narrow the limits.
pub(super) fn known() -> Vec<Parameter> {
    use ParameterKind::{Number, PowerOfTwo, Set, Switch};
    let engine = Config::DEFAULT;
    let tunnels = tunnel::IP_IN_IP | tunnel::GRE | tunnel::VXLAN | tunnel::GENEVE;
    let rows = [
        ("rx_entries", register::RX_SIZE, PowerOfTwo, 1, packet::RX_MAX, 256),
        ("completion_entries", register::COMPLETION_SIZE, PowerOfTwo, 1, packet::COMPLETION_MAX, 256),
        ("buffers", register::BUFFERS, PowerOfTwo, 1, packet::BUFFERS, packet::BUFFERS),
        ("gro_max_size", register::GRO_MAX_SIZE, Number, 1, Config::MAX_SIZE, engine.gro_max_size),
        (
            "gro_ipv4_max_size",
            register::GRO_IPV4_MAX_SIZE,
            Number,
            1,
            Config::MAX_SIZE,
            engine.gro_ipv4_max_size,
        ),
        ("flush_timeout", register::FLUSH_TIMEOUT, Number, 0, u32::MAX, engine.flush_timeout),
        ("udp_forwarding", register::UDP_FORWARDING, Switch, 0, 1, engine.udp as u32),
        ("hz", register::HZ, Number, 0, u32::MAX, engine.hz),
        ("vlan_in_band", register::VLAN_IN_BAND, Switch, 0, 1, engine.vlan as u32),
        ("tunnels", register::TUNNELS, Set, 0, tunnels, engine.tunnels),
        ("coalesce", register::COALESCE, Switch, 0, 1, 1),
    ];
    let parameter = |(name, register, kind, min, max, default): (&str, u32, ParameterKind, u32, u32, u32)| {
        Parameter { name: name.to_owned(), register, kind, min, max, default }
    };
    rows.map(parameter).into()
}

pub(super) fn to_bytes(parameters: &[Parameter]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Parameter { name, register, kind, min, max, default } in parameters {
        let mut entry = [0; parameter::SIZE];
        // A name that is too long fails the image's own check: what is left has no end.
        let length = name.len().min(parameter::REGISTER);
        entry[parameter::NAME..][..length].copy_from_slice(&name.as_bytes()[..length]);
        put(&mut entry, parameter::REGISTER, *register);
        put(&mut entry, parameter::KIND, *kind as u32);
        put(&mut entry, parameter::MIN, *min);
        put(&mut entry, parameter::MAX, *max);
        put(&mut entry, parameter::DEFAULT, *default);
        bytes.extend_from_slice(&entry);
    }
    bytes
}

pub(super) fn read(section: &[u8]) -> Result<Vec<Parameter>, ImageError> {
    let refuse = |name: &str, why: &'static str| Err(ImageError::Schema { name: name.to_owned(), why });
    if !section.len().is_multiple_of(parameter::SIZE) {
        return refuse("all", "no whole number of 64-byte entries");
    }
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut known = known().into_iter();
    for entry in section.chunks_exact(parameter::SIZE) {
        let Some(name) = name32(&entry[..parameter::REGISTER]) else {
            return refuse("?", "a name that is not 1 to 31 printable ASCII characters, zero padded");
        };
        let Some(kind) = ParameterKind::from_number(word(entry, parameter::KIND)) else {
            return refuse(&name, "unknown type");
        };
        let parameter = Parameter {
            register: word(entry, parameter::REGISTER),
            kind,
            min: word(entry, parameter::MIN),
            max: word(entry, parameter::MAX),
            default: word(entry, parameter::DEFAULT),
            name,
        };
        if entry[parameter::RESERVED..].iter().any(|&byte| byte != 0) {
            return refuse(&parameter.name, "reserved bytes set");
        }
        if parameters.iter().any(|other| other.name == parameter.name) {
            return refuse(&parameter.name, "stands there twice");
        }
        let Some(limits) = known.next().filter(|limits| limits.name == parameter.name) else {
            return refuse(
                &parameter.name,
                "not a parameter of this ABI, or not in the order of the registers",
            );
        };
        if let Err(why) = check(&parameter, &limits) {
            return refuse(&parameter.name, why);
        }
        parameters.push(parameter);
    }
    match known.next() {
        Some(missing) => refuse(&missing.name, "missing"),
        None => Ok(parameters),
    }
}

/// A parameter contradicts neither itself nor the device's `limits`.
fn check(parameter: &Parameter, limits: &Parameter) -> Result<(), &'static str> {
    if (parameter.register, parameter.kind) != (limits.register, limits.kind) {
        return Err("register or type is not that of this ABI");
    }
    if parameter.min > parameter.max {
        return Err("its least value is above its greatest");
    }
    if parameter.min < limits.min || parameter.max > limits.max {
        return Err("its limits are wider than what the engine takes");
    }
    match parameter.kind {
        ParameterKind::Switch if (parameter.min, parameter.max) != (0, 1) => {
            return Err("a switch goes from 0 to 1");
        }
        ParameterKind::Set if parameter.min != 0 || parameter.max & !limits.max != 0 => {
            return Err("a set starts at 0 and has only bits that there are");
        }
        ParameterKind::PowerOfTwo if !parameter.min.is_power_of_two() || !parameter.max.is_power_of_two() => {
            return Err("its limits are no powers of two");
        }
        _ => {}
    }
    if parameter.accepts(parameter.default) { Ok(()) } else { Err("its default is not one of its values") }
}
