//! Letters as strokes of a pen, so that pictures need no font of the system.

/// A polyline in units of the grid: x to the right, y down; capitals from 0 to 8, tails down to 11.
pub(super) type Stroke = Vec<[f32; 2]>;

/// Where small letters stand: everything above is for capitals and ascenders.
pub(super) const BASELINE: f32 = 8.0;
/// Between two letters.
const GAP: f32 = 2.2;
/// How much of a corner is cut off: it makes octagons round.
const CORNER: f32 = 0.45;

/// Letter, width, and its strokes: each point a column and a row (b is row 11).
const GLYPHS: &[(char, u8, &str)] = &[
    (' ', 2, ""),
    ('a', 4, "4348 4433130407183847"),
    ('b', 4, "0008 0413334447381807"),
    ('c', 4, "4433130407183847"),
    ('d', 4, "4048 4433130407183847"),
    ('e', 4, "05454433130407183847"),
    ('f', 3, "30201118 0333"),
    ('g', 4, "434a3b1b0a 4433130407183847"),
    ('h', 4, "0008 0413334448"),
    ('i', 0, "0308 0101"),
    ('j', 1, "131a0b 1111"),
    ('k', 4, "0008 4306 2548"),
    ('l', 0, "0008"),
    ('m', 6, "0308 0413233438 3443536468"),
    ('n', 4, "0308 0413334448"),
    ('o', 4, "133344473818070413"),
    ('p', 4, "030b 0413334447381807"),
    ('q', 4, "434b 4433130407183847"),
    ('r', 3, "0308 041333"),
    ('s', 4, "44331304153647381807"),
    ('t', 3, "11172838 0333"),
    ('u', 4, "0307183847 4348"),
    ('v', 4, "032843"),
    ('w', 6, "0328344863"),
    ('x', 4, "0348 4308"),
    ('y', 4, "0328 431b"),
    ('z', 4, "03430848"),
    ('B', 4, "0008 0030414333 3404 3445473808"),
    ('E', 4, "40000848 0434"),
    ('F', 4, "400008 0434"),
    ('I', 0, "0008"),
    ('N', 4, "08004840"),
    ('P', 4, "0008 003041433404"),
    ('R', 4, "0008 003041433404 2448"),
    ('S', 4, "413010010314344547381807"),
    ('T', 4, "0040 2028"),
    ('V', 4, "002840"),
    ('W', 6, "0028324860"),
    ('0', 4, "103041473818070110"),
    ('1', 2, "022028"),
    ('2', 4, "01103041430848"),
    ('3', 4, "01103041433414 344547381807"),
    ('4', 4, "38300646"),
    ('5', 4, "4000043445473808"),
    ('6', 4, "4130100107183847453404"),
    ('7', 4, "004018"),
    ('8', 4, "14030110304143341405071838474534"),
    ('9', 4, "4414030110304147381807"),
    ('-', 3, "0535"),
    ('/', 3, "3009"),
    (':', 0, "0404 0808"),
    ('.', 0, "0808"),
    (',', 1, "1809"),
    ('(', 1, "10020618"),
    (')', 1, "00121608"),
];

/// The strokes of a text and its width; a letter that is not in the table leaves a blank.
pub(super) fn strokes(text: &str) -> (Vec<Stroke>, f32) {
    let mut x = 0.0;
    let mut all = Vec::new();
    for letter in text.chars() {
        let known = GLYPHS.iter().find(|(known, ..)| *known == letter).unwrap_or(&GLYPHS[0]);
        for stroke in known.2.split(' ').filter(|stroke| !stroke.is_empty()) {
            let numbers: Vec<f32> =
                stroke.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as f32).collect();
            let points: Stroke = numbers.as_chunks().0.iter().map(|&[right, down]| [x + right, down]).collect();
            all.push(round(&points));
        }
        x += f32::from(known.1) + GAP;
    }
    (all, (x - GAP).max(0.0))
}

/// A polyline with its corners cut off.
fn round(points: &[[f32; 2]]) -> Stroke {
    let mut rounded = Vec::with_capacity(2 * points.len());
    for (at, &corner) in points.iter().enumerate() {
        let neighbors = [at.checked_sub(1), Some(at + 1)].map(|at| at.and_then(|at| points.get(at)));
        match neighbors {
            [Some(&before), Some(&after)] => rounded.extend([toward(corner, before), toward(corner, after)]),
            _ => rounded.push(corner),
        }
    }
    rounded
}

/// A point on the way from one point to another, not more than half of it.
fn toward(from: [f32; 2], to: [f32; 2]) -> [f32; 2] {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy);
    let share = if length > 0.0 { (CORNER / length).min(0.5) } else { 0.0 };
    [from[0] + share * dx, from[1] + share * dy]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_class_can_be_written() {
        let letters = vistok::train::data::FASHION_MNIST_CLASSES.concat();
        let missing = letters.chars().find(|letter| !GLYPHS.iter().any(|(known, ..)| known == letter));
        assert_eq!(missing, None);
    }

    #[test]
    fn strokes_stay_in_their_letters() {
        for (letter, width, strokes) in GLYPHS {
            for stroke in strokes.split(' ') {
                assert_eq!(stroke.len() % 2, 0, "{letter}");
                let inside = |point: &[char]| point[0].to_digit(16) <= Some((*width).into());
                assert!(stroke.chars().collect::<Vec<_>>().chunks(2).all(inside), "{letter}");
            }
        }
    }
}
