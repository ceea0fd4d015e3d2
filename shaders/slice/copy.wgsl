// y[row, i] = x[row, start + i]: of each row of `whole`, `each` from `start` on. One lane a unit of y, as wide as the ranges allow.
// needs bits_16 | bits_32 | bits_64 | bits_128
// needs index
// constants WORKGROUP=256

struct Params { count: u32, each: u32, whole: u32, start: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<bits>; // [rows, whole]
@group(0) @binding(2) var<storage, read_write> y: array<bits>; // [rows, each], count in all

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        y[at] = x[at / params.each * params.whole + params.start + at % params.each];
    }
}
