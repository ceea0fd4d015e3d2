// Cooperative matrices of 16 x 16 (NVIDIA, AMD, Intel).
const FRAGMENT: u32 = 16u;
alias FragmentA = coop_mat16x16<f16, A>;
alias FragmentB = coop_mat16x16<f16, B>;
alias FragmentSum = coop_mat16x16<f32, C>;
