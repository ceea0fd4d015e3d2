// y[.., i, .., j] = x[.., j, .., i], the axes between and before them at will: in tiles, so that both reads and writes are in a row.
// One workgroup a tile of SIDE rows (i, in a row in x) and columns (j, in a row in y) of one place on the other axes.
// needs bits_32 | bits_16
// needs index
// constants WORKGROUP=256

struct Params {
    rows: u32, columns: u32, row_stride: u32, column_stride: u32,
    size0: u32, size1: u32, size2: u32, size3: u32,
    from0: u32, from1: u32, from2: u32, from3: u32, to0: u32, to1: u32, to2: u32, to3: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<bits>;
@group(0) @binding(2) var<storage, read_write> y: array<bits>;

const SIDE: u32 = 32u;
const AT_ONCE: u32 = WORKGROUP / SIDE; // lines
// An element of padding a line: what is written by lines is read by columns.
var<workgroup> tile: array<bits, SIDE * (SIDE + 1u)>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (params.columns + SIDE - 1u) / SIDE;
    let down = (params.rows + SIDE - 1u) / SIDE;
    let at = folded(group, groups);
    let column = at % across * SIDE;
    let row = at / across % down * SIDE;
    var rest = at / across / down;
    var source = rest % params.size3 * params.from3;
    var place = rest % params.size3 * params.to3;
    rest /= params.size3;
    source += rest % params.size2 * params.from2;
    place += rest % params.size2 * params.to2;
    rest /= params.size2;
    source += rest % params.size1 * params.from1 + rest / params.size1 * params.from0;
    place += rest % params.size1 * params.to1 + rest / params.size1 * params.to0;

    // A folded grid may have groups to spare.
    let rows = select(0u, params.rows, rest / params.size1 < params.size0);
    let aside = lane % SIDE;
    for (var line = lane / SIDE; line < SIDE; line += AT_ONCE) {
        if row + aside < rows && column + line < params.columns {
            tile[line * (SIDE + 1u) + aside] = x[source + (column + line) * params.column_stride + row + aside];
        }
    }
    workgroupBarrier();
    for (var line = lane / SIDE; line < SIDE; line += AT_ONCE) {
        if row + line < rows && column + aside < params.columns {
            y[place + (row + line) * params.row_stride + column + aside] = tile[aside * (SIDE + 1u) + line];
        }
    }
}
