// Rows of the many (pixels) in workgroup memory, ROWS at a time, and what subgroups make of them with cooperative matrices,
// f16 into f32. Of the few (tokens) there are BLOCK at a time.
// needs elem_f32 | elem_f16
// needs fragment_8 | fragment_16
// needs pack_8
// not with elem_f32
// constants WORKGROUP=64 SUBGROUP=32 ROWS=32 DEPTH=32 WIDTH=32 DEPTH_PARTS=1 TOKEN_BLOCKS=1 BLOCKS=2 TILES=1
enable wgpu_cooperative_matrix;

const BLOCK: u32 = 16u;
const FRAGMENTS: u32 = BLOCK / FRAGMENT; // of a block, each way
const SUBGROUPS: u32 = WORKGROUP / SUBGROUP;
const DEPTH_STRIPS: u32 = DEPTH / STRIP;
const WIDTH_STRIPS: u32 = WIDTH / STRIP;
// 8 elements of padding a row, without which fragments load at half the speed.
const ROW_STRIPS: u32 = max(DEPTH, WIDTH) / STRIP + 1u;
const ROW_LINE: u32 = 2u * ROW_STRIPS; // in what fragments count lines in: four elements
// Fragments are loaded 16 bytes at a time, and a driver may put variables side by side without gaps: where one's size was 4, what
// lay behind it was read 8 bytes off. So the size of each is a multiple of 16.
var<workgroup> rows_tile: array<Kept, TILES * ROWS * ROW_STRIPS>; // one behind the other

// Products over channels are cut into DEPTH_PARTS, which the reader of `blocks` adds.
const ROW_BLOCKS: u32 = ROWS / BLOCK;
const BLOCK_LINE: u32 = BLOCK / 4u;
const BLOCK_SIZE: u32 = BLOCK * BLOCK_LINE;
var<workgroup> blocks: array<vec4<f32>, BLOCKS * BLOCK_SIZE>; // [.., BLOCK, BLOCK]
// What has WIDTH channels is cut among subgroups: fragments, and blocks, side by side.
const COLUMNS: u32 = WIDTH / SUBGROUPS / FRAGMENT;
const COLUMN_BLOCKS: u32 = COLUMNS / FRAGMENTS;

// A lane's loads of a tile.
const DEPTH_LOADS: u32 = ROWS * DEPTH_STRIPS / WORKGROUP;
const WIDTH_LOADS: u32 = ROWS * WIDTH_STRIPS / WORKGROUP;
const_assert DEPTH_LOADS * WORKGROUP == ROWS * DEPTH_STRIPS && WIDTH_LOADS * WORKGROUP == ROWS * WIDTH_STRIPS;

// A lane sees to one of BLOCK tokens and shares it with others: each has some groups of four rows of a tile.
const TOKEN_LANES: u32 = WORKGROUP / BLOCK;
const GROUPS: u32 = ROWS / 4u;
const OWN_GROUPS: u32 = (GROUPS + TOKEN_LANES - 1u) / TOKEN_LANES;
const WEIGHTS_LINE: u32 = GROUPS + 2u;

// Less than any score, and finite: WGSL has no infinity to write down.
const LOWEST: f32 = -3.0e38;

// LOWEST where a score belongs to no key: its weight becomes 0.
fn only_keys(scores: vec4<f32>, key: u32, end: u32) -> vec4<f32> {
    return select(vec4(LOWEST), scores, vec4(key) + vec4(0u, 1u, 2u, 3u) < vec4(end));
}
fn largest_of(four: vec4<f32>) -> f32 {
    return max(max(four.x, four.y), max(four.z, four.w));
}

// Where a fragment of a block begins.
fn place_in_block(i: u32) -> u32 {
    return i / FRAGMENTS * FRAGMENT * BLOCK_LINE + i % FRAGMENTS * (FRAGMENT / 4u);
}

// Four neighboring numbers of a product of tokens and rows, [token, row].
fn product_of(token: u32, rows: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var part = 0u; part < DEPTH_PARTS; part++) { // unroll
        sum += blocks[(rows / BLOCK_LINE * DEPTH_PARTS + part) * BLOCK_SIZE + token * BLOCK_LINE + rows % BLOCK_LINE];
    }
    return sum;
}
