//! SVG, drawn here: no program is needed to look at a graph but a browser.

use super::layout::{Layout, layout};
use super::{Link, length_text, links};
use crate::model::Graph;
use std::fmt::Write as _;

const ROW: i64 = 110;
const BOX: i64 = 44;
const GAP: i64 = 40;
const MARGIN: i64 = 24;
/// Pixels of a letter of a name, and of a key.
const LETTER: i64 = 8;
const KEY_LETTER: i64 = 7;
/// Between lines of keys.
const LINE: i64 = 13;
/// Width where a link passes.
const PASS: i64 = 24;
/// Above and below the lines of what follows a tunnel.
const PAD: i64 = 10;

/// The graph as a picture: parsers on top, headers below, keys beside the links; links that go back are dashed. Behind a tunnel
/// stands, in a dashed box, with which of the headers above the packet in it begins.
pub fn svg(graph: &Graph) -> String {
    let mut links = links(graph);
    let parsers = graph.parsers.len();
    let places = parsers + graph.nodes.len();
    let boxes = boxes(graph, &mut links, places);
    let layout = layout(places + boxes.len(), &links);
    let words = |place: usize| -> Vec<String> {
        match place.checked_sub(parsers) {
            Some(index) if place < places => {
                vec![graph.nodes[index].name.clone(), length_text(graph, &graph.nodes[index])]
            }
            Some(_) => boxes[place - places].clone(),
            None => vec![graph.parsers[place].name.clone(), "parser".to_owned()],
        }
    };
    // A box has room for its words, and below it for the keys of what leaves it.
    let room = |link: &Link| link.keys.iter().map(String::len).max().unwrap_or(0) as i64 * KEY_LETTER + 12;
    let rooms: Vec<i64> = links.iter().map(room).collect();
    let width = |place: usize| {
        let own = words(place).iter().map(String::len).max().unwrap_or(0) as i64 * LETTER + 28;
        let leaving = links.iter().zip(&layout.ways).zip(&rooms);
        let leaving = leaving.filter(|((link, way), _)| link.from == place && way.len() > 1);
        own.max(leaving.map(|(_, room)| room).sum())
    };
    let height = |place: usize| {
        if place < places { BOX } else { (words(place).len() as i64 * LINE + PAD).max(BOX) }
    };
    let (spots, (total, bottom)) = spots(&layout, &width, &height);
    let back = links
        .iter()
        .zip(&layout.ways)
        .filter(|(_, way)| way.is_empty())
        .map(|(link, _)| link.keys.join(", ").len());
    // Room on the right for what goes back.
    let right = back.max().map_or(0, |letters| letters as i64 * KEY_LETTER + GAP);
    let (full, tall) = (total + 2 * MARGIN + right, bottom + MARGIN);

    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" height=\"{tall}\" viewBox=\"0 0 {full} {tall}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<title>Parse graph</title>\n\
         <style>.box{{fill:#f4f7fb;stroke:#34507a}}.parser{{fill:#34507a}}.link{{fill:none;stroke:#667}}\
         .back{{stroke-dasharray:4 3}}.again{{fill:#fff;stroke:#667;stroke-dasharray:4 3}}.small{{font-size:11px;fill:#445}}.light{{fill:#fff}}.key{{font-size:11px;fill:#223;paint-order:stroke;\
         stroke:#fff;stroke-width:4px}}</style>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
         markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#667\"/></marker></defs>\n\
         <rect width=\"{full}\" height=\"{tall}\" fill=\"#fff\"/>\n"
    );
    let mut labels = String::new();
    for (index, (link, way)) in links.iter().zip(&layout.ways).enumerate() {
        let mut points: Vec<(i64, i64)> = way.iter().map(|&slot| spots[slot]).collect();
        let keys: Vec<&str> = link.keys.iter().map(String::as_str).collect();
        if points.len() < 2 {
            let (from, to) = (spots[link.from], spots[link.to]);
            let (x1, x2) = (from.0 + width(link.from) / 2, to.0 + width(link.to) / 2);
            let out = x1.max(x2) + GAP;
            let (y1, y2) = (from.1 + BOX / 4, to.1 - BOX / 4);
            let _ = writeln!(
                text,
                "<path class=\"link back\" marker-end=\"url(#tip)\" d=\"M{x1} {y1}C{out} {y1} {out} {y2} {x2} {y2}\"/>"
            );
            label(&mut labels, (out - 6, (y1 + y2) / 2 + 4), "start", &[&keys.join(", ")]);
            continue;
        }
        // Links leave and arrive side by side, in the order of where they go.
        let last = points.len() - 1;
        points[0].0 += spread(&layout, &spots, index, End::Start, width(link.from), &rooms);
        points[0].1 += height(link.from) / 2;
        points[last].0 += spread(&layout, &spots, index, End::Tip, width(link.to), &rooms);
        points[last].1 -= height(link.to) / 2;
        let mut path = format!("M{} {}", points[0].0, points[0].1);
        for pair in points.windows(2) {
            if let [(x1, y1), (x2, y2)] = *pair {
                let middle = (y1 + y2) / 2;
                let _ = write!(path, "C{x1} {middle} {x2} {middle} {x2} {y2}");
            }
        }
        let _ = writeln!(text, "<path class=\"link\" marker-end=\"url(#tip)\" d=\"{path}\"/>");
        label(&mut labels, (points[0].0, points[0].1 + 20), "middle", &keys);
    }
    for (place, &(x, y)) in spots.iter().enumerate().take(places + boxes.len()) {
        let (words, width, height) = (words(place), width(place), height(place));
        let (left, top) = (x - width / 2, y - height / 2);
        let (class, round, light) = match place {
            parser if parser < parsers => ("parser", BOX / 2, " light"),
            node if node < places => ("box", 4, ""),
            _ => ("again", 4, ""),
        };
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>"
        );
        if place >= places {
            let lines: Vec<&str> = words.iter().map(String::as_str).collect();
            label(&mut text, (x, y + LINE - 3 - lines.len() as i64 * LINE / 2), "middle", &lines);
            continue;
        }
        for (line, (class, y)) in words.iter().zip([("", y - 3), ("small", y + 13)]) {
            let class = format!("{class}{light}");
            let class = class.trim_start();
            let _ = writeln!(
                text,
                "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{line}</text>"
            );
        }
    }
    text + &labels + "</svg>\n"
}

