// ds[n, c] = sigmoid'(s[n, c]) sum_p dy[n, p, c] x[n, p, c], with sigmoid' = sigmoid (1 - sigmoid).
// A workgroup takes one image and a strip of channels; its lanes walk down the pixels.
// needs sigmoid
// needs strip_sum
// needs index

struct Params { n: u32, pixels: u32, columns: u32, across: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> s: array<elems>;
@group(0) @binding(3) var<storage, read> dy: array<elems>;
@group(0) @binding(4) var<storage, read_write> ds: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    let n = number / params.across;
    if n >= params.n {
        return;
    }
    let column = number % params.across * STRIP + lane % STRIP;
    var sum = floats();
    if column < params.columns {
        for (var pixel = lane / STRIP; pixel < params.pixels; pixel += ROW_LANES) {
            let at = (n * params.pixels + pixel) * params.columns + column;
            sum += floats(dy[at]) * floats(x[at]);
        }
    }
    sum = strip_sum(sum, lane);
    if lane < STRIP && column < params.columns {
        let gate = n * params.columns + column;
        let open = opening(floats(s[gate]));
        ds[gate] = elems(sum * open * (1.0 - open));
    }
}
