// dx[p] = sum over the windows that hold p of w dy, dk[p] = scale sum of ds slope_of_k(q, k[p]), with w = exp(score - log_sum) and
// ds = w (dy x[p] - sum(dy y)).
// One lane a group of a run of pixels p that lie STRIDE apart, so that the windows of one are those of the next, a column on. Tap t of such
// a pixel is column first_tap + STRIDE t of a window.
// needs relation

struct Params { lanes: u32, scale: f32, slope: f32 }
@group(0) @binding(0) var<uniform> params: Params; // scale log2(e), and scale
@group(0) @binding(1) var<storage, read> q: array<elem>; // [images OUT_HEIGHT, OUT_WIDTH, GROUPS]
@group(0) @binding(2) var<storage, read> k: array<elem>; // [images HEIGHT, WIDTH, GROUPS]
@group(0) @binding(3) var<storage, read> x: array<loaded>; // [images HEIGHT, WIDTH, GROUPS, STRIPS]
@group(0) @binding(4) var<storage, read> geometry: array<f32>; // [KERNEL_H, KERNEL_W, GROUPS]
@group(0) @binding(5) var<storage, read> rows: array<vec2<f32>>; // as q: log_sum log2(e), sum(dy y)
@group(0) @binding(6) var<storage, read> dy: array<loaded>; // [images OUT_HEIGHT, OUT_WIDTH, GROUPS, STRIPS]
@group(0) @binding(7) var<storage, read_write> dk: array<elem>; // as k
@group(0) @binding(8) var<storage, read_write> dx: array<stored>; // [images HEIGHT, WIDTH, GROUPS, STRIPS, STORES]

// Runs of pixels of one remainder, and of a row.
const RUNS: u32 = ((WIDTH + STRIDE - 1u) / STRIDE + PIXELS - 1u) / PIXELS;
// Windows down and across that hold a pixel, at most.
const OVER_H: u32 = (KERNEL_H + STRIDE - 1u) / STRIDE;
const OVER_W: u32 = (KERNEL_W + STRIDE - 1u) / STRIDE;
// Columns of windows that hold any pixel of a run. Column c is tap OVER_W - 1 + pixel - c of a pixel, whose geometry stands PIXELS - 1 on.
const REACH: u32 = OVER_W + PIXELS - 1u;

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
    let run = run_at(at / GROUPS, RUNS * STRIDE);
    let first = run.place / STRIDE * (PIXELS * STRIDE) + run.place % STRIDE;
    let first_tap = (first + PADDING_W) % STRIDE;
    let taps = (KERNEL_W - first_tap + STRIDE - 1u) / STRIDE;
    let image = run.row / HEIGHT * OUT_HEIGHT;
    let bottom = run.row % HEIGHT + PADDING_H;
    // Left of the first window it is past the last one.
    let left = (first + PADDING_W) / STRIDE - (OVER_W - 1u);

    var known: array<f32, PIXELS>;
    var values: array<numbers, PIXELS * STRIPS>;
    var dks: array<f32, PIXELS>;
    var dxs: array<numbers, PIXELS * STRIPS>;
    for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
        let place = (run.row * WIDTH + min(first + STRIDE * pixel, WIDTH - 1u)) * GROUPS + own;
        known[pixel] = f32(k[place]);
        for (var s = 0u; s < STRIPS; s++) { // unroll
            values[pixel * STRIPS + s] = numbers_of(x[place * STRIPS + s]);
        }
    }
    for (var up = 0u; up < OVER_H; up++) {
        let out_row = bottom / STRIDE - up;
        let i = bottom - out_row * STRIDE;
        if out_row >= OUT_HEIGHT || i >= KERNEL_H {
            continue;
        }
        var prior: array<f32, OVER_W + 2u * PIXELS - 2u>;
        for (var t = 0u; t < OVER_W; t++) { // unroll
            let j = min(first_tap + STRIDE * t, KERNEL_W - 1u);
            prior[PIXELS - 1u + t] = LOG2_E * geometry[(i * KERNEL_W + j) * GROUPS + own];
        }
        let row = (image + out_row) * OUT_WIDTH;
        for (var c = 0u; c < REACH; c++) { // unroll
            if left + c < OUT_WIDTH {
                let place = (row + left + c) * GROUPS + own;
                let asked = f32(q[place]);
                let of_row = rows[place];
                var slopes: array<numbers, STRIPS>;
                for (var s = 0u; s < STRIPS; s++) { // unroll
                    slopes[s] = numbers_of(dy[place * STRIPS + s]);
                }
                for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
                    if c >= pixel && c < pixel + OVER_W && pixel + OVER_W <= c + taps {
                        let alike = params.scale * similarity(asked, known[pixel]);
                        let weight = exp2(prior[REACH - 1u + pixel - c] + alike - of_row.x);
                        var gained = -of_row.y;
                        for (var s = 0u; s < STRIPS; s++) { // unroll
                            gained += product(slopes[s], values[pixel * STRIPS + s]);
                            dxs[pixel * STRIPS + s] += weight * slopes[s];
                        }
                        dks[pixel] += weight * gained * slope_of_k(asked, known[pixel]);
                    }
                }
            }
        }
    }
    for (var pixel = 0u; pixel < PIXELS; pixel++) { // unroll
        if first + STRIDE * pixel < WIDTH {
            let to = (run.row * WIDTH + first + STRIDE * pixel) * GROUPS + own;
            dk[to] = elem(params.slope * dks[pixel]);
            for (var s = 0u; s < STRIPS; s++) { // unroll
                for (var part = 0u; part < STORES; part++) { // unroll
                    dx[(to * STRIPS + s) * STORES + part] = stored_of(dxs[pixel * STRIPS + s], part);
                }
            }
        }
    }
}
