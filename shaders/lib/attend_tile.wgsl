// products[query, key] = sum over c of left[query, c] right[key, c], for a tile of QUERIES x KEYS.
// A lane holds one query and four neighboring keys. The kernel says what the sides are: `load_left(product, query, c)`
// and `load_right(product, key, c)`, both counted from the tile's first row and 0 past the end.
// constants WORKGROUP=256 QUERIES=16 CHUNK=16
const QUADS: u32 = WORKGROUP / QUERIES;
const KEYS: u32 = 4u * QUADS;

// One more than a power of two a row, so that lanes that walk down a column meet different banks.
var<workgroup> left_tile: array<f32, QUERIES * (CHUNK + 1u)>;
var<workgroup> right_tile: array<vec4<f32>, CHUNK * (QUADS + 1u)>;

// Every lane must call, in uniform control flow. What lanes read of workgroup memory before, they may overwrite after.
fn tile_product(product: u32, depth: u32, lane: u32) -> vec4<f32> {
    let query = lane / QUADS;
    let quad = lane % QUADS;
    var sum = vec4<f32>();
    for (var start = 0u; start < depth; start += CHUNK) {
        // Neighboring lanes take neighboring channels: that is how rows lie in memory.
        for (var i = lane; i < QUERIES * CHUNK; i += WORKGROUP) {
            left_tile[i / CHUNK * (CHUNK + 1u) + i % CHUNK] = load_left(product, i / CHUNK, start + i % CHUNK);
        }
        for (var i = lane; i < QUADS * CHUNK; i += WORKGROUP) {
            let key = 4u * (i / CHUNK);
            let c = start + i % CHUNK;
            right_tile[i % CHUNK * (QUADS + 1u) + i / CHUNK] = vec4(
                load_right(product, key, c),
                load_right(product, key + 1u, c),
                load_right(product, key + 2u, c),
                load_right(product, key + 3u, c),
            );
        }
        workgroupBarrier();
        for (var c = 0u; c < CHUNK; c++) { // unroll
            sum += left_tile[query * (CHUNK + 1u) + c] * right_tile[c * (QUADS + 1u) + quad];
        }
        workgroupBarrier(); // the tiles are filled again
    }
    return sum;
}