/// What begins behind each tunnel, in lines; the links there become one to a place of their own, behind `places` others.
fn boxes(graph: &Graph, links: &mut Vec<Link>, places: usize) -> Vec<Vec<String>> {
    let mut boxes: Vec<(usize, Vec<String>)> = Vec::new();
    links.retain(|link| {
        if link.again {
            let name =
                link.to.checked_sub(graph.parsers.len()).map_or("", |node| graph.nodes[node].name.as_str());
            let keys: Vec<&str> = link.keys.iter().map(String::as_str).filter(|key| *key != "any").collect();
            let line = if keys.is_empty() { name.to_owned() } else { format!("{name}: {}", keys.join(", ")) };
            match boxes.iter_mut().find(|(from, _)| *from == link.from) {
                Some((_, lines)) => lines.push(line),
                None => boxes.push((link.from, vec![line])),
            }
        }
        !link.again
    });
    let stubs = boxes.iter().enumerate();
    links.extend(stubs.map(|(index, &(from, _))| Link {
        from,
        to: places + index,
        keys: Vec::new(),
        again: true,
    }));
    boxes.into_iter().map(|(_, lines)| lines).collect()
}

/// The middle of each slot, and the width of the widest row and the bottom of the last.
fn spots(
    layout: &Layout,
    width: &dyn Fn(usize) -> i64,
    height: &dyn Fn(usize) -> i64,
) -> (Vec<(i64, i64)>, (i64, i64)) {
    let widths = |row: &[super::layout::Slot]| -> Vec<i64> {
        row.iter().map(|slot| slot.place.map_or(PASS, width)).collect()
    };
    let row_width = |widths: &[i64]| widths.iter().sum::<i64>() + GAP * (widths.len() as i64 - 1).max(0);
    let total = layout.rows.iter().map(|row| row_width(&widths(row))).max().unwrap_or(0);
    let count = layout.rows.iter().flatten().map(|slot| slot.number + 1).max().unwrap_or(0);
    let mut spots = vec![(0, 0); count];
    let mut top = MARGIN;
    for row in &layout.rows {
        let widths = widths(row);
        let tall = row.iter().filter_map(|slot| slot.place.map(height)).max().unwrap_or(BOX);
        let mut x = MARGIN + (total - row_width(&widths)) / 2;
        for (slot, width) in row.iter().zip(widths) {
            spots[slot.number] = (x + width / 2, top + tall / 2);
            x += width + GAP;
        }
        top += tall + ROW - BOX;
    }
    (spots, (total, top - (ROW - BOX)))
}

/// Which end of a link.
#[derive(Clone, Copy)]
enum End {
    Start,
    Tip,
}

/// How far from the middle of a box a link leaves or arrives: those that leave have room for their keys.
fn spread(layout: &Layout, spots: &[(i64, i64)], link: usize, end: End, width: i64, rooms: &[i64]) -> i64 {
    let ends = |way: &[usize]| match (end, way) {
        (End::Start, [from, next, ..]) => Some((*from, *next)),
        (End::Tip, [.., next, to]) => Some((*to, *next)),
        _ => None,
    };
    let Some((place, _)) = ends(&layout.ways[link]) else { return 0 };
    let ways = layout.ways.iter().enumerate();
    let mut sides: Vec<(i64, usize)> = ways
        .filter_map(|(index, way)| Some((index, ends(way)?)))
        .filter(|(_, (other, _))| *other == place)
        .map(|(index, (_, next))| (spots[next].0, index))
        .collect();
    sides.sort_unstable();
    let room = |index: usize| match end {
        End::Start => rooms.get(index).copied().unwrap_or(1),
        End::Tip => 1,
    };
    let all: i64 = sides.iter().map(|(_, index)| room(*index)).sum();
    let before: i64 =
        sides.iter().map(|(_, index)| *index).take_while(|&index| index != link).map(room).sum();
    width * (2 * before + room(link)) / (2 * all.max(1)) - width / 2
}

fn label(text: &mut String, (x, y): (i64, i64), anchor: &str, lines: &[&str]) {
    for (number, line) in lines.iter().enumerate() {
        let y = y + number as i64 * LINE;
        let _ =
            writeln!(text, "<text class=\"key\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{line}</text>");
    }
}
