// The windows of a run of pixels of y, a row of taps at a time. Column c of REACH is tap c - STRIDE pixel of that pixel's window.
// needs relation
const RUNS: u32 = (OUT_WIDTH + PIXELS - 1u) / PIXELS;
const SHIFT: u32 = STRIDE * (PIXELS - 1u);
const REACH: u32 = SHIFT + KERNEL_W;

// For each column where in a row of k it lies, or the nearest that does; and a bit, whether it lies in the image.
alias Columns = array<u32, REACH>;
fn find_columns(columns: ptr<function, Columns>, inside: ptr<function, u32>, left: u32, own: u32) {
    for (var c = 0u; c < REACH; c++) { // unroll
        (*columns)[c] = nearest(WIDTH, left + c, PADDING_W) * GROUPS + own;
        (*inside) |= select(0u, 1u << c, has(WIDTH, left + c, PADDING_W));
    }
}

// The geometry of a row of taps, tap j at SHIFT + j: so a pixel finds that of a column at c + SHIFT - STRIDE pixel, and no constant is
// ever below zero where loops are written out.
alias Prior = array<f32, SHIFT + REACH>;
fn load_prior(prior: ptr<function, Prior>, i: u32, own: u32) {
    for (var j = 0u; j < KERNEL_W; j++) { // unroll
        (*prior)[SHIFT + j] = LOG2_E * geometry[(i * KERNEL_W + j) * GROUPS + own];
    }
}
