// y[i0, .., i5] = x[i0 stride0 + .. + i5 stride5], the sizes those of y. One lane an element of y, so that writes are
// in a row; elements may be several of the tensor's, side by side.
// needs bits_16 | bits_32 | bits_64 | bits_128
// needs index
// constants WORKGROUP=256

struct Params {
    count: u32,
    size1: u32, size2: u32, size3: u32, size4: u32, size5: u32,
    stride0: u32, stride1: u32, stride2: u32, stride3: u32, stride4: u32, stride5: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<bits>;
@group(0) @binding(2) var<storage, read_write> y: array<bits>;

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
    var rest = at;
    var source = rest % params.size5 * params.stride5;
    rest /= params.size5;
    source += rest % params.size4 * params.stride4;
    rest /= params.size4;
    source += rest % params.size3 * params.stride3;
    rest /= params.size3;
    source += rest % params.size2 * params.stride2;
    rest /= params.size2;
    source += rest % params.size1 * params.stride1;
    source += rest / params.size1 * params.stride0;
    y[at] = x[source];
}
