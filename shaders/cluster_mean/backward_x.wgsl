// dx = dmean[label] / members[label], and 0 for a pixel whose label is no cluster. One lane an element, or four.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256

struct Params { count: u32, clusters: u32, pixels: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> label: array<u32>; // [images, pixels]
@group(0) @binding(2) var<storage, read> members: array<u32>; // [images, clusters]
@group(0) @binding(3) var<storage, read> dmean: array<elems>; // [images, clusters, columns]
@group(0) @binding(4) var<storage, read_write> dx: array<elems>; // [images, pixels, columns], count in all

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at < params.count {
        let pixel = at / params.columns;
        let known = label[pixel] < params.clusters;
        let cluster = pixel / params.pixels * params.clusters + select(0u, label[pixel], known);
        let slope = floats(dmean[cluster * params.columns + at % params.columns]) / f32(members[cluster]);
        dx[at] = elems(select(floats(), slope, flags(known)));
    }
}
