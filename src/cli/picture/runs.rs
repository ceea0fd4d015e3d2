//! The picture of `vistok plot`: loss, score and learning rate of runs, below each other, each line with the name of its run.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::cli::Error;
use crate::cli::log::{Measure, Run};
use crate::cli::plot::By;

const WIDTH: u32 = 960;
/// Heights of the panels.
const PANELS: [u32; 3] = [290, 220, 170];
/// For the numbers and the name of the axis, below the last panel.
const AXIS: u32 = 44;
/// For the title above each panel.
const TITLE: u32 = 34;
/// Left of the panels.
const NUMBERS: u32 = 62;
/// From them to the names of runs at their right, and for a letter of those.
const GAP: u32 = 20;
const LETTER: f64 = 7.7;
/// Of two names below each other.
const LINE: i32 = 17;
/// The letters of the longest name that is written out.
const LETTERS: usize = 22;
/// Points of a line, beyond which neighbors become one.
const POINTS: usize = 1200;

const INK: RGBColor = RGBColor(34, 36, 46);
const GRID: RGBColor = RGBColor(228, 230, 236);
/// Okabe and Ito's, whom people of any sight tell apart, without the yellow that white swallows.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(70, 70, 70),
];

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Points in the order of the axis.
type Points = Vec<(f64, f64)>;

/// A run, ready to be drawn.
struct Curves {
    name: String,
    color: RGBColor,
    losses: Points,
    means: Points,
    scores: Points,
    rates: Points,
}

/// A panel: lines with their colors and widths, from a least to a most.
struct Panel {
    title: &'static str,
    height: [f64; 2],
    digits: usize,
    lines: Vec<(Points, RGBAColor, u32)>,
    /// Whether each point is a thing of its own.
    dots: bool,
    ends: Vec<End>,
}

/// Where a line ends, and what stands there.
struct End {
    at: (f64, f64),
    text: String,
    color: RGBColor,
}

/// The picture as an SVG file.
pub(crate) fn run_curves(runs: &[Run], by: By) -> Result<String, Error> {
    if runs.len() > COLORS.len() {
        let reason = format!("{} runs in one picture: nobody tells more than {} apart", runs.len(), COLORS.len());
        return Err(Error::Refused(reason));
    }
    let curves =
        runs.iter().zip(COLORS).map(|(run, color)| Curves::of(run, color, by)).collect::<Result<Vec<_>, _>>()?;
    let measure = runs.first().map_or(Measure::Accuracy, |run| run.measure);
    let mut svg = String::new();
    draw(&curves, (measure, by), &mut svg)
        .map_err(|error| Error::Picture(format!("the runs were not drawn: {error}")))?;
    Ok(svg)
}

impl Curves {
    fn of(run: &Run, color: RGBColor, by: By) -> Result<Self, Error> {
        let unit = match by {
            By::Step => 1.0,
            By::Epoch => run.pass().ok_or_else(|| {
                Error::Refused(format!("no pass of `{}` has ended yet: draw it with --by step", run.name))
            })?,
        };
        let at = |step: u64| step as f64 / unit;
        let losses: Points = run.steps.iter().map(|row| (at(row.step), row.loss.into())).collect();
        Ok(Self {
            name: shortened(&run.name),
            color,
            means: means(&losses),
            losses,
            scores: run.epochs.iter().filter_map(|row| Some((at(row.step), 100.0 * row.score?))).collect(),
            rates: run.steps.iter().map(|row| (at(row.step), row.rate.into())).collect(),
        })
    }

    /// The end of one of its lines, with the name and the number there.
    fn end(&self, points: &Points, text: impl Fn(f64) -> String) -> Option<End> {
        let &at = points.last()?;
        let text = format!("{}  {}", self.name, text(at.1)).trim_end().to_owned();
        Some(End { at, text, color: self.color })
    }

    /// The most that is shown of the loss: single batches at the start may be far above all others.
    fn ceiling(&self) -> f64 {
        let mut losses: Vec<f64> = self.losses.iter().map(|point| point.1).collect();
        losses.sort_by(f64::total_cmp);
        let most = losses.get(losses.len() * 99 / 100).copied().unwrap_or(0.0);
        self.means.iter().map(|point| point.1).fold(most, f64::max)
    }
}

fn shortened(name: &str) -> String {
    let cut = || name.chars().take(LETTERS - 1).chain(['…']).collect();
    if name.chars().count() > LETTERS { cut() } else { name.to_owned() }
}

