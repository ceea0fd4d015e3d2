// Pixels that look at windows of KERNEL_H x KERNEL_W pixels around them, NHWC, as constants of a build. Channels come in GROUPS, each of
// STRIPS of what a lane loads at once. A lane takes a run of PIXELS pixels of a row: what it loads of one column serves all their windows.
// Neighboring lanes take neighboring groups, then the runs of BAND rows one below the other, then those beside them: what a workgroup
// looks at is about as high as wide, and stays in cache.
// Scores are counted in powers of two, so that exp2 needs no factor of its own.
// needs index
// needs channels_1 | channels_4 | channels_8
// needs similarity_product | similarity_key | similarity_distance | similarity_relative_distance | similarity_relative_square | similarity_square
// constants HEIGHT=5 WIDTH=7 OUT_HEIGHT=3 OUT_WIDTH=4 KERNEL_H=3 KERNEL_W=3 STRIDE=2 GROUPS=3 STRIPS=2 PIXELS=2 BAND=1 WORKGROUP=256
const PADDING_H: u32 = KERNEL_H / 2u;
const PADDING_W: u32 = KERNEL_W / 2u;

const LOG2_E: f32 = 1.4426950408889634;
// What pixels outside of the image score beside their geometry: -100.
const OUTSIDE: f32 = -100.0 * LOG2_E;
// Less than any score, and finite: WGSL has no infinity to write down.
const LOWEST: f32 = -3.0e38;

// Run `number` of all images, `runs` of which make a row: its row, counted over all images, and its place in that row.
struct Run { row: u32, place: u32 }
fn run_at(number: u32, runs: u32) -> Run {
    let inside = number % (BAND * runs);
    return Run(number / (BAND * runs) * BAND + inside % BAND, inside / BAND);
}

// Of rows or columns counted from `before` ahead of the image: whether the image has it, and the nearest that it has.
fn has(size: u32, at: u32, before: u32) -> bool {
    return at - before < size;
}
fn nearest(size: u32, at: u32, before: u32) -> u32 {
    return min(max(at, before) - before, size - 1u);
}
