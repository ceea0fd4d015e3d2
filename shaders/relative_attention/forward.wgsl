// y_i = sum over j of P_ij v_j, with P = softmax over j of scale q_i . (k_j + rel_width[x_j - x_i + W - 1] + rel_height[y_j - y_i + H - 1]);
// log_sum_i = the logarithm of the softmax's denominator. Weights are relative to the largest logit so far: where a larger one comes, what
// was summed shrinks.
// A lane QUERIES pixels of an (image, head); all lanes meet the same keys at the same time.
// needs relative_queries

struct Params { batch: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<factor>; // [batch, PIXELS, CHANNELS]
@group(0) @binding(2) var<storage, read> rel_height: array<factor>; // [2 HEIGHT - 1, DEPTH]
@group(0) @binding(3) var<storage, read> rel_width: array<factor>; // [2 WIDTH - 1, DEPTH]
@group(0) @binding(4) var<storage, read_write> y: array<elem>; // [batch, PIXELS, HEADS, VALUES]
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>; // [batch, PIXELS, HEADS]

var<private> largest: array<f32, QUERIES>;
var<private> weight_sums: array<f32, QUERIES>;
var<private> sums: array<f32, QUERIES * VALUES>;

// The KEYS keys from slot `slot` of the tile on, which stand from `column` on in a row of the band.
fn meet(slot: u32, column: u32, lane: u32) {
    var weights: array<f32, QUERIES * KEYS>; // logits first
    for (var t = 0u; t < KEYS; t++) { // unroll
        for (var r = 0u; r < QUERIES; r++) { // unroll
            weights[r * KEYS + t] = down[r] + across[((column + t) * QUERIES + r) * WORKGROUP + lane];
        }
        for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
            let key = tile[(slot + t) * STRIPS + s];
            for (var r = 0u; r < QUERIES; r++) { // unroll
                weights[r * KEYS + t] = product(asked[r * DEPTH_STRIPS + s], key, weights[r * KEYS + t]);
            }
        }
    }
    for (var r = 0u; r < QUERIES; r++) { // unroll
        var larger = largest[r];
        for (var t = 0u; t < KEYS; t++) { // unroll
            larger = max(larger, weights[r * KEYS + t]);
        }
        let shrink = exp2(largest[r] - larger);
        largest[r] = larger;
        weight_sums[r] *= shrink;
        for (var c = 0u; c < VALUES; c++) { // unroll
            sums[r * VALUES + c] *= shrink;
        }
        for (var t = 0u; t < KEYS; t++) { // unroll
            weights[r * KEYS + t] = exp2(weights[r * KEYS + t] - larger);
            weight_sums[r] += weights[r * KEYS + t];
        }
    }
    for (var t = 0u; t < KEYS; t++) { // unroll
        var value: array<vec4<f32>, VALUE_STRIPS>;
        for (var s = 0u; s < VALUE_STRIPS; s++) { // unroll
            value[s] = tile[(slot + t) * STRIPS + DEPTH_STRIPS + s];
        }
        for (var c = 0u; c < VALUES; c++) { // unroll
            for (var r = 0u; r < QUERIES; r++) { // unroll
                sums[r * VALUES + c] += weights[r * KEYS + t] * value[c / 4u][c % 4u];
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
    if number >= QUERY_TILES * HEADS * params.batch {
        return;
    }
    first_query = number % QUERY_TILES * ASKED;
    head = number / QUERY_TILES % HEADS;
    image = number / (QUERY_TILES * HEADS);
    ask(lane, params.scale);
    for (var r = 0u; r < QUERIES; r++) { // unroll
        largest[r] = LOWEST;
    }

    for (var first = 0u; first < SLOTS; first += TILE) {
        load_tile(first, lane);
        for (var slot = 0u; slot < min(TILE, SLOTS - first); slot += KEYS) {
            let at = slot_of(first + slot);
            if at.column == 0u {
                if at.row == 0u {
                    look_across(at.band, lane);
                }
                look_down(at.row, lane);
            }
            meet(slot, at.column, lane);
        }
    }

    for (var r = 0u; r < QUERIES; r++) { // unroll
        if first_query + r * WORKGROUP + lane < PIXELS {
            let row = (image * PIXELS + query_of(r, lane)) * HEADS + head;
            log_sum[row] = LN_2 * (largest[r] + log2(weight_sums[r]));
            for (var c = 0u; c < VALUES; c++) { // unroll
                y[row * VALUES + c] = elem(sums[r * VALUES + c] / weight_sums[r]);
            }
        }
    }
}
