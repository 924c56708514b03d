//! Where the places of a picture stand: rows by the longest way from a parser, order in a row by the mean of the neighbours.

use super::Link;
use std::collections::HashMap;

/// Rows of slots, and for each link the slots that it passes.
pub(super) struct Layout {
    /// Slots from top to bottom and from left to right. A slot is a place, or `None` where a link passes.
    pub(super) rows: Vec<Vec<Slot>>,
    /// For each link that goes down: (row, slot) from its start to its end. Empty for one that goes back.
    pub(super) ways: Vec<Vec<usize>>,
}

/// What stands in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Its number; ways refer to it.
    pub(super) number: usize,
    /// The place, if it is one.
    pub(super) place: Option<usize>,
}

/// Sweeps over all rows, down and up.
const SWEEPS: usize = 8;

pub(super) fn layout(places: usize, links: &[Link]) -> Layout {
    let order = topological(places, links);
    let down = |link: &Link| order[link.from] < order[link.to];
    let mut by_order: Vec<&Link> = links.iter().filter(|link| down(link)).collect();
    by_order.sort_by_key(|link| order[link.from]);
    let mut row = vec![0_usize; places];
    for link in by_order {
        row[link.to] = row[link.to].max(row[link.from] + 1);
    }

    let mut rows: Vec<Vec<Slot>> = vec![Vec::new(); row.iter().max().map_or(0, |last| last + 1)];
    for (place, &row) in row.iter().enumerate() {
        rows[row].push(Slot { number: place, place: Some(place) });
    }
    let mut slots = places;
    let mut ways = Vec::new();
    for link in links {
        let mut way = Vec::new();
        if down(link) {
            way.push(link.from);
            for row in &mut rows[row[link.from] + 1..row[link.to]] {
                row.push(Slot { number: slots, place: None });
                way.push(slots);
                slots += 1;
            }
            way.push(link.to);
        }
        ways.push(way);
    }
    arrange(&mut rows, &ways);
    Layout { rows, ways }
}

/// The place of each node in an order in which links go forward, but for those that close a cycle.
fn topological(places: usize, links: &[Link]) -> Vec<usize> {
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); places];
    for link in links.iter().rev() {
        followers[link.from].push(link.to);
    }
    let mut seen = vec![false; places];
    let mut order = vec![0; places];
    let mut left = places;
    for start in 0..places {
        let mut way = vec![start];
        while let Some(&node) = way.last() {
            seen[node] = true;
            match followers[node].pop() {
                Some(next) if !seen[next] => way.push(next),
                Some(_) => {}
                None => {
                    way.pop();
                    // A node is done once: the second time that it is on the way it has no followers and a number.
                    if order[node] == 0 {
                        order[node] = left;
                        left -= 1;
                    }
                }
            }
        }
    }
    order
}

fn arrange(rows: &mut [Vec<Slot>], ways: &[Vec<usize>]) {
    let mut above: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
    for pair in ways.iter().flat_map(|way| way.windows(2)) {
        if let [from, to] = *pair {
            above.entry(to).or_default().push(from);
            below.entry(from).or_default().push(to);
        }
    }
    for sweep in 0..SWEEPS {
        let (neighbours, indices): (_, Vec<usize>) = if sweep % 2 == 0 {
            (&above, (1..rows.len()).collect())
        } else {
            (&below, (0..rows.len()).rev().collect())
        };
        for index in indices {
            let mut at: HashMap<usize, usize> = HashMap::new();
            for row in rows.iter() {
                // In thousandths of the row's width, so that rows of different length compare.
                let width = row.len().max(1);
                at.extend(
                    row.iter()
                        .enumerate()
                        .map(|(place, slot)| (slot.number, (2 * place + 1) * 1_000 / width)),
                );
            }
            let mean = |slot: &Slot| match neighbours.get(&slot.number) {
                Some(others) => others.iter().filter_map(|other| at.get(other)).sum::<usize>() / others.len(),
                None => at.get(&slot.number).copied().unwrap_or(0),
            };
            rows[index].sort_by_cached_key(mean);
        }
    }
}
