// Rows that ROW_LANES neighboring lanes work on together: each holds HELD strips of its row, ROW_LANES apart, so that neighbors read
// neighbors. A row that is longer (WHOLE = 0) goes by in chunks, loaded anew by every pass over it.
// needs width_1 | width_4
// needs row_reduce
// needs index
// constants HELD=4 WHOLE=1
const CHUNK: u32 = ROW_LANES * HELD;

fn is_inside(start: u32, i: u32) -> bool {
    return start + i * ROW_LANES < params.columns;
}

// Where strip i of those lies that a lane takes of a row from `start` on. Past the end it is the last one, so that no load waits for a
// branch.
fn strip_at(row: u32, start: u32, i: u32) -> u32 {
    return row * params.columns + min(start + i * ROW_LANES, params.columns - 1u);
}