fn draw(runs: &[Curves], (measure, by): (Measure, By), svg: &mut String) -> Drawn {
    let area = SVGBackend::with_string(svg, (WIDTH, PANELS.iter().sum::<u32>() + AXIS)).into_drawing_area();
    area.fill(&WHITE)?;
    let (first, rest) = area.split_vertically(PANELS[0]);
    let (second, third) = rest.split_vertically(PANELS[1]);
    let most = runs.iter().filter_map(|run| Some(run.losses.last()?.0)).fold(f64::MIN_POSITIVE, f64::max);
    let axis = if by == By::Step { "step" } else { "passes over the training images" };
    let panels = [loss_panel(runs), score_panel(runs, measure), rate_panel(runs)];
    let letters = panels.iter().flat_map(|panel| &panel.ends).map(|end| end.text.chars().count()).max().unwrap_or(0);
    let names = GAP + (LETTER * letters as f64) as u32;
    for ((panel, area), axis) in panels.iter().zip([first, second, third]).zip([None, None, Some(axis)]) {
        panel.draw(&area, (most, names), axis)?;
    }
    area.present()?;
    Ok(())
}

fn loss_panel(runs: &[Curves]) -> Panel {
    let top = 1.04 * runs.iter().map(Curves::ceiling).fold(1e-3, f64::max);
    let clipped = |points: &Points| points.iter().map(|&(at, loss)| (at, loss.min(top))).collect::<Points>();
    // Many thin lines on each other hide the thick ones.
    let thin = if runs.len() > 2 { 0.18 } else { 0.32 };
    let single = runs.iter().map(|run| (thinned(&clipped(&run.losses)), run.color.mix(thin), 1));
    let means = runs.iter().map(|run| (thinned(&clipped(&run.means)), run.color.to_rgba(), 2));
    Panel {
        title: "Loss of each batch (thin) and its mean over neighbors (thick)",
        height: [0.0, top],
        digits: if top < 1.0 { 2 } else { 1 },
        lines: single.chain(means).collect(),
        dots: false,
        ends: runs.iter().filter_map(|run| run.end(&run.means, |loss| format!("{loss:.3}"))).collect(),
    }
}

fn score_panel(runs: &[Curves], measure: Measure) -> Panel {
    let scores = || runs.iter().flat_map(|run| &run.scores).map(|point| point.1);
    let [least, best] = [scores().fold(100.0, f64::min), scores().fold(0.0, f64::max)];
    let room = (0.1 * (best - least)).max(0.5);
    let height = if best < least { [0.0, 100.0] } else { [least - room, best + room] };
    Panel {
        title: match measure {
            Measure::Accuracy => "Test images right, %",
            Measure::MeanIou => "Mean intersection over union of the test images, %",
        },
        height,
        digits: usize::from(height[1] - height[0] < 5.0),
        lines: runs.iter().map(|run| (run.scores.clone(), run.color.to_rgba(), 2)).collect(),
        dots: true,
        ends: runs.iter().filter_map(|run| run.end(&run.scores, |score| format!("{score:.1} %"))).collect(),
    }
}

fn rate_panel(runs: &[Curves]) -> Panel {
    let highest = runs.iter().flat_map(|run| &run.rates).map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    // Of lines that lie on each other only the last would be seen: they are one, with the names of all.
    let mut groups: Vec<Vec<&Curves>> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|group| group[0].rates == run.rates) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    let all = runs.len();
    let color = |group: &[&Curves]| if all > 1 && group.len() == all { INK } else { group[0].color };
    let end = |group: &Vec<&Curves>| {
        let text = match group.len() {
            1 => group[0].name.clone(),
            several if several == all => "the same in all".to_owned(),
            several => format!("{} and {} more", group[0].name, several - 1),
        };
        Some(End { at: *group[0].rates.last()?, text, color: color(group) })
    };
    Panel {
        title: "Learning rate",
        height: [0.0, 1.08 * highest],
        // A quarter of the highest rate is to be told from the next.
        digits: (-(highest / 4.0).log10()).ceil().clamp(0.0, 12.0) as usize,
        lines: groups.iter().map(|group| (thinned(&group[0].rates), color(group).to_rgba(), 2)).collect(),
        dots: false,
        ends: groups.iter().filter_map(end).collect(),
    }
}

