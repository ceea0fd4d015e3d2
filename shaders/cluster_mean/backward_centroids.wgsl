// dcentroids = dmean where a cluster has no members, and 0 elsewhere. One lane an element, or four.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256

struct Params { count: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> members: array<u32>; // [images, clusters]
@group(0) @binding(2) var<storage, read> dmean: array<elems>; // [images, clusters, columns], count in all
@group(0) @binding(3) var<storage, read_write> dcentroids: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        let empty = members[at / params.columns] == 0u;
        dcentroids[at] = select(elems(), dmean[at], flags(empty));
    }
}
