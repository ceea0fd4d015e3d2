// row_loss = (1 - A) (log_sum(s) - s_label) + A T^2 (log_sum(s / T) - sum_k q_k s_k / T), q = softmax(t / T);
// what a row of logits s loses by its label and by a teacher's logits t; and its gradient,
// dlogits = seed ((1 - A) (softmax(s) - [k = label]) + A T (softmax(s / T) - q)) / counted; both are 0 where the label is to be ignored.
// [k = label] is smoothed with 1 / classes; A, T and the smoothing are `share`, `temperature` and `smoothing`.
// Without a seed that is 1; if none is ignored all rows are counted. The bindings of these hold the labels then, unread.
// ROW_LANES lanes a row.
// needs elem_f32 | elem_f16
// needs rows
// constants SEEDED=1 IGNORES=0

struct Params {
    rows: u32,
    columns: u32,
    classes: u32,
    ignored: u32,
    share: f32,
    temperature: f32,
    smoothing: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read> teacher: array<elems>; // [rows, columns]
@group(0) @binding(4) var<storage, read> counted: array<u32>; // [1]
@group(0) @binding(5) var<storage, read> seed: array<f32>; // [1]
@group(0) @binding(6) var<storage, read_write> row_loss: array<f32>;
@group(0) @binding(7) var<storage, read_write> dlogits: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = folded(group, groups) * ROWS_AT_ONCE + lane / ROW_LANES;
    // Lanes past the last row walk over it once more and write nothing: barriers want them all.
    let row = min(own, params.rows - 1u);
    let first = lane % ROW_LANES;
    // Every lane starts from a number of the row, so that no infinity has to be written.
    var largest = floats(logits[strip_at(row, first, 0u)]);
    var largest_taught = floats(teacher[strip_at(row, first, 0u)]);
    for (var start = first; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            largest = max(largest, floats(logits[strip_at(row, start, i)]));
            largest_taught = max(largest_taught, floats(teacher[strip_at(row, start, i)]));
        }
    }
    let top = row_max(peak(largest), lane);
    let top_taught = row_max(peak(largest_taught), lane);
    // The largest is taken out first, so that no exponential overflows.
    var sums = floats();
    var sums_soft = floats();
    var sums_taught = floats();
    var products = floats();
    var spreads = floats();
    for (var start = first; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            let below = floats(logits[strip_at(row, start, i)]) - top;
            let taught = exp((floats(teacher[strip_at(row, start, i)]) - top_taught) / params.temperature);
            let is_there = flags(is_inside(start, i));
            sums += select(floats(), exp(below), is_there);
            sums_soft += select(floats(), exp(below / params.temperature), is_there);
            sums_taught += select(floats(), taught, is_there);
            products += select(floats(), taught * below, is_there);
            spreads += select(floats(), below, is_there);
        }
    }
    let sum = row_sum(total(sums), lane);
    let sum_soft = row_sum(total(sums_soft), lane);
    let sum_taught = row_sum(total(sums_taught), lane);
    let product = row_sum(total(products), lane);
    let spread = row_sum(total(spreads), lane);
    if own >= params.rows {
        return;
    }
    let label = labels[row];
    let is_ignored = IGNORES == 1u && label == params.ignored;
    if first == 0u {
        var loss = bitcast<f32>(label | 0x7fc00000u); // NaN: a label that is no class must be seen in the loss
        if label < params.classes {
            let strip = strip_of(label);
            let there = elements_of(strip) == words(label);
            let below = total(select(floats(), floats(logits[row * params.columns + strip]) - top, there));
            let hard = log(sum) - (1.0 - params.smoothing) * below - params.smoothing * spread / f32(params.classes);
            let soft = log(sum_soft) - product / (sum_taught * params.temperature);
            loss = (1.0 - params.share) * hard + params.share * params.temperature * params.temperature * soft;
        }
        row_loss[row] = select(loss, 0.0, is_ignored);
    }
    var factor = 1.0;
    if SEEDED == 1u {
        factor = seed[0];
    }
    var divisor = f32(params.rows);
    if IGNORES == 1u {
        divisor = f32(counted[0]); // 0, where nobody asks
    }
    let other = params.smoothing / f32(params.classes); // of each class that is not the label
    let hit = 1.0 - params.smoothing + other;
    for (var start = first; start < params.columns; start += CHUNK) {
        for (var i = 0u; i < HELD; i++) { // unroll
            if is_inside(start, i) {
                let at = strip_at(row, start, i);
                let below = floats(logits[at]) - top;
                let hits = elements_of(start + i * ROW_LANES) == words(label);
                let hard = exp(below) / sum - select(floats(other), floats(hit), hits);
                let taught = exp((floats(teacher[at]) - top_taught) / params.temperature) / sum_taught;
                let soft = exp(below / params.temperature) / sum_soft - taught;
                var slope = (1.0 - params.share) * hard + params.share * params.temperature * soft;
                if label >= params.classes {
                    slope = floats(bitcast<f32>(label | 0x7fc00000u)); // NaN, as the loss
                }
                dlogits[at] = elems(select(factor * slope / divisor, floats(), flags(is_ignored)));
            }
        }
    }
}