impl Panel {
    /// `most` is where the axis ends, which only the last panel names; `names` is how wide those of runs are.
    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>, (most, names): (f64, u32), axis: Option<&str>) -> Drawn {
        let font = |size: i32, color: &RGBColor| ("sans-serif", size).into_font().color(color);
        let [low, high] = self.height;
        let below = if axis.is_some() { AXIS } else { 8 };
        let mut chart = ChartBuilder::on(area)
            .margin_top(TITLE)
            .margin_right(names)
            .set_label_area_size(LabelAreaPosition::Left, NUMBERS)
            .set_label_area_size(LabelAreaPosition::Bottom, below)
            .build_cartesian_2d(0.0..1.005 * most, low..high)?;
        let few = if most < 10.0 { 1 } else { 0 };
        chart
            .configure_mesh()
            .x_labels(10)
            .y_labels(5)
            .x_desc(axis.unwrap_or_default())
            .x_label_formatter(&|at| if axis.is_some() { format!("{at:.few$}") } else { String::new() })
            .y_label_formatter(&|number| format!("{number:.0$}", self.digits))
            .label_style(font(13, &INK))
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (points, color, width) in &self.lines {
            chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(*width)))?;
            if self.dots {
                chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
            }
        }
        area.draw(&Text::new(self.title, (NUMBERS as i32, 12), font(15, &INK)))?;
        let (left, top) = area.get_base_pixel();
        let mut ends: Vec<_> = self.ends.iter().map(|end| (chart.backend_coord(&end.at), end)).collect();
        ends.sort_by_key(|((_, y), _)| *y);
        let height = area.dim_in_pixel().1 as i32;
        let wanted = ends.iter().map(|((_, y), _)| y - top).collect();
        let places = apart(wanted, [TITLE as i32, height - below as i32]);
        let names = (WIDTH - names + GAP) as i32;
        for (((x, y), end), place) in ends.into_iter().zip(places) {
            let way = vec![(x - left + 5, y - top), (names - 8, place), (names - 3, place)];
            area.draw(&PathElement::new(way, end.color.mix(0.55).stroke_width(1)))?;
            let middle = Pos::new(HPos::Left, VPos::Center);
            area.draw(&Text::new(end.text.clone(), (names, place), font(14, &end.color).pos(middle)))?;
        }
        Ok(())
    }
}

/// Places of names as near to where they belong as they can be without touching each other; wanted ones are given from above.
fn apart(mut places: Vec<i32>, [top, bottom]: [i32; 2]) -> Vec<i32> {
    for at in 1..places.len() {
        places[at] = places[at].max(places[at - 1] + LINE);
    }
    // What was pushed out below pushes back.
    let mut most = bottom;
    for place in places.iter_mut().rev() {
        *place = (*place).min(most);
        most = *place - LINE;
    }
    let short = top - places.first().map_or(top, |&first| first.min(top));
    places.iter().map(|place| place + short).collect()
}

/// The mean of each point and its neighbors, up to a fiftieth of all on either side.
fn means(points: &Points) -> Points {
    let reach = points.len() / 50;
    let mut sums = vec![0.0];
    sums.extend(points.iter().scan(0.0, |sum, point| {
        *sum += point.1;
        Some(*sum)
    }));
    let mean = |(at, point): (usize, &(f64, f64))| {
        let (from, to) = (at.saturating_sub(reach), points.len().min(at + reach + 1));
        (point.0, (sums[to] - sums[from]) / (to - from) as f64)
    };
    points.iter().enumerate().map(mean).collect()
}

/// A line of at most some [`POINTS`] that looks the same: of neighbors the least and the most, in their order.
fn thinned(points: &Points) -> Points {
    let many = (2 * points.len()).div_ceil(POINTS);
    if many <= 2 {
        return points.clone();
    }
    let ends = |chunk: &[(f64, f64)]| {
        let by = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let mut ends: Vec<(f64, f64)> =
            chunk.iter().min_by(by).into_iter().chain(chunk.iter().max_by(by)).copied().collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        ends
    };
    let mut line: Points = points.chunks(many).flat_map(ends).collect();
    line.extend(points.last().filter(|&last| line.last() != Some(last)).copied());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_apart_and_inside() {
        assert_eq!(apart(vec![50, 100], [0, 200]), [50, 100]);
        assert_eq!(apart(vec![50, 50, 51], [0, 200]), [50, 50 + LINE, 50 + 2 * LINE]);
        assert_eq!(apart(vec![199, 199], [0, 200]), [200 - LINE, 200]);
        assert_eq!(apart(vec![0, 0], [10, 200]), [10, 10 + LINE]);
        assert!(apart(vec![], [0, 9]).is_empty());
    }

    #[test]
    fn long_lines_keep_their_ends_and_extremes() {
        let mut points: Points = (0..100_000).map(|at| (f64::from(at), 1.0)).collect();
        (points[777].1, points[99_999].1) = (9.0, 3.0);
        let line = thinned(&points);
        assert!(line.len() <= POINTS + 2 && line.is_sorted_by(|one, other| one.0 <= other.0), "{}", line.len());
        assert!(line.contains(&points[777]) && line.last() == points.last());
        let mean = means(&(0..200).map(|at| (f64::from(at), f64::from(at))).collect());
        assert!(mean.len() == 200 && (mean[100].1 - 100.0).abs() < 1e-9);
    }
}
