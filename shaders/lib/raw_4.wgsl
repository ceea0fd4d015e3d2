// How the raw input of an attention is read: four elements at a time.
alias raw_pack = elem4;
const RAW_PACK: u32 = 4u;

fn with_raw(four: strip, at: u32, value: raw_pack) -> strip {
    return value;
}

// One of them; at counts from a pixel's first.
// if called
fn raw_element(value: raw_pack, at: u32) -> elem {
    return value[at % 4u];
}
