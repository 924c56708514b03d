//! `gro nic info`

use super::Source;
use gro_nic::Image;
use gro_nic::image::{Hex, IMAGE_ABI, Isa, Parameter, contract_hash};
use serde_json::{Value, json};
use std::io::Write as _;

/// Say what an image is: versions, programs, settings, and what its program is expected to do.
///
/// The whole image is checked before anything is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gro nic info gro-nic/image/gro-linux-6.18.nicimg\n  \
                        gro nic info -j my.nicimg | jq -r '.info[].versions.stored.\"fw.app\"'\n\n\
                        Exit status: 0 done, 2 IMAGE cannot be read or is no NIC image.")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// Print JSON in the shape of `devlink -j dev info`, with what devlink has no place for under `image`
    #[arg(short, long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let image = args.source.open()?;
    let handle = format!("file/{}", args.source.name());
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", to_json(&handle, &image))?;
    } else {
        out.write_all(to_text(&handle, &image).as_bytes())?;
    }
    out.flush()?;
    Ok(0)
}

/// Names as in the kernel's devlink-info.rst: `fw.app` is the data path's microcode, `fw.bundle_id` the package that it came in.
fn versions(image: &Image) -> [(&'static str, String); 6] {
    [
        ("fw.app.name", format!("gro {}", image.profile)),
        ("fw.app", Hex(image.program_hash).to_string()),
        ("fw.app.source", Hex(image.source_hash).to_string()),
        ("fw.app.abi", IMAGE_ABI.to_string()),
        ("fw.app.layout", Hex(contract_hash()).to_string()),
        ("fw.bundle_id", Hex(image.id).to_string()),
    ]
}

/// One instruction set's program in numbers of bytes.
struct Program {
    isa: &'static str,
    /// Used and there.
    text: [u32; 2],
    data: [u32; 2],
    stack: [u32; 2],
    measurement: String,
}

fn programs(image: &Image) -> Vec<Program> {
    let program = |isa: Isa| {
        let member = image.member(isa)?;
        let data_end = member.data.address + member.data.memory_size;
        Some(Program {
            isa: isa.name(),
            text: [member.code.memory_size, member.memory.imem.size],
            data: [member.data.memory_size, member.memory.dmem.size],
            stack: [member.memory.stack_bound, member.memory.stack_top - data_end],
            measurement: Hex(member.code.measurement(&member.memory.imem)).to_string(),
        })
    };
    Isa::ALL.into_iter().filter_map(program).collect()
}

fn to_json(handle: &str, image: &Image) -> Value {
    let stored: serde_json::Map<_, _> =
        versions(image).into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let of = |[used, size]: [u32; 2]| json!({"used": used, "size": size});
    let program = |it: &Program| {
        json!({
            "isa": it.isa,
            "text": of(it.text),
            "data": of(it.data),
            "stack": of(it.stack),
            "measurement": it.measurement,
        })
    };
    let parameter = |it: &Parameter| {
        json!({
            "name": it.name,
            "register": it.register,
            "type": it.kind.name(),
            "min": it.min,
            "max": it.max,
            "default": it.default,
        })
    };
    json!({"info": {handle: {
        "driver": "gro-nic",
        "versions": {"fixed": {}, "stored": stored},
        "image": {
            "entry": image.entry,
            "signer": image.signer.map(|key| Hex(key).to_string()),
            "programs": programs(image).iter().map(program).collect::<Vec<_>>(),
            "config": image.config.iter().map(parameter).collect::<Vec<_>>(),
            "rules_bytes": image.rules.len(),
            "manifest": image.manifest,
        },
    }}})
}

fn to_text(handle: &str, image: &Image) -> String {
    let mut text = format!("{handle}:\n  driver gro-nic\n  versions:\n      stored:\n");
    let mut line = |line: String| {
        text += line.trim_end();
        text.push('\n');
    };
    for (name, value) in versions(image) {
        line(format!("        {name} {value}"));
    }
    line(match image.signer {
        Some(key) => format!("  signed with {}", Hex(key)),
        None => "  not signed".to_owned(),
    });
    line("  programs, bytes used of those there:".to_owned());
    for Program { isa, text, data, stack, measurement } in programs(image) {
        let of = |[used, size]: [u32; 2]| format!("{used} of {size}");
        line(format!("      {isa}: text {}, data {}, stack at most {}", of(text), of(data), of(stack)));
        line(format!("        measurement {measurement}"));
    }
    line(format!("  rules: {} bytes of JSON (gro nic rules)", image.rules.len()));
    line("  config:".to_owned());
    line(format!(
        "      {:20} {:8} {:13} {:>10} {:>10} {:>10}",
        "name", "register", "type", "min", "max", "default"
    ));
    for Parameter { name, register, kind, min, max, default } in &image.config {
        let kind = kind.name();
        line(format!("      {name:20} {register:#05x}    {kind:13} {min:10} {max:10} {default:10}"));
    }
    let provenance = &image.manifest.provenance;
    line(format!("  built by {}, {}", provenance.toolchain.rustc, provenance.toolchain.linker));
    line(format!("  tc twin {} {}", provenance.twin.file, provenance.twin.sha256));
    line("  expected under the default config:".to_owned());
    line(format!("      {:20} {:>8} {:>8}  decision digest", "trace", "frames", "packets"));
    for trace in &provenance.traces {
        let (name, frames, packets) = (&trace.name, trace.frames, trace.packets);
        line(format!("      {name:20} {frames:8} {packets:8}  {}", trace.decision_digest));
    }
    text
}
