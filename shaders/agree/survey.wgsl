// seen = of all numbers of x, as bits, the largest without its sign, the smallest and the largest with it. A workgroup leaves
// three words of what it saw; lanes walk over words, all lanes of all workgroups side by side.
// needs bare_number
// constants WORKGROUP=256

struct Params { count: u32, words: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> seen: array<u32>;

var<workgroup> all: array<vec3<u32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var own = vec3<u32>(0u, 0xffffffffu, 0u);
    for (var at = group.x * WORKGROUP + lane; at < params.words; at += groups.x * WORKGROUP) {
        let word = x[at];
        for (var half = 0u; half <= HALVES; half++) {
            let bits = same_zero(number_bits(word, half));
            if (HALVES + 1u) * at + half < params.count {
                own = vec3<u32>(max(own.x, magnitude(bits)), min(own.y, bits), max(own.z, bits));
            }
        }
    }
    all[lane] = own;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            let other = all[lane + half];
            all[lane] = vec3<u32>(max(all[lane].x, other.x), min(all[lane].y, other.y), max(all[lane].z, other.z));
        }
        workgroupBarrier();
    }
    if lane == 0u {
        seen[3u * group.x] = all[0].x;
        seen[3u * group.x + 1u] = all[0].y;
        seen[3u * group.x + 2u] = all[0].z;
    }
}
