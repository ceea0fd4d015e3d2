// dx = the sum of dy over the pixels that read this one, each times the weight that it read it with.
// One lane a pixel's channel, or two or four: it asks which pixels read it, so that nothing is added twice at once.
// needs width_1 | width_2 | width_4
// needs index
// needs bilinear
// constants WORKGROUP=256 HEIGHT=3 WIDTH=5 OUT_HEIGHT=7 OUT_WIDTH=4 COLUMNS=2

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<elems>;
@group(0) @binding(2) var<storage, read_write> dx: array<elems>;

// The first of `out_size` pixels whose place is not before pixel `at` of `size`.
fn first_from(at: u32, size: u32, out_size: u32) -> u32 {
    let place = (2u * at + 1u) * out_size;
    return (max(place, size) - size + 2u * size - 1u) / (2u * size);
}

// Those that read pixel `at`, from x to below y: they lie between its neighbors, and what would lie before the first pixel lies on it.
fn readers(at: u32, size: u32, out_size: u32) -> vec2<u32> {
    let behind = select(first_from(at - 1u, size, out_size), 0u, at == 0u);
    return vec2(behind, min(first_from(at + 1u, size, out_size), out_size));
}

// What pixel `reader` of `out_size` takes of pixel `at`.
fn weight(reader: u32, at: u32, size: u32, out_size: u32) -> f32 {
    let place = between(reader, size, out_size);
    let before = select(0.0, 1.0 - place.share, place.first == at);
    return before + select(0.0, place.share, min(place.first + 1u, size - 1u) == at);
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
    let across = readers(w, WIDTH, OUT_WIDTH);
    let down = readers(h, HEIGHT, OUT_HEIGHT);
    var sum = floats();
    for (var out_h = down.x; out_h < down.y; out_h++) {
        let row = (image * OUT_HEIGHT + out_h) * OUT_WIDTH;
        var row_sum = floats();
        for (var out_w = across.x; out_w < across.y; out_w++) {
            let taken = weight(out_w, w, WIDTH, OUT_WIDTH);
            row_sum += taken * floats(dy[(row + out_w) * COLUMNS + at % COLUMNS]);
        }
        sum += weight(out_h, h, HEIGHT, OUT_HEIGHT) * row_sum;
    }
    dx[at] = elems(sum);
}
