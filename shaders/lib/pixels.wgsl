// Pixels of images one behind the other, as rows, and their neighbors. The kernel binds params.batch.
// constants IMAGE_H=5 IMAGE_W=7

// Far outside every image: rows past the end see nothing there.
const OUTSIDE: i32 = -1000000;

struct Pixel { image: u32, y: i32, x: i32 } // image: its first pixel

fn pixels() -> u32 {
    return params.batch * (IMAGE_H * IMAGE_W);
}
fn pixel_of(row: u32) -> Pixel {
    let y = i32(row / IMAGE_W % IMAGE_H);
    let image = row / (IMAGE_H * IMAGE_W) * (IMAGE_H * IMAGE_W);
    return Pixel(image, select(OUTSIDE, y, row < pixels()), i32(row % IMAGE_W));
}
// What is negative becomes large.
fn is_inside(y: i32, x: i32) -> bool {
    return (u32(y) < IMAGE_H) & (u32(x) < IMAGE_W);
}
