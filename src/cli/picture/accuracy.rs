//! The figure of `vistok compare`: accuracy against time, a point a network.

use plotters::prelude::*;

use crate::cli::Error;

const SIZE: (u32, u32) = (900, 520);
const BLUE: RGBColor = RGBColor(38, 84, 164);
const RED: RGBColor = RGBColor(190, 62, 42);
const INK: RGBColor = RGBColor(34, 36, 46);
const GRID: RGBColor = RGBColor(228, 230, 236);

/// A network.
pub(crate) struct Point {
    pub(crate) name: String,
    /// In percent.
    pub(crate) accuracy: f64,
    /// Milliseconds of a batch forward.
    pub(crate) forward: f64,
    /// Whether it is one of visual tokens: those stand out.
    pub(crate) tokens: bool,
}

/// The points as an SVG file.
pub(crate) fn accuracy_by_time(points: &[Point], title: &str) -> Result<String, Error> {
    let mut svg = String::new();
    draw(points, title, &mut svg).map_err(|error| Error::Picture(format!("the figure was not drawn: {error}")))?;
    Ok(svg)
}

fn draw(points: &[Point], title: &str, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let slowest = points.iter().map(|point| point.forward).fold(f64::MIN_POSITIVE, f64::max);
    let least = points.iter().map(|point| point.accuracy).fold(100.0, f64::min);
    let most = points.iter().map(|point| point.accuracy).fold(0.0, f64::max).max(least);
    let room = 0.15 * (most - least).max(1.0);
    let mut chart = ChartBuilder::on(&area)
        .margin(24)
        .caption(title, ("sans-serif", 18).into_font().color(&INK))
        .x_label_area_size(44)
        .y_label_area_size(56)
        // Names stand to the right of their points.
        .build_cartesian_2d(0.0..1.35 * slowest, least - room..most + room)?;
    chart
        .configure_mesh()
        .x_desc("milliseconds of a batch forward, measured here")
        .y_desc("accuracy in percent, the paper's")
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series(points.iter().map(|point| {
        let color = if point.tokens { RED } else { BLUE };
        // A name stands above its point; below it, where a neighbor does.
        let above = |other: &Point| {
            let [right, up] = [other.forward - point.forward, other.accuracy - point.accuracy];
            up > 0.0 && up < 0.1 * (most - least + 2.0 * room) && right.abs() < 0.25 * slowest
        };
        let place = if points.iter().any(above) { (9, 4) } else { (9, -16) };
        let name = Text::new(point.name.clone(), place, ("sans-serif", 14).into_font().color(&INK));
        EmptyElement::at((point.forward, point.accuracy)) + Circle::new((0, 0), 5, color.filled()) + name
    }))?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_points_is_drawn() -> Result<(), Error> {
        let point = |forward, accuracy| Point { name: "network".to_owned(), accuracy, forward, tokens: forward > 2.0 };
        for points in [vec![], vec![point(3.0, 77.0)], vec![point(1.0, 70.0), point(9.0, 81.0)]] {
            let svg = accuracy_by_time(&points, "batches of 64")?;
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            assert_eq!(svg.matches("<circle").count(), points.len());
        }
        Ok(())
    }
}
