// y[h, w] = x[floor(h HEIGHT / OUT_HEIGHT), floor(w WIDTH / OUT_WIDTH)], + beside if ADDS = 1. One lane an element of y, or two or four channels.
// Without it, its binding holds x, unread.
// Sizes are constants of a build: lanes divide by them all the time.
// needs width_1 | width_2 | width_4
// needs index
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
    let pixel = at / COLUMNS;
    let w = pixel % OUT_WIDTH * WIDTH / OUT_WIDTH;
    let h = pixel / OUT_WIDTH % OUT_HEIGHT * HEIGHT / OUT_HEIGHT;
    let image = pixel / (OUT_WIDTH * OUT_HEIGHT);
    let here = x[((image * HEIGHT + h) * WIDTH + w) * COLUMNS + at % COLUMNS];
    if ADDS == 1u {
        y[at] = elems(floats(here) + floats(beside[at]));
    } else {
        y[at] = here;
    }
}
