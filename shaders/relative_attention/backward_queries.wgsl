// dq_i = scale sum over j of dS_ij (k_j + rel_width[x_j - x_i + W - 1] + rel_height[y_j - y_i + H - 1]), with dS = P (dy v^T - rowsum(dy y)) and P made
// again from log_sum. On the way it leaves in `positions` what other kernels would have to make again: a query's products with the tables (units
// of log2), and the sums of its dS over each column of keys and over each row.
// A lane QUERIES pixels of an (image, head); all lanes meet the same keys at the same time.
// needs relative_queries
// needs gradient_1 | gradient_4

struct Params { first_image: u32, images: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<factor>; // [batch, PIXELS, CHANNELS]
@group(0) @binding(2) var<storage, read> rel_height: array<factor>; // [2 HEIGHT - 1, DEPTH]
@group(0) @binding(3) var<storage, read> rel_width: array<factor>; // [2 WIDTH - 1, DEPTH]
@group(0) @binding(4) var<storage, read> y: array<elem>; // [batch, PIXELS, HEADS, VALUES]
@group(0) @binding(5) var<storage, read> dy: array<elem>;
@group(0) @binding(6) var<storage, read> log_sum: array<f32>; // [batch, PIXELS, HEADS]
@group(0) @binding(7) var<storage, read_write> dqkv: array<factor>; // as qkv; q is written here
@group(0) @binding(8) var<storage, read_write> positions: array<f32>; // [images, HEADS][logits, slopes][WIDTH + HEIGHT][PIXELS]

var<workgroup> slopes: array<f32, BAND * ASKED>; // as `across`: sums of dS over columns
var<private> slope_down: array<f32, QUERIES>; // the sum of dS over the row at hand
var<private> wanted: array<f32, QUERIES * VALUES>; // dy
var<private> means: array<f32, QUERIES>; // rowsum(dy y)
var<private> log_sums: array<f32, QUERIES>;
var<private> sums: array<vec4<f32>, QUERIES * DEPTH_STRIPS>;

fn want(lane: u32) {
    for (var r = 0u; r < QUERIES; r++) { // unroll
        let row = (image * PIXELS + query_of(r, lane)) * HEADS + head;
        log_sums[r] = LOG2_E * log_sum[row];
        for (var c = 0u; c < VALUES; c++) { // unroll
            wanted[r * VALUES + c] = f32(dy[row * VALUES + c]);
            means[r] += wanted[r * VALUES + c] * f32(y[row * VALUES + c]);
        }
    }
}

// The KEYS keys from slot `slot` of the tile on, which stand from `column` on in a row of the band.
fn meet(slot: u32, column: u32, lane: u32) {
    for (var t = 0u; t < KEYS; t++) { // unroll
        var key: array<vec4<f32>, STRIPS>; // and its value
        for (var s = 0u; s < STRIPS; s++) { // unroll
            key[s] = tile[(slot + t) * STRIPS + s];
        }
        for (var r = 0u; r < QUERIES; r++) { // unroll
            let at = ((column + t) * QUERIES + r) * WORKGROUP + lane;
            var logit = down[r] + across[at];
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                logit = product(asked[r * DEPTH_STRIPS + s], key[s], logit);
            }
            var dp = -means[r];
            for (var c = 0u; c < VALUES; c++) { // unroll
                dp += wanted[r * VALUES + c] * key[DEPTH_STRIPS + c / 4u][c % 4u];
            }
            let ds = exp2(logit - log_sums[r]) * dp;
            slope_down[r] += ds;
            slopes[at] += ds;
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                sums[r * DEPTH_STRIPS + s] += ds * key[s];
            }
        }
    }
}

// Where line `line` of `positions` begins: WIDTH columns, then HEIGHT rows, of logits and then of slopes.
fn line_at(line: u32) -> u32 {
    return (((image - params.first_image) * HEADS + head) * 2u * (WIDTH + HEIGHT) + line) * PIXELS;
}

fn begin_band(band: u32, lane: u32) {
    look_across(band, lane);
    for (var i = lane; i < BAND * ASKED; i += WORKGROUP) {
        slopes[i] = 0.0;
    }
}

// What a row of a band's keys leaves, or all of them: its slope, which pulls the query toward the row's entry of the table, too. What other
// bands left of the row the lane has written itself.
fn leave_row(band: u32, row: u32, lane: u32) {
    for (var r = 0u; r < QUERIES; r++) { // unroll
        let query = first_query + r * WORKGROUP + lane;
        if query < PIXELS {
            let slope_at = line_at(2u * WIDTH + HEIGHT + row) + query;
            var slope = slope_down[r];
            if band > 0u {
                slope += positions[slope_at];
            }
            positions[slope_at] = slope;
            positions[line_at(WIDTH + row) + query] = down[r];
        }
        let at = height_row(row, query_of(r, lane));
        for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
            sums[r * DEPTH_STRIPS + s] += slope_down[r] * height_strip(at, s);
        }
        slope_down[r] = 0.0;
    }
}
fn leave_columns(band: u32, lane: u32) {
    for (var i = 0u; i < min(BAND, WIDTH - band * BAND); i++) {
        let column = band * BAND + i;
        for (var r = 0u; r < QUERIES; r++) { // unroll
            let query = first_query + r * WORKGROUP + lane;
            let at = (i * QUERIES + r) * WORKGROUP + lane;
            if query < PIXELS {
                positions[line_at(column) + query] = across[at];
                positions[line_at(WIDTH + HEIGHT + column) + query] = slopes[at];
            }
            let row = width_row(column, query_of(r, lane));
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                sums[r * DEPTH_STRIPS + s] += slopes[at] * width_strip(row, s);
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
    if number >= QUERY_TILES * HEADS * params.images {
        return;
    }
    first_query = number % QUERY_TILES * ASKED;
    head = number / QUERY_TILES % HEADS;
    image = params.first_image + number / (QUERY_TILES * HEADS);
    ask(lane, params.scale);
    want(lane);

    for (var first = 0u; first < SLOTS; first += TILE) {
        load_tile(first, lane);
        for (var slot = 0u; slot < min(TILE, SLOTS - first); slot += KEYS) {
            let at = slot_of(first + slot);
            if at.column == 0u {
                if at.row == 0u {
                    begin_band(at.band, lane);
                }
                look_down(at.row, lane);
            }
            meet(slot, at.column, lane);
            if at.column + KEYS == BAND {
                leave_row(at.band, at.row, lane);
                if at.row + 1u == HEIGHT {
                    leave_columns(at.band, lane);
                }
            }
        }
    }

    for (var r = 0u; r < QUERIES; r++) { // unroll
        let query = first_query + r * WORKGROUP + lane;
        if query < PIXELS {
            let at = (image * PIXELS + query) * CHANNELS + head * DEPTH;
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                store_strip(at + 4u * s, params.scale * sums[r * DEPTH_STRIPS + s], DEPTH - 4u * s);
            }
        }
    }
}
