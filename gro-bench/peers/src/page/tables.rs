//! The tables of the page.

use crate::cells::State;
use crate::report::{Bar, CellReport, KernelCost, Part, Ratios, Report, Rules};
use std::fmt::{Error, Write as _};

type Html = Result<String, Error>;

/// For text between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn skipped(why: &str) -> String {
    format!("<p class=\"note\">Skipped: {}.</p>\n", escape(why))
}

/// A table; cells are HTML.
fn table(head: &[String], rows: &[Vec<String>]) -> Html {
    let mut html = String::from("<table>\n<tr>");
    for cell in head {
        write!(html, "<th>{cell}</th>")?;
    }
    html += "</tr>\n";
    for row in rows {
        html += "<tr>";
        for cell in row {
            if cell.starts_with("<td") {
                html += cell;
            } else {
                write!(html, "<td>{cell}</td>")?;
            }
        }
        html += "</tr>\n";
    }
    html += "</table>\n";
    Ok(html)
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| escape(word)).collect()
}

pub(super) fn bars(bars: &[Bar]) -> Html {
    let rows: Vec<_> = bars
        .iter()
        .map(|bar| {
            let (class, verdict) = match bar.met {
                Some(true) => ("met", "met".to_owned()),
                Some(false) => ("missed", "missed".to_owned()),
                None => ("none", bar.why_not_measured.clone().unwrap_or_default()),
            };
            let measured = bar.measured.map_or_else(|| "&ndash;".to_owned(), |value| format!("{value:.2}"));
            let bound = format!("{} {} {}", bar.kind, bar.bound, bar.unit);
            let verdict = format!("<td class=\"{class}\">{}</td>", escape(&verdict));
            vec![escape(&bar.what), escape(&bar.at), measured, escape(&bound), verdict]
        })
        .collect();
    table(&strings(&["promise", "at", "measured", "bound", ""]), &rows)
}

type Pick = fn(&Ratios) -> Option<f64>;

/// A row a cell, a column a state and peer.
pub(super) fn ratios(ratios: &[Ratios]) -> Html {
    let mut cells: Vec<&str> = ratios.iter().map(|row| &*row.cell).collect();
    cells.dedup();
    let columns: [(&str, Pick); 3] =
        [("dpdk", |row| row.dpdk), ("dpdk+parse", |row| row.dpdk_parse), ("tun-rs", |row| row.tun_rs)];
    let mut head = vec![String::new()];
    head.extend(
        columns.iter().flat_map(|(name, _)| State::ALL.map(|state| format!("{name}, {}", state.name()))),
    );
    let one = |cell: &str, state: State, pick: Pick| {
        let row = ratios.iter().find(|row| row.cell == cell && row.state == state.name());
        row.and_then(pick).map_or_else(|| "&ndash;".to_owned(), |ratio| format!("{ratio:.2}"))
    };
    let rows: Vec<_> = cells
        .iter()
        .map(|cell| {
            let mut row = vec![escape(cell)];
            row.extend(columns.iter().flat_map(|&(_, pick)| State::ALL.map(|state| one(cell, state, pick))));
            row
        })
        .collect();
    let mut html = table(&head, &rows)?;
    html += "<p class=\"note\">DPDK (the faster of its calls with packet types from the NIC, and with a parse) to gro, without TCP \
             checksum; tun-rs to gro+checksum.</p>\n";
    Ok(html)
}

/// One table a state: a row a cell, a column an engine.
pub(super) fn cells(cells: &[CellReport]) -> Html {
    let mut html = String::new();
    for state in State::ALL {
        let of_state: Vec<_> = cells.iter().filter(|cell| cell.state == state.name()).collect();
        let mut engines: Vec<&str> = Vec::new();
        for figure in of_state.iter().flat_map(|cell| &cell.engines) {
            if !engines.contains(&&*figure.engine) {
                engines.push(&figure.engine);
            }
        }
        let mut head = vec![format!("{}, ns a frame", state.name())];
        head.extend(engines.iter().map(|engine| escape(engine)));
        let rows: Vec<_> = of_state
            .iter()
            .map(|cell| {
                let title = format!("{}, payload {}, hash {}", cell.frames, cell.payload, cell.hash);
                let mut row = vec![format!("<td title=\"{}\">{}</td>", escape(&title), escape(&cell.cell))];
                row.extend(engines.iter().map(|&engine| one(cell, engine)));
                row
            })
            .collect();
        html += &table(&head, &rows)?;
    }
    html += "<p class=\"note\">Median of the rounds; below it the packets that come out of a burst of 64 frames. More about a figure \
             is in its tooltip.</p>\n";
    Ok(html)
}

fn one(cell: &CellReport, engine: &str) -> String {
    let Some(figure) = cell.engines.iter().find(|figure| figure.engine == engine) else {
        return String::new();
    };
    if let Some(why) = &figure.not_supported {
        return format!("<td class=\"none\" title=\"{}\">no</td>", escape(why));
    }
    let Some(ns) = figure.ns else { return String::new() };
    let packets = figure.packets.map(|packets| format!("<br><span class=\"note\">{packets:.1}</span>"));
    format!("<td title=\"{} to {}\">{:.1}{}</td>", ns.min, ns.max, ns.median, packets.unwrap_or_default())
}

