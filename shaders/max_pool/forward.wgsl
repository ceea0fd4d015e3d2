// y = the largest x of a window, index = its place there (row kernel_w + column). The first largest wins; NaN beats numbers.
// One lane an output, or four channels; padding is never looked at. Loads stand behind no branch, so that they start together.
// needs width_1 | width_4
// needs windows
// needs is_nan

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> y: array<elems>;
@group(0) @binding(3) var<storage, read_write> index: array<words>;

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
    let left = pixel % OUT_WIDTH * STRIDE_W;
    let top = pixel / OUT_WIDTH % OUT_HEIGHT * STRIDE_H;
    let image = pixel / (OUT_WIDTH * OUT_HEIGHT) * HEIGHT;

    var best = floats();
    var place = words();
    var first = true;
    for (var i = 0u; i < KERNEL_H; i++) {
        for (var j = 0u; j < KERNEL_W; j++) {
            // Above and left of the image they are past its end.
            let h = top + i - PADDING_H;
            let w = left + j - PADDING_W;
            let inside = (h < HEIGHT) & (w < WIDTH);
            let value = floats(x[select(0u, ((image + h) * WIDTH + w) * COLUMNS + column, inside)]);
            let better = flags(inside) & ((value > best) | (is_nan(value) & !is_nan(best)) | flags(first));
            best = select(best, value, better);
            place = select(place, words(i * KERNEL_W + j), better);
            first &= !inside;
        }
    }
    y[at] = elems(best);
    index[at] = place;
}
