//! Drawings as SVG text.

use crate::report::Spread;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Bars beside each other over one word.
pub(super) struct Group {
    pub(super) name: String,
    /// A series that has none here has no bar.
    pub(super) bars: Vec<Bar>,
}

/// A value with its spread.
#[derive(Clone, Copy)]
pub(super) struct Bar {
    pub(super) series: usize,
    pub(super) spread: Spread,
}

/// A line.
pub(super) struct Line {
    pub(super) series: usize,
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// As wide as a page is.
const WIDTH: u32 = 1_000;
const HEIGHT: u32 = 340;
const LEGEND: i32 = 26;
/// Ours first, in a colour of its own; no two that only a red-green weak eye would confuse.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 90, 160),
    RGBColor(90, 170, 230),
    RGBColor(230, 159, 0),
    RGBColor(213, 94, 0),
    RGBColor(150, 60, 20),
    RGBColor(120, 120, 120),
    RGBColor(0, 140, 110),
    RGBColor(200, 120, 170),
    RGBColor(60, 60, 60),
];

/// Bars on a logarithmic scale, their values above them.
pub(super) fn bars(series: &[(usize, &str)], groups: &[Group], unit: &str) -> Result<String> {
    let values = || groups.iter().flat_map(|group| &group.bars).map(|bar| bar.spread.median);
    let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    if most <= 0.0 {
        return Ok(String::new());
    }
    // From a power of ten on, as its marks are.
    let bottom = 10_f64.powf((least * 0.8).log10().floor());
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let (legend, area) = area.split_vertically(LEGEND);
        draw_legend(&legend, series)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..groups.len() as f64, (bottom..most * 1.8).log_scale())
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(4)
            .y_desc(unit)
            .light_line_style(WHITE)
            .y_label_formatter(&number)
            .draw()
            .map_err(drawing)?;
        let plane = chart.plotting_area();
        for (at, group) in groups.iter().enumerate() {
            let width = 0.86 / group.bars.len().max(1) as f64;
            for (place, &Bar { series, spread: Spread { median, min, max } }) in group.bars.iter().enumerate()
            {
                let left = at as f64 + 0.07 + place as f64 * width;
                let middle = left + width * 0.46;
                let shape = [(left, bottom), (left + width * 0.92, median)];
                plane.draw(&Rectangle::new(shape, colour(series).filled())).map_err(drawing)?;
                let ends = PathElement::new(vec![(middle, min), (middle, max)], BLACK.mix(0.6));
                plane.draw(&ends).map_err(drawing)?;
                let style = text(10, HPos::Center, VPos::Bottom);
                plane.draw(&Text::new(number(&median), (middle, max * 1.06), style)).map_err(drawing)?;
            }
            let (x, _) = plane.map_coordinate(&(at as f64 + 0.5, bottom));
            let style = text(13, HPos::Center, VPos::Top);
            area.draw(&Text::new(group.name.clone(), (x, HEIGHT as i32 - LEGEND - 28), style))
                .map_err(drawing)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

/// Lines over a logarithmic scale of counts.
pub(super) fn lines(lines: &[Line], x: &str, unit: &str) -> Result<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = |pick: fn(&(f64, f64)) -> f64| points().map(pick).fold(0.0, f64::max);
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    let left = points().map(|point| point.0).fold(right, f64::min);
    if top <= 0.0 {
        return Ok(String::new());
    }
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let (legend, area) = area.split_vertically(LEGEND);
        let names: Vec<_> = lines.iter().map(|line| (line.series, &*line.name)).collect();
        draw_legend(&legend, &names)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d((left * 0.8..right * 1.2).log_scale(), 0.0..top * 1.1)
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .x_desc(x)
            .y_desc(unit)
            .light_line_style(WHITE)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .draw()
            .map_err(drawing)?;
        for line in lines {
            let style = colour(line.series).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style)).map_err(drawing)?;
            let dots = line.points.iter().map(|&point| Circle::new(point, 3, colour(line.series).filled()));
            chart.draw_series(dots).map_err(drawing)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

/// Squares and words, from the left.
fn draw_legend(area: &DrawingArea<SVGBackend<'_>, Shift>, names: &[(usize, &str)]) -> Result<()> {
    let mut x = 64;
    for &(series, name) in names {
        area.draw(&Rectangle::new([(x, 8), (x + 12, 20)], colour(series).filled())).map_err(drawing)?;
        area.draw(&Text::new(name.to_owned(), (x + 17, 7), text(13, HPos::Left, VPos::Top)))
            .map_err(drawing)?;
        // No font is measured: letters of this size are about 7 wide.
        x += 36 + 7 * name.len() as i32;
    }
    Ok(())
}

fn colour(series: usize) -> RGBColor {
    COLOURS[series % COLOURS.len()]
}

fn text(size: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size).into_font());
    style.pos(Pos::new(horizontal, vertical))
}

fn number(value: &f64) -> String {
    match *value {
        value if value >= 99.5 => format!("{value:.0}"),
        value if value >= 9.95 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}
