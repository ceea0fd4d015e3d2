// dx = the sum of dy over the windows whose largest x is here.
// One lane a pixel's channel, or four: it looks at the windows that cover the pixel, so that nothing is added twice at once.
// Loads stand behind no branch, so that they start together.
// needs width_1 | width_4
// needs windows

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<words>;
@group(0) @binding(2) var<storage, read> dy: array<elems>;
@group(0) @binding(3) var<storage, read_write> dx: array<elems>;

// Windows down and across that cover a pixel, at most.
const OVER_H: u32 = (KERNEL_H + STRIDE_H - 1u) / STRIDE_H;
const OVER_W: u32 = (KERNEL_W + STRIDE_W - 1u) / STRIDE_W;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at >= params.count {
        return;
    }
    let column = at % COLUMNS;
    let pixel = at / COLUMNS;
    let w = pixel % WIDTH + PADDING_W;
    let h = pixel / WIDTH % HEIGHT + PADDING_H;
    let image = pixel / (WIDTH * HEIGHT) * OUT_HEIGHT;

    var sum = floats();
    for (var i = 0u; i < OVER_H; i++) {
        for (var j = 0u; j < OVER_W; j++) {
            // The last windows that begin at or before the pixel, and those before them; before the first they are past the end.
            let out_h = h / STRIDE_H - i;
            let out_w = w / STRIDE_W - j;
            let in_h = h - out_h * STRIDE_H;
            let in_w = w - out_w * STRIDE_W;
            let covers = (out_h < OUT_HEIGHT) & (out_w < OUT_WIDTH) & (in_h < KERNEL_H) & (in_w < KERNEL_W);
            let window = select(0u, ((image + out_h) * OUT_WIDTH + out_w) * COLUMNS + column, covers);
            let here = flags(covers) & (index[window] == words(in_h * KERNEL_W + in_w));
            sum += select(floats(), floats(dy[window]), here);
        }
    }
    dx[at] = elems(sum);
}
