//! Coalescing that changes hands between the program in the kernel and the NIC, while TCP flows.

use super::receiver::Snapshot;
use super::topology::{Place, Topology};
use super::traffic::{self, Carried, Load};
use super::{Counters, LiveError, RunningNic};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What happened meanwhile.
#[derive(Clone, Debug)]
pub struct Handover {
    /// What TCP carried.
    pub carried: Carried,
    /// Segments that the receiver's TCP got out of order.
    pub out_of_order: i64,
    /// `TcpInErrs`
    pub tcp_errors: i64,
    /// Packets that the one who was to rest merged.
    pub by_who_rests: u64,
    /// Turns in which the one whose turn it was merged something.
    pub busy_turns: u32,
    /// Turns.
    pub turns: u32,
    /// What the NIC counted.
    pub nic: Snapshot,
    /// What the program counted.
    pub program: Snapshot,
}

/// At most so long does a turn wait for a packet to be merged.
const PATIENCE: Duration = Duration::from_secs(10);
/// At least so long is a turn.
const TURN: Duration = Duration::from_millis(200);

impl Handover {
    /// Starts a NIC and the program on its device, and has coalescing change hands as often as asked for, two flows at 640 Mb/s
    /// meanwhile. `gro` is the binary.
    ///
    /// # Errors
    /// [`LiveError::Gro`] with what a command said; traffic that breaks.
    pub fn run(topology: &Topology, gro: &Path, turns: u32) -> Result<Self, LiveError> {
        // As many bytes as the program can build a packet of, so that both have one config.
        let nic = RunningNic::start(topology, gro, &["--gro-max-size", "16000", "--offload", "off"])?;
        nic.attach(&[])?;
        let counters = || topology.host(Place::B).within(Counters::read);
        let before = counters()?;
        let load = Load {
            flows: 2,
            bytes: 1 << 40,
            pace: Some(80_000_000),
            patience: Duration::from_secs(600),
            ..Load::default()
        };
        let go_on = AtomicBool::new(true);
        let (carried, took) = std::thread::scope(|scope| {
            let traffic = scope.spawn(|| traffic::run_while(topology, &load, &go_on));
            let took: Result<Vec<_>, _> = (0..turns).map(|number| turn(&nic, number % 2 == 0)).collect();
            go_on.store(false, Ordering::Relaxed);
            let carried = traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, LiveError>((carried?, took?))
        })?;
        let program = nic.program()?;
        let last = nic.stop()?.counters;
        let counted = counters()?.since(&before);
        Ok(Self {
            carried,
            out_of_order: counted.get("TcpExtTCPOFOQueue"),
            tcp_errors: counted.get("TcpInErrs"),
            by_who_rests: took.iter().map(|&(_, other)| other).sum(),
            busy_turns: took.iter().filter(|&&(merged, _)| merged > 0).count() as u32,
            turns,
            nic: last,
            program,
        })
    }

    /// Whether every byte arrived, nobody merged what the other had merged or out of turn, and each merged when it was to.
    pub fn is_safe(&self) -> bool {
        self.carried.is_intact()
            && self.carried.bytes() > 0
            && (self.tcp_errors, self.by_who_rests, self.by_both()) == (0, 0, 0)
            && self.busy_turns == self.turns
    }

    /// Whether, moreover, no packet was lost or overtaken.
    pub fn is_smooth(&self) -> bool {
        (self.carried.retransmitted, self.out_of_order, self.lost()) == (0, 0, 0)
    }

    /// Packets of the NIC that the program saw while it coalesced.
    fn by_both(&self) -> u64 {
        self.program.guards.get("already_merged").copied().unwrap_or(u64::MAX)
    }

    /// Frames that the NIC had no room for.
    fn lost(&self) -> u64 {
        self.nic.guards.get("ring_full").copied().unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Handover {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal = self.carried.flows.iter().filter(|flow| flow.sent == flow.received).count();
        write!(
            out,
            "{} MB, {equal} of 2 equal, {} sent again, {} out of order, {} lost, {} TcpInErrs, {} merged by both, {} by who rests; NIC and program \
             merged in {} of {} turns: {} packets of {:.1} segments and {} of {:.1}",
            self.carried.bytes() / 1_000_000,
            self.carried.retransmitted,
            self.out_of_order,
            self.lost(),
            self.tcp_errors,
            self.by_both(),
            self.by_who_rests,
            self.busy_turns,
            self.turns,
            self.nic.merged_packets,
            self.nic.segments_a_merge(),
            self.program.merged_packets,
            self.program.segments_a_merge()
        )
    }
}

/// A switch, and how many packets those merged afterwards who should and who should not.
fn turn(nic: &RunningNic<'_>, on: bool) -> Result<(u64, u64), LiveError> {
    let merged = || -> Result<_, LiveError> {
        let [by_nic, by_program] = [nic.status()?.counters, nic.program()?].map(|of| of.merged_packets);
        Ok(if on { (by_nic, by_program) } else { (by_program, by_nic) })
    };
    std::thread::sleep(TURN);
    let output = nic.offload(&[if on { "on" } else { "off" }])?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(LiveError::Gro {
            command: "gro offload".into(),
            status: output.status.to_string(),
            message,
        });
    }
    let start = merged()?;
    let began = Instant::now();
    loop {
        std::thread::sleep(TURN);
        let now = merged()?;
        if now.0 > start.0 || began.elapsed() > PATIENCE {
            return Ok((now.0 - start.0, now.1 - start.1));
        }
    }
}
