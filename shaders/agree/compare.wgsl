// first = which number of `found` is not what it is in `truth`, or is off by more than `relative` of that and `absolute`; all
// ones where there is none. A workgroup leaves a word of what it saw; lanes walk over words, all workgroups side by side.
// needs bare_number
// constants WORKGROUP=256 EXACT=1

struct Params { count: u32, words: u32, relative: f32, absolute: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> truth: array<u32>;
@group(0) @binding(2) var<storage, read> found: array<u32>;
@group(0) @binding(3) var<storage, read_write> first: array<u32>;

var<workgroup> all: array<u32, WORKGROUP>;

fn agree(truth: u32, found: u32) -> bool {
    if same_zero(truth) == same_zero(found) {
        return true;
    }
    if EXACT == 1u || !finite(found) {
        return false;
    }
    let wanted = number_of(truth);
    return abs(number_of(found) - wanted) <= params.relative * abs(wanted) + params.absolute;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var own = 0xffffffffu;
    for (var at = group.x * WORKGROUP + lane; at < params.words; at += groups.x * WORKGROUP) {
        for (var half = 0u; half <= HALVES; half++) {
            let element = (HALVES + 1u) * at + half;
            if element < params.count && !agree(number_bits(truth[at], half), number_bits(found[at], half)) {
                own = min(own, element);
            }
        }
    }
    all[lane] = own;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            all[lane] = min(all[lane], all[lane + half]);
        }
        workgroupBarrier();
    }
    if lane == 0u {
        first[group.x] = all[0];
    }
}
