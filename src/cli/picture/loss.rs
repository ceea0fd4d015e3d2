//! The curve `loss.svg`: the loss of every batch, and its mean over neighbors.

use plotters::prelude::*;

use crate::cli::Error;

const SIZE: (u32, u32) = (900, 460);
const PALE: RGBColor = RGBColor(190, 205, 228);
const BLUE: RGBColor = RGBColor(38, 84, 164);
const INK: RGBColor = RGBColor(34, 36, 46);
const GRID: RGBColor = RGBColor(228, 230, 236);

/// The losses as an SVG file.
pub(crate) fn loss_curve(losses: &[f32]) -> Result<String, Error> {
    let mut svg = String::new();
    draw(losses, &mut svg).map_err(|error| Error::Picture(format!("the loss curve was not drawn: {error}")))?;
    Ok(svg)
}

fn draw(losses: &[f32], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let most = losses.iter().copied().fold(0.1f32, f32::max) * 1.05;
    let steps = losses.len().max(2) as f32;
    let mut chart = ChartBuilder::on(&area)
        .margin(24)
        .caption("Loss by training step", ("sans-serif", 20).into_font().color(&INK))
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0f32..steps, 0f32..most)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("cross entropy of a batch")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|loss| format!("{loss:.1}"))
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let points = |losses: &[f32]| -> Vec<(f32, f32)> {
        losses.iter().enumerate().map(|(at, &loss)| ((at + 1) as f32, loss)).collect()
    };
    chart.draw_series(LineSeries::new(points(losses), PALE.stroke_width(1)))?.label("each batch").legend(key(PALE));
    let mean = means(losses);
    chart.draw_series(LineSeries::new(points(&mean), BLUE.stroke_width(2)))?.label("mean").legend(key(BLUE));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14).into_font().color(&INK))
        .background_style(WHITE)
        .border_style(GRID)
        .draw()?;
    area.present()?;
    Ok(())
}

fn key(color: RGBColor) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2))
}

/// The mean of each loss and its neighbors, up to a fiftieth of all on either side.
fn means(losses: &[f32]) -> Vec<f32> {
    let reach = losses.len() / 50;
    let around = |at: usize| {
        let near = &losses[at.saturating_sub(reach)..losses.len().min(at + reach + 1)];
        near.iter().sum::<f32>() / near.len() as f32
    };
    (0..losses.len()).map(around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_a_line_is_the_line() {
        let losses: Vec<f32> = (0..200).map(|at| at as f32).collect();
        let means = means(&losses);
        assert_eq!(means.len(), 200);
        assert!((means[100] - 100.0).abs() < 1e-3);
    }

    #[test]
    fn even_few_losses_are_drawn() -> Result<(), Error> {
        for losses in [&[][..], &[2.3], &[2.3, 1.0, 0.5]] {
            let svg = loss_curve(losses)?;
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        }
        Ok(())
    }
}
