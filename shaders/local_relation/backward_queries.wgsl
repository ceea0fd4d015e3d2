// dq = scale sum over a window's pixels p of ds slope_of_q(q, k[p]), with ds = w (dy x[p] - sum(dy y)), w = exp(score - log_sum), x = 0 and no
// slope outside of the image; block_dgeometry[tap] = sum of ds over the pixels of a block.
// One lane a group of a run of pixels; a workgroup GROUPS_AT_ONCE groups of RUNS_AT_ONCE runs. After each row of taps it adds up what its
// lanes have of every tap, in two steps and always in the same order.
// needs relation_rows
// constants GROUPS_AT_ONCE=3

struct Params { runs: u32, blocks: u32, scale: f32, slope: f32 }
@group(0) @binding(0) var<uniform> params: Params; // scale log2(e), and scale
@group(0) @binding(1) var<storage, read> q: array<elem>; // [images OUT_HEIGHT, OUT_WIDTH, GROUPS]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [images HEIGHT, WIDTH, GROUPS]
@group(0) @binding(3) var<storage, read> x: array<loaded>; // [images HEIGHT, WIDTH, GROUPS, STRIPS]
@group(0) @binding(4) var<storage, read> geometry: array<f32>; // [KERNEL_H, KERNEL_W, GROUPS]
@group(0) @binding(5) var<storage, read> rows: array<vec2<f32>>; // as q
@group(0) @binding(6) var<storage, read> dy: array<loaded>; // [images OUT_HEIGHT, OUT_WIDTH, GROUPS, STRIPS]
@group(0) @binding(7) var<storage, read_write> dq: array<elem>; // as q
@group(0) @binding(8) var<storage, read_write> block_dgeometry: array<f32>; // [blocks, KERNEL_H, KERNEL_W, GROUPS]

const ACROSS: u32 = (GROUPS + GROUPS_AT_ONCE - 1u) / GROUPS_AT_ONCE;
const RUNS_AT_ONCE: u32 = WORKGROUP / GROUPS_AT_ONCE;
// Sums of a row of taps, and how many lanes share the work on each.
const SUMS: u32 = KERNEL_W * GROUPS_AT_ONCE;
const SHARERS: u32 = min(WORKGROUP / SUMS, RUNS_AT_ONCE);
// Taps lie so far apart that lanes which read neighboring taps find them in other banks.
const APART: u32 = WORKGROUP + GROUPS_AT_ONCE;

var<workgroup> shares: array<f32, KERNEL_W * APART>;
var<workgroup> joined: array<f32, SHARERS * SUMS>;

