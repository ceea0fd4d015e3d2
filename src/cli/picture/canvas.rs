//! A picture in memory: areas, pixels, and text with smooth edges.

use super::letters::{BASELINE, Stroke, strokes};
use crate::cli::Error;
use crate::cli::png::png;

/// Red, green, blue, from 0 to 1.
pub(super) type Color = [f32; 3];

/// Where a text stands on its line.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    /// Height of a capital, in pixels.
    pub(super) height: f32,
    pub(super) color: Color,
    pub(super) anchor: Anchor,
}

/// A picture.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Color>,
}

impl Canvas {
    /// All of one color.
    pub(super) fn new(width: usize, height: usize, color: Color) -> Self {
        Self { width, height, pixels: vec![color; width * height] }
    }

    /// Sets a pixel, if it is in the picture.
    pub(super) fn set(&mut self, x: usize, y: usize, color: Color) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = color;
        }
    }

    /// Fills a rectangle.
    pub(super) fn fill(&mut self, [x, y, width, height]: [usize; 4], color: Color) {
        for row in y..y + height {
            for column in x..x + width {
                self.set(column, row, color);
            }
        }
    }

    /// Writes a text whose baseline is at (x, y); where it ends, across.
    pub(super) fn write(&mut self, text: &str, [x, y]: [f32; 2], pen: Pen) -> f32 {
        let (strokes, width) = strokes(text);
        let unit = pen.height / BASELINE;
        let left = x - unit
            * match pen.anchor {
                Anchor::Left => 0.0,
                Anchor::Middle => width / 2.0,
                Anchor::Right => width,
            };
        let place = |[right, down]: [f32; 2]| [left + unit * right, y + unit * (down - BASELINE)];
        let strokes: Vec<Stroke> =
            strokes.iter().map(|stroke| stroke.iter().map(|&point| place(point)).collect()).collect();
        // A pen an eighth as wide as a capital is high reads well at any size.
        let reach = (pen.height / 16.0).max(0.6);
        for stroke in &strokes {
            self.draw(stroke, reach, pen.color);
        }
        left + unit * width
    }

    /// Draws a polyline with a round pen of this radius.
    fn draw(&mut self, stroke: &[[f32; 2]], reach: f32, color: Color) {
        let around =
            |axis: usize, end: f32, pick: fn(f32, f32) -> f32| stroke.iter().map(|point| point[axis]).fold(end, pick);
        let low = |axis| (around(axis, f32::INFINITY, f32::min) - reach - 1.0).max(0.0) as usize;
        let high = |axis, most: usize| ((around(axis, 0.0, f32::max) + reach + 2.0).max(0.0) as usize).min(most);
        for y in low(1)..high(1, self.height) {
            for x in low(0)..high(0, self.width) {
                let center = [x as f32 + 0.5, y as f32 + 0.5];
                let lines = stroke.windows(2).map(|line| distance(center, line[0], line[1]));
                let cover = (reach + 0.5 - lines.fold(f32::INFINITY, f32::min)).clamp(0.0, 1.0);
                let under = self.pixels[y * self.width + x];
                self.pixels[y * self.width + x] = mix(under, color, cover);
            }
        }
    }

    /// The picture as a PNG file.
    pub(super) fn png(&self) -> Result<Vec<u8>, Error> {
        let byte = |part: &f32| (part.clamp(0.0, 1.0) * 255.0).round() as u8;
        let bytes: Vec<u8> = self.pixels.iter().flatten().map(byte).collect();
        png([self.height, self.width], bytes)
    }
}

/// From one color to another.
pub(super) fn mix(from: Color, to: Color, share: f32) -> Color {
    std::array::from_fn(|part| from[part] + share * (to[part] - from[part]))
}

/// How far a point is from a line between two others.
fn distance([x, y]: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let squared = dx * dx + dy * dy;
    let along = if squared > 0.0 { ((x - from[0]) * dx + (y - from[1]) * dy) / squared } else { 0.0 };
    let along = along.clamp(0.0, 1.0);
    (x - from[0] - along * dx).hypot(y - from[1] - along * dy)
}
