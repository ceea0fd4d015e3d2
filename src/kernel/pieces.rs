//! The pieces of WGSL that kernels share: `shaders/lib`, by name.

macro_rules! pieces {
    ($($name:literal),* $(,)?) => {
        /// Every piece, with its text.
        pub(super) const PIECES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $name, ".wgsl")))),*
        ];
    };
}

// One a line, in braces: rustfmt would join them, and two additions would meet.
pieces! {
    "adaptive",
    "adaptive_back",
    "adaptive_seen",
    "adamw",
    "alone",
    "attend_gradients",
    "attend_place",
    "attend_products",
    "attend_row_gradients",
    "attend_rows",
    "attend_softmax",
    "attend_sums",
    "attend_tile",
    "bare_number",
    "bilinear",
    "bits_128",
    "bits_16",
    "bits_32",
    "bits_64",
    "channels_1",
    "channels_4",
    "channels_8",
    "convolution",
    "descent",
    "elem_f16",
    "elem_f32",
    "first_largest",
    "flat",
    "fragment_16",
    "fragment_8",
    "gemm",
    "gradient_1",
    "gradient_4",
    "hash",
    "index",
    "is_nan",
    "largest",
    "log_sum",
    "map_gelu",
    "map_relu",
    "map_sigmoid",
    "moments",
    "pack_1",
    "pack_4",
    "pack_8",
    "packed_sums",
    "part_elem",
    "part_f32",
    "patches",
    "pixels",
    "raw_1",
    "raw_4",
    "reduce",
    "relation",
    "relation_rows",
    "relative_place",
    "relative_queries",
    "rms_prop",
    "row_reduce",
    "rows",
    "shares",
    "shares_coop",
    "shares_scalar",
    "similarity_distance",
    "similarity_key",
    "similarity_product",
    "similarity_relative_distance",
    "similarity_relative_square",
    "similarity_square",
    "stream",
    "strip",
    "strip_sum",
    "tally",
    "tile_coop",
    "tile_scalar",
    "untallied",
    "width_1",
    "width_2",
    "width_4",
    "windows",
}

/// The text of a piece.
pub(super) fn piece(name: &str) -> Option<(&'static str, &'static str)> {
    PIECES.iter().copied().find(|(known, _)| *known == name)
}
