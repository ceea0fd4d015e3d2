// y = the four pixels of x around a place, each weighted by how near it is, + beside if ADDS = 1. One lane an element of y, or two or four channels.
// Without it, its binding holds x, unread.
// Sizes are constants of a build: lanes divide by them all the time.
// needs width_1 | width_2 | width_4
// needs index
// needs bilinear
// constants WORKGROUP=256 HEIGHT=3 WIDTH=5 OUT_HEIGHT=7 OUT_WIDTH=4 COLUMNS=2 ADDS=1

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> beside: array<elems>; // as y
@group(0) @binding(3) var<storage, read_write> y: array<elems>;

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
    let image = pixel / (OUT_WIDTH * OUT_HEIGHT) * HEIGHT;
    let w = between(pixel % OUT_WIDTH, WIDTH, OUT_WIDTH);
    let h = between(pixel / OUT_WIDTH % OUT_HEIGHT, HEIGHT, OUT_HEIGHT);
    let right = min(w.first + 1u, WIDTH - 1u);
    let top = (image + h.first) * WIDTH;
    let bottom = (image + min(h.first + 1u, HEIGHT - 1u)) * WIDTH;
    // All four are asked for before any is worked on.
    let top_left = x[(top + w.first) * COLUMNS + column];
    let top_right = x[(top + right) * COLUMNS + column];
    let bottom_left = x[(bottom + w.first) * COLUMNS + column];
    let bottom_right = x[(bottom + right) * COLUMNS + column];
    var other = floats();
    if ADDS == 1u {
        other = floats(beside[at]);
    }
    let above = (1.0 - w.share) * floats(top_left) + w.share * floats(top_right);
    let below = (1.0 - w.share) * floats(bottom_left) + w.share * floats(bottom_right);
    y[at] = elems((1.0 - h.share) * above + h.share * below + other);
}
