// dk_j = scale sum over i of dS_ij q_i and dv_j = sum over i of P_ij dy_i, with dS = P (dy v^T - rowsum(dy y)) and P made again from log_sum and
// from the logits in `positions`.
// A lane KEYS pixels of an (image, head), all in registers; queries go by in tiles of TILE, QUERIES at a time, the same for all lanes.
// needs relative_place
// needs gradient_1 | gradient_4
// constants WORKGROUP=64 KEYS=2 QUERIES=2 TILE=4

struct Params { first_image: u32, images: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<factor>; // [batch, PIXELS, CHANNELS]
@group(0) @binding(2) var<storage, read> y: array<elem>; // [batch, PIXELS, HEADS, VALUES]
@group(0) @binding(3) var<storage, read> dy: array<elem>;
@group(0) @binding(4) var<storage, read> log_sum: array<f32>; // [batch, PIXELS, HEADS]
@group(0) @binding(5) var<storage, read> positions: array<f32>; // [images, HEADS][logits, slopes][WIDTH + HEIGHT][PIXELS]
@group(0) @binding(6) var<storage, read_write> dqkv: array<factor>; // as qkv; k and v are written here

const MET: u32 = WORKGROUP * KEYS;
const KEY_TILES: u32 = (PIXELS + MET - 1u) / MET;
const LINES: u32 = WIDTH + HEIGHT;
const LINE: u32 = TILE + 1u; // odd: neighboring lanes read neighboring lines
const_assert TILE % QUERIES == 0u;
// Of a query that is not there: it makes all weights 0.
const NOWHERE: f32 = 3.0e38;

var<workgroup> tile: array<vec4<f32>, TILE * STRIPS>; // [query][scale log2(e) q | dy]
var<workgroup> logits: array<f32, LINES * LINE>; // [column or row of keys][query]
var<workgroup> statistics: array<vec2<f32>, TILE>; // log_sum in units of log2, and rowsum(dy y)
var<private> image: u32;
var<private> head: u32;
var<private> first_key: u32;
var<private> lines: array<vec2<u32>, KEYS>; // where the key's column and row of `logits` begin
var<private> keys: array<vec4<f32>, KEYS * DEPTH_STRIPS>;
var<private> values: array<vec4<f32>, KEYS * VALUE_STRIPS>;
var<private> key_sums: array<vec4<f32>, KEYS * DEPTH_STRIPS>;
var<private> value_sums: array<f32, KEYS * VALUES>;

// Behind the last pixel a lane has that pixel again: it is worked on, and not written.
fn load_keys(lane: u32) {
    for (var r = 0u; r < KEYS; r++) { // unroll
        let key = min(first_key + r * WORKGROUP + lane, PIXELS - 1u);
        lines[r] = vec2(key % WIDTH, WIDTH + key / WIDTH) * LINE;
        let pixel = image * PIXELS + key;
        for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
            keys[r * DEPTH_STRIPS + s] = key_strip(pixel, head, s);
        }
        for (var s = 0u; s < VALUE_STRIPS; s++) { // unroll
            values[r * VALUE_STRIPS + s] = value_strip(pixel, head, s);
        }
    }
}

// The tile of queries from `first` on, in uniform control flow; the caller's barriers stand around it.
fn load_queries(first: u32, lane: u32) {
    for (var i = lane; i < TILE * STRIPS; i += WORKGROUP) {
        let query = first + i / STRIPS;
        let s = i % STRIPS;
        var four: vec4<f32>;
        if query < PIXELS {
            let pixel = image * PIXELS + query;
            if s < DEPTH_STRIPS {
                four = params.scale * LOG2_E * query_strip(pixel, head, s);
            } else {
                let c = 4u * (s - DEPTH_STRIPS);
                for (var e = 0u; e < 4u; e++) { // unroll
                    if c + e < VALUES {
                        four[e] = f32(dy[(pixel * HEADS + head) * VALUES + c + e]);
                    }
                }
            }
        }
        tile[i] = four;
    }
    for (var i = lane; i < LINES * TILE; i += WORKGROUP) {
        let query = min(first + i % TILE, PIXELS - 1u);
        let line = ((image - params.first_image) * HEADS + head) * 2u * LINES + i / TILE;
        logits[i / TILE * LINE + i % TILE] = positions[line * PIXELS + query];
    }
    for (var i = lane; i < TILE; i += WORKGROUP) {
        let query = first + i;
        statistics[i] = vec2(NOWHERE, 0.0);
        if query < PIXELS {
            let row = (image * PIXELS + query) * HEADS + head;
            var mean = 0.0;
            for (var c = 0u; c < VALUES; c++) { // unroll
                mean += f32(dy[row * VALUES + c]) * f32(y[row * VALUES + c]);
            }
            statistics[i] = vec2(LOG2_E * log_sum[row], mean);
        }
    }
}

// The QUERIES queries from `query` of the tile on.
fn meet(query: u32) {
    for (var t = 0u; t < QUERIES; t++) { // unroll
        var asked: array<vec4<f32>, STRIPS>; // and what is wanted, dy
        for (var s = 0u; s < STRIPS; s++) { // unroll
            asked[s] = tile[(query + t) * STRIPS + s];
        }
        let statistic = statistics[query + t];
        for (var r = 0u; r < KEYS; r++) { // unroll
            var logit = logits[lines[r].x + query + t] + logits[lines[r].y + query + t];
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                logit = product(keys[r * DEPTH_STRIPS + s], asked[s], logit);
            }
            var dp = -statistic.y;
            for (var c = 0u; c < VALUES; c++) { // unroll
                dp += values[r * VALUE_STRIPS + c / 4u][c % 4u] * asked[DEPTH_STRIPS + c / 4u][c % 4u];
            }
            let p = exp2(logit - statistic.x);
            let ds = p * dp;
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                key_sums[r * DEPTH_STRIPS + s] += ds * asked[s];
            }
            for (var c = 0u; c < VALUES; c++) { // unroll
                value_sums[r * VALUES + c] += p * asked[DEPTH_STRIPS + c / 4u][c % 4u];
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    if number >= KEY_TILES * HEADS * params.images {
        return;
    }
    first_key = number % KEY_TILES * MET;
    head = number / KEY_TILES % HEADS;
    image = params.first_image + number / (KEY_TILES * HEADS);
    load_keys(lane);

    for (var first = 0u; first < PIXELS; first += TILE) {
        workgroupBarrier(); // every lane is done with the last tile
        load_queries(first, lane);
        workgroupBarrier();
        for (var query = 0u; query < min(TILE, PIXELS - first); query += QUERIES) {
            meet(query);
        }
    }

    for (var r = 0u; r < KEYS; r++) { // unroll
        let key = first_key + r * WORKGROUP + lane;
        if key < PIXELS {
            let at = (image * PIXELS + key) * CHANNELS + KEY_CHANNELS;
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                // The queries of the tile are scale log2(e) q.
                store_strip(at + head * DEPTH + 4u * s, LN_2 * key_sums[r * DEPTH_STRIPS + s], DEPTH - 4u * s);
            }
            for (var c = 0u; c < VALUES; c++) { // unroll
                store_number(at + KEY_CHANNELS + head * VALUES + c, value_sums[r * VALUES + c]);
            }
        }
    }
}
