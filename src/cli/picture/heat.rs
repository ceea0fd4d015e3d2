//! Attention as heat over a picture.

use super::canvas::{Canvas, Color, mix};

/// Heat from none to full: night, violet, red, orange, pale yellow. Lightness rises all the way, so that it reads in gray.
const HEAT: [Color; 6] = [
    [0.03, 0.02, 0.10],
    [0.27, 0.06, 0.42],
    [0.62, 0.14, 0.40],
    [0.91, 0.33, 0.22],
    [0.98, 0.65, 0.20],
    [0.99, 0.96, 0.68],
];

/// The colors from no attention to the most, as a bar.
pub(super) fn scale(canvas: &mut Canvas, [x, y]: [usize; 2]) {
    const LENGTH: usize = 150;
    for column in 0..LENGTH {
        let share = column as f32 / (LENGTH - 1) as f32;
        canvas.fill([x + column, y, 1, 11], overlay([0.06; 3], share));
    }
}

/// A map's value at a place from 0 to 1, between its four neighbors.
pub(super) fn sample(map: &[f32], [height, width]: [usize; 2], [row, column]: [f32; 2]) -> f32 {
    let axis = |place: f32, size: usize| {
        let at = (place * size as f32 - 0.5).clamp(0.0, (size - 1) as f32);
        (at as usize, (at as usize + 1).min(size - 1), at.fract())
    };
    let ((top, bottom, down), (left, right, across)) = (axis(row, height), axis(column, width));
    let at = |row: usize, column: usize| map[row * width + column];
    let line = |row| at(row, left) + across * (at(row, right) - at(row, left));
    line(top) + down * (line(bottom) - line(top))
}

/// Heat over what it covers: the hotter, the less of that is seen.
pub(super) fn overlay(under: Color, share: f32) -> Color {
    mix(under, heat(0.15 + 0.85 * share), 0.92 * share.powf(0.6))
}

fn heat(share: f32) -> Color {
    let at = share.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32;
    let from = (at as usize).min(HEAT.len() - 2);
    mix(HEAT[from], HEAT[from + 1], at - from as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_between_pixels_are_between_their_values() {
        let map = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(sample(&map, [2, 2], [0.25, 0.25]), 0.0);
        assert_eq!(sample(&map, [2, 2], [0.5, 0.5]), 1.5);
        assert_eq!(sample(&map, [2, 2], [1.0, 1.0]), 3.0);
    }

    #[test]
    fn hotter_is_lighter() {
        let light = |share: f32| heat(share).iter().sum::<f32>();
        assert!((0..100).all(|at| light(at as f32 / 100.0) < light((at + 1) as f32 / 100.0)));
        assert_eq!(heat(2.0), HEAT[5]);
    }
}
