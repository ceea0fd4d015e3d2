// found = 1 where one of the numbers that a workgroup looks at is infinite or NaN, else 0; with SQUARES the sum of their squares.
// A workgroup takes a share of one of up to six tensors, group.y says of which. Strips of those that are not there: 0.
// needs width_1 | width_4
// needs reduce
// constants SQUARES=0

struct Params { first: u32, strips_0: u32, strips_1: u32, strips_2: u32, strips_3: u32, strips_4: u32, strips_5: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tensor_0: array<elems>;
@group(0) @binding(2) var<storage, read> tensor_1: array<elems>;
@group(0) @binding(3) var<storage, read> tensor_2: array<elems>;
@group(0) @binding(4) var<storage, read> tensor_3: array<elems>;
@group(0) @binding(5) var<storage, read> tensor_4: array<elems>;
@group(0) @binding(6) var<storage, read> tensor_5: array<elems>;
@group(0) @binding(7) var<storage, read_write> found: array<f32>;

fn strips(tensor: u32) -> u32 {
    switch tensor {
        case 0u: { return params.strips_0; }
        case 1u: { return params.strips_1; }
        case 2u: { return params.strips_2; }
        case 3u: { return params.strips_3; }
        case 4u: { return params.strips_4; }
        default: { return params.strips_5; }
    }
}

fn strip(tensor: u32, at: u32) -> floats {
    switch tensor {
        case 0u: { return floats(tensor_0[at]); }
        case 1u: { return floats(tensor_1[at]); }
        case 2u: { return floats(tensor_2[at]); }
        case 3u: { return floats(tensor_3[at]); }
        case 4u: { return floats(tensor_4[at]); }
        default: { return floats(tensor_5[at]); }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let end = strips(group.y);
    var seen = 0.0;
    for (var at = group.x * WORKGROUP + lane; at < end; at += groups.x * WORKGROUP) {
        let here = strip(group.y, at);
        if SQUARES == 1u {
            seen += total(here * here);
        } else if any((bitcast<words>(here) & words(0x7f800000u)) == words(0x7f800000u)) {
            // By the bits: compilers may assume that no number is infinite or NaN.
            seen = 1.0;
        }
    }
    if SQUARES == 1u {
        seen = workgroup_sum(seen, lane);
    } else {
        seen = workgroup_max(seen, lane);
    }
    if lane == 0u {
        found[params.first + group.y * groups.x + group.x] = seen;
    }
}
