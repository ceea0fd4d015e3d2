// Which group this is, where a grid of over 65,535 groups was folded into two dimensions (Rust: Grid::of).
fn folded(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
