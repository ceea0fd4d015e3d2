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
    let scale = [(SIZE.0 - 104) as f64 / (1.35 * slowest), (SIZE.1 - 110) as f64 / (most - least + 2.0 * room)];
    let places = places(points, scale);
    chart.draw_series(points.iter().zip(places).map(|(point, place)| {
        let color = if point.tokens { RED } else { BLUE };
        let name = Text::new(point.name.clone(), place, ("sans-serif", 14).into_font().color(&INK));
        EmptyElement::at((point.forward, point.accuracy)) + Circle::new((0, 0), 5, color.filled()) + name
    }))?;
    area.present()?;
    Ok(())
}

/// Where each name stands beside its point, in pixels: above it or below, and of those the first that meets no other name or point.
/// `scale`: pixels a millisecond and a percent.
fn places(points: &[Point], scale: [f64; 2]) -> Vec<(i32, i32)> {
    const PLACES: [(i32, i32); 4] = [(9, -16), (9, 4), (9, -30), (9, 18)];
    let at = |point: &Point| [(point.forward * scale[0]) as i32, (-point.accuracy * scale[1]) as i32];
    let mut taken: Vec<[i32; 4]> = points.iter().map(at).map(|[x, y]| [x - 6, y - 6, x + 6, y + 6]).collect();
    let mut chosen = Vec::new();
    for point in points {
        let [x, y] = at(point);
        let bounds = |(right, down): (i32, i32)| {
            [x + right, y + down, x + right + 8 * point.name.chars().count() as i32, y + down + 13]
        };
        let free = |place: &&(i32, i32)| {
            let own = bounds(**place);
            !taken.iter().any(|other| (0..2).all(|axis| own[axis] < other[axis + 2] && other[axis] < own[axis + 2]))
        };
        let place = *PLACES.iter().find(free).unwrap_or(&PLACES[0]);
        taken.push(bounds(place));
        chosen.push(place);
    }
    chosen
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

    #[test]
    fn names_of_neighbors_stand_apart() {
        let point = |forward, accuracy| Point { name: "a network".to_owned(), accuracy, forward, tokens: false };
        let apart = places(&[point(1.0, 70.0), point(3.0, 70.0), point(9.0, 70.0)], [20.0, 20.0]);
        assert_eq!(apart, [(9, -30), (9, -16), (9, -16)]);
    }
}
