// sums[query, c] += sum over keys of weights[query, key] values[key, c], for a tile of queries and a strip of channels.
// Neighboring lanes take neighboring channels, CHANNELS of them a lane; the kernel says what `load_values(quad, c)` is:
// channel c of the tile's four keys from 4 quad on, any number past the end.
// needs attend_tile
// constants CHANNEL_LANES=64 CHANNELS=1
const ROW_STEP: u32 = WORKGROUP / CHANNEL_LANES;
const ROWS: u32 = QUERIES / ROW_STEP;
const STRIP: u32 = CHANNEL_LANES * CHANNELS;

var<workgroup> weights: array<vec4<f32>, WORKGROUP>; // [QUERIES, QUADS]
var<private> sums: array<f32, ROWS * CHANNELS>;

fn clear_sums() {
    for (var at = 0u; at < ROWS * CHANNELS; at++) { // unroll
        sums[at] = 0.0;
    }
}

// The first of the tile's rows that a lane sums, and its first channel in the strip.
fn sums_row(lane: u32) -> u32 {
    return lane / CHANNEL_LANES;
}
fn sums_channel(lane: u32) -> u32 {
    return lane % CHANNEL_LANES;
}

fn add_values(strip: u32, quads: u32, lane: u32) {
    let first = sums_row(lane);
    let c = strip + sums_channel(lane);
    for (var quad = 0u; quad < quads; quad++) {
        var values: array<vec4<f32>, CHANNELS>;
        for (var j = 0u; j < CHANNELS; j++) { // unroll
            values[j] = load_values(quad, c + j * CHANNEL_LANES);
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            let weight = weights[(first + r * ROW_STEP) * QUADS + quad];
            for (var j = 0u; j < CHANNELS; j++) { // unroll
                sums[r * CHANNELS + j] += dot(weight, values[j]);
            }
        }
    }
}
