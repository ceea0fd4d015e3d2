// y = the largest x of a window, index = its place there (row kernel_w + column). The first largest wins; NaN beats numbers.
// One lane an output, or four channels; padding is never looked at.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256

struct Params {
    count: u32, columns: u32, height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read_write> y: array<elems>;
@group(0) @binding(3) var<storage, read_write> index: array<words>;

// By the bits: compilers may assume that no number is NaN.
fn is_nan(value: floats) -> flags {
    return (bitcast<words>(value) & words(0x7fffffffu)) > words(0x7f800000u);
}

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
    let column = at % params.columns;
    let pixel = at / params.columns;
    let left = pixel % params.out_width * params.stride_w;
    let top = pixel / params.out_width % params.out_height * params.stride_h;
    let image = pixel / (params.out_width * params.out_height) * params.height;
    // Counted in the padded image, where no place is negative.
    let from_w = max(left, params.padding_w);
    let to_w = min(left + params.kernel_w, params.width + params.padding_w);
    let from_h = max(top, params.padding_h);
    let to_h = min(top + params.kernel_h, params.height + params.padding_h);

    var best = floats();
    var place = words();
    var first = true;
    for (var h = from_h; h < to_h; h++) {
        let row = (image + h - params.padding_h) * params.width;
        for (var w = from_w; w < to_w; w++) {
            let value = floats(x[(row + w - params.padding_w) * params.columns + column]);
            let better = (value > best) | (is_nan(value) & !is_nan(best)) | flags(first);
            best = select(best, value, better);
            place = select(place, words((h - top) * params.kernel_w + w - left), better);
            first = false;
        }
    }
    y[at] = elems(best);
    index[at] = place;
}