// Every lane must call, in uniform control flow, after it has put what it has of the taps into `shares`.
fn join(to: u32, first_group: u32, lane: u32) {
    workgroupBarrier();
    if lane < SHARERS * SUMS {
        let own = lane % GROUPS_AT_ONCE;
        let tap = lane / GROUPS_AT_ONCE % KERNEL_W;
        var sum = 0.0;
        for (var run = lane / SUMS; run < RUNS_AT_ONCE; run += SHARERS) {
            sum += shares[tap * APART + run * GROUPS_AT_ONCE + own];
        }
        joined[lane] = sum;
    }
    workgroupBarrier();
    let own = first_group + lane % GROUPS_AT_ONCE;
    if lane < SUMS && own < GROUPS {
        var sum = 0.0;
        for (var sharer = 0u; sharer < SHARERS; sharer++) {
            sum += joined[sharer * SUMS + lane];
        }
        block_dgeometry[(to + lane / GROUPS_AT_ONCE) * GROUPS + own] = sum;
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    let block = number / ACROSS;
    if block >= params.blocks {
        return;
    }
    let first_group = number % ACROSS * GROUPS_AT_ONCE;
    let own = min(first_group + lane % GROUPS_AT_ONCE, GROUPS - 1u);
    let run_number = block * RUNS_AT_ONCE + lane / GROUPS_AT_ONCE;
    let run = run_at(min(run_number, params.runs - 1u), RUNS);
    let first = run.place * PIXELS;
    // Pixels of this lane: none where the groups, the workgroup's runs or all runs are at their end.
    let exists = (first_group + lane % GROUPS_AT_ONCE < GROUPS)
        & (lane / GROUPS_AT_ONCE < RUNS_AT_ONCE) & (run_number < params.runs);
    let pixels = select(0u, min(OUT_WIDTH - first, PIXELS), exists);
    let image = run.row / OUT_HEIGHT * HEIGHT;
    let top = run.row % OUT_HEIGHT * STRIDE;
    var columns: Columns;
    var columns_inside = 0u;
    find_columns(&columns, &columns_inside, first * STRIDE, own); // inline

    var asked: array<f32, PIXELS>;
    var log_sums: array<f32, PIXELS>;
    var means: array<f32, PIXELS>;
    var slopes: array<numbers, PIXELS * STRIPS>;
    var dqs: array<f32, PIXELS>;
    for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
        let place = (run.row * OUT_WIDTH + min(first + pixel, OUT_WIDTH - 1u)) * GROUPS + own;
        asked[pixel] = f32(q[place]);
        // A pixel that is not there is the last one again, without slopes.
        log_sums[pixel] = rows[place].x;
        means[pixel] = select(0.0, rows[place].y, pixel < pixels);
        for (var s = 0u; s < STRIPS; s++) { // unroll
            slopes[pixel * STRIPS + s] = numbers_of(only(pixel < pixels, dy[place * STRIPS + s]));
        }
    }
    for (var i = 0u; i < KERNEL_H; i++) {
        let row = (image + nearest(HEIGHT, top + i, PADDING_H)) * (WIDTH * GROUPS);
        let inside = select(0u, columns_inside, has(HEIGHT, top + i, PADDING_H));
        var prior: Prior;
        load_prior(&prior, i, own); // inline
        var taps: Prior; // sums of ds, each tap where its geometry is
        if inside == 0u {
            // Above and below the image there is nothing to look at.
            for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
                for (var j = 0u; j < KERNEL_W; j++) { // unroll
                    taps[SHIFT + j] -= exp2(prior[SHIFT + j] + OUTSIDE - log_sums[pixel]) * means[pixel];
                }
            }
        } else {
            for (var c = 0u; c < REACH; c++) { // unroll
                let known = f32(k[row + columns[c]]);
                let is_inside = (inside & (1u << c)) != 0u;
                var values: array<numbers, STRIPS>;
                for (var s = 0u; s < STRIPS; s++) { // unroll
                    values[s] = numbers_of(only(is_inside, x[(row + columns[c]) * STRIPS + s]));
                }
                for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
                    if c >= STRIDE * pixel && c < STRIDE * pixel + KERNEL_W {
                        let tap = c + SHIFT - STRIDE * pixel;
                        let alike = params.scale * similarity(asked[pixel], known);
                        let score = select(prior[tap] + OUTSIDE, prior[tap] + alike, is_inside);
                        let weight = exp2(score - log_sums[pixel]);
                        var gained = -means[pixel];
                        for (var s = 0u; s < STRIPS; s++) { // unroll
                            gained += product(slopes[pixel * STRIPS + s], values[s]);
                        }
                        let ds = weight * gained;
                        taps[tap] += ds;
                        dqs[pixel] += ds * select(0.0, slope_of_q(asked[pixel], known), is_inside);
                    }
                }
            }
        }
        for (var j = 0u; j < KERNEL_W; j++) { // unroll
            shares[j * APART + lane] = taps[SHIFT + j];
        }
        join((block * KERNEL_H + i) * KERNEL_W, first_group, lane);
    }
    for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
        if pixel < pixels {
            dq[(run.row * OUT_WIDTH + first + pixel) * GROUPS + own] = elem(params.slope * dqs[pixel]);
        }
    }
}
