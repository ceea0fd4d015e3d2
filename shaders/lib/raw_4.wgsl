// How the raw input of an attention is read: four elements at a time.
alias raw_pack = elem4;
const RAW_PACK: u32 = 4u;

fn with_raw(four: strip, at: u32, value: raw_pack) -> strip {
    return value;
}
