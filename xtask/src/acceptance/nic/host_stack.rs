//! A host stack that shares nothing with Linux, through the NIC.

use super::super::attach::figure_of;
use super::{Args, Figure};
use anyhow::Result;
use gro_bench::host_stack::{Transfer, run};
use gro_core::Bypass;
use gro_nic::{Image, NicConfig};

pub(super) fn figures(_: &Args) -> Result<Vec<Figure>> {
    let image = Image::parse(gro_nic::LINUX_6_18)?;
    let bar = "SHA-256 equal; lost, late and damaged frames there, damaged ones noticed by the NIC";
    let cell = |ipv6: bool, seed: u64| {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        let what =
            format!("smoltcp: 100 MB over {family}, 1 % lost, 1 % late, 0.1 % damaged, gro_max_size 65536");
        let transfer = Transfer { bytes: 100_000_000, ipv6, loss: 655, late: 655, damage: 66, seed };
        figure_of(what, bar, || {
            let done = run(&image, &NicConfig::default(), &transfer)?;
            let wire = done.wire;
            let noticed = done.nic.bypass[Bypass::Checksum as usize];
            let holds = done.is_intact()
                && done.bytes == transfer.bytes
                && [wire.lost, wire.late, wire.damaged, noticed, done.nic.merged_packets]
                    .iter()
                    .all(|&n| n > 0);
            Ok::<_, gro_bench::host_stack::TransferError>((done.to_string(), holds))
        })
    };
    Ok(vec![cell(false, 1), cell(true, 2)])
}
