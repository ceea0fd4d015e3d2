// dx[h, w] = the sum of dy over the pixels that were made from this one.
// One lane a pixel's channel, or two or four: it asks which pixels read it, so that nothing is added twice at once.
// needs width_1 | width_2 | width_4
// needs index
// constants WORKGROUP=256 HEIGHT=3 WIDTH=5 OUT_HEIGHT=7 OUT_WIDTH=4 COLUMNS=2

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<elems>;
@group(0) @binding(2) var<storage, read_write> dx: array<elems>;

// The first of `out_size` pixels that is made from pixel `at` of `size` or from one behind it.
fn first_reader(at: u32, size: u32, out_size: u32) -> u32 {
    return (at * out_size + size - 1u) / size;
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
    let pixel = at / COLUMNS;
    let w = pixel % WIDTH;
    let h = pixel / WIDTH % HEIGHT;
    let image = pixel / (WIDTH * HEIGHT);
    let from_w = first_reader(w, WIDTH, OUT_WIDTH);
    let to_w = first_reader(w + 1u, WIDTH, OUT_WIDTH);
    let to_h = first_reader(h + 1u, HEIGHT, OUT_HEIGHT);
    var sum = floats();
    for (var out_h = first_reader(h, HEIGHT, OUT_HEIGHT); out_h < to_h; out_h++) {
        let row = (image * OUT_HEIGHT + out_h) * OUT_WIDTH;
        for (var out_w = from_w; out_w < to_w; out_w++) {
            sum += floats(dy[(row + out_w) * COLUMNS + at % COLUMNS]);
        }
    }
    dx[at] = elems(sum);
}
