//! Where the fields of the running kernel's structures lie, from its own type information (BTF).

use crate::abi::Offsets;
use crate::program::LoadError;
use btf::{Btf, StructMember, Type};
use std::sync::OnceLock;

/// What the observer must know of the running kernel.
#[derive(Clone, Debug)]
pub(crate) struct KernelTypes {
    pub(crate) offsets: Offsets,
    /// `SKB_GSO_TCP_FIXEDID`, whose number differs between releases: bit 3 in 6.12, bit 30 in 6.18.
    pub(crate) fixed_id: u32,
    /// `SKB_GSO_TCP_FIXEDID_INNER`, 0 on a release that has none.
    pub(crate) fixed_id_inner: u32,
    /// `SKB_GSO_DODGY`.
    pub(crate) dodgy: u32,
}

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

impl KernelTypes {
    /// Of the running kernel. It is read once a process: the kernel does not change meanwhile.
    pub(crate) fn running() -> Result<&'static Self, LoadError> {
        static TYPES: OnceLock<Result<KernelTypes, String>> = OnceLock::new();
        TYPES.get_or_init(Self::read).as_ref().map_err(|what| LoadError::Unsupported(what.clone()))
    }

    fn read() -> Result<Self, String> {
        let btf = Btf::from_file(VMLINUX).map_err(|error| {
            format!("no type information of the running kernel: {VMLINUX}: {error}; it needs CONFIG_DEBUG_INFO_BTF")
        })?;
        let byte = |structure, field| byte(&btf, structure, field);
        let ip_summed = bit(&btf, "sk_buff", "ip_summed")?;
        Ok(Self {
            offsets: Offsets {
                dev: byte("sk_buff", "dev")?,
                len: byte("sk_buff", "len")?,
                hash: byte("sk_buff", "hash")?,
                head: byte("sk_buff", "head")?,
                end: byte("sk_buff", "end")?,
                mac_header: byte("sk_buff", "mac_header")?,
                csum_start: byte("sk_buff", "csum_start")?,
                csum_offset: byte("sk_buff", "csum_offset")?,
                ip_summed: ip_summed / 8,
                ip_summed_bit: ip_summed % 8,
                gso_size: byte("skb_shared_info", "gso_size")?,
                gso_segs: byte("skb_shared_info", "gso_segs")?,
                gso_type: byte("skb_shared_info", "gso_type")?,
                ifindex: byte("net_device", "ifindex")?,
                // `possible_net_t` is a structure of nothing but the pointer.
                net: byte("net_device", "nd_net")?,
                inode: byte("net", "ns")? + byte("ns_common", "inum")?,
            },
            fixed_id: constant(&btf, "SKB_GSO_TCP_FIXEDID")?,
            fixed_id_inner: constant(&btf, "SKB_GSO_TCP_FIXEDID_INNER").unwrap_or(0),
            dodgy: constant(&btf, "SKB_GSO_DODGY")?,
        })
    }
}

/// Offset in bytes.
fn byte(btf: &Btf, structure: &str, field: &str) -> Result<u32, String> {
    match bit(btf, structure, field)? {
        bit if bit % 8 == 0 => Ok(bit / 8),
        _ => Err(format!("{structure}.{field} of the running kernel is a bit field")),
    }
}

/// Offset in bits. Several types of the kernel may have one name (a variable is listed, too); the right one has the field.
fn bit(btf: &Btf, structure: &str, field: &str) -> Result<u32, String> {
    btf.get_types()
        .iter()
        .filter(|found| found.name.as_deref() == Some(structure) && found.num_refs == 0)
        .find_map(|found| search(btf, members(&found.base_type), field, 0))
        .ok_or_else(|| format!("the running kernel has no {structure}.{field}"))
}

/// Looks in the members and, as C does, in those of unnamed structures among them.
fn search(btf: &Btf, members: &[StructMember], field: &str, depth: u32) -> Option<u32> {
    /// Deeper than the kernel nests them; bounds the recursion whatever the file says.
    const DEPTH: u32 = 8;
    members.iter().find_map(|member| match member.name.as_deref() {
        Some(name) if name == field => Some(member.offset),
        None | Some("") if depth < DEPTH => {
            let inner = btf.get_type_by_id(member.type_id).ok()?;
            Some(member.offset + search(btf, members_of(inner), field, depth + 1)?)
        }
        _ => None,
    })
}

fn members_of(found: &btf::FlattenedType) -> &[StructMember] {
    if found.num_refs == 0 { members(&found.base_type) } else { &[] }
}

fn members(base: &Type) -> &[StructMember] {
    match base {
        Type::Struct(inner) | Type::Union(inner) => &inner.members,
        _ => &[],
    }
}

/// An enumerator of 32 bits.
fn constant(btf: &Btf, name: &str) -> Result<u32, String> {
    btf.get_types()
        .iter()
        .filter_map(|found| match &found.base_type {
            Type::Enum32(inner) | Type::Enum64(inner) => Some(&inner.entries),
            _ => None,
        })
        .flatten()
        .find(|entry| entry.name.as_deref() == Some(name))
        // Bit 31 comes sign-extended.
        .map(|entry| entry.value as u32)
        .ok_or_else(|| format!("the running kernel has no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_fields_in_unnamed_structures() {
        let Ok(types) = KernelTypes::running() else {
            eprintln!("skipped: no {VMLINUX}");
            return;
        };
        let at = types.offsets;
        // Both lie in unnamed structures, one after the other (include/linux/skbuff.h).
        assert_eq!(at.csum_offset, at.csum_start + 2);
        assert_eq!(at.gso_segs, at.gso_size + 2);
        assert!(at.head > at.end && at.net > at.ifindex && at.ip_summed_bit <= 6);
        assert_eq!(types.dodgy, 2);
    }

    #[test]
    fn names_what_is_missing() {
        let Ok(btf) = Btf::from_file(VMLINUX) else { return };
        assert!(byte(&btf, "sk_buff", "no_such_field").unwrap_err().contains("sk_buff.no_such_field"));
        assert!(byte(&btf, "sk_buff", "ip_summed").unwrap_err().contains("bit field"));
        assert!(constant(&btf, "NO_SUCH_CONSTANT").is_err());
    }
}
