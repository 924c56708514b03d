//! What the engine is run with: the flags that several commands share.

use clap::ValueEnum;
use gro_core::{Config, Release, Rule, UdpMode, VlanMode, tunnel};

/// Config and rule set.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// Rule set; that of the running kernel, or linux-6.18 where none matches it
    #[arg(long, value_name = "PROFILE", value_parser = profile)]
    pub(crate) profile: Option<Release>,
    /// Most bytes of a merged IPv6 packet, and of an IPv4 one unless the next option says it; over 65536 is BIG TCP
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(Config::MAX_SIZE)))]
    pub(crate) gro_max_size: Option<u32>,
    /// Most bytes of a merged IPv4 packet
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(Config::MAX_SIZE)))]
    pub(crate) gro_ipv4_max_size: Option<u32>,
    /// Nanoseconds that packets of the current jiffy may be held behind the end of a poll
    #[arg(long, value_name = "NS")]
    pub(crate) gro_flush_timeout: Option<u32>,
    /// Jiffies a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) hz: Option<u32>,
    /// Whether the device takes the outer VLAN tag off; if not, GRO looks behind tags in the bytes
    #[arg(long, value_enum, value_name = "on|off")]
    pub(crate) rx_vlan_strip: Option<Switch>,
    /// Encapsulations that GRO looks into: some of ip-in-ip,gre,vxlan,geneve, or none; ip-in-ip,gre if not given, as in a kernel
    /// without tunnel devices
    #[arg(long, value_name = "LIST", value_parser = tunnels)]
    pub(crate) tunnels: Option<u32>,
    /// Coalesce UDP or not
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) udp: Option<Udp>,
}

/// On or off.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// Mode of UDP.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Udp {
    /// Datagrams are delivered as they come
    Off,
    /// As with rx-udp-gro-forwarding
    Forwarding,
}

impl From<Udp> for UdpMode {
    fn from(udp: Udp) -> Self {
        match udp {
            Udp::Off => Self::Off,
            Udp::Forwarding => Self::Forwarding,
        }
    }
}

impl EngineArgs {
    /// `base` with what the flags say.
    pub(crate) fn config(&self, base: Config) -> Config {
        let mut config = base;
        if let Some(size) = self.gro_max_size {
            (config.gro_max_size, config.gro_ipv4_max_size) = (size, size);
        }
        config.gro_ipv4_max_size = self.gro_ipv4_max_size.unwrap_or(config.gro_ipv4_max_size);
        config.flush_timeout = self.gro_flush_timeout.unwrap_or(config.flush_timeout);
        config.hz = self.hz.unwrap_or(config.hz);
        config.udp = self.udp.map_or(config.udp, UdpMode::from);
        config.vlan = match self.rx_vlan_strip {
            Some(Switch::On) => VlanMode::Stripped,
            Some(Switch::Off) => VlanMode::InBand,
            None => config.vlan,
        };
        config.tunnels = self.tunnels.unwrap_or(config.tunnels);
        config
    }

    /// See [`profile_or_running`].
    pub(crate) fn profile(&self) -> Release {
        profile_or_running(self.profile)
    }

    /// Whether a flag says anything about the config. UDP is each trace's own matter.
    pub(crate) fn says_config(&self) -> bool {
        self.gro_max_size.is_some()
            || self.gro_ipv4_max_size.is_some()
            || self.gro_flush_timeout.is_some()
            || self.hz.is_some()
            || self.rx_vlan_strip.is_some()
            || self.tunnels.is_some()
    }
}

/// The rule set asked for, or the running kernel's; says so where there is none.
pub(crate) fn profile_or_running(asked: Option<Release>) -> Release {
    asked.unwrap_or_else(|| {
        gro_bench::kernel::profile().unwrap_or_else(|why| {
            eprintln!("note: {why}; taking {}", Release::default().name());
            Release::default()
        })
    })
}

/// A rule set by its name.
pub(crate) fn profile(name: &str) -> Result<Release, String> {
    Release::by_name(name).ok_or_else(|| format!("there are {}", Release::ALL.map(Release::name).join(", ")))
}

/// A set of encapsulations by their names.
fn tunnels(list: &str) -> Result<u32, String> {
    const KNOWN: [(&str, u32); 4] = [
        ("ip-in-ip", tunnel::IP_IN_IP),
        ("gre", tunnel::GRE),
        ("vxlan", tunnel::VXLAN),
        ("geneve", tunnel::GENEVE),
    ];
    if list == "none" {
        return Ok(0);
    }
    let bit = |name: &str| KNOWN.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit);
    let set = list.split(',').map(bit).try_fold(0, |set, bit| Some(set | bit?));
    set.ok_or_else(|| format!("there are {}; or none", KNOWN.map(|(name, _)| name).join(", ")))
}

/// A rule by its name, in the spelling of the command line.
pub(crate) fn rule(name: &str) -> Result<Rule, String> {
    let all = || Rule::ALL.into_iter();
    all().find(|&rule| gro_bench::rule_name(rule) == name).ok_or_else(|| {
        format!("there are {}", all().map(gro_bench::rule_name).collect::<Vec<_>>().join(", "))
    })
}
