// mean[l] = the sum of x over the pixels with label l / members[l], their number; where there are none, the centroid that was there.
// A workgroup takes a cluster of an image and a strip of columns; its lanes walk down the labels, and read the pixels that are members: in
// all, each pixel once.
// needs strip_sum
// needs index

struct Params { means: u32, clusters: u32, pixels: u32, columns: u32, across: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [images, pixels, columns]
@group(0) @binding(2) var<storage, read> label: array<u32>; // [images, pixels]
@group(0) @binding(3) var<storage, read> centroids: array<elems>; // [images, clusters, columns], means rows in all
@group(0) @binding(4) var<storage, read_write> mean: array<elems>;
@group(0) @binding(5) var<storage, read_write> members: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    let cluster = number / params.across;
    if cluster >= params.means {
        return;
    }
    let column = number % params.across * STRIP + lane % STRIP;
    let start = cluster / params.clusters * params.pixels;
    var sum = floats();
    var count = floats();
    if column < params.columns {
        for (var row = lane / STRIP; row < params.pixels; row += ROWS_AT_ONCE) {
            var labels: array<u32, AT_ONCE>;
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                labels[i] = label[start + min(row + i * ROW_LANES, params.pixels - 1u)];
            }
            for (var i = 0u; i < AT_ONCE; i++) { // unroll
                let pixel = row + i * ROW_LANES;
                if pixel < params.pixels && labels[i] == cluster % params.clusters {
                    sum += floats(x[(start + pixel) * params.columns + column]);
                    count += floats(1.0);
                }
            }
        }
    }
    sum = strip_sum(sum, lane);
    count = strip_sum(count, lane);
    if lane < STRIP && column < params.columns {
        let at = cluster * params.columns + column;
        let old = floats(centroids[at]);
        mean[at] = elems(select(old, sum / count, count > floats()));
        if column == 0u {
            members[cluster] = u32(total(count) / total(floats(1.0)));
        }
    }
}