pub(super) fn memory(report: &Report) -> Html {
    let mut rows = Vec::new();
    match &report.memory {
        Part::Measured(memory) => {
            rows.push(vec!["bytes of a queue when it is made".to_owned(), memory.bytes_a_queue.to_string()]);
            rows.push(vec!["after 100,000 flows".to_owned(), memory.bytes_a_queue_used.to_string()]);
            rows.push(vec!["allocations a burst".to_owned(), memory.allocations_a_burst.to_string()]);
        }
        Part::Skipped(why) => rows.push(vec!["memory".to_owned(), format!("skipped: {}", escape(why))]),
    }
    match &report.instructions {
        Part::Measured(found) => {
            let path = escape(&found.code_path);
            rows.push(vec!["instructions a frame".to_owned(), format!("{} ({path})", found.gro)]);
            rows.push(vec![
                "and with the checksum verified".to_owned(),
                format!("{} ({path})", found.gro_checksum),
            ]);
        }
        Part::Skipped(why) => {
            rows.push(vec!["instructions a frame".to_owned(), format!("skipped: {}", escape(why))])
        }
    }
    table(&strings(&["8x4", ""]), &rows)
}

pub(super) fn kernel(kernel: &Part<Vec<KernelCost>>) -> Html {
    let cells = match kernel {
        Part::Measured(cells) => cells,
        Part::Skipped(why) => return Ok(skipped(why)),
    };
    let rows: Vec<_> = cells
        .iter()
        .map(|cell| {
            let functions: Vec<_> =
                cell.functions.iter().map(|(name, ns)| format!("{} {ns:.1}", escape(name))).collect();
            let functions = format!("<td class=\"text\">{}</td>", functions.join(", "));
            let (gro, both) = (format!("{:.1}", cell.gro_ns), format!("{:.1}", cell.with_checksum_ns));
            vec![escape(&cell.cell), gro, both, cell.samples_in_gro.to_string(), functions]
        })
        .collect();
    let mut html = table(
        &strings(&["", "GRO, ns a frame", "with checksum", "samples", "functions, ns a frame"]),
        &rows,
    )?;
    html += "<p class=\"note\">Samples of the software clock in the functions of GRO alone, while frames come through a veth.</p>\n";
    Ok(html)
}

pub(super) fn rules(rules: &Part<Rules>) -> Html {
    let rules = match rules {
        Part::Measured(rules) => rules,
        Part::Skipped(why) => return Ok(skipped(why)),
    };
    let mut html = format!("<p class=\"note\">Compared with {}.</p>\n", escape(&rules.reference));
    let peers: Vec<String> = rules
        .traces
        .first()
        .map_or_else(Vec::new, |trace| trace.equal.iter().map(|(peer, _)| escape(peer)).collect());
    let head = |first: &[&str]| [strings(first), peers.clone()].concat();
    let rows: Vec<_> = rules
        .traces
        .iter()
        .map(|trace| {
            let mut row = vec![escape(&trace.trace), trace.frames.to_string(), trace.polls.to_string()];
            row.extend(trace.equal.iter().map(|(_, equal)| mark(*equal == trace.polls, &equal.to_string())));
            row
        })
        .collect();
    html += &table(&head(&["trace", "frames", "polls"]), &rows)?;
    let rows: Vec<_> = rules
        .cases
        .iter()
        .map(|case| {
            let mut row = vec![escape(&case.case), escape(&case.kernel)];
            row.extend(case.peers.iter().map(|(_, found, equal)| mark(*equal, found)));
            row
        })
        .collect();
    html += &table(&head(&["segments of each packet that four frames become", "kernel"]), &rows)?;
    let yes = |holds: bool| mark(holds, if holds { "yes" } else { "no" });
    let rows: Vec<_> = rules
        .outputs
        .iter()
        .map(|row| vec![escape(&row.engine), yes(row.ip_checksum), yes(row.tcp_checksum), yes(row.gso_size)])
        .collect();
    let head = [
        "a merged packet has",
        "a right IP checksum",
        "a right TCP checksum, or leaves it to the device",
        "gso_size",
    ];
    html += &table(&strings(&head), &rows)?;
    Ok(html)
}

fn mark(good: bool, text: &str) -> String {
    format!("<td class=\"{}\">{}</td>", if good { "met" } else { "missed" }, escape(text))
}

pub(super) fn conditions(report: &Report) -> Html {
    let conditions = &report.conditions;
    let mut rows: Vec<(&str, String)> = vec![
        ("statistic", conditions.statistic.clone()),
        ("timed", conditions.timed.clone()),
        ("states", conditions.states.clone()),
        ("frames", conditions.frames.clone()),
        ("memory", conditions.memory.clone()),
        ("in huge pages", conditions.huge_mib.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"))),
        ("bursts of an engine in a round", format!("at least {}", conditions.bursts_a_round)),
        ("CPU", conditions.cpu.to_string()),
        (
            "compiled for",
            match &report.machine.compiled_for[..] {
                [] => "x86-64, as it comes".to_owned(),
                features => features.join(", "),
            },
        ),
        ("the processor has", report.machine.simd.join(", ")),
        ("took", format!("{:.0} s", conditions.seconds)),
    ];
    for engine in &report.engines {
        let text =
            engine.what.clone().or_else(|| engine.skipped.as_ref().map(|why| format!("skipped: {why}")));
        rows.push((&engine.name, text.unwrap_or_default()));
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, text)| vec![escape(name), format!("<td class=\"text\">{}</td>", escape(&text))])
        .collect();
    table(&[], &rows)
}
