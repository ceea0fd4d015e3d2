// A workgroup's queries of one (image, head) and the keys that they meet. A lane has QUERIES queries, all in registers; the keys go by in
// tiles of TILE, KEYS at a time, a band of BAND columns after the other, and each row by row: a slot is a key, or nothing behind the last
// of a row (the bands' columns are WIDTH rounded up). A query's products with rel_width, one a column of the band, stand in workgroup memory; that
// with rel_height is made where a row begins. So the positions cost a pair of pixels one addition, and not two more products.
// needs relative_place
// constants WORKGROUP=32 QUERIES=2 KEYS=2 BAND=4 TILE=4
const BANDS: u32 = (WIDTH + BAND - 1u) / BAND;
const SLOTS: u32 = BANDS * HEIGHT * BAND;
const LOADS: u32 = (TILE * STRIPS + WORKGROUP - 1u) / WORKGROUP;
const ASKED: u32 = WORKGROUP * QUERIES;
const QUERY_TILES: u32 = (PIXELS + ASKED - 1u) / ASKED;
const_assert TILE % KEYS == 0u && BAND % KEYS == 0u;

// Less than any logit, and finite: WGSL has no infinity to write down.
const LOWEST: f32 = -3.0e38;

var<workgroup> tile: array<vec4<f32>, TILE * STRIPS>; // [slot][k | v]
var<workgroup> across: array<f32, BAND * ASKED>; // [column][query of a lane][lane]; lanes read what they wrote
var<private> image: u32;
var<private> head: u32;
var<private> first_query: u32;
var<private> asked: array<vec4<f32>, QUERIES * DEPTH_STRIPS>; // scale log2(e) q
var<private> down: array<f32, QUERIES>; // the products with rel_height for the row of keys at hand

// A lane's query r. Behind the last pixel it is that pixel again: it is worked on, and not written.
fn query_of(r: u32, lane: u32) -> u32 {
    return min(first_query + r * WORKGROUP + lane, PIXELS - 1u);
}

fn height_strip(row: u32, s: u32) -> vec4<f32> {
    var four: strip;
    for (var i = 0u; i < FACTORS; i++) { // unroll
        if i < DEPTH - 4u * s {
            four = with_factor(four, i, rel_height[(row * DEPTH + 4u * s) / FACTOR + i]);
        }
    }
    return vec4<f32>(four);
}
fn width_strip(row: u32, s: u32) -> vec4<f32> {
    var four: strip;
    for (var i = 0u; i < FACTORS; i++) { // unroll
        if i < DEPTH - 4u * s {
            four = with_factor(four, i, rel_width[(row * DEPTH + 4u * s) / FACTOR + i]);
        }
    }
    return vec4<f32>(four);
}

// A key's place in the tables as this query sees it.
fn height_row(row: u32, query: u32) -> u32 {
    return row + (HEIGHT - 1u) - query / WIDTH;
}
fn width_row(column: u32, query: u32) -> u32 {
    return column + (WIDTH - 1u) - query % WIDTH;
}

// Where a slot is: band, row of keys, and column of the band.
struct Slot { band: u32, row: u32, column: u32 }
fn slot_of(slot: u32) -> Slot {
    return Slot(slot / (HEIGHT * BAND), slot / BAND % HEIGHT, slot % BAND);
}

// Loads the lane's queries.
fn ask(lane: u32, scale: f32) {
    for (var r = 0u; r < QUERIES; r++) { // unroll
        for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
            asked[r * DEPTH_STRIPS + s] = scale * LOG2_E * query_strip(image * PIXELS + query_of(r, lane), head, s);
        }
    }
}

// Meets a band's columns with the lane's queries: what they add to logits.
fn look_across(band: u32, lane: u32) {
    for (var column = 0u; column < BAND; column++) {
        for (var r = 0u; r < QUERIES; r++) { // unroll
            var logit = LOWEST; // where there is no key its weight becomes 0
            if band * BAND + column < WIDTH {
                let row = width_row(band * BAND + column, query_of(r, lane));
                logit = 0.0;
                for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                    logit = product(asked[r * DEPTH_STRIPS + s], width_strip(row, s), logit);
                }
            }
            across[(column * QUERIES + r) * WORKGROUP + lane] = logit;
        }
    }
}

// Meets a row of keys with the lane's queries: what it adds to their logits.
fn look_down(row: u32, lane: u32) {
    for (var r = 0u; r < QUERIES; r++) { // unroll
        down[r] = 0.0;
        let at = height_row(row, query_of(r, lane));
        for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
            down[r] = product(asked[r * DEPTH_STRIPS + s], height_strip(at, s), down[r]);
        }
    }
}

// The tile of slots from `first` on. All loads are under way before the first is waited for. Every lane must call, in uniform control flow.
fn load_tile(first: u32, lane: u32) {
    var loaded: array<vec4<f32>, LOADS>;
    for (var i = 0u; i < LOADS; i++) { // unroll
        let at = lane + i * WORKGROUP;
        let slot = slot_of(first + at / STRIPS);
        let column = slot.band * BAND + slot.column;
        let s = at % STRIPS;
        if slot.band < BANDS && column < WIDTH {
            let pixel = image * PIXELS + slot.row * WIDTH + column;
            if s < DEPTH_STRIPS {
                loaded[i] = key_strip(pixel, head, s);
            } else {
                loaded[i] = value_strip(pixel, head, s - DEPTH_STRIPS);
            }
        }
    }
    workgroupBarrier(); // every lane is done with the last tile
    for (var i = 0u; i < LOADS; i++) { // unroll
        if lane + i * WORKGROUP < TILE * STRIPS {
            tile[lane + i * WORKGROUP] = loaded[i];
        }
    }
    workgroupBarrier();
}
