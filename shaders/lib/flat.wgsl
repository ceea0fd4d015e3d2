// A tensor as a row of strips, each what a lane works on at once. A lane takes AT_ONCE of them, WORKGROUP apart, and loads all
// before it works on any: memory answers late, and the more is asked of it at a time, the more comes.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=256 AT_ONCE=4
fn first_strip(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return folded(group, groups) * (WORKGROUP * AT_ONCE) + lane;
}
