// y = sum over a window's pixels p of softmax(score) x[p], score = scale similarity(q, k[p]) + geometry, or -100 + geometry outside of the
// image, where x = 0; log_sum = the logarithm of the softmax's denominator.
// One lane a group's channels of a run of pixels. It meets a row of taps at a time, scores first; where they hold a larger one than was
// met before, what was summed up shrinks.
// needs relation_rows

struct Params { lanes: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params; // scale log2(e)
@group(0) @binding(1) var<storage, read> q: array<elem>; // [images OUT_HEIGHT, OUT_WIDTH, GROUPS]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [images HEIGHT, WIDTH, GROUPS]
@group(0) @binding(3) var<storage, read> x: array<loaded>; // [images HEIGHT, WIDTH, GROUPS, STRIPS]
@group(0) @binding(4) var<storage, read> geometry: array<f32>; // [KERNEL_H, KERNEL_W, GROUPS]
@group(0) @binding(5) var<storage, read_write> y: array<stored>; // [images OUT_HEIGHT, OUT_WIDTH, GROUPS, STRIPS, STORES]
@group(0) @binding(6) var<storage, read_write> log_sum: array<f32>; // as q

const LN_2: f32 = 0.6931471805599453;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at >= params.lanes {
        return;
    }
    let own = at % GROUPS;
    let run = run_at(at / GROUPS, RUNS);
    let first = run.place * PIXELS;
    let image = run.row / OUT_HEIGHT * HEIGHT;
    let top = run.row % OUT_HEIGHT * STRIDE;
    var columns: Columns;
    var columns_inside = 0u;
    find_columns(&columns, &columns_inside, first * STRIDE, own); // inline

    var asked: array<f32, PIXELS>;
    var largest: array<f32, PIXELS>;
    var totals: array<f32, PIXELS>;
    var sums: array<numbers, PIXELS * STRIPS>;
    for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
        asked[pixel] = f32(q[(run.row * OUT_WIDTH + min(first + pixel, OUT_WIDTH - 1u)) * GROUPS + own]);
        largest[pixel] = LOWEST;
    }
    for (var i = 0u; i < KERNEL_H; i++) {
        let row = (image + nearest(HEIGHT, top + i, PADDING_H)) * (WIDTH * GROUPS);
        let inside = select(0u, columns_inside, has(HEIGHT, top + i, PADDING_H));
        var prior: Prior;
        load_prior(&prior, i, own); // inline
        var scores: array<f32, PIXELS * REACH>;
        var before = largest;
        for (var c = 0u; c < REACH; c++) { // unroll
            let known = f32(k[row + columns[c]]);
            let is_inside = (inside & (1u << c)) != 0u;
            for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
                if c >= STRIDE * pixel && c < STRIDE * pixel + KERNEL_W {
                    let of_tap = prior[c + SHIFT - STRIDE * pixel];
                    let alike = params.scale * similarity(asked[pixel], known);
                    let score = select(of_tap + OUTSIDE, of_tap + alike, is_inside);
                    scores[pixel * REACH + c] = score;
                    largest[pixel] = max(largest[pixel], score);
                }
            }
        }
        for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
            let shrunk = exp2(before[pixel] - largest[pixel]);
            totals[pixel] *= shrunk;
            for (var s = 0u; s < STRIPS; s++) { // unroll
                sums[pixel * STRIPS + s] *= shrunk;
            }
        }
        for (var c = 0u; c < REACH; c++) { // unroll
            for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
                if c >= STRIDE * pixel && c < STRIDE * pixel + KERNEL_W {
                    let weight = exp2(scores[pixel * REACH + c] - largest[pixel]);
                    scores[pixel * REACH + c] = weight;
                    totals[pixel] += weight;
                }
            }
        }
        if inside == 0u {
            continue;
        }
        for (var c = 0u; c < REACH; c++) { // unroll
            var values: array<numbers, STRIPS>;
            for (var s = 0u; s < STRIPS; s++) { // unroll
                values[s] = numbers_of(only((inside & (1u << c)) != 0u, x[(row + columns[c]) * STRIPS + s]));
            }
            for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
                if c >= STRIDE * pixel && c < STRIDE * pixel + KERNEL_W {
                    for (var s = 0u; s < STRIPS; s++) { // unroll
                        sums[pixel * STRIPS + s] += scores[pixel * REACH + c] * values[s];
                    }
                }
            }
        }
    }
    for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
        if first + pixel < OUT_WIDTH {
            let to = (run.row * OUT_WIDTH + first + pixel) * GROUPS + own;
            let share = 1.0 / totals[pixel];
            for (var s = 0u; s < STRIPS; s++) { // unroll
                for (var part = 0u; part < STORES; part++) { // unroll
                    y[(to * STRIPS + s) * STORES + part] = stored_of(share * sums[pixel * STRIPS + s], part);
                }
            }
            log_sum[to] = LN_2 * (largest[pixel] + log2(totals[pixel]));
        }
    }
}
