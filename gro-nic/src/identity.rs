//! What two engines must agree on before one takes over from the other, as numbers that the host compares.

use gro_core::Config;
use sha2::{Digest as _, Sha256};

/// SHA-256 over a rule set's name and everything in a config by which an engine decides: the lines
///
/// ```text
/// gro config 1
/// profile linux-6.18
/// gro_max_size 65536
/// gro_ipv4_max_size 65536
/// flush_timeout 0
/// hz 250
/// udp 0
/// vlan 0
/// tunnels 3
/// ```
///
/// each ended by a line feed, numbers in decimal, `udp` and `vlan` as in the device's registers. Whatever the order in which a structure
/// has them, and on every machine, the same config has the same hash.
pub fn config_hash(profile: &str, config: &Config) -> [u8; 32] {
    // Without a rest pattern: who adds a field must name it here.
    let Config { gro_max_size, gro_ipv4_max_size, flush_timeout, hz, udp, vlan, tunnels } = *config;
    let mut hash = Sha256::new();
    hash.update(format!("gro config 1\nprofile {profile}\n"));
    for (name, value) in [
        ("gro_max_size", gro_max_size),
        ("gro_ipv4_max_size", gro_ipv4_max_size),
        ("flush_timeout", flush_timeout),
        ("hz", hz),
        ("udp", udp as u32),
        ("vlan", vlan as u32),
        ("tunnels", tunnels),
    ] {
        hash.update(format!("{name} {value}\n"));
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Nic, NicConfig};
    use gro_core::{UdpMode, VlanMode};

    #[test]
    fn a_config_has_one_hash_and_every_field_changes_it() {
        let base = Config::DEFAULT;
        let text = "gro config 1\nprofile linux-6.18\ngro_max_size 65536\ngro_ipv4_max_size 65536\nflush_timeout 0\nhz 250\n\
                    udp 0\nvlan 0\ntunnels 3\n";
        assert_eq!(config_hash("linux-6.18", &base)[..], Sha256::digest(text)[..]);
        let others = [
            Config { gro_max_size: 65_535, ..base },
            Config { gro_ipv4_max_size: 65_535, ..base },
            Config { flush_timeout: 1, ..base },
            Config { hz: 1000, ..base },
            Config { udp: UdpMode::Forwarding, ..base },
            Config { vlan: VlanMode::InBand, ..base },
            Config { tunnels: 0, ..base },
        ];
        let mut hashes: Vec<_> = others.iter().map(|config| config_hash("linux-6.18", config)).collect();
        hashes.extend([config_hash("linux-6.18", &base), config_hash("linux-6.12", &base)]);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 2);
    }

    #[test]
    fn a_flipped_bit_of_code_shows_in_the_measurement() {
        let image = Image::parse(crate::LINUX_6_18).unwrap();
        let right = image.measurement();
        let nic = Nic::new(&image, &NicConfig::default()).unwrap();
        assert_eq!(nic.measurement(), right);
        let mut other = image.clone();
        *other.code.bytes.last_mut().unwrap() ^= 1;
        assert_ne!(other.measurement(), right);
    }
}
