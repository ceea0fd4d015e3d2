//! Bilinear resizing with antialiasing, bit for bit Pillow's (`src/libImaging/Resample.c`, 8 bits a channel).

use super::Picture;

/// Bits behind the point of Pillow's weights: 32, less 8 of a channel and 2 of headroom.
const BITS: u32 = 32 - 8 - 2;

/// The most pixels that a picture is enlarged to: 400 MB of colors.
pub(crate) const MOST_RESIZED: u64 = 1 << 27;

/// Where the weights of one number of the result begin, and the weights.
struct Window {
    from: usize,
    weights: Vec<i32>,
}

/// A triangle over the source pixels around every pixel of the result; as wide as those are apart where it shrinks.
fn windows(from: usize, to: usize) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let window = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).min(from);
        let weight = |source: usize| {
            let distance = ((source as f64 - center + 0.5) * (1.0 / reach)).abs();
            if distance < 1.0 { 1.0 - distance } else { 0.0 }
        };
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        // Weights are never negative, so this rounds to the nearest.
        let whole = |weight: &f64| {
            let share = if sum == 0.0 { *weight } else { weight * (1.0 / sum) };
            (0.5 + share * f64::from(1u32 << BITS)) as i32
        };
        Window { from: first, weights: weights.iter().map(whole).collect() }
    };
    (0..to).map(window).collect()
}

/// The picture in another height and width: rows first, in between rounded to 8 bits, then columns.
pub(crate) fn resize(picture: &Picture, [height, width]: [usize; 2]) -> Picture {
    let [old_height, old_width] = picture.size;
    let channels = picture.channels;
    let wide = match old_width == width {
        true => picture.pixels.clone(),
        false => {
            let windows = windows(old_width, width);
            let rows = picture.pixels.chunks_exact(old_width * channels);
            rows.flat_map(|row| pass(&windows, channels, move |pixel, channel| row[pixel * channels + channel]))
                .collect()
        }
    };
    let pixels = match old_height == height {
        true => wide,
        false => {
            // A column's pixel is a whole row of the picture.
            let across = width * channels;
            pass(&windows(old_height, height), across, |row, at| wide[row * across + at]).collect()
        }
    };
    Picture { size: [height, width], channels, pixels }
}

/// For every window, and every number side by side of a pixel, the weighted sum.
fn pass<'a>(
    windows: &'a [Window],
    side_by_side: usize,
    source: impl Fn(usize, usize) -> u8 + 'a,
) -> impl Iterator<Item = u8> + 'a {
    let places = windows.iter().flat_map(move |window| (0..side_by_side).map(move |at| (window, at)));
    places.map(move |(Window { from, weights }, at)| {
        let terms = (*from..).zip(weights).map(|(pixel, weight)| i32::from(source(pixel, at)) * weight);
        let sum: i32 = terms.sum::<i32>() + (1 << (BITS - 1));
        (sum >> BITS).clamp(0, 255) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_color_stays_and_the_size_changes() {
        let plain = Picture { size: [5, 7], channels: 3, pixels: [10, 200, 255].repeat(35) };
        for size in [[3, 11], [5, 2], [9, 7], [1, 1]] {
            let resized = resize(&plain, size);
            assert_eq!(resized.pixels, [10, 200, 255].repeat(size[0] * size[1]), "{size:?}");
        }
    }

    #[test]
    fn halving_looks_at_all_pixels() {
        let line = Picture { size: [1, 4], channels: 1, pixels: vec![0, 0, 255, 255] };
        // Weights 1/8, 3/8, 3/8, 1/8 of the pixels around; at the border 3/7, 3/7, 1/7.
        assert_eq!(resize(&line, [1, 2]).pixels, [36, 219]);
    }
}
