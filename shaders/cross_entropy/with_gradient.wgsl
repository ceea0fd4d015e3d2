// row_loss = ln(sum_k exp(logits_k)) - logits_label; dlogits = seed (exp(logits - ln(sum_k exp(logits_k))) - [k = label]) / counted; both
// are 0 where the label is to be ignored. ROW_LANES lanes a row, which hold it where it is short: logits are read once then.
// [k = label] is smoothed with 1 / classes.
// Without a seed that is 1; if none is ignored all rows are counted. The bindings of these hold the labels then, unread.
// needs elem_f32 | elem_f16
// needs log_sum
// constants SEEDED=1

struct Params { rows: u32, columns: u32, classes: u32, ignored: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read> counted: array<u32>; // [1]
@group(0) @binding(4) var<storage, read> seed: array<f32>; // [1]
@group(0) @binding(5) var<storage, read_write> row_loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> dlogits: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let row = min(own, params.rows - 1u);
    var held: Row;
    let log_of_row = log_of_sum(&held, row, lane);
    let spread = spread_of(&held, row, lane, log_of_row);
    if own >= params.rows {
        return;
    }
    let label = labels[row];
    if lane % ROW_LANES == 0u {
        row_loss[row] = loss_of(row, label, log_of_row, spread);
    }
    var factor = 1.0;
    if SEEDED == 1u {
        factor = seed[0];
    }
    var divisor = f32(params.rows);
    if IGNORES == 1u {
        divisor = f32(counted[0]); // 0, where nobody asks
    }
    var share = 0.0; // of each class that is not the label
    if SMOOTHING != 0u {
        share = bitcast<f32>(SMOOTHING) / f32(params.classes);
    }
    let hit = 1.0 - bitcast<f32>(SMOOTHING) + share;
    for (var start = lane % ROW_LANES; start < params.columns; start += CHUNK) {
        if WHOLE == 0u {
            load_row(&held, row, start);
        }
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                let hits = elements_of(start + i * ROW_LANES) == words(label);
                var slope = exp(held[i] - log_of_row) - select(floats(share), floats(hit), hits);
                if label >= params.classes {
                    slope = floats(bitcast<f32>(label | 0x7fc00000u)); // NaN, as the loss
                }
                dlogits[strip_at(row, start, i)] = elems(select(factor * slope / divisor, floats(), flags(is_ignored(label))));
            }
        }
    }
}
