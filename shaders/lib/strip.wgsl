// A workgroup as a strip of columns: STRIP lanes side by side over them, ROW_LANES down the rows; both are powers of two.
// needs width_1 | width_4
// constants WORKGROUP=256 STRIP=32
const ROW_LANES: u32 = WORKGROUP / STRIP;
