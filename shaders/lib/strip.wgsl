// A workgroup as a strip of columns: STRIP lanes side by side over them, ROW_LANES down the rows; both are powers of two.
// needs width_1 | width_4
// A lane loads its column of AT_ONCE rows before it works on any: memory answers late, and the more is asked at a time, the more comes.
// constants WORKGROUP=256 STRIP=32 AT_ONCE=4
const ROW_LANES: u32 = WORKGROUP / STRIP;
// How far down a lane goes at a time.
const ROWS_AT_ONCE: u32 = ROW_LANES * AT_ONCE;
