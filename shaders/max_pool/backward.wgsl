// dx = the sum of dy over the windows whose largest x is here.
// One lane a pixel's channel, or four: it looks at the windows that cover the pixel, so that nothing is added twice at once.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256

struct Params {
    count: u32, columns: u32, height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<words>;
@group(0) @binding(2) var<storage, read> dy: array<elems>;
@group(0) @binding(3) var<storage, read_write> dx: array<elems>;

// The first window that reaches place `at` of the padded image.
fn first_window(at: u32, kernel: u32, stride: u32) -> u32 {
    return select((at - kernel) / stride + 1u, 0u, at < kernel);
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
    let w = pixel % params.width + params.padding_w;
    let h = pixel / params.width % params.height + params.padding_h;
    let image = pixel / (params.width * params.height) * params.out_height;
    let from_w = first_window(w, params.kernel_w, params.stride_w);
    let to_w = min(w / params.stride_w + 1u, params.out_width);
    let from_h = first_window(h, params.kernel_h, params.stride_h);
    let to_h = min(h / params.stride_h + 1u, params.out_height);

    var sum = floats();
    for (var out_h = from_h; out_h < to_h; out_h++) {
        let row = (image + out_h) * params.out_width;
        for (var out_w = from_w; out_w < to_w; out_w++) {
            let window = (row + out_w) * params.columns + column;
            let here = (h - out_h * params.stride_h) * params.kernel_w + w - out_w * params.stride_w;
            sum += select(floats(), floats(dy[window]), index[window] == words(here));
        }
    }
    dx[at] = elems(sum);
}
